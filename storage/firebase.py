"""A library in a Cloud Storage bucket, which any number of machines share.

::

    books/<id>/book.json                              the manifest, written last
              /<machine>-<revision>/page-01.png ...   caption, page, recipe digest as metadata
                                   /cover.webp        thumbnail

What a manifest (storage/manifest.py) names is never written twice. A manifest replaces only the
generation it was made from: of two writers one begins again, on top of the other. `<revision>` is
made of the book's contents, of that generation and of half a day, so a save that was cut off goes
on where it was; `<machine>` tells whose objects may be tidied when it is saved again. A deleted
book leaves a manifest that says no more than that: without it, a save under way could not tell that
its pictures are gone.

Lists are answered from a mirror on this machine, which is brought up to date in the background:
from the bucket's list of manifests, or from Firestore where that is switched on.
"""

from __future__ import annotations

import builtins
import fcntl
import json
import logging
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from pipelines.book import Book, now, picture_name
from pipelines.durable import write_whole
from pipelines.errors import StorageError, Unreachable
from storage.base import (
    BOOK_ID,
    BookSummary,
    encode_book,
    encode_cover,
    has_changed,
    not_found,
    refuse_deletion,
    refuse_other_owner,
)
from storage.bucket import Bucket, Occupied, Stored, as_metadata
from storage.database import explained, locked
from storage.firestore import FirestoreIndex, Untold
from storage.following import GONE, REFRESH_SECONDS, Following
from storage.manifest import (
    COVER,
    File,
    Manifest,
    Version,
    decode_manifest,
    describe,
    digest,
    edition_of,
    encode_manifest,
    folder_of,
    is_deleted,
    is_of,
    manifest_of,
    same_book,
    sha256,
    without_pictures,
)
from storage.mirror import KEPT_BYTES, Cache, Mirror

logger = logging.getLogger(__name__)

SAVE_SECONDS = 120.0
"""How long a save begins again while others keep changing the book."""

SAME_SECONDS = 12 * 3600
"""After so long a save that was cut off begins anew: what it has written becomes a left-over then
(`storage.transfer.LEFT_OVER`), which may be tidied at any moment."""

_pause = random.Random()

THREADS = 8
"""Objects that are read, written or removed at once."""


