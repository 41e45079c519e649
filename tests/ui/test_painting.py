"""Painting as the page runs it: what happens to finished pages when something goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.book import Book, Page
from pipelines.errors import InvalidInput, StorageError
from pipelines.events import Sentence
from pipelines.presets import PictureConfig, StoryConfig
from storage.base import Library
from storage.local import LocalLibrary
from storage.memory import MemoryLibrary
from tests.ui.stand_in import QuickPainter, QuickWriter
from ui.desk import Desk, Retry, Tale
from ui.film import PaintingFilms
from ui.jobs import Job
from ui.make import make_book
from ui.manuscript import Manuscript
from ui.moving import Moving
from ui.pictures import Moment, paint, paint_pages
from ui.repaint import begun_as, compared, page_of
from ui.workshop import Workshop

CONFIG = PictureConfig(steps=2, width=128, height=128, seed=1)


class FullDisk(MemoryLibrary):
    """A library that cannot be written for a while."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def save(self, book: Book) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise StorageError("The disk is full: make room and press Save.")
        super().save(book)


def workshop(library: Library) -> Workshop:
    writer: Any = QuickWriter()
    painter: Any = QuickPainter()
    return Workshop(writer=lambda: writer, painter=lambda: painter, library=library)


BOOK = Book("Pip", (Page("A fox slept.", "fox @forest day"),) * 3)


def painting(shop: Workshop, job: Job) -> Iterator[Moment]:
    return paint_pages(shop, job, BOOK, CONFIG, (0, 1, 2), PaintingFilms(Desk("ada", "tab")))


def a_job() -> Job:
    return Job("paint", lambda job: iter(()))


def test_a_full_disk_stops_no_painting_and_later_pages_bring_the_earlier_along() -> None:
    shop = workshop(FullDisk(2))
    moments = list(painting(shop, a_job()))
    assert any("The disk is full" in m.line and not m.saved for m in moments)
    assert moments[-1].saved
    assert [p.picture is not None for p in shop.library.get(moments[-1].book.id).pages] == [
        True
    ] * 3


def test_a_library_that_stays_full_is_named_at_the_end() -> None:
    shop = workshop(FullDisk(99))
    last = list(painting(shop, a_job()))[-1]
    assert "The disk is full" in last.line
    assert all(p.picture for p in last.book.pages)


def test_a_house_rule_stops_no_painting_either() -> None:
    class Strict(MemoryLibrary):
        def save(self, book: Book) -> None:
            raise InvalidInput("This word is not for here.")

    last = list(painting(workshop(Strict()), a_job()))[-1]
    assert "Not saved: This word is not for here." in last.line
    assert not last.saved
    assert all(p.picture for p in last.book.pages)


@pytest.mark.parametrize("who", ["ada", "root"])
def test_a_book_that_is_deleted_while_it_is_painted_stays_deleted(
    who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    library = LocalLibrary(tmp_path / "library")
    shop, desk = workshop(library), Desk("ada", "tab")
    desk.add((Tale(Manuscript.from_book(BOOK)),), choose=True)

    def delete_after_a_page(job: Job) -> Iterator[Moment]:
        for moment in paint(shop, desk, job, CONFIG):
            yield moment
            if library.count():
                shop.delete(moment.book.id, Desk(who, "another tab", admin=who == "root"))

    job = desk.begin(shop.jobs, "paint", delete_after_a_page)
    while not job.done:
        time.sleep(0.01)
    assert job.error is None
    assert "This book was deleted in the meantime" in desk.lines["pictures"][0]
    assert [p.picture is not None for p in job.moment.book.pages] == [True, True, False]
    assert library.count() == 0
    assert list((library.folder / "books").iterdir()) == []
    with pytest.raises(InvalidInput, match="deleted in the meantime"):
        shop.save(job.moment.book, desk)


@pytest.mark.parametrize(
    "way, given, seed, start, scenery",
    [
        ("seed", False, None, CONFIG.start, 7),
        ("current", True, CONFIG.seed, "picture", None),
    ],
)
def test_every_try_from_scratch_has_another_seed_in_the_same_place(
    way: str, given: bool, seed: int | None, start: str, scenery: int | None
) -> None:
    config = begun_as(way, CONFIG, 7, given=given)
    assert (config.seed, config.start, config.scenery) == (seed, start, scenery)


def test_a_page_that_has_moved_is_painted_again_as_the_page_that_is_shown() -> None:
    pages = (Page("A fox slept.", "fox @forest day", b"1"), Page("It woke.", "fox @lake day", b"2"))
    book = Book("Pip", pages)
    told = Manuscript.from_book(book)
    moved = replace(told, sentences=(Sentence("An owl came.", "owl"), *told.sentences[::-1]))
    desk = Desk("ada", "tab", retry=Retry(1))
    desk.add((Tale(moved, book=book),), choose=True)
    assert page_of(desk) == pages[1]
    desk.retry = Retry(0)
    with pytest.raises(InvalidInput, match="gone"):
        page_of(desk)


def test_while_a_film_is_made_the_new_picture_stays_and_nothing_else_is_got_ready() -> None:
    shop, desk = workshop(MemoryLibrary()), Desk("ada", "tab")
    old, new = (Page("A fox slept.", "fox @forest day", png) for png in (b"old", b"new"))
    desk.retry = Retry(0, new)
    desk._job = job = Job("move", lambda job: iter(()))
    begun = compared(shop, desk, old)
    job.moment = Moving(0, 12)
    assert ["Getting ready" in html for html in (begun, compared(shop, desk, old))] == [True, False]
    assert "New picture" in compared(shop, desk, old)


@pytest.mark.parametrize(
    "failures, shown, line",
    [(0, "gallery", "Finished"), (99, "pictures", "The disk is full")],
)
def test_one_button_leads_to_the_book_or_to_what_is_wrong(
    failures: int, shown: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    shop, desk = workshop(FullDisk(failures)), Desk("ada", "tab")
    story = StoryConfig("a fox", sentences=4, drafts=2, seed=1)
    for _ in make_book(shop, desk, a_job(), story, CONFIG):
        assert desk.shown in ("story", "pictures")
    assert desk.shown == shown
    assert (desk.reading is not None) is (shown == "gallery")
    assert line in desk.lines["pictures"][0]
    assert desk.book is not None
    assert all(p.picture for p in desk.book.pages)


def test_stopping_while_the_story_is_written_paints_nothing() -> None:
    shop, desk, job = workshop(MemoryLibrary()), Desk("ada", "tab"), a_job()
    for _ in make_book(shop, desk, job, StoryConfig("a fox", seed=1), CONFIG):
        job.stop()
    assert desk.book is None
    assert shop.library.count() == 0
    assert desk.lines["story"][0].startswith("Stopped")


def test_stopping_before_the_first_page_says_that_there_is_none() -> None:
    job = a_job()
    moments = painting(workshop(MemoryLibrary()), job)
    next(moments)
    job.stop()
    assert list(moments)[-1].line == "Stopped: no page was finished yet. Paint begins again."


@pytest.mark.parametrize("leave", [False, True])
def test_finished_pages_are_in_the_library_however_it_ends(leave: bool) -> None:
    shop = workshop(MemoryLibrary())
    job = a_job()
    moments = painting(shop, job)
    for moment in moments:
        if any(p.picture for p in moment.book.pages):
            break
    if leave:
        moments.close()  # type: ignore[attr-defined]
    else:
        job.stop()
        assert "1 of 3 pages is kept" in list(moments)[-1].line
    pages = shop.library.get(BOOK.id).pages
    assert [p.picture is not None for p in pages] == [True, False, False]
