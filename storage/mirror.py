"""What a machine keeps of a library that is elsewhere: its list, and files read lately.

The list is the same SQLite table that a local library has, so lists, search and styles are as
quick and mean the same, also while the network is gone. Nothing in here is lost when the folder
is removed: it fills again.
"""

from __future__ import annotations

import builtins
import fcntl
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from pipelines.book import Book
from storage import index
from storage.base import BookSummary, search_words
from storage.database import Database, explained, locked, transaction

KEPT_BYTES = 500_000_000
"""Bytes of files that are kept, the ones read lately."""

GONE_SECONDS = 120.0
"""How long a book that was dropped is not put back by somebody who read it before that."""


class Mirror:
    """A list of books, each with the edition that the list tells of and the name of its cover.

    `dropped` is told the id of every book that leaves the list.
    """

    def __init__(self, folder: Path, dropped: Callable[[str], None] = lambda _: None) -> None:
        self._dropped = dropped
        self._database = Database(folder / "list.sqlite3")
        self._styles = index.Styles()
        self._gone: dict[str, tuple[int, float]] = {}
        self._gone_lock = threading.Lock()
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Two processes must not switch a fresh file to WAL at once: SQLite refuses one.
            with locked(folder, fcntl.LOCK_EX):
                self._database.migrate(lambda _: None)

    def put(self, books: Iterable[tuple[Book, int, str]]) -> None:
        """Books with their editions and their covers' names.

        Skipped are editions that are no later than what the list has, or dropped a moment ago.
        """
        with self._database.open() as db, transaction(db):
            for book, edition, cover in books:
                there = max(_edition(index.revision(db, book.id)), self._gone_edition(book.id))
                if edition > there:
                    index.put(db, book, f"{edition}.{cover}")

    def drop(self, editions: Iterable[tuple[str, int]]) -> None:
        """Forget the books of these ids that are of that edition or an older one."""
        dropped, left = dict(editions), list[str]()
        with self._database.open() as db, transaction(db):
            self._note_gone(dropped)  # a put that waits for this transaction is to know
            for book_id, edition in dropped.items():
                if -1 < _edition(index.revision(db, book_id)) <= edition:
                    db.execute("DELETE FROM books WHERE id = ?", (book_id,))
                    left.append(book_id)
        for book_id in left:
            self._dropped(book_id)

    def _note_gone(self, dropped: dict[str, int]) -> None:
        now = time.monotonic()
        with self._gone_lock:
            kept = {i: note for i, note in self._gone.items() if now - note[1] <= GONE_SECONDS}
            for book_id, edition in dropped.items():
                before, _ = kept.get(book_id, (-1, now))
                kept[book_id] = (max(edition, before), now)
            self._gone = kept

    def _gone_edition(self, book_id: str) -> int:
        with self._gone_lock:
            edition, since = self._gone.get(book_id, (-1, 0.0))
        return edition if time.monotonic() - since <= GONE_SECONDS else -1

    def editions(self) -> dict[str, int]:
        """Every book's id and edition."""
        with self._database.open() as db:
            rows = db.execute("SELECT id, revision FROM books")
            return {book_id: _edition(revision) for book_id, revision in rows}

    def ids(self) -> builtins.list[str]:
        """Every book's id, oldest first."""
        with self._database.open() as db:
            return index.ids(db)

    def owner(self, book_id: str) -> str | None:
        """The hash of a book's owner, None where the list has no such book."""
        with self._database.open() as db:
            return index.owner_of(db, book_id)

    def edition(self, book_id: str) -> int:
        """The edition of a book, -1 where the list has no such book."""
        with self._database.open() as db:
            return _edition(index.revision(db, book_id))

    def find(
        self,
        search: str,
        style: str,
        offset: int,
        limit: int,
        without: Collection[str],
        owner: str = "",
    ) -> builtins.list[tuple[BookSummary, str]]:
        """A page of the list, each with the name of its cover ("" without one)."""
        with self._database.open() as db:
            rows = index.find(db, search_words(search), style, offset, limit, without, owner)
        return [
            (
                BookSummary(
                    id=row.id,
                    title=row.title,
                    author=row.author,
                    style=row.style,
                    created=row.created,
                    pages=row.pages,
                    cover=None,
                    owner=row.owner,
                ),
                row.revision.partition(".")[2],
            )
            for row in rows
        ]

    def count(self, search: str, style: str, without: Collection[str]) -> int:
        """How many books `find` finds in all."""
        with self._database.open() as db:
            return index.count(db, search_words(search), style, without)

    def styles(self, without: Collection[str]) -> builtins.list[tuple[str, int]]:
        """Styles and how many books each has, most first."""
        with self._database.open() as db:
            return index.styles(db, without) if without else self._styles.of(db)

    def stamp(self) -> str:
        """Another text after every change of the list."""
        with self._database.open() as db:
            return index.stamp(db)


def _edition(revision: str | None) -> int:
    return int((revision or "-1").partition(".")[0])


class Cache:
    """Files in a folder, by names that always mean the same bytes; the oldest make room."""

    def __init__(self, folder: Path, most: int = KEPT_BYTES) -> None:
        self._folder = folder
        self._most = most
        self._held: int | None = None
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path | None:
        """Where the file is, None where it is not kept."""
        path = self._place(name)
        with suppress(OSError):
            os.utime(path)
            return path if path.stat().st_size else None  # empty after a power cut
        return None

    def get(self, name: str) -> bytes | None:
        """The bytes of a file, None where it is not kept."""
        path = self.path(name)
        with suppress(OSError):
            return path.read_bytes() if path else None
        return None

    def keep(self, name: str, data: bytes) -> Path | None:
        """Keep a file; None where there is no room for it on the disk, which is no failure."""
        path = self._place(name)
        unfinished = self._folder / f"{secrets.token_hex(8)}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(data)
            unfinished.replace(path)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            return None
        self._make_room(len(data))
        return path

    def names(self, beginning: str) -> list[str]:
        """Names of files that are kept."""
        with suppress(OSError):
            return [path.name for path in self._folder.iterdir() if path.name.startswith(beginning)]
        return []

    def remove(self, names: Iterable[str]) -> None:
        """Keep these files no longer."""
        for name in names:
            with suppress(OSError):
                self._place(name).unlink()

    def _place(self, name: str) -> Path:
        return self._folder / re.sub(r"[^\w.-]", "_", name)

    def _make_room(self, added: int) -> None:
        with self._lock:
            if self._held is not None and self._held + added <= self._most:
                self._held += added
                return
            files: list[tuple[float, int, Path]] = []
            for path in self._folder.iterdir():
                with suppress(OSError):
                    found = path.stat()
                    files.append((found.st_mtime, found.st_size, path))
            held = sum(size for _, size, _ in files)
            # Some more than needed, so that not every file looks through the folder.
            for _, size, path in sorted(files) if held > self._most else ():
                if held <= 0.9 * self._most:
                    break
                with suppress(OSError):
                    path.unlink()
                held -= size
            self._held = held
