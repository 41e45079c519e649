"""A book as EPUB 3 with a fixed layout: a cover, then picture above words on every page.

Pages are upright, so that one fills a phone and two stand side by side on a tablet held across.
Source: EPUB 3.3 (W3C 2023), EPUB Accessibility 1.1.
"""

from __future__ import annotations

import io
import math
import unicodedata
import zipfile
from dataclasses import replace
from html import escape

from pipelines.book import DIGITAL_SOURCE_TYPE, Book, Page, picture_name
from storage.base import encode_book, open_picture
from storage.export.wording import (
    Language,
    clean,
    colophon,
    created,
    describe,
    language_of,
    recipe_json,
    title_of,
)

WIDTH, HEIGHT = 900, 1200
"""A page in CSS pixels."""

MARGIN = 60

ROOM = HEIGHT - 2 * MARGIN - 40
"""Height of a page without margins and number."""

PICTURE_SIDES = (WIDTH - 2 * MARGIN, 660, 560)
LEGIBLE = 30
"""Size of type, in CSS pixels, below which a page's picture is rather made smaller."""

PREFIXES = (
    "Iptc4xmpExt: http://iptc.org/std/Iptc4xmpExt/2008-02-29/ storybrush: urn:storybrush:1.0#"
)

ACCESSIBILITY = (
    ("accessMode", "textual"),
    ("accessMode", "visual"),
    ("accessModeSufficient", "textual"),
    ("accessibilityFeature", "alternativeText"),
    ("accessibilityFeature", "pageNavigation"),
    ("accessibilityFeature", "readingOrder"),
    ("accessibilityFeature", "tableOfContents"),
    ("accessibilityHazard", "none"),
    ("accessibilitySummary", "Every picture is described in words; the layout is fixed."),
)
"""What readers are told, in schema.org's terms."""


def book_epub(book: Book) -> bytes:
    """The book as one .epub file; the same book, the same bytes.

    Raises InvalidInput when a picture is damaged or the book cannot be written.
    """
    book = replace(book, owner="")
    for n, page in enumerate(book.pages, start=1):
        if page.picture is not None:
            open_picture(page.picture, n)
    language = language_of(book)
    names = ["cover.xhtml", *(page_name(n) for n in range(len(book.pages))), "colophon.xhtml"]
    files: dict[str, bytes | str] = {
        "META-INF/container.xml": _CONTAINER,
        "OEBPS/package.opf": _package(book, language, names),
        "OEBPS/nav.xhtml": _navigation(book, language, names),
        "OEBPS/cover.xhtml": _cover(book, language),
        "OEBPS/colophon.xhtml": _colophon(book, language),
        "OEBPS/style.css": _CSS,
        "OEBPS/book.json": encode_book(book),
    }
    for n, page in enumerate(book.pages):
        files[f"OEBPS/{page_name(n)}"] = _page(book, n, language)
        if page.picture is not None:
            files[f"OEBPS/{picture_name(n)}"] = page.picture
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        # What kind of file this is stands first and unpacked (OCF 3.3, section 4.3).
        archive.writestr(zipfile.ZipInfo("mimetype"), "application/epub+zip")
        for name, data in files.items():
            packed = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), data, packed)
    return out.getvalue()


def page_name(index: int) -> str:
    """File name of page `index` (from 0)."""
    return picture_name(index).replace(".png", ".xhtml")


