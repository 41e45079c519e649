"""A book as PDF to read and print, and as a colouring book.

Both are PDF/UA: tagged, in the script's direction, with alternative texts and embedded fonts. XMP
says how the pictures were made, and `book.json` with every recipe is attached.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.book import DIGITAL_SOURCE_TYPE, Book, picture_name
from pipelines.errors import InvalidInput
from storage.base import encode_book, open_picture
from storage.export.typeset import Fonts, content, system_fonts, typeset
from storage.export.wording import clean, colophon, created, recipe_json

if TYPE_CHECKING:
    from PIL.Image import Image

NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "storybrush": "urn:storybrush:1.0",
}
"""XMP namespaces, by prefix: IPTC's extension, and our own for the recipe."""


def book_pdf(book: Book, *, fonts: Fonts | None = None) -> bytes:
    """Cover, a spread for every page (picture and words), colophon; A4 landscape.

    The same book on the same computer gives the same bytes. `fonts`: those of this computer.

    Raises InvalidInput when a picture is damaged or no font holds the book's script.
    """
    pictures = {
        picture_name(n): p.picture for n, p in enumerate(book.pages) if p.picture is not None
    }
    for n, page in enumerate(book.pages, start=1):
        if page.picture is not None:
            open_picture(page.picture, n)
    return _pdf("book.typ", book, pictures, colophon(book), fonts)


def colouring_pdf(
    book: Book, drawings: Sequence[Image | None], *, fonts: Fonts | None = None
) -> bytes:
    """A cover, then every drawing with its sentence below; A4 upright.

    `drawings` holds the line art of each page, PIL L with 255 = paper, None where there is none;
    a page without a drawing has room to draw.

    Raises InvalidInput when there are not as many drawings as pages, or no font for the script.
    """
    if len(drawings) != len(book.pages):
        raise InvalidInput("A colouring book needs one drawing a page, or none for it.")
    pictures: dict[str, bytes] = {}
    for n, drawing in enumerate(drawings):
        if drawing is not None:
            out = io.BytesIO()
            drawing.convert("L").save(out, "PNG")
            pictures[picture_name(n)] = out.getvalue()
    note = f"{colophon(book)} The lines were drawn from them."
    return _pdf("colouring.typ", book, pictures, note, fonts)


def _pdf(
    template: str, book: Book, pictures: Mapping[str, bytes], note: str, fonts: Fonts | None
) -> bytes:
    fonts = fonts or system_fonts()
    book = replace(book, owner="")
    source = encode_book(book)
    data = content(book, pictures, note, fonts)
    # Models may have any name; a line that no font can show is left out.
    data["colophon"] += [line for line in _made_with(book) if not fonts.missing([line])]
    pdf = typeset(template, data, pictures, fonts, created(book))
    return _with_metadata(pdf, book, source)


def _made_with(book: Book) -> list[str]:
    """Lines of the colophon that tell how: style, seed and models."""
    recipe = book.recipe
    if recipe is None:
        return []
    parts = [f"Style: {clean(book.style)}" if book.style else "", f"seed: {recipe.seed}"]
    parts += [f"{clean(str(k))}: {clean(str(v))}" for k, v in recipe.models.items()]
    return [" · ".join(p for p in parts if p)]


def _with_metadata(pdf: bytes, book: Book, source: bytes) -> bytes:
    """The PDF with XMP that tells how it was made, and `book.json` attached."""
    import pikepdf
    from pikepdf.models import PdfMetadata

    for prefix, uri in NAMESPACES.items():
        PdfMetadata.register_xml_namespace(uri, prefix)
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        with document.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as meta:
            meta["Iptc4xmpExt:DigitalSourceType"] = DIGITAL_SOURCE_TYPE
            meta["storybrush:recipe"] = recipe_json(book)
            meta["xmp:CreatorTool"] = "Storybrush"
        document.docinfo["/Creator"] = "Storybrush"
        document.docinfo["/DigitalSourceType"] = DIGITAL_SOURCE_TYPE
        document.attachments["book.json"] = pikepdf.AttachedFileSpec(
            document,
            source,
            description="The book's words and the recipe of every picture",
            mime_type="application/json",
            relationship=pikepdf.Name.Source,
        )
        document.save(out, deterministic_id=True)
    return out.getvalue()
