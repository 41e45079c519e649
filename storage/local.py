"""A library in one folder: an SQLite index and plain files.

::

    library.sqlite3                        one row a book, pointing at its current revision
    books/<id>/<revision>/book.json        the book, with the SHA-256 of every picture
                         /page-01.png ...
                         /cover.webp       thumbnail
    writing/<id>.<revision>/               a save or deletion that is under way (or was cut off)

A book is written as a new revision in `writing/`, moved into `books/`, and becomes the book
when its row is committed; only then is the old revision removed. Whoever is killed midway
leaves a folder in `writing/`, by which the next one to open the library tidies that book.
"""

from __future__ import annotations

import builtins
import fcntl
import hashlib
import json
import logging
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.book import Book, picture_name
from pipelines.durable import fsync
from pipelines.errors import InvalidInput, NotFound, StorageError
from storage import index
from storage.base import (
    BOOK_ID,
    BookSummary,
    decode_book,
    encode_book,
    encode_cover,
    has_changed,
    not_found,
    search_words,
)
from storage.database import Database, explained, locked

logger = logging.getLogger(__name__)

REVISION = re.compile(r"[0-9a-f]{16}")
COVER = "cover.webp"


class LocalLibrary:
    """Books in `folder`, which is made if missing. Raises StorageError when it cannot be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._books = self.folder / "books"
        self._writing = self.folder / "writing"
        self._database = Database(self.folder / "library.sqlite3")
        self._styles = index.Styles()
        with explained(self.folder):
            try:
                for needed in (self.folder, self._books, self._writing):
                    needed.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as e:  # some file systems, as /proc, take no folders
                raise StorageError(
                    f"The library folder {folder} cannot be made ({e.strerror}: {e.filename}): "
                    "choose another folder with --library."
                ) from e
            # Two processes must not switch a fresh file to WAL at once: SQLite refuses one.
            with locked(self.folder, fcntl.LOCK_EX):
                self._database.migrate(self._find_again)
            self._sweep()

    def save(self, book: Book) -> None:
        files = encode_files(book)
        revision = secrets.token_hex(8)
        with explained(self.folder), self._begin() as db:
            note = self._writing / f"{book.id}.{revision}"
            unneeded: str | None = revision
            try:
                note.mkdir()
                _write_folder(note / "files", files)
                _move_into(note / "files", self._books / book.id, revision)
                unneeded = index.point_at(db, book, revision)
            finally:
                self._settle(db, note, book.id, unneeded)

    def get(self, book_id: str) -> Book:
        if not BOOK_ID.fullmatch(book_id):
            raise not_found(book_id)
        with explained(self.folder), self._database.open() as db:
            revision = index.revision(db, book_id)
            while True:
                if revision is None:
                    raise not_found(book_id)
                try:
                    return _read_folder(self._books / book_id / revision)
                except FileNotFoundError as e:
                    # Another process may have replaced or deleted the book while it was read.
                    current = index.revision(db, book_id)
                    if current == revision:
                        raise StorageError(_damaged(Path(e.filename), "missing")) from e
                    revision = current

    def list(
        self,
        *,
        offset: int = 0,
        limit: int = 24,
        search: str = "",
        style: str = "",
        owner: str = "",
    ) -> builtins.list[BookSummary]:
        with self._database.open() as db:
            rows = index.find(db, search_words(search), style, offset, limit, owner=owner)
        with explained(self.folder):
            return [self._summary(row) for row in rows]

    def count(self, *, search: str = "", style: str = "") -> int:
        with self._database.open() as db:
            return index.count(db, search_words(search), style)

    def styles(self) -> builtins.list[tuple[str, int]]:
        with self._database.open() as db:
            return self._styles.of(db)

    def owner(self, book_id: str) -> str | None:
        with self._database.open() as db:
            return index.owner_of(db, book_id)

    def stamp(self) -> str:
        with self._database.open() as db:
            return index.stamp(db)

    def revision(self, book_id: str) -> str | None:
        """A text that is another one after every save of the book; None without the book."""
        with self._database.open() as db:
            return index.revision(db, book_id)

    def check_cover(self, book: Book) -> None:
        """Raises: StorageError when a book that was just read has no whole thumbnail."""
        from PIL import Image

        revision = self.revision(book.id)
        if book.cover is None or revision is None:
            return
        file = self._books / book.id / revision / COVER
        try:
            with Image.open(file, formats=["WEBP"]) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
            if self.revision(book.id) == revision:  # else it is another book by now
                raise StorageError(
                    f"This book's cover {file} is missing or damaged: save the book again "
                    "(“Work on it”, “Save changes”), or put the file back from a backup."
                ) from e

    def discard(self, book_id: str, revision: str) -> None:
        """Remove the book unless it was saved again since. Raises: NotFound when it was."""
        self._delete(book_id, "", revision)

    def ids(self) -> builtins.list[str]:
        with self._database.open() as db:
            return index.ids(db)

    def notice(self) -> str:
        return ""

    def delete(self, book_id: str, *, owner: str, only: Book | None = None) -> None:
        if only is None:
            self._delete(book_id, owner)
            return
        revision = self.revision(book_id) if BOOK_ID.fullmatch(book_id) else None
        if revision is None:
            raise not_found(book_id)
        if self.get(book_id) != only:
            raise has_changed()
        try:
            self._delete(book_id, owner, revision)
        except NotFound:
            if self.revision(book_id) is None:
                raise
            raise has_changed() from None

    def _delete(self, book_id: str, owner: str, only: str = "") -> None:
        """With the revision `only`, NotFound is raised for every other one."""
        if not BOOK_ID.fullmatch(book_id):
            raise not_found(book_id)
        with explained(self.folder), self._begin() as db:
            revision = index.revision(db, book_id)
            if revision is None:
                raise not_found(book_id)
            note = self._writing / f"{book_id}.{secrets.token_hex(8)}"
            try:
                note.mkdir()
                revision = index.forget(db, book_id, owner, only)
            finally:
                self._settle(db, note, book_id, revision)

    @contextmanager
    def _begin(self) -> Iterator[sqlite3.Connection]:
        """What a save or deletion needs: a connection, and the sweep kept away."""
        with locked(self._writing, fcntl.LOCK_SH), self._database.open() as db:
            yield db

    def _settle(
        self, db: sqlite3.Connection, note: Path, book_id: str, revision: str | None
    ) -> None:
        """End a save or deletion: remove its note, and `revision` unless it is the book.

        Whether it is, the row tells: a commit may have failed, or have been made although an
        error came back. Where this cannot be done now, the note stays for the next sweep.
        """
        home = self._books / book_id
        try:
            if revision is not None and index.revision(db, book_id) != revision:
                _remove(home / revision)
            # Not empty while the book exists or is just being saved.
            with suppress(OSError):
                home.rmdir()
            _remove(note)
        except (sqlite3.Error, OSError) as e:
            logger.warning("Left for the next sweep: %s (%s)", note, e)

    def _sweep(self) -> None:
        """Tidy the books whose last save or deletion was cut off.

        Writers hold the lock of `writing/` together, and the kernel frees it when they die: who
        gets it alone knows that every folder in there is left over. Otherwise it is left for
        the next time.
        """
        with suppress(BlockingIOError), locked(self._writing, fcntl.LOCK_EX | fcntl.LOCK_NB):
            notes = [n for n in self._writing.iterdir() if BOOK_ID.fullmatch(n.stem)]
            if not notes:
                return
            with self._database.open() as db:
                for note in notes:
                    current = index.revision(db, note.stem)
                    for folder in _revisions(self._books / note.stem):
                        if folder.name != current:
                            shutil.rmtree(folder)
                    with suppress(OSError):
                        (self._books / note.stem).rmdir()
                    shutil.rmtree(note)

    def _find_again(self, db: sqlite3.Connection) -> None:
        """Index the books whose files are here although the index is new."""
        for home in sorted(self._books.iterdir()):
            for folder in sorted(_revisions(home), key=self._trust, reverse=True):
                try:
                    book = _read_folder(folder)
                    if book.id != home.name:
                        raise StorageError(_damaged(folder / "book.json", "of another book"))
                    index.put(db, book, folder.name)
                    break
                except (StorageError, FileNotFoundError) as e:
                    logger.warning("Left out of the new index: %s", e)

    def _trust(self, revision: Path) -> tuple[bool, float]:
        """Order of a book's revisions: those with a note may never have become the book."""
        note = self._writing / f"{revision.parent.name}.{revision.name}"
        return not note.exists(), revision.stat().st_mtime

    def _summary(self, row: index.Row) -> BookSummary:
        cover = self._books / row.id / row.revision / COVER
        return BookSummary(
            id=row.id,
            title=row.title,
            author=row.author,
            style=row.style,
            created=row.created,
            pages=row.pages,
            cover=cover if cover.is_file() else None,
            owner=row.owner,
        )


