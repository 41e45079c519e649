"""Files are taken away and brought back: whose the book is, under which id, what is refused."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.book import Book, Page, encode_png
from pipelines.errors import InvalidInput
from storage.export import FORMATS, MAX_ZIP_BYTES, book_zip, read_zip
from storage.memory import MemoryLibrary
from tests.storage.books import make_book
from ui import film as films
from ui import takeaway
from ui.desk import Desk, Reading
from ui.jobs import Job
from ui.rules import Rules
from ui.workshop import Workshop

ADA, BOB = Desk("ada", "tab"), Desk("bob", "tab")


def nothing() -> Any:
    raise AssertionError("no model is needed here")


@pytest.fixture
def shop() -> Workshop:
    return Workshop(nothing, nothing, MemoryLibrary(), rules=Rules(banned=("zombie",)))


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    path = tmp_path / "book.zip"
    path.write_bytes(book_zip(make_book()))
    return path


def test_a_book_comes_back_as_it_was(shop: Workshop, brought: Path) -> None:
    book = takeaway.import_book(shop, ADA, brought)
    assert book == replace(make_book(created=book.created), owner="ada")
    assert shop.library.get(book.id) == book
    assert takeaway.import_book(shop, ADA, brought) == book
    assert shop.library.count() == 1


def test_a_taken_id_is_not_taken_over(shop: Workshop, brought: Path) -> None:
    first = takeaway.import_book(shop, ADA, brought)
    second = takeaway.import_book(shop, BOB, brought)
    assert second == replace(first, id=second.id, owner="bob")
    assert shop.library.get(first.id) == first
    assert shop.library.get(second.id) == second


def test_own_work_since_then_is_kept(shop: Workshop, brought: Path) -> None:
    first = takeaway.import_book(shop, ADA, brought)
    changed = replace(first, title="Better")
    shop.save(changed)
    again = takeaway.import_book(shop, ADA, brought)
    assert {b.title for b in shop.library.list()} == {"Better", first.title}
    assert shop.library.get(first.id) == changed
    assert again.id != first.id


def test_a_book_that_waits_is_not_shown_by_its_id(brought: Path) -> None:
    shop = Workshop(nothing, nothing, MemoryLibrary(), waiting=MemoryLibrary(), admin="secret")
    first = takeaway.import_book(shop, ADA, brought)
    assert shop.waits(first.id) == first
    assert shop.library.count() == 0
    assert takeaway.import_book(shop, ADA, brought) == first
    assert takeaway.import_book(shop, BOB, brought).id != first.id


def test_house_rules_hold_for_imported_books(shop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "book.zip"
    path.write_bytes(book_zip(replace(make_book(), title="The zombie")))
    with pytest.raises(InvalidInput):
        takeaway.import_book(shop, ADA, path)
    assert shop.library.count() == 0


def test_other_files_are_refused(shop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "book.zip"
    path.write_bytes(b"no ZIP at all")
    with pytest.raises(InvalidInput, match="not a ZIP"):
        takeaway.import_book(shop, ADA, path)
    with path.open("wb") as file:
        file.truncate(MAX_ZIP_BYTES + 1)  # no bytes are written, and none may be read
    with pytest.raises(InvalidInput, match="too large"):
        takeaway.import_book(shop, ADA, path)


def painted() -> Book:
    picture = Image.new("RGB", (48, 48), "white")
    picture.paste((20, 40, 160), (12, 12, 36, 36))
    book = make_book(pages=1).with_page(0, Page("A square.", picture=encode_png(picture)))
    return replace(book, pages=(*book.pages, Page("Not painted.")))


def test_every_format_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.export.film.FPS", 2)
    book = painted()
    begins = {"pdf": b"%PDF-", "epub": b"PK", "html": b"<!DOCTYPE", "zip": b"PK"}
    for name in FORMATS:
        data = takeaway.make(book, name)
        if name == "film":
            assert data[4:8] == b"ftyp"
        else:
            assert data.startswith(begins.get(name, b"%PDF-")), name
    assert read_zip(takeaway.make(book, "zip")) == replace(book, owner="")
    with zipfile.ZipFile(io.BytesIO(takeaway.make(book, "epub"))) as archive:
        assert archive.namelist()[0] == "mimetype"
    with pytest.raises(InvalidInput, match="no format"):
        takeaway.make(book, "<b>")


class Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[dict[str, str | None]] = []
        self.taken: list[str | None] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs))
        if tag == "button":
            found = dict(attrs)
            self.taken.append("film" if "data-film" in found else found["data-take"])

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_panel_offers_every_format_and_follows_what_is_made(tmp_path: Path) -> None:
    shown = Links(takeaway.buttons(make_book()))
    assert shown.taken == list(FORMATS)
    assert shown.links == []
    made = [Links(takeaway.buttons(make_book(), made=tmp_path / "a&b.pdf")) for _ in range(2)]
    assert made[0].links[0]["download"] == "a&b.pdf"
    assert made[0].links[0]["data-made"] != made[1].links[0]["data-made"]  # asked for twice
    problem = takeaway.buttons(make_book(), problem="No font for <b>.")
    assert "No font for <b>." in Links(problem).text


def filming(desk: Desk, book: Book, *, stop: bool = False) -> list[films.Filming]:
    job = Job("film", lambda job: iter(()))
    told: list[films.Filming] = []
    for moment in films.film_book(desk, job, book, "square.mp4"):
        told.append(moment)
        if stop:
            job.stop()
    return told


def test_a_film_is_shown_with_the_book_it_is_of(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr("storage.export.film.FPS", 2)
    book, desk = painted(), Desk("ada", "tab")
    desk.reading = Reading(book)
    told = filming(desk, book)
    assert told[0].title == book.title
    assert any(0 < m.done < 1 for m in told)
    assert desk.book_film is not None
    path = desk.book_film[1]
    assert path.name == "square.mp4"
    shown = takeaway.film_of(shop, desk)
    assert "<video" in shown
    assert 'download="square.mp4"' in shown
    desk.reading = Reading(replace(book, title="Another"))
    assert takeaway.film_of(shop, desk) == ""
    desk.reading = Reading(book)
    path.unlink()  # as Gradio does after a day
    assert takeaway.film_of(shop, desk) == ""


def test_a_stopped_film_is_not_kept_and_an_impossible_one_is_explained(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    book, desk = painted(), Desk("ada", "tab")
    filming(desk, book, stop=True)
    assert desk.book_film is None
    assert "no film was made" in desk.lines[films.line_of(book)][0]
    with pytest.raises(InvalidInput):
        filming(desk, replace(book, pages=book.pages[1:]))
    assert "paint a page first" in desk.lines[films.line_of(book)][0]
    assert list(tmp_path.rglob("*.mp4")) == []


@pytest.mark.parametrize(
    "title, name",
    [
        ("The fox who flew", "The-fox-who-flew"),
        ("../../etc/passwd", "etc-passwd"),
        ("<script>", "script"),
        ("🦊", "storybook"),
        ("الثعلب", "الثعلب"),
        ("x" * 200, "x" * 60),
    ],
)
def test_file_names(title: str, name: str) -> None:
    assert takeaway.file_name(replace(make_book(), title=title)) == name
