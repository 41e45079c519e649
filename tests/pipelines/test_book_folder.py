"""A book as a folder: what belongs to it and nothing else, or a clear word."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipelines.book import Book, Page, Recipe, encode_png
from pipelines.book_folder import save_book
from pipelines.errors import StorageError


def book(pages: int) -> Book:
    recipe = Recipe("a fox", 1, {}, {})
    png = encode_png(Image.new("RGB", (16, 16), "orange"), recipe, "A fox.")
    return Book("The fox", tuple(Page(f"A fox {n}.", "", png) for n in range(pages)))


def test_pages_of_a_longer_book_go_where_the_folder_is_the_books_own(tmp_path: Path) -> None:
    save_book(book(3), tmp_path)
    (tmp_path / "page-of-mine.png").write_bytes(b"not a page")
    save_book(book(2), tmp_path)
    assert len(list(tmp_path.glob("page-*.png"))) == 4
    save_book(book(2), tmp_path, alone=True)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len([name for name in left if name.startswith("page-0")]) == 2
    assert {"book.json", "index.html", "page-of-mine.png"} < set(left)


def test_a_page_that_cannot_be_removed_is_a_word_about_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_book(book(3), tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=r"cannot be written to .*Permission denied"):
        save_book(book(2), tmp_path, alone=True)
