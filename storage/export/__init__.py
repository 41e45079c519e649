"""Books to take away, one file a format."""

from storage.export.archive import MAX_ZIP_BYTES, book_zip, read_zip
from storage.export.epub import book_epub
from storage.export.film import book_film, stream_film
from storage.export.formats import FORMATS, export
from storage.export.pdf import book_pdf, colouring_pdf
from storage.export.webpage import book_html

__all__ = [
    "FORMATS",
    "MAX_ZIP_BYTES",
    "book_epub",
    "book_film",
    "book_html",
    "book_pdf",
    "book_zip",
    "colouring_pdf",
    "export",
    "read_zip",
    "stream_film",
]