def _package(book: Book, language: Language, names: list[str]) -> str:
    made = created(book).isoformat().removesuffix("+00:00")
    author = clean(book.author)
    cover = next((n for n, p in enumerate(book.pages) if p.picture is not None), None)
    pictures = [
        f'<item id="picture-{n + 1}" href="{picture_name(n)}" media-type="image/png"'
        + (' properties="cover-image"/>' if n == cover else "/>")
        for n, page in enumerate(book.pages)
        if page.picture is not None
    ]
    documents = [
        f'<item id="{_id(name)}" href="{name}" media-type="application/xhtml+xml"/>'
        for name in names
    ]
    spine = [
        f'<itemref idref="{_id(names[0])}" properties="rendition:page-spread-center"/>',
        *(f'<itemref idref="{_id(name)}"/>' for name in names[1:]),
    ]
    access = [f'<meta property="schema:{name}">{value}</meta>' for name, value in ACCESSIBILITY]
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" \
xml:lang="{language.tag}" prefix="{PREFIXES}">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:storybrush:{book.id}</dc:identifier>
<dc:title>{_text(title_of(book))}</dc:title>
<dc:language>{language.tag}</dc:language>
{f"<dc:creator>{_text(author)}</dc:creator>" if author else ""}
<dc:date>{made[:10]}</dc:date>
<dc:description>{_text(colophon(book))}</dc:description>
<meta property="dcterms:modified">{made}Z</meta>
<meta property="rendition:layout">pre-paginated</meta>
<meta property="rendition:orientation">auto</meta>
<meta property="rendition:spread">auto</meta>
<meta property="Iptc4xmpExt:DigitalSourceType">{DIGITAL_SOURCE_TYPE}</meta>
<meta property="storybrush:recipe">{_text(recipe_json(book))}</meta>
<link rel="storybrush:book" href="book.json" media-type="application/json"/>
{chr(10).join(access)}
</metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="style" href="style.css" media-type="text/css"/>
{chr(10).join([*documents, *pictures])}
</manifest>
<spine page-progression-direction="{language.direction}">
{chr(10).join(spine)}
</spine>
</package>
"""


def _id(name: str) -> str:
    return name.removesuffix(".xhtml")


def _navigation(book: Book, language: Language, names: list[str]) -> str:
    title = _text(title_of(book))
    pages = [
        f'<li><a href="{name}">{number}</a></li>' for number, name in enumerate(names[1:-1], 1)
    ]
    contents = [f'<li><a href="{names[0]}">{title}</a></li>', *pages]
    contents += [f'<li><a href="{names[-1]}" lang="en" xml:lang="en">Colophon</a></li>']
    page_list = f"""<nav epub:type="page-list" role="doc-pagelist" hidden="">
<ol>
{chr(10).join(pages)}
</ol>
</nav>"""
    body = f"""<nav epub:type="toc" role="doc-toc" id="toc">
<h1>{title}</h1>
<ol>
{chr(10).join(contents)}
</ol>
</nav>
{page_list if pages else ""}"""
    return _document(title, language, body, kind="")


def _cover(book: Book, language: Language) -> str:
    title, author = title_of(book), clean(book.author)
    byline = f'<p class="author" dir="auto">{_text(author)}</p>' if author else ""
    at = next((n for n, p in enumerate(book.pages) if p.picture is not None), None)
    figure = "" if at is None else _figure(book.pages[at], at, 640)
    room = HEIGHT - 2 * MARGIN - (90 if author else 0) - (0 if at is None else 700)
    size = type_size(title, room, largest=76, spacing=1.15)
    body = f"""<header{"" if figure else ' class="bare"'}>
{figure}
<h1 dir="auto" style="font-size: {size}px">{_text(title)}</h1>
{byline}
</header>"""
    return _document(_text(title), language, body, kind="cover")


def _page(book: Book, index: int, language: Language) -> str:
    page, number = book.pages[index], index + 1
    words = clean(page.text)
    painted = page.picture is not None
    side, size = _sizes(words) if painted else (0, type_size(words, ROOM, largest=46))
    body = f"""<section{"" if painted else ' class="bare"'}>
{_figure(page, index, side) if painted else ""}
<p class="words" dir="auto" style="font-size: {size}px">{_text(words)}</p>
<p class="number" id="n{number}" epub:type="pagebreak" role="doc-pagebreak" \
aria-label="{number}">{number}</p>
</section>"""
    return _document(str(number), language, body, kind="bodymatter")


def _colophon(book: Book, language: Language) -> str:
    body = f"""<section class="colophon" epub:type="colophon" role="doc-colophon" lang="en" \
