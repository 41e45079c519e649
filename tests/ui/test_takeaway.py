"""Files are taken away and brought back: whose the book is, under which id, what is refused."""

from __future__ import annotations

import io
import random
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.book import Book, Page, Recipe, encode_png, now
from pipelines.errors import InvalidInput, Unreachable
from storage.export import FORMATS, MAX_ZIP_BYTES, book_zip, read_zip
from storage.memory import MemoryLibrary
from tests.storage.books import make_book
from ui import film as films
from ui import takeaway
from ui.desk import Desk, Reading
from ui.jobs import Job
from ui.manuscript import MAX_PAGES
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


def test_a_book_comes_back_while_the_others_cannot_be_read(
    shop: Workshop, brought: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is gone, or the book of this id is damaged."""

    def gone(_: str) -> Book:
        raise Unreachable("The bucket cannot be reached.")

    with monkeypatch.context() as broken:
        broken.setattr(shop.library, "get", gone)
        first = takeaway.import_book(shop, ADA, brought)
        second = takeaway.import_book(shop, ADA, brought)
    assert first.id == make_book().id
    assert shop.library.get(second.id) == replace(first, id=second.id)
    assert shop.library.count() == 2


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


def test_a_made_up_zip_is_no_book_of_tomorrow_and_adds_no_style(
    shop: Workshop, tmp_path: Path
) -> None:
    path, found = tmp_path / "book.zip", dict[str, Book]()
    for n, created in enumerate(
        ("9999-12-31", "2026-01-02T03:00:00+02:00", "2026-01-02", "0001-01-01T00:00:00+09:00")
    ):
        made = make_book(id=f"{n:016x}", created=created, style="a filter for all")
        path.write_bytes(book_zip(made))
        found[created] = takeaway.import_book(shop, ADA, path)
        assert takeaway.import_book(shop, ADA, path) == found[created]
    times = [book.created for book in found.values()]
    assert times[1:3] == ["2026-01-02T01:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"]
    assert max(times) <= now()
    assert shop.library.styles() == []
    path.write_bytes(book_zip(make_book(id="e" * 16, style="pencil")))
    takeaway.import_book(shop, ADA, path)
    assert shop.library.styles() == [("pencil", 1)]


def test_house_rules_hold_for_how_an_imported_book_was_made(shop: Workshop, tmp_path: Path) -> None:
    path, book = tmp_path / "book.zip", make_book(pages=1)
    for recipe in (
        Recipe("a zombie", 1),
        Recipe("a fox", 1, {"writer": "Zombie"}),
        Recipe("a fox", 1, {}, {"suffix": "in zombie style"}),
    ):
        page = replace(book.pages[0], recipe=recipe)
        for bad in (replace(book, recipe=recipe), book.with_page(0, page)):
            path.write_bytes(book_zip(bad))
            with pytest.raises(InvalidInput, match="zombie"):
                takeaway.import_book(shop, ADA, path)
    path.write_bytes(book_zip(book.with_page(0, replace(book.pages[0], brief="zombie @lake"))))
    with pytest.raises(InvalidInput, match="zombie"):
        takeaway.import_book(shop, ADA, path)
    kept_out = Recipe("a fox", 1, {}, {"ban": ["zombie"]})
    path.write_bytes(book_zip(replace(book, recipe=kept_out)))
    takeaway.import_book(shop, ADA, path)
    assert shop.library.count() == 1


def test_the_largest_book_of_the_app_comes_back() -> None:
    """Twelve pages of noise as large as any that is coloured; PNG makes them no smaller."""
    shades = random.Random(1).randbytes(1600 * 1500 * 3)
    png = encode_png(Image.frombytes("RGB", (1600, 1500), shades))
    book = Book("Noise", tuple(Page(f"Page {n}.", picture=png) for n in range(MAX_PAGES)))
    data = book_zip(book)
    assert read_zip(data) == book
    assert takeaway.too_large(Workshop(nothing, nothing, MemoryLibrary()), len(data)) == ""
    public = Workshop(nothing, nothing, MemoryLibrary(), upload=20)
    assert "too large to be imported" in takeaway.too_large(public, len(data))


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
    with pytest.raises(InvalidInput, match="its own button"):
        takeaway.make(book, "film")
    for name in FORMATS.keys() - {"film"}:
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
        ("उड़ती लोमड़ी", "उड़ती-लोमड़ी"),
        ("A ❤️ fox_1", "A-fox_1"),
        ("x" * 200, "x" * 60),
    ],
)
def test_file_names(title: str, name: str) -> None:
    assert takeaway.file_name(replace(make_book(), title=title)) == name