class FirebaseLibrary:
    """Books in `bucket`. Safe to call from any thread and from many machines.

    Without the network, lists and books read lately are there still; everything else raises
    Unreachable. `storage.outbox` puts a library around this one that keeps what waits.
    """

    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        *,
        index: FirestoreIndex | None = None,
        refresh: float = REFRESH_SECONDS,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.bucket = bucket
        self.index = index
        self._mirror = Mirror(folder / "mirror", self._forget_files)
        self._cache = Cache(folder / "cache", kept_bytes)
        self._untold = Untold(folder / "untold")
        self._turns = [threading.Lock() for _ in range(64)]
        self._tidied: set[str] = set()
        self._machine = self._name_of_machine(folder / "machine")
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="firebase")
        synced = folder / "mirror" / "synced"  # with the list that it tells of
        self._following = Following(self, self._mirror, synced, refresh, self._pool)

    # What a Library does

    def save(self, book: Book, *, wanted: Callable[[], bool] = lambda: True) -> None:
        """Also: stops with NotFound, leaving nothing, once `wanted` says no."""
        encode_book(book)
        thumbnail = encode_cover(book)
        until = time.monotonic() + SAVE_SECONDS
        mine: dict[str, File] = {}
        over: set[str] = set()
        life = ""
        # The threads of this machine take turns, so that they need not begin again.
        with self._turns[int(book.id, 16) % len(self._turns)], self._untidy_if_cut_off(book.id):
            while time.monotonic() < until:
                current = self._version(book.id)
                if not current.life or current.life != life:
                    # Who deleted the book since may have removed what was written for it here.
                    mine.clear()
                    life = current.life
                if current.manifest is not None:
                    refuse_other_owner(current.manifest.book.owner, book.owner)
                    over |= {file.object for file in current.manifest.files.values()}
                try:
                    manifest = self._publish(book, thumbnail, current, mine, wanted)
                except Occupied as e:
                    written = {file.object for file in mine.values()}
                    if e.unsure:
                        # It may have been the book, and whoever replaced it removes its pictures.
                        mine.clear()
                    if not wanted():
                        self._remove(book.id, written)
                        raise not_found(book.id) from None
                    over |= written
                    time.sleep(_pause.uniform(0.0, 0.1))
                else:
                    return self._tidy(manifest, over)
        raise StorageError("Many are changing this book just now: try again in a moment.")

    def get(self, book_id: str) -> Book:
        if not BOOK_ID.fullmatch(book_id):
            raise not_found(book_id)
        try:
            current = self._version(book_id)
            while True:
                if current.manifest is None:
                    raise not_found(book_id)
                try:
                    return self._whole(current.manifest)
                except FileNotFoundError as e:
                    # Somebody may have replaced or deleted the book while it was read.
                    read, current = current, self._version(book_id)
                    if current.generation == read.generation:
                        raise StorageError(self._broken(e.args[0], "missing")) from e
        except Unreachable:
            kept = self._cache.get(_kept_manifest(book_id, self._mirror.edition(book_id)))
            if kept is not None:
                with suppress(FileNotFoundError):  # replaced by somebody since
                    return self._whole(decode_manifest(kept))
            raise

    def list(
        self,
        *,
        offset: int = 0,
        limit: int = 24,
        search: str = "",
        style: str = "",
        owner: str = "",
        without: Collection[str] = (),
    ) -> builtins.list[BookSummary]:
        self._following.soon()
        rows = self._mirror.find(search, style, offset, limit, without, owner)
        covers = self._pool.map(lambda row: self._cover(row[0].id, row[1]), rows)
        return [replace(row[0], cover=cover) for row, cover in zip(rows, covers, strict=True)]

    def count(self, *, search: str = "", style: str = "", without: Collection[str] = ()) -> int:
        self._following.soon()
        return self._mirror.count(search, style, without)

    def styles(self, *, without: Collection[str] = ()) -> builtins.list[tuple[str, int]]:
        self._following.soon()
        return self._mirror.styles(without)

    def stamp(self) -> str:
        self._following.soon()
        return self._mirror.stamp()

    def ids(self) -> builtins.list[str]:
        self.refresh()
        return self._mirror.ids()

    def notice(self) -> str:
        self._following.soon()
        return self._following.trouble

    def delete(self, book_id: str, *, owner: str, only: Book | None = None) -> None:
        if not BOOK_ID.fullmatch(book_id):
            raise not_found(book_id)
        with self._turns[int(book_id, 16) % len(self._turns)]:
            self._delete(book_id, owner, only)

    def close(self) -> None:
        """Let go of the threads; the library is not used any more."""
        self._following.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def tell_index(self, book_id: str, told: int) -> None:
        """Have Firestore, which has the edition `told`, tell of the book as it is in the bucket.

        A book whose files are gone is marked as deleted: others have it in their lists till then.
        """
        assert self.index is not None
        stored = self.bucket.get(manifest_of(book_id))
        if stored is None and not BOOK_ID.fullmatch(book_id):
            self.index.erase(book_id)
        elif stored is None:
            edition = max(told, self._mirror.edition(book_id)) + 1
            with suppress(Occupied):  # saved again just now
                self._mark_deleted(book_id, edition, {})
                self._forget(book_id, edition)
        elif is_deleted(stored):
            self.index.remove(book_id, edition_of(stored))
        else:
            manifest = decode_manifest(stored.data)
            self.index.erase(book_id)  # which may tell of a later edition
            self.index.put(manifest.book, edition_of(stored), manifest.cover)
            now = self.bucket.look(stored.name)
            if now is None or now.generation != stored.generation:
                self.tell_index(book_id, told)  # of a save just now the index may know no more

    def tell_deletions(self) -> None:
        """Have Firestore know what was deleted here while it was out of reach.

        Raises: StorageError.
        """
        if self.index is not None:
            self._untold.tell(self.index)

    def addresses(self, book_id: str, lifetime: timedelta) -> builtins.list[str]:
        """Addresses of a book's pictures, page by page, that anybody can open for a while.

        They are signed here and now and stored nowhere. Raises: NotFound; InvalidInput for a
        lifetime of more than seven days; StorageError also where the key cannot sign.
        """
        manifest = self._version(book_id).manifest if BOOK_ID.fullmatch(book_id) else None
        if manifest is None:
            raise not_found(book_id)
        names = sorted(name for name in manifest.files if name != COVER)
        return [
            self.bucket.address(folder_of(book_id) + manifest.files[name].object, lifetime)
            for name in names
        ]

    def refresh(self) -> None:
        """Bring the list up to date now. Raises: StorageError."""
        self._following.now()

    def owner(self, book_id: str) -> str | None:
        return self._mirror.owner(book_id)

    def damaged(self) -> dict[str, str]:
        """Books that the list leaves out because their manifests cannot be read, and why."""
        return self._following.damaged()

    # Publishing

    @staticmethod
    def _name_of_machine(file: Path) -> str:
        """A random name that stays with the folder, on the disk before anything is named by it."""
        with explained(file.parent), locked(file.parent, fcntl.LOCK_EX):
            kept = file.read_bytes() if file.exists() else b""
            if not re.fullmatch(rb"[0-9a-f]{16}", kept):  # empty after a power cut, for example
                kept = secrets.token_hex(8).encode()
                write_whole(file, kept)
            return kept.decode()

    def _publish(
        self,
        book: Book,
        thumbnail: bytes | None,
        current: Version,
        mine: dict[str, File],
        wanted: Callable[[], bool],
    ) -> Manifest:
        """Put the book on top of what is there. Raises: Occupied when that is over.

        `mine` gains the objects that are in the bucket for this save, and for no manifest yet.
        """
        pictures: dict[str, tuple[bytes, dict[str, str], str]] = {}
        for n, page in enumerate(book.pages):
            if page.picture is not None:
                pictures[picture_name(n)] = (page.picture, describe(page, n + 1), "image/png")
        if thumbnail is not None:
            pictures[COVER] = (thumbnail, {}, "image/webp")
        sums = {name: sha256(data) for name, (data, _, _) in pictures.items()}
        begun = str(current.generation), str(int(time.time() // SAME_SECONDS))
        revision = digest(encode_book(book), *sums.values(), *begun)[:16]
        files: dict[str, File] = {}
        new: builtins.list[str] = []
        for name, (_, metadata, _) in pictures.items():
            about = digest(json.dumps(metadata))
            there = current.manifest.files.get(name) if current.manifest else None
            if there and (there.sha256, there.about) == (sums[name], about):
                files[name] = there
            elif name in mine:
                files[name] = mine[name]
            else:
                files[name] = File(f"{self._machine}-{revision}/{name}", sums[name], about)
                new.append(name)
        manifest = Manifest(without_pictures(book), files)
        if current.manifest is not None and same_book(current.manifest, manifest):
            self._remember(current.manifest, current.edition)
            return current.manifest
        for name in new:
            if not wanted():
                raise Occupied
            data, metadata, kind = pictures[name]
            self._put_new(folder_of(book.id) + files[name].object, data, kind, metadata)
            mine[name] = files[name]
            kept = _kept_cover(book.id, files[name].object) if name == COVER else _kept(sums[name])
            self._cache.keep(kept, data)
        if not wanted():
            raise Occupied
        # A manifest that was put back from a backup may not tell its edition any more.
        edition = max(current.edition, self._mirror.edition(book.id)) + 1
        life = current.life or secrets.token_hex(8)
        about = {"edition": str(edition), "life": life, "owner": book.owner, "title": book.title}
        written = encode_manifest(book, files)
        self.bucket.put(
            manifest_of(book.id), written, "application/json",
            replaces=current.generation, metadata=as_metadata(about),
        )  # fmt: skip
        self._cache.keep(_kept_manifest(book.id, edition), written)
        self._remember(manifest, edition)
        return manifest

    @contextmanager
    def _untidy_if_cut_off(self, book_id: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._tidied.discard(book_id)
            raise

    def _tidy(self, manifest: Manifest, over: set[str]) -> None:
        """Remove objects that the book needs no more: `over`, and those of saves cut off here."""
        book_id = manifest.book.id
        named = {file.object for file in manifest.files.values()}
        if book_id not in self._tidied:
            own = folder_of(book_id) + self._machine
            try:
                found = [stored.name for stored in self.bucket.list(own)]
            except StorageError as e:
                logger.warning("Not tidied: book %s (%s)", book_id, e)
                found = []
            else:
                self._tidied.add(book_id)
            over = over | {name.removeprefix(folder_of(book_id)) for name in found}
        self._remove(book_id, over - named)

    def _delete(self, book_id: str, owner: str, only: Book | None) -> None:
        by = secrets.token_hex(8)
        while True:
            stored = self.bucket.get(manifest_of(book_id))
            if stored is None:
                raise not_found(book_id)
            if not is_deleted(stored):
                refuse_deletion(_owner(stored), owner)
                if only is not None and not is_of(decode_manifest(stored.data), only):
                    raise has_changed()
            # Listed before the book is marked as deleted: whoever writes more from now on was
            # going to replace the generation that is marked, fails, and begins again elsewhere.
            folder = folder_of(book_id)
            there = {s.name.removeprefix(folder) for s in self.bucket.list(folder)}
            there.discard("book.json")
            if is_deleted(stored):  # its deletion may have been cut off
                self._remove(book_id, there)
                self._forget(book_id, edition_of(stored))
                if stored.metadata.get("by") == by:
                    return  # by this very call, whose answer was lost
                raise not_found(book_id)
            edition = max(edition_of(stored), self._mirror.edition(book_id)) + 1
            try:
                self._mark_deleted(book_id, edition, {"by": by}, replaces=stored.generation)
            except Occupied:
                continue
            self._remove(book_id, there)
            return self._forget(book_id, edition)

    def _mark_deleted(
        self, book_id: str, edition: int, more: dict[str, str], *, replaces: int = 0
    ) -> None:
        mark = json.dumps({"deleted": now()}).encode()
        about = {"edition": str(edition), "deleted": "yes"} | more
        self.bucket.put(
            manifest_of(book_id), mark, "application/json", replaces=replaces, metadata=about
        )

    def _put_new(self, name: str, data: bytes, kind: str, metadata: dict[str, str]) -> None:
        try:
            self.bucket.put(name, data, kind, metadata=as_metadata(metadata), lasting=True)
        except Occupied:
            logger.debug("Already in the bucket: %s", name)  # from a save that was cut off

    def _remember(self, manifest: Manifest, edition: int) -> None:
        if self.index is not None:
            self.index.put(manifest.book, edition, manifest.cover)
        self._mirror.put([(manifest.book, edition, manifest.cover)])

    def _forget(self, book_id: str, edition: int) -> None:
        self._mirror.drop([(book_id, edition)])
        if self.index is not None:
            self._untold.add(book_id, edition)
            with suppress(Unreachable):  # then it is told later
                self.tell_deletions()

    def _forget_files(self, book_id: str) -> None:
        """What a book that is gone has left in the cache; a picture that another book has, too, is
        read again."""
        files = self._cache.names(f"{book_id}.")
        for name in [name for name in files if name.endswith(".json")]:
            with suppress(StorageError):
                manifest = decode_manifest(self._cache.get(name) or b"")
                files += [_kept(file.sha256) for file in manifest.files.values() if file.sha256]
        self._cache.remove(files)

    def _remove(self, book_id: str, objects: set[str]) -> None:
        """Remove objects that no manifest names; what cannot be removed now harms nobody."""

        def remove(name: str) -> None:
            try:
                self.bucket.remove(folder_of(book_id) + name)
            except StorageError as e:
                self._tidied.discard(book_id)
                logger.warning("Left in the bucket: %s (%s)", name, e)

        list(self._pool.map(remove, objects))

    # Reading

    def _version(self, book_id: str) -> Version:
        stored = self.bucket.get(manifest_of(book_id))
        if stored is None:
            return Version(None, 0, 0, "")
        edition = edition_of(stored)
        if is_deleted(stored):
            return Version(None, stored.generation, edition, "")
        manifest = decode_manifest(stored.data)
        self._cache.keep(_kept_manifest(book_id, edition), stored.data)
        return Version(manifest, stored.generation, edition, stored.metadata.get("life", ""))

    def _whole(self, manifest: Manifest) -> Book:
        """The book with its pictures. Raises: FileNotFoundError naming the object."""
        book = manifest.book
        wanted = [n for n, page in enumerate(book.pages) if page.picture is not None]
        files = [manifest.files[picture_name(n)] for n in wanted]
        pictures = self._pool.map(lambda file: self._picture(book.id, file), files)
        pages = builtins.list(book.pages)
        for n, picture in zip(wanted, pictures, strict=True):
            pages[n] = replace(pages[n], picture=picture)
        return replace(book, pages=tuple(pages))

    def _picture(self, book_id: str, file: File) -> bytes:
        kept = self._cache.get(_kept(file.sha256)) if file.sha256 else None
        if kept is not None and sha256(kept) == file.sha256:
            return kept
        name = folder_of(book_id) + file.object
        data = self.bucket.read(name)
        if data is None:
            raise FileNotFoundError(name)
        if file.sha256:
            if sha256(data) != file.sha256:
                raise StorageError(self._broken(name, "damaged"))
            self._cache.keep(_kept(file.sha256), data)
        return data

    def _broken(self, name: str, how: str) -> str:
        return (
            f"This book cannot be opened: its picture {name} in the bucket {self.bucket.name} "
            f"is {how}. Put it back from a backup, or delete the book."
        )

    def _cover(self, book_id: str, cover: str) -> Path | None:
        """The thumbnail as a file on this machine; None without one, or while it cannot be had."""
        if not cover:
            return None
        kept = _kept_cover(book_id, cover)
        path = self._cache.path(kept)
        if path is not None or self._following.trouble:
            return path
        try:
            data = self.bucket.read(folder_of(book_id) + cover)
        except StorageError as e:
            if isinstance(e, Unreachable):
                self._following.trouble = GONE  # the other covers need not try
            logger.warning("A cover could not be read: %s", e)
            return None
        return self._cache.keep(kept, data) if data is not None else None


def _kept_cover(book_id: str, cover: str) -> str:
    return f"{book_id}.{cover}"


def _kept(sha256: str) -> str:
    return f"{sha256}.png"


def _kept_manifest(book_id: str, edition: int) -> str:
    return f"{book_id}.{edition}.json"


def _owner(stored: Stored) -> str:
    """The owner in a manifest, also where the rest of it is damaged."""
    try:
        return decode_manifest(stored.data).book.owner
    except StorageError:
        # Nobody but the administrator, unless the metadata tell who.
        return stored.metadata.get("owner", "-")
