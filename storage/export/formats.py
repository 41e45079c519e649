"""The formats by name, for buttons and command lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.book import Book
from pipelines.errors import InvalidInput
from storage.export.archive import book_zip
from storage.export.epub import book_epub
from storage.export.film import book_film
from storage.export.pdf import book_pdf, colouring_pdf
from storage.export.webpage import book_html

if TYPE_CHECKING:
    from PIL.Image import Image

Draw = Callable[[Book], Sequence["Image | None"]]
"""Draws the line art of every page, as `colouring_pdf` takes it."""


@dataclass(frozen=True)
class Format:
    """`suffix` ends the file's name; `label` and `use` tell people what it is."""

    suffix: str
    label: str
    use: str
    make: Callable[[Book], bytes] | None = None


FORMATS: Mapping[str, Format] = {
    "pdf": Format(".pdf", "PDF", "to print", book_pdf),
    "epub": Format(".epub", "EPUB", "for readers and phones", book_epub),
    "html": Format(".html", "Web page", "opens anywhere", lambda book: book_html(book).encode()),
    "zip": Format(".zip", "ZIP", "pictures; can be imported", book_zip),
    "film": Format(".mp4", "Film", "pages that move, with their words", book_film),
    "colouring": Format("-colouring.pdf", "Colouring book", "line art as PDF"),
}


def export(book: Book, name: str, draw: Draw | None = None) -> bytes:
    """The book in the format of that name; `draw` is needed for the colouring book alone.

    Raises InvalidInput for an unknown format and for what the format cannot hold.
    """
    found = FORMATS.get(name)
    if found is not None and found.make is not None:
        return found.make(book)
    if found is not None and draw is not None:
        return colouring_pdf(book, draw(book))
    known = ", ".join(n for n, f in FORMATS.items() if f.make is not None or draw is not None)
    raise InvalidInput(f"There is no format “{name}”: choose {known}.")
