"""ZIP and web page: round trips, hostile files, escaping."""

from __future__ import annotations

import io
import json
import random
import re
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from PIL import Image

from pipelines.book import MAX_SENTENCE, Book, Page, Recipe, encode_png
from pipelines.errors import InvalidInput
from pipelines.presets import PictureConfig
from storage.export import MAX_ZIP_BYTES, book_html, book_zip, read_zip
from storage.export.archive import MAX_BOOK_PAGES, MAX_JSON_BYTES, MAX_RECIPE
from storage.export.wording import clean
from storage.memory import MemoryLibrary
from tests.storage.books import make_book, picture, weird_books


def pack(files: Mapping[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@settings(max_examples=60, deadline=None)
@given(book=weird_books)
def test_zip_round_trip(book: Book) -> None:
    data = book_zip(book)
    assert read_zip(data) == replace(book, owner="")
    assert book_zip(book) == data


def test_zip_holds_pictures_book_and_page_but_no_owner() -> None:
    book = make_book()
    data = book_zip(book)
    files = unpack(data)
    assert sorted(files) == ["book.json", "index.html", *(f"page-0{n}.png" for n in (1, 2, 3))]
    assert files["page-01.png"] == book.pages[0].picture
    assert book.owner.encode() not in data + files["book.json"] + files["index.html"]
    library = MemoryLibrary()
    library.save(read_zip(data))
    assert library.count(search="fox") == 1


def test_zip_unpacks_to_files_that_can_be_opened() -> None:
    with zipfile.ZipFile(io.BytesIO(book_zip(make_book()))) as archive:
        assert {e.external_attr >> 16 for e in archive.infolist()} == {0o644}


GOOD = unpack(book_zip(make_book()))
JSON = json.loads(GOOD["book.json"])


def with_json(**changes: object) -> dict[str, bytes]:
    return GOOD | {"book.json": json.dumps(JSON | changes).encode()}


ENDLESS = Recipe("x" * MAX_RECIPE, 1).to_json()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"page-01.png": GOOD["page-01.png"]},
        {"book.json": GOOD["book.json"]},
        GOOD | {"../evil.png": b"x"},
        GOOD | {"/etc/passwd": b"x"},
        GOOD | {"a/../../evil": b"x"},
        GOOD | {"page-01.png": b"not a PNG"},
        GOOD | {"page-01.png": GOOD["page-01.png"][:-24]},
        GOOD | {"page-01.png": encode_png(Image.new("1", (5000, 1)))},
        GOOD | {"book.json": b"\xff\xfe{"},
        GOOD | {"book.json": b"[" * 200_000},
        GOOD | {"book.json": b"[]"},
        GOOD | {"book.json": b"1" * 5000},
        with_json(version=99),
        with_json(version=float("inf")),
        with_json(id="../../../../tmp/x"),
        with_json(id="0" * 17),
        with_json(created="soon"),
        with_json(title="\ud800"),
        with_json(title="x" * 201),
        with_json(words="x" * 601),
        with_json(pages=5),
        with_json(pages=["x"]),
        with_json(pages=[{"text": "x", "picture": "../../etc/passwd"}]),
        with_json(pages=[{"text": "x", "picture": ["page-01.png"]}]),
        with_json(pages=[{"text": "x", "score": float("nan")}]),
        with_json(pages=[{"text": "x", "recipe": "abc"}]),
        GOOD | {"book.json": GOOD["book.json"] + b" " * MAX_JSON_BYTES},
        with_json(pages=[{"text": "x"}] * (MAX_BOOK_PAGES + 1)),
        with_json(recipe=ENDLESS),
        with_json(pages=[{"text": "x", "recipe": ENDLESS}]),
        {f"{n}.txt": b"" for n in range(201)},
    ],
)
def test_bad_zips(files: Mapping[str, bytes]) -> None:
    with pytest.raises(InvalidInput):
        read_zip(pack(files))


def test_a_book_of_many_pages_with_the_longest_prompts_is_read() -> None:
    long = PictureConfig(
        prefix="p" * 200, suffix="s" * 200, prompts="狐" * 4000, noise_prompts="7:0.2|" * 32
    )
    page = Page("x" * MAX_SENTENCE, recipe=Recipe("狐" * 4000, 1, settings=long.to_settings()))
    book = Book("Fox", (page,) * MAX_BOOK_PAGES)
    assert read_zip(book_zip(book)) == book