xml:lang="en" dir="ltr">
<p>{_text(colophon(book))}</p>
</section>"""
    return _document("Colophon", language, body, kind="backmatter")


def _sizes(words: str) -> tuple[int, int]:
    """Sides of the picture and of the type, CSS pixels: a long text makes the picture smaller."""
    size = 0
    for side in PICTURE_SIDES:
        size = type_size(words, ROOM - side - 30, largest=46)
        if size >= LEGIBLE:
            return side, size
    return PICTURE_SIDES[-1], size


def _figure(page: Page, index: int, side: int) -> str:
    source, shown = picture_name(index), _text(describe(page))
    return f'<img src="{source}" alt="{shown}" style="width: {side}px; height: {side}px"/>'


def _document(title: str, language: Language, body: str, *, kind: str) -> str:
    """`title` and `body` are XHTML already; `kind` is the part of the book (epub:type).

    Without a kind it is no page of the book, but flows.
    """
    types = f' epub:type="{kind}"' if kind else ""
    fixed = f"""<meta name="viewport" content="width={WIDTH}, height={HEIGHT}"/>
<link rel="stylesheet" href="style.css"/>"""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" \
lang="{language.tag}" xml:lang="{language.tag}" dir="{language.direction}">
<head>
<meta charset="UTF-8"/>
<title>{title}</title>
{fixed if kind else ""}
</head>
<body{types}>
{body}
</body>
</html>
"""


def type_size(text: str, height: float, *, largest: int, spacing: float = 1.4) -> int:
    """The largest size in CSS pixels, at least 14, at which the text fits its page.

    Readers choose the font, so widths of letters are guessed, and rather too wide.
    """
    ems = sum(map(_em, text))
    for size in range(largest, 14, -1):
        lines = math.ceil(1.1 * ems * size / (WIDTH - 2 * MARGIN))
        if lines * size * spacing <= height:
            return size
    return 14


def _em(character: str) -> float:
    if unicodedata.category(character)[0] == "M":
        return 0.0
    if unicodedata.east_asian_width(character) in "WF" or character in "MW@%—":
        return 1.0
    return 0.75 if character.isupper() else 0.53


def _text(text: str) -> str:
    """Escaped for text and attributes."""
    return escape(clean(text), quote=True)


_CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles>
<rootfile full-path="OEBPS/package.opf" media-type="application/oebps-package+xml"/>
</rootfiles>
</container>
"""

_CSS = f"""html, body {{ margin: 0; padding: 0; }}
body {{ position: relative; width: {WIDTH}px; height: {HEIGHT}px; overflow: hidden;
  background: #fffdf8; color: #2b2622; font-family: Palatino, "Book Antiqua", Georgia, serif; }}
header, section {{ box-sizing: border-box; width: {WIDTH}px; height: {HEIGHT}px;
  padding: {MARGIN}px; }}
img {{ display: block; margin: 0 auto; object-fit: contain; border-radius: 24px; }}
h1 {{ margin: 44px 0 0; line-height: 1.15; text-align: center; text-wrap: balance;
  overflow-wrap: anywhere; }}
.author {{ margin: 26px 0 0; font-size: 30px; line-height: 1.3; text-align: center;
  color: #6b6157; overflow-wrap: anywhere; }}
.bare {{ display: flex; flex-direction: column; justify-content: center; }}
.words {{ margin: 30px 0 0; line-height: 1.4; text-align: start; overflow-wrap: anywhere; }}
.bare .words, .bare h1 {{ margin: 0; text-align: center; }}
.number {{ position: absolute; left: 0; right: 0; bottom: 22px; margin: 0; font-size: 24px;
  text-align: center; color: #6b6157; }}
.colophon {{ display: flex; align-items: flex-end; justify-content: center; }}
.colophon p {{ margin: 0; font-size: 24px; line-height: 1.4; text-align: center;
  color: #6b6157; }}
"""
