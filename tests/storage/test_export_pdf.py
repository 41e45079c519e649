"""PDF: what it says to machines, scripts and directions, fonts that are missing, the same bytes."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pikepdf
import pytest
from hypothesis import Phase, given, settings
from PIL import Image

from pipelines.book import DIGITAL_SOURCE_TYPE, MAX_SENTENCE, MAX_TITLE, Book, Page
from pipelines.errors import InvalidInput
from storage.export import book_epub, book_pdf, colouring_pdf
from storage.export.typeset import bundled_fonts, system_fonts
from tests.storage.books import make_book, picture, weird_books

needs_poppler = pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="pdftotext (poppler-utils) is not installed"
)

BUNDLED = bundled_fonts()


def with_texts(title: str, *texts: str) -> Book:
    book = make_book(pages=len(texts))
    pages = tuple(replace(p, text=t) for p, t in zip(book.pages, texts, strict=True))
    return replace(book, title=title, pages=pages)


def opened(data: bytes) -> pikepdf.Pdf:
    return pikepdf.open(io.BytesIO(data))


def elements(node: Any) -> list[pikepdf.Dictionary]:
    """All structure elements below a node, in reading order."""
    kids = node.get("/K", [])
    kids = kids if isinstance(kids, pikepdf.Array) else [kids]
    found: list[pikepdf.Dictionary] = []
    for kid in kids:
        if isinstance(kid, pikepdf.Dictionary) and "/S" in kid:
            found += [kid, *elements(kid)]
    return found


def font_names(pdf: pikepdf.Pdf) -> set[str]:
    return {
        str(o["/FontName"])
        for o in pdf.objects
        if isinstance(o, pikepdf.Dictionary) and o.get("/Type") == "/FontDescriptor"
    }


def text_of(data: bytes, page: int) -> str:
    """What a viewer would copy from a page (from 1)."""
    done = subprocess.run(
        ["pdftotext", "-f", str(page), "-l", str(page), "-", "-"], input=data, capture_output=True
    )
    return " ".join(re.sub("[\u200b\u202a-\u202e]", "", done.stdout.decode()).split())


def test_pages_metadata_and_recipe() -> None:
    book = make_book(author="Ann Bee", style="watercolour")
    with opened(book_pdf(book)) as pdf:
        assert len(pdf.pages) == 1 + 3 + 1
        boxes = {tuple(round(float(v)) for v in page.mediabox) for page in pdf.pages}
        assert boxes == {(0, 0, 842, 595)}  # A4 across, in points
        assert str(pdf.docinfo["/Title"]) == book.title
        with pdf.open_metadata() as meta:
            assert meta["dc:title"] == book.title
            assert meta["dc:creator"] == ["Ann Bee"]
            assert meta["pdfuaid:part"] == "1"
            assert meta["Iptc4xmpExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
            recipe = json.loads(str(meta["storybrush:recipe"]))
        assert book.recipe is not None
        assert recipe["story"] == book.recipe.to_json()
        assert [p["prompt"] for p in recipe["pages"]] == ["a fox"] * 3
        inside = json.loads(pdf.attachments["book.json"].get_file().read_bytes())
        assert inside == replace(book, owner="").to_json()
        labels = pdf.Root["/PageLabels"]["/Nums"]
        assert {int(labels[0]), int(labels[2])} == {0, 1}  # the cover is not page 1


def test_it_can_be_read_aloud() -> None:
    with opened(book_pdf(make_book())) as pdf:
        assert bool(pdf.Root["/MarkInfo"]["/Marked"])
        assert str(pdf.Root["/Lang"]) == "en"
        found = elements(pdf.Root["/StructTreeRoot"])
        alternatives = [str(e["/Alt"]) for e in found if e["/S"] == "/Figure"]
        assert alternatives == ["Picture: fox, forest"] * 4  # the cover and three pages
        assert sum(e["/S"] == "/H1" for e in found) == 1
        assert sum(e["/S"] == "/P" for e in found) >= 3


def test_pictures_are_inside_and_fonts_are_embedded_in_part() -> None:
    book = make_book(pages=2).with_page(1, Page("Two.", "owl", picture(9, 32)))
    with opened(book_pdf(book)) as pdf:
        widths = {
            int(o["/Width"])
            for o in pdf.objects
            if isinstance(o, pikepdf.Stream) and o.get("/Subtype") == "/Image"
        }
        assert widths == {16, 32}
        for o in pdf.objects:
            if isinstance(o, pikepdf.Dictionary) and o.get("/Type") == "/FontDescriptor":
                assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(o.keys())
        assert all(re.match(r"/[A-Z]{6}\+", name) for name in font_names(pdf))


def test_the_same_book_gives_the_same_bytes_and_no_owner() -> None:
    book = make_book()
    data = book_pdf(book)
    assert data == book_pdf(book)
    with opened(data) as pdf:
        inside = pdf.attachments["book.json"].get_file().read_bytes()
    assert book.owner.encode() not in data + inside


@needs_poppler
@pytest.mark.parametrize(
    "title",
    [
        "<script>alert(1)</script> & ../../etc/passwd",
        '#panic("no") $x$ *b* _i_ `code` [c] @ref <label> \\ // /* "quoted"',
        "Γειά σου, Κόσμε",
        "Лиса, которая хотела летать",
        "Größenwahn çà et là — “really”",
    ],
)
def test_what_people_type_is_text(title: str) -> None:
    data = book_pdf(with_texts(title, title), fonts=BUNDLED)
    assert re.sub(r"\s", "", title) in re.sub(r"\s", "", text_of(data, 1))
    assert re.sub(r"\s", "", title) in re.sub(r"\s", "", text_of(data, 2))


@needs_poppler
def test_unpainted_pages_and_empty_books() -> None:
    book = replace(make_book(), pages=(Page("Not painted."), Page("")))
    data = book_pdf(book, fonts=BUNDLED)
    assert text_of(data, 2) == "Not painted. 1"
    with opened(book_pdf(replace(book, pages=(), title=""), fonts=BUNDLED)) as pdf:
        assert len(pdf.pages) == 2
        assert str(pdf.docinfo["/Title"]) == "Untitled"


def test_hebrew_is_read_from_the_right() -> None:
    with opened(book_pdf(with_texts("השועל", "היה היה שועל."), fonts=BUNDLED)) as pdf:
        assert str(pdf.Root["/Lang"]) == "he"
        assert str(pdf.Root["/ViewerPreferences"]["/Direction"]) == "/R2L"


@pytest.mark.parametrize(
    "title, language, font",
    [("الثعلب الطائر", "ar", "Arabic"), ("उड़ती लोमड़ी", "hi", "Devanagari"), ("飞狐", "zh", "")],
)
def test_other_scripts_in_fonts_of_this_computer(title: str, language: str, font: str) -> None:
    fonts = system_fonts()
    book = with_texts(title, f"{title}.")
    if fonts.missing([title]):
        with pytest.raises(InvalidInput, match="needs a font for"):
            book_pdf(book)
        return
    with opened(book_pdf(book)) as pdf:
        assert str(pdf.Root["/Lang"]) == language
        assert any(font in name for name in font_names(pdf))


def test_a_script_without_a_font_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"font for Thai.*fonts-noto-core.*EPUB"):
        book_pdf(with_texts("สุนัขจิ้งจอก", "x"), fonts=BUNDLED)
    with pytest.raises(InvalidInput, match=r"font for Chinese characters and Hangul.*noto-cjk"):
        book_pdf(with_texts("Fox", "神話 한글"), fonts=BUNDLED)


@needs_poppler
def test_emoji_without_a_font_are_left_out() -> None:
    data = book_pdf(with_texts("The 🦊 fox", "One 👨‍👩‍👧 two 👍🏽 three ❤️🦉."), fonts=BUNDLED)
    assert text_of(data, 1) == "The fox"
    assert re.sub("❤?\ufe0f?", "", text_of(data, 2)) == "One two three . 1"
    with opened(book_pdf(with_texts("🦊", "x"), fonts=BUNDLED)) as pdf:
        assert str(pdf.docinfo["/Title"]) == "Untitled"


@needs_poppler
@pytest.mark.parametrize("text", ["W" * MAX_SENTENCE, "word " * (MAX_SENTENCE // 5), "é" * 300])
def test_long_texts_stay_on_their_page(text: str) -> None:
    book = replace(with_texts(text[:MAX_TITLE], text), author=text[:MAX_TITLE])
    data = book_pdf(book, fonts=BUNDLED)
    boxes = subprocess.run(["pdftotext", "-bbox", "-", "-"], input=data, capture_output=True)
    words = re.findall(r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)"',
                       boxes.stdout.decode())  # fmt: skip
    assert len(words) > 10
    for left, top, right, bottom in words:
        assert 50 < float(left) < float(right) < 842 - 50
        assert 50 < float(top) < float(bottom) < 595 - 20
    with opened(data) as pdf:
        assert len(pdf.pages) == 3


def test_damaged_pictures_are_refused() -> None:
    book = make_book().with_page(1, Page("x", "", picture(1)[:-60]))
    with pytest.raises(InvalidInput, match="page 2"):
        book_pdf(book)
    with pytest.raises(InvalidInput, match="page 2"):
        book_epub(book)


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(book=weird_books)
def test_any_book_can_be_set_or_is_refused_in_words(book: Book) -> None:
    try:
        data = book_pdf(book)
    except InvalidInput as e:
        assert "needs a font for" in str(e)  # noqa: PT017
        return
    with opened(data) as pdf:
        assert len(pdf.pages) == len(book.pages) + 2
        assert str(pdf.docinfo["/Title"])


def test_colouring_book() -> None:
    lines = Image.new("L", (64, 64), 255)
    lines.paste(0, (10, 10, 12, 50))
    book = make_book(pages=2, author="Ann")
    data = colouring_pdf(book, [lines, None])
    with opened(data) as pdf:
        assert len(pdf.pages) == 1 + 2 + 1
        boxes = {tuple(round(float(v)) for v in page.mediabox) for page in pdf.pages}
        assert boxes == {(0, 0, 595, 842)}  # A4 upright
        shades = {
            str(o["/ColorSpace"])
            for o in pdf.objects
            if isinstance(o, pikepdf.Stream) and o.get("/Subtype") == "/Image"
        }
        assert not any("RGB" in s for s in shades)
        with pdf.open_metadata() as meta:
            assert meta["Iptc4xmpExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    with pytest.raises(InvalidInput, match="one drawing a page"):
        colouring_pdf(book, [lines])
