"""Command line: `python -m storage.export LIBRARY BOOK --to fox.pdf fox.epub`.

The end of a file's name says the format: .pdf, .epub, .html, .mp4 or .zip. LIBRARY is a URL or a
folder as for `--library`; BOOK is an id, or the address of a book's page, which ends in one.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import AppError, InvalidInput, StorageError
from storage.base import open_library
from storage.export.formats import FORMATS, export


def parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    p = argparse.ArgumentParser(
        prog="python -m storage.export",
        description="Write a book of a library as PDF, EPUB, web page, film or ZIP.",
        epilog=__doc__.partition("\n\n")[2],
    )
    p.add_argument("library", help="folder or URL of the library")
    p.add_argument("book", help="id of the book, or its address")
    p.add_argument("--to", type=Path, nargs="+", required=True, metavar="FILE")
    return p


def format_of(path: Path) -> str:
    """The format that a file's name asks for. Raises InvalidInput."""
    found = next((n for n, f in FORMATS.items() if f.make and f.suffix == path.suffix.lower()), "")
    if not found:
        ends = ", ".join(f.suffix for f in FORMATS.values() if f.make)
        raise InvalidInput(f"{path}: the name of the file must end in one of {ends}.")
    return found


def write(path: Path, data: bytes) -> None:
    """Write the file as a whole or not at all. Raises StorageError."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as e:
        unfinished.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {e.strerror or e}.") from e


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when all files are written, 1 otherwise."""
    args = parser().parse_args(arguments)
    try:
        names = [format_of(path) for path in args.to]
        book = open_library(args.library, make=False).get(args.book.rpartition("book=")[2])
        for path, name in zip(args.to, names, strict=True):
            write(path, export(book, name))
            print(path)
    except AppError as e:
        print(f"storybrush: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
