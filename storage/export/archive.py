"""A ZIP of the pictures, `book.json` and a page to look at; it can be read again."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace

from pipelines.book import MAX_SENTENCE, MAX_TITLE, Book, picture_name
from pipelines.errors import InvalidInput
from storage.base import decode_book, encode_book, open_picture
from storage.export.webpage import book_html

MAX_ZIP_FILES = 200
MAX_ZIP_BYTES = 96 * 2**20
"""Most files in a ZIP that is read, and their size unpacked: twelve pages of 2.4 megapixels, the
most that the app makes, even where PNG makes them no smaller."""

MAX_JSON_BYTES = 2 * 2**20
MAX_PIXELS = 96 * 2**20
"""Largest `book.json`, and most pixels of all pictures together: they are decoded one by one."""

MAX_BOOK_PAGES = 60
MAX_RECIPE = 64_000
"""Most pages of a book that is read, five times as many as the app makes, and characters of a
recipe as JSON: those with the longest prompts that a picture may have are of 10,000."""

PICTURE_FILE = re.compile(r"page-\d{2,3}\.png")


def book_zip(book: Book) -> bytes:
    """`book.json`, `page-NN.png` and `index.html` in one ZIP; the same book, the same bytes.

    The owner is left out: who gets the file is not to know it.

    Raises InvalidInput when the book cannot be written as it is.
    """
    book = replace(book, owner="")
    files = {
        "book.json": encode_book(book),
        "index.html": book_html(book, embed=False).encode(),
        **_pictures(book),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16  # else unpacked files could not be opened
            # PNG is packed already.
            packing = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, packing)
    return out.getvalue()


def read_zip(data: bytes) -> Book:
    """The book in a ZIP made by `book_zip`, with the same id and no owner.

    Nothing is unpacked to disk and no name in it becomes a path. At most 96 MB unpacked.

    Raises InvalidInput for anything else.
    """
    files = _unpack(data)
    if "book.json" not in files:
        raise InvalidInput("This ZIP holds no book: choose one that was downloaded here.")
    pictures = {name: d for name, d in files.items() if PICTURE_FILE.fullmatch(name)}
    if len(files["book.json"]) > MAX_JSON_BYTES:
        raise InvalidInput("This book is too large: its book.json is longer than any real one.")
    book = replace(decode_book(files["book.json"], pictures), owner="")
    _check_size(book)
    pixels = 0
    for number, page in enumerate(book.pages, start=1):
        if page.picture is not None:
            picture = open_picture(page.picture, number)
            pixels += picture.width * picture.height
            if pixels > MAX_PIXELS:
                raise InvalidInput(
                    f"The pictures of this book are too large: at most {MAX_PIXELS // 2**20} "
                    "megapixels together."
                )
    return book


def _pictures(book: Book) -> dict[str, bytes]:
    return {picture_name(n): p.picture for n, p in enumerate(book.pages) if p.picture is not None}


def _unpack(data: bytes) -> Mapping[str, bytes]:
    too_large = InvalidInput(
        f"This ZIP is too large: at most {MAX_ZIP_FILES} files and "
        f"{MAX_ZIP_BYTES // 2**20} MB unpacked."
    )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ZIP_FILES or sum(e.file_size for e in entries) > MAX_ZIP_BYTES:
                raise too_large
            files: dict[str, bytes] = {}
            for entry in entries:
                if entry.filename.startswith(("/", "\\")) or ".." in entry.filename:
                    raise InvalidInput("This ZIP holds file names that lead out of its folder.")
                if entry.filename in files:
                    raise InvalidInput("This ZIP holds two files of the same name.")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InvalidInput("This ZIP is packed in an unusual way: pack it again.")
                # Sizes may be lies: asked for a number of bytes, the reader unpacks no more.
                with archive.open(entry) as packed:
                    files[entry.filename] = packed.read(entry.file_size + 1)
            return files
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,  # encrypted
        ValueError,
        IndexError,
    ) as e:
        raise InvalidInput("This file is not a ZIP, or it is damaged: download it again.") from e


def _check_size(book: Book) -> None:
    """The app's own books are never larger; a hand-made ZIP must not be either."""
    if len(book.pages) > MAX_BOOK_PAGES:
        raise InvalidInput(
            f"This book has {len(book.pages)} pages: one with at most {MAX_BOOK_PAGES} can be "
            "imported."
        )
    titles = [book.title, book.author, book.style]
    sentences = [book.words, *(p.text for p in book.pages), *(p.brief for p in book.pages)]
    if max(map(len, titles)) > MAX_TITLE or max(map(len, sentences)) > MAX_SENTENCE:
        raise InvalidInput(
            f"This book's texts are too long: at most {MAX_TITLE} characters for the title and "
            f"{MAX_SENTENCE} for a sentence."
        )
    for recipe in (book.recipe, *(page.recipe for page in book.pages)):
        if recipe and len(json.dumps(recipe.to_json(), ensure_ascii=False)) > MAX_RECIPE:
            raise InvalidInput(
                f"This book tells too much of how it was made: at most {MAX_RECIPE:,} "
                "characters for the book, and for each of its pages."
            )
