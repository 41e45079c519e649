"""Painting as the page runs it: what happens to finished pages when something goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.book import Book, Page
from pipelines.errors import StorageError
from pipelines.presets import PictureConfig
from storage.memory import MemoryLibrary
from tests.ui.stand_in import QuickPainter
from ui.jobs import Job
from ui.pictures import Moment, paint_pages
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


def workshop(library: MemoryLibrary) -> Workshop:
    painter: Any = QuickPainter()
    return Workshop(writer=lambda: painter, painter=lambda: painter, library=library)


BOOK = Book("Pip", (Page("A fox slept.", "fox @forest day"),) * 3)


def painting(shop: Workshop, job: Job) -> Iterator[Moment]:
    return paint_pages(shop, job, BOOK, CONFIG, (0, 1, 2))


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