def encode_files(book: Book) -> dict[str, bytes]:
    """Every file of a book by name; raises InvalidInput before anything touches the disk."""
    pictures = {
        picture_name(n): page.picture
        for n, page in enumerate(book.pages)
        if page.picture is not None
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()}
    files = {"book.json": encode_book(book, {"sha256": digests})} | pictures
    thumbnail = encode_cover(book)
    return files if thumbnail is None else files | {COVER: thumbnail}


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and wait until they are on the disk."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    # All after all: the first wait then covers most of the others.
    for name in files:
        fsync(folder / name)
    fsync(folder)


def _move_into(folder: Path, home: Path, revision: str) -> None:
    while True:
        home.mkdir(exist_ok=True)
        try:
            folder.rename(home / revision)
            break
        except FileNotFoundError:
            # A deletion may remove the empty home in between; anything else is a failure.
            if not folder.exists():
                raise
    fsync(home)
    fsync(home.parent)


def _read_folder(folder: Path) -> Book:
    """The book in a revision folder.

    Raises: StorageError naming the damaged file; FileNotFoundError naming the missing one.
    """
    manifest = folder / "book.json"
    data = manifest.read_bytes()
    pictures: dict[str, bytes] = {}
    try:
        fields = json.loads(data)
        # Names are made from page numbers, never taken from the file.
        for n, page in enumerate(fields["pages"]):
            if page["picture"] is None:
                continue
            name = picture_name(n)
            pictures[name] = (folder / name).read_bytes()
            if hashlib.sha256(pictures[name]).hexdigest() != fields["sha256"][name]:
                raise StorageError(_damaged(folder / name, "damaged"))
        return decode_book(data, pictures)
    except (InvalidInput, KeyError, TypeError, ValueError, RecursionError) as e:
        raise StorageError(_damaged(manifest, "damaged")) from e


def _damaged(file: Path, how: str) -> str:
    return (
        f"This book cannot be opened: its file {file} is {how}. Put the file back from a backup, "
        "or delete the book; the other books are not touched by this."
    )


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _revisions(home: Path) -> list[Path]:
    if not BOOK_ID.fullmatch(home.name) or not home.is_dir():
        return []
    return [f for f in home.iterdir() if REVISION.fullmatch(f.name) and f.is_dir()]
