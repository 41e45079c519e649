"""A library in memory, for tests and previews: forgotten when the process ends."""

from __future__ import annotations

import builtins
import shutil
import tempfile
import threading
import weakref
from collections import Counter
from pathlib import Path

from pipelines.book import Book
from storage.base import (
    BookSummary,
    encode_book,
    encode_cover,
    has_changed,
    not_found,
    refuse_deletion,
    refuse_other_owner,
    search_words,
    searchable,
)


class MemoryLibrary:
    """Books in a dict; only the cover thumbnails are files, in a temporary folder.

    Safe to call from any thread; another process does not see it.
    """

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}
        self._texts: dict[str, str] = {}
        self._changes = 0
        self._lock = threading.Lock()
        self._covers = Path(tempfile.mkdtemp(prefix="storybrush-"))
        weakref.finalize(self, shutil.rmtree, self._covers, ignore_errors=True)

    def save(self, book: Book) -> None:
        encode_book(book)
        thumbnail = encode_cover(book)
        with self._lock:
            kept = self._books.get(book.id)
            if kept is not None:
                refuse_other_owner(kept.owner, book.owner)
            if thumbnail is not None:
                self._cover(book.id).write_bytes(thumbnail)
            self._books[book.id] = book
            self._texts[book.id] = searchable(book)
            self._changes += 1

    def get(self, book_id: str) -> Book:
        with self._lock:
            book = self._books.get(book_id)
        if book is None:
            raise not_found(book_id)
        return book

    def list(
        self,
        *,
        offset: int = 0,
        limit: int = 24,
        search: str = "",
        style: str = "",
        owner: str = "",
    ) -> builtins.list[BookSummary]:
        found = [b for b in self._found(search, style) if not owner or b.owner == owner]
        books = sorted(found, key=lambda b: b.id)
        books.sort(key=lambda b: b.created, reverse=True)
        start = max(0, offset)
        return [self._summary(b) for b in books[start : start + max(0, limit)]]

    def count(self, *, search: str = "", style: str = "") -> int:
        return len(self._found(search, style))

    def styles(self) -> builtins.list[tuple[str, int]]:
        with self._lock:
            found = Counter(b.style for b in self._books.values() if b.style)
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))

    def owner(self, book_id: str) -> str | None:
        with self._lock:
            book = self._books.get(book_id)
        return None if book is None else book.owner

    def stamp(self) -> str:
        return str(self._changes)

    def ids(self) -> builtins.list[str]:
        return [book.id for book in reversed(self.list(limit=len(self._books)))]

    def notice(self) -> str:
        return ""

    def delete(self, book_id: str, *, owner: str, only: Book | None = None) -> None:
        with self._lock:
            book = self._books.get(book_id)
            if book is None:
                raise not_found(book_id)
            refuse_deletion(book.owner, owner)
            if only is not None and book != only:
                raise has_changed()
            del self._books[book_id], self._texts[book_id]
            self._cover(book_id).unlink(missing_ok=True)
            self._changes += 1

    def _found(self, search: str, style: str) -> builtins.list[Book]:
        words = search_words(search)
        with self._lock:
            return [
                b
                for b in self._books.values()
                if (not style or b.style == style) and all(w in self._texts[b.id] for w in words)
            ]

    def _cover(self, book_id: str) -> Path:
        return self._covers / f"{book_id}.webp"

    def _summary(self, book: Book) -> BookSummary:
        return BookSummary(
            id=book.id,
            title=book.title,
            author=book.author,
            style=book.style,
            created=book.created,
            pages=len(book.pages),
            cover=self._cover(book.id) if book.cover is not None else None,
            owner=book.owner,
        )
