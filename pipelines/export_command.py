"""`--export pdf,epub` of the command line: the finished book in other formats, beside its pages."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.book import Book
from pipelines.durable import write_whole
from pipelines.errors import InvalidInput, StorageError


def add_export_option(p: argparse.ArgumentParser) -> None:
    """`--export`, as text that `formats_of` reads."""
    p.add_argument(
        "--export", default="", metavar="FORMATS",
        help="the finished book as pdf, epub, html, zip, film, colouring, with commas between",
    )  # fmt: skip


def formats_of(args: argparse.Namespace) -> list[str]:
    """The formats asked for, each once. Raises InvalidInput for one that there is not."""
    from storage.export import FORMATS

    names = args.export.lower().replace(",", " ").split()
    for name in names:
        if name not in FORMATS:
            raise InvalidInput(f"--export knows {', '.join(FORMATS)}, not “{name}”.")
    return list(dict.fromkeys(names))


def write_exports(book: Book, folder: Path, names: list[str]) -> list[Path]:
    """Write `book.pdf` and so on into the folder, each file as a whole; returns their paths.

    Raises InvalidInput for what a format cannot hold; StorageError.
    """
    if not names:
        return []
    from pipelines.colorize.colouring import draw_pages  # OpenCV is loaded with it
    from storage.export import FORMATS, export

    paths: list[Path] = []
    for name in names:
        path = folder / f"book{FORMATS[name].suffix}"
        data = export(book, name, draw_pages)
        try:
            write_whole(path, data)
        except OSError as e:
            raise StorageError(f"{path} cannot be written: {e.strerror or e}.") from e
        paths.append(path)
    return paths
