"""The index of a local library: one SQLite file, its connections, migrations and failures."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.book import now
from pipelines.errors import StorageError

BUSY_SECONDS = 20.0
"""How long a call waits for another thread or process that is writing."""


def m001_books(db: sqlite3.Connection) -> None:
    """One row a book; `revision` names the folder that holds its files."""
    db.execute(
        """
        CREATE TABLE books (
            id TEXT PRIMARY KEY,
            revision TEXT NOT NULL,
            title TEXT NOT NULL,
            author TEXT NOT NULL,
            style TEXT NOT NULL,
            created TEXT NOT NULL,
            owner TEXT NOT NULL,
            pages INTEGER NOT NULL,
            searchable TEXT NOT NULL
        )
        """
    )
    db.execute("CREATE INDEX books_newest ON books (created DESC, id)")


def m002_quick_lists(db: sqlite3.Connection) -> None:
    """What lists of 100,000 books need: an index of texts, one of styles, and a stamp.

    `number` stays the same while a book is replaced. `books_text` finds any three characters in
    a row, `books_trigrams` which of them there are; triggers keep it and `changes` in step.
    """
    # As storage.base.searchable writes it; SQLite's replace() cannot look for a NUL.
    db.create_function("refold", 1, lambda text: text.replace("\0", "\ufffd") + "\n\n")
    db.execute("ALTER TABLE books RENAME TO books_before")
    db.execute("DROP INDEX books_newest")
    db.execute(
        """
        CREATE TABLE books (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            revision TEXT NOT NULL,
            title TEXT NOT NULL,
            author TEXT NOT NULL,
            style TEXT NOT NULL,
            created TEXT NOT NULL,
            owner TEXT NOT NULL,
            pages INTEGER NOT NULL,
            searchable TEXT NOT NULL
        )
        """
    )
    db.execute(
        """
        INSERT INTO books
        SELECT NULL, id, revision, title, author, style, created, owner, pages, refold(searchable)
        FROM books_before
        """
    )
    db.execute("DROP TABLE books_before")
    db.execute("CREATE INDEX books_newest ON books (created DESC, id)")
    db.execute("CREATE INDEX books_by_style ON books (style, created DESC, id)")
    db.execute(
        "CREATE VIRTUAL TABLE books_text USING fts5 (searchable, content='books',"
        " content_rowid='number', tokenize='trigram case_sensitive 1')"
    )
    db.execute("CREATE VIRTUAL TABLE books_trigrams USING fts5vocab (books_text, instance)")
    db.execute("INSERT INTO books_text (books_text) VALUES ('rebuild')")
    # Begins anywhere, so that an index made anew is never taken for the one before.
    db.execute("CREATE TABLE changes (stamp INTEGER NOT NULL)")
    db.execute("INSERT INTO changes VALUES (abs(random() % 1000000000000))")
    add = "INSERT INTO books_text (rowid, searchable) VALUES (new.number, new.searchable);"
    remove = (
        "INSERT INTO books_text (books_text, rowid, searchable)"
        " VALUES ('delete', old.number, old.searchable);"
    )
    for event, kept in (("INSERT", add), ("DELETE", remove), ("UPDATE", remove + add)):
        db.execute(
            f"CREATE TRIGGER books_after_{event.lower()} AFTER {event} ON books BEGIN {kept}"
            " UPDATE changes SET stamp = stamp + 1; END"
        )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_books, m002_quick_lists)
"""Applied once each, in this order, and remembered by name: append only, never rename."""


class Database:
    """Connections to one SQLite file in WAL mode.

    Every call has a connection of its own, so nothing is shared between threads or survives a
    fork. Failures raise StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def migrate(self, fill: Callable[[sqlite3.Connection], None]) -> None:
        """Make the file or bring it up to date, in one transaction.

        `fill` is called with the new, still empty tables when there were none before. The
        caller keeps other processes from doing the same at the same time.
        """
        with self._connection("rwc") as db:
            # WAL lets readers go on while one process writes; the file remembers it.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            with transaction(db):
                db.execute(
                    "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied TEXT)"
                )
                applied = {name for (name,) in db.execute("SELECT name FROM migrations")}
                unknown = applied - {m.__name__ for m in MIGRATIONS}
                if unknown:
                    raise StorageError(
                        f"The library {self.path.parent} was made by a newer Storybrush "
                        f"({', '.join(sorted(unknown))}): update the app, or choose another folder."
                    )
                for migration in MIGRATIONS:
                    if migration.__name__ not in applied:
                        migration(db)
                        db.execute(
                            "INSERT INTO migrations VALUES (?, ?)", (migration.__name__, now())
                        )
                if not applied:
                    fill(db)

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection for queries and for `transaction`."""
        with self._connection("rw") as db:
            # Files of an old revision are removed after a commit, so the commit must be on the
            # disk by then: in WAL mode only FULL promises that.
            db.execute("PRAGMA synchronous=FULL")
            # Reading makes the files that WAL needs now, so that it can still be read from here
            # when the disk runs full later.
            db.execute("SELECT 1 FROM books LIMIT 1").fetchone()
            yield db

    @contextmanager
    def _connection(self, mode: str) -> Iterator[sqlite3.Connection]:
        with explained(self.path.parent):
            # "rw" does not make a new, empty file where a library has been moved away.
            db = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
            )
            try:
                yield db
            finally:
                db.close()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end, roll back on any error; writers wait for each other here."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def locked(folder: Path, operation: int) -> Iterator[None]:
    """Hold a lock on the folder itself, shared or alone; freed when this process dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with the files of library `folder` into a StorageError."""
    try:
        yield
    except sqlite3.Error as e:
        raise StorageError(_explain_sqlite(e, folder)) from e
    except OSError as e:
        raise StorageError(_explain_os(e, folder)) from e


def _disk_full(folder: Path) -> str:
    return (
        f"The disk is full: nothing was changed in the library {folder}. "
        "Free some space and try again."
    )


def _not_writable(folder: Path) -> str:
    return (
        f"The library folder {folder} cannot be written: "
        "allow this user to write there, or choose another folder with --library."
    )


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 2**63


def _gone(folder: Path) -> str:
    return f"The library folder {folder} is gone: put it back, or start the app again."


def _explain_sqlite(error: sqlite3.Error, folder: Path) -> str:
    # The low byte is the kind of failure, the rest a detail. Python's own errors have no code.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return _disk_full(folder)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"Another program is busy with the library {folder}: try again in a moment."
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            if folder.is_dir():
                return _not_writable(folder)
            return _gone(folder)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"The index of the library {folder} is damaged ({error}). Stop the app, move "
                "every file named library.sqlite3… out of that folder and start again: "
                "the books are then found again by their own files."
            )
        case sqlite3.SQLITE_IOERR if _free_bytes(folder) < 2**20:
            # SQLite says so when the files beside the index cannot be made or grown.
            return _disk_full(folder)
        case _:
            return f"The library {folder} could not be read or written ({error})."


def _explain_os(error: OSError, folder: Path) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return _disk_full(folder)
        case errno.EEXIST | errno.ENOTDIR:
            return (
                f"The library cannot be at {folder}: {error.filename or folder} is in the way "
                "(a file, or below one). Choose another folder with --library."
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return _not_writable(folder)
        case errno.ENOENT if not folder.is_dir():
            return _gone(folder)
        case _:
            where = error.filename or folder
            return f"The library {folder} could not be read or written: {error.strerror}, {where}."