def test_many_large_pictures_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.export.archive.MAX_PIXELS", 3 * 16 * 16)
    assert read_zip(book_zip(make_book(pages=3)))
    with pytest.raises(InvalidInput, match="megapixels"):
        read_zip(book_zip(make_book(pages=4)))


@pytest.mark.parametrize("data", [b"", b"PK", b"\x89PNG", pack(GOOD)[:-30], pack(GOOD)[30:]])
def test_no_zips(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_zip(data)


def test_flipped_bytes_never_do_more_than_refuse() -> None:
    draw = random.Random(3)
    good = pack(GOOD, zipfile.ZIP_STORED)
    for _ in range(400):
        data = bytearray(good)
        for _ in range(draw.choice([1, 3, 20])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            read_zip(bytes(data))
        except InvalidInput:
            continue


def test_unusual_packing_and_twin_names() -> None:
    with pytest.raises(InvalidInput, match="unusual"):
        read_zip(pack(GOOD, zipfile.ZIP_LZMA))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("book.json", GOOD["book.json"])
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("book.json", b"{}")
    with pytest.raises(InvalidInput, match="two files"):
        read_zip(out.getvalue())


@pytest.mark.parametrize("honest", [True, False])
def test_zip_bombs_are_not_unpacked(honest: bool) -> None:
    size = 2 * MAX_ZIP_BYTES
    data = pack({"book.json": bytes(size)})
    if not honest:  # the entry says that it holds 9 bytes
        data = data.replace(size.to_bytes(4, "little"), (9).to_bytes(4, "little"))
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="too large" if honest else "damaged"):
        read_zip(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    "text, shown",
    [
        ("der Wald\u00adkauz", "der Waldkauz"),
        ("\ufefffox\u2060es\u202e", "foxes"),
        ("a\tfox\0and\x1ban\ud800owl", "a fox and an owl"),
        ("می\u200cرود", "می\u200cرود"),
    ],
)
def test_what_is_invisible_parts_no_word(text: str, shown: str) -> None:
    assert clean(text) == shown


class Elements(HTMLParser):
    """Tags with their attributes, and the text in between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_html_shows_cover_and_pages_in_order() -> None:
    book = replace(make_book(author="Ann & Bob"), title="Fox < Owl")
    book = book.with_page(1, Page("Not painted."))
    page = Elements(book_html(book, embed=False))
    images = [(i["src"], i["alt"]) for i in page.all("img")]
    assert images == [
        ("page-01.png", ""),  # the cover, which the first page tells of
        ("page-01.png", "Picture: fox, forest"),
        ("page-03.png", "Picture: fox, forest"),
    ]
    assert len(page.all("section")) == 3
    order = ["Fox < Owl", "Ann & Bob", "Page 0 of 0.", "Not painted.", "Page 2 of 0."]
    shown = [page.text.rindex(t) for t in order]
    assert shown == sorted(shown)


def test_html_with_the_pictures_inside() -> None:
    html = book_html(make_book())
    sources = [i["src"] or "" for i in Elements(html).all("img")]
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert "page-01.png" not in html


@settings(max_examples=60, deadline=None)
@given(book=weird_books)
def test_html_lets_no_markup_through(book: Book) -> None:
    html = book_html(book)
    page = Elements(html)
    painted = sum(p.picture is not None for p in book.pages)
    expected = {
        "html": 1, "head": 1, "meta": 7, "title": 1, "style": 1, "body": 1, "main": 1,
        "header": 1, "h1": 1, "footer": 1, "section": len(book.pages),
        "img": painted + (painted > 0), "p": 1 + bool(clean(book.author)) + 2 * len(book.pages),
    }  # fmt: skip
    assert {t: len(page.all(t)) for t, _ in page.tags} == {t: n for t, n in expected.items() if n}
    assert all(set(i) == {"src", "alt", "width", "height"} for i in page.all("img"))
    assert not re.search(r"[\0\x1b]|https?://(?!cv\.iptc\.org)", html)


def test_html_of_the_zip_is_what_is_beside_the_pictures(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(book_zip(make_book()))) as archive:
        archive.extractall(tmp_path)
    page = Elements((tmp_path / "index.html").read_text(encoding="utf-8"))
    for image in page.all("img"):
        assert (tmp_path / (image["src"] or "")).read_bytes() == picture(0)
