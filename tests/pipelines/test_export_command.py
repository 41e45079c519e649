"""`--export`: the formats asked for, files beside the pages, what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from pipelines.book import Book
from pipelines.errors import InvalidInput, StorageError
from pipelines.export_command import add_export_option, formats_of, write_exports
from tests.storage.books import make_book


def asked(*arguments: str) -> list[str]:
    p = argparse.ArgumentParser()
    add_export_option(p)
    return formats_of(p.parse_args(arguments))


def test_formats_are_read() -> None:
    assert asked() == []
    assert asked("--export", "PDF, epub,pdf") == ["pdf", "epub"]
    with pytest.raises(InvalidInput, match="not “docx”"):
        asked("--export", "pdf,docx")


def test_files_are_written_beside_the_pages(tmp_path: Path) -> None:
    names = ["pdf", "epub", "html", "zip", "colouring"]
    paths = write_exports(make_book(pages=1), tmp_path, names)
    assert [p.name for p in paths] == [
        "book.pdf", "book.epub", "book.html", "book.zip", "book-colouring.pdf",
    ]  # fmt: skip
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(p.stat().st_size > 500 for p in paths)
    assert write_exports(Book("", ()), tmp_path, []) == []


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_exports(make_book(), tmp_path / "gone", ["html"])
