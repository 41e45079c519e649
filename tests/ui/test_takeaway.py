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
from ui import takeaway
from ui.desk import Desk
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


def test_every_format_can_be_made() -> None:
    book = painted()
    begins = {"pdf": b"%PDF-", "epub": b"PK", "html": b"<!DOCTYPE", "zip": b"PK"}
    for name in FORMATS:
        data = takeaway.make(book, name)
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
            self.taken.append(dict(attrs)["data-take"])

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
