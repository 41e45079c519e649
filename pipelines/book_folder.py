"""A book as a plain folder: numbered PNGs, book.json, and index.html to open in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipelines.book import Book, picture_name
from pipelines.durable import write_whole
from pipelines.errors import StorageError


def save_book(book: Book, folder: Path, *, alone: bool = False) -> None:
    """Write the pages that are painted, book.json and index.html.

    alone: pages of another book that the folder held are removed. Raises: StorageError.
    """
    from storage.export import book_html

    files: dict[str, bytes] = {
        picture_name(n): p.picture for n, p in enumerate(book.pages) if p.picture is not None
    }
    # After the pictures that it names.
    files["book.json"] = json.dumps(book.to_json(), ensure_ascii=False, indent=2).encode()
    files["index.html"] = book_html(book, embed=False).encode()
    write_files(folder, files)
    if alone:
        with writing_to(folder):
            for path in folder.glob("page-*.png"):
                if path.name not in files and _PAGE.fullmatch(path.name):
                    path.unlink(missing_ok=True)


_PAGE = re.compile(r"page-\d+\.png")


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, in order; each is replaced as a whole, and only if it changes.

    Raises: StorageError.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            path = folder / name
            if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
                continue
            write_whole(path, data)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say StorageError of a folder where something cannot be written or removed."""
    try:
        yield
    except OSError as e:
        raise StorageError(f"The book cannot be written to {folder}: {e.strerror or e}.") from e
