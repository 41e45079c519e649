"""Books from one library into another, and checks that a library is whole.

Both are generators: stop them at any time, and begin again later. What was copied is found by
its hash and is not copied twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from pipelines.book import Book
from pipelines.errors import AppError, InvalidInput, NotFound, StorageError
from storage.base import BOOK_ID, Library, encode_book
from storage.bucket import Bucket, Occupied, Stored
from storage.firebase import FirebaseLibrary, edition_of, is_deleted
from storage.local import LocalLibrary
from storage.manifest import COVER, Manifest, decode_manifest, folder_of, sha256

logger = logging.getLogger(__name__)

LEFT_OVER = timedelta(days=1)
"""After so long nobody is going to name an object any more that no manifest names: a save goes on
for half of it (`storage.firebase.SAME_SECONDS`)."""

MARKS = timedelta(days=30)
"""How long it is remembered that a book was deleted."""


@dataclass(frozen=True)
class Copied:
    """Book `number` of `of`; `trouble` is what is wrong, "" where the other library has it now.

    `written` is False for a book that was there already.
    """

    book_id: str
    number: int
    of: int
    written: bool = False
    trouble: str = ""


@dataclass(frozen=True)
class Checked:
    """Something that was looked at: a book, or what is left over; "" as `trouble` is good."""

    name: str
    trouble: str = ""


def fingerprint(book: Book) -> str:
    """SHA-256 of everything in a book, its pictures and its owner included."""
    whole = hashlib.sha256(encode_book(book))
    for page in book.pages:
        whole.update(hashlib.sha256(page.picture or b"").digest())
    return whole.hexdigest()


def copy(source: Library, target: Library, *, replace: bool = False) -> Generator[Copied]:
    """Copy every book that `target` does not have, oldest first, and read each back.

    A book that is another one there is left alone and told, unless `replace`; told are those, too,
    that cannot be read at all.
    """
    ids = source.ids()
    found = source.damaged() if isinstance(source, FirebaseLibrary) else {}
    listed = set(ids)
    damaged = {i: why for i, why in found.items() if i not in listed}
    count = len(ids) + len(damaged)
    for number, book_id in enumerate(ids, start=1):
        try:
            book = source.get(book_id)
            there = _get(target, book_id)
            same = there is not None and fingerprint(there) == fingerprint(book)
            written = there is None or (replace and not same)
            # An index may not know of a book whose copy was cut off after its last file.
            if written or (same and isinstance(target, FirebaseLibrary) and target.index):
                target.save(book)
            if written:
                there = _get(target, book_id)
            trouble = ""
            if there is None or fingerprint(there) != fingerprint(book):
                trouble = (
                    "it was written, but reads differently: check the other library"
                    if written
                    else "the other library has another version of it (--replace copies this one)"
                )
            yield Copied(book_id, number, count, written, trouble)
        except NotFound:
            continue  # deleted while others were copied
        except AppError as e:
            yield Copied(book_id, number, count, trouble=str(e))
    for number, (book_id, trouble) in enumerate(damaged.items(), start=len(ids) + 1):
        yield Copied(book_id, number, count, trouble=trouble)


def _get(library: Library, book_id: str) -> Book | None:
    try:
        return library.get(book_id)
    except NotFound:
        return None


def verify(library: Library, *, tidy: bool = False) -> Iterator[Checked]:
    """Read every book with its pictures and its cover and compare their hashes; in a bucket, what
    lies around comes first.

    With `tidy`, what is left over in a bucket is removed and its Firestore list put right.
    """
    if isinstance(library, FirebaseLibrary):
        yield from _verify_bucket(library, tidy)
    for book_id in library.ids():
        try:
            book = library.get(book_id)
            if isinstance(library, LocalLibrary):
                library.check_cover(book)
            yield Checked(book_id)
        except NotFound:
            continue
        except (StorageError, InvalidInput) as e:
            yield Checked(book_id, str(e))


def _verify_bucket(library: FirebaseLibrary, tidy: bool) -> Iterator[Checked]:
    """Objects that belong to no book, books that cannot be listed, and the list in Firestore."""
    bucket = library.bucket
    # The server's clock alone can tell how old they are.
    newest = max((s.written for s in bucket.list("books/") if s.written), default=None)
    editions: dict[str, int] = {}
    damaged: set[str] = set()
    # Listed again, one book after the other: all objects of 100,000 books fill a machine's memory.
    for book_id, home in groupby(bucket.list("books/"), lambda s: s.name.split("/")[1]):
        objects = list(home)
        name = f"books/{book_id}/book.json"
        there = bucket.get(name) if BOOK_ID.fullmatch(book_id) else None
        named = {name}
        if there is not None and is_deleted(there):
            yield from _verify_mark(library, book_id, objects, there, newest, tidy)
        elif there is not None:
            try:
                manifest = decode_manifest(there.data)
            except StorageError as e:
                yield Checked(book_id, str(e))
                damaged.add(book_id)
                continue
            named |= {f"books/{book_id}/{file.object}" for file in manifest.files.values()}
            editions[book_id] = edition_of(there)
            yield from _verify_cover(bucket, there, manifest)
        for stored in objects:
            if stored.name in named:
                continue
            if not _older(stored, newest, LEFT_OVER):
                yield Checked(stored.name)  # perhaps somebody is just publishing it
            elif tidy:
                with suppress(Occupied):  # written anew just now
                    bucket.remove(stored.name, stored.generation)
                    yield Checked(f"{stored.name} (removed)")
            else:
                yield Checked(stored.name, "belongs to no book: --tidy removes it")
    yield from _verify_index(library, editions, damaged, tidy)


def _verify_cover(bucket: Bucket, there: Stored, manifest: Manifest) -> Iterator[Checked]:
    """What nobody else reads whole: a shelf does without a cover that is missing."""
    if not manifest.cover:
        return
    name, cover = folder_of(manifest.book.id) + manifest.cover, manifest.files[COVER]
    data = bucket.read(name)
    if data is not None and cover.sha256 in ("", sha256(data)):
        return
    now = bucket.look(there.name)
    if now is not None and now.generation == there.generation:  # else it was replaced meanwhile
        how = "missing" if data is None else "damaged"
        yield Checked(name, f"this cover is {how}: put it back from a backup")


def _verify_mark(
    library: FirebaseLibrary,
    book_id: str,
    objects: list[Stored],
    mark: Stored,
    newest: datetime | None,
    tidy: bool,
) -> Iterator[Checked]:
    """The mark of a deleted book is removed when nobody can need it any more."""
    listed = next((o for o in objects if o.name == mark.name), None)
    if not tidy or listed is None or not _older(listed, newest, MARKS):
        return
    try:
        library.bucket.remove(mark.name, mark.generation)
    except Occupied:
        return  # saved again just now
    if library.index is not None:
        library.index.erase(book_id)
    yield Checked(f"{mark.name} (removed)")


def _verify_index(
    library: FirebaseLibrary, editions: dict[str, int], damaged: set[str], tidy: bool
) -> Iterator[Checked]:
    """Whether Firestore tells of the same books; of damaged ones nobody knows what it should."""
    if library.index is None:
        return
    told = library.index.editions()
    for book_id in sorted((editions.keys() | told.keys()) - damaged):
        if editions.get(book_id, -1) == told.get(book_id, -1):
            continue
        if tidy:
            library.tell_index(book_id, told.get(book_id, 0))
            yield Checked(f"{book_id} in Firestore (put right)")
        else:
            yield Checked(
                book_id, "the list in Firestore tells of it wrongly: --tidy puts it right"
            )


def _older(stored: Stored, newest: datetime | None, age: timedelta) -> bool:
    return stored.written is not None and newest is not None and newest - stored.written > age
