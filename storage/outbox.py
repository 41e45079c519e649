"""A library elsewhere that may be out of reach: books wait on this machine until they are there.

Every save goes to a local library first, which is quick and survives a power cut, and a thread
publishes from there. What waits is listed, found and read like the rest. A book leaves the
outbox when it is published as it is, so nothing is lost, whatever ends in between.
"""

from __future__ import annotations

import builtins
import fcntl
import json
import logging
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from pipelines.book import Book
from pipelines.durable import remove_for_good, write_whole
from pipelines.errors import AppError, InvalidInput, NotFound, StorageError, Unreachable
from storage.base import (
    BOOK_ID,
    BelongsToAnother,
    BookSummary,
    default_folder,
    expand_home,
    has_changed,
    refuse_other_owner,
    same_owner,
)
from storage.bucket import Bucket
from storage.database import explained, locked
from storage.firebase import FirebaseLibrary
from storage.following import CLOSE_SECONDS, GONE
from storage.local import LocalLibrary
from storage.manifest import digest
from storage.mirror import KEPT_BYTES

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 120.0
"""Seconds until publishing is tried again; the pause doubles while the network stays away."""

LOOK_SECONDS = 5.0
"""How often the outbox is looked at for books that another process left there."""


@dataclass(frozen=True)
class Refusal:
    """Why a book could not be published as it is, and when (`time.monotonic`) it is tried again."""

    revision: str | None
    why: str
    pause: float
    until: float


class OutboxLibrary:
    """The books of `remote`, and those in `folder` that wait to get there.

    Safe to call from any thread; several processes may share the folder, of which one publishes.
    """

    def __init__(
        self, remote: FirebaseLibrary, folder: Path, *, first_pause: float = FIRST_PAUSE
    ) -> None:
        self.remote = remote
        self.waiting = LocalLibrary(folder / "waiting")
        self._first_pause = first_pause
        self._turn = folder / "publishing"
        self._leaving = folder / "leaving"
        self._deleted = Deleted(folder / "deleted")
        with explained(folder):
            self._turn.mkdir(exist_ok=True)
            self._leaving.mkdir(exist_ok=True)
        self._trouble = ""
        self._refused: dict[str, Refusal] = {}
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._publisher = threading.Thread(target=self._publish, name="outbox", daemon=True)
        self._publisher.start()

    # What a Library does

    def save(self, book: Book) -> None:
        # A book that left the outbox between the two looks would be missed by both.
        with explained(self._leaving), locked(self._leaving, fcntl.LOCK_SH):
            kept = self.remote.owner(book.id)
            if kept is not None:
                refuse_other_owner(kept, book.owner)
            self.waiting.save(book)
        self._wake.set()

    def get(self, book_id: str) -> Book:
        # In this order a book that is published just now is found in one of the two.
        with suppress(NotFound):
            return self.waiting.get(book_id)
        return self.remote.get(book_id)

    def list(
        self,
        *,
        offset: int = 0,
        limit: int = 24,
        search: str = "",
        style: str = "",
        owner: str = "",
    ) -> builtins.list[BookSummary]:
        offset, limit = max(offset, 0), max(limit, 0)
        own, waiting = self._snapshot(search, style, owner)
        # However many of one's own stand before them, these of the others are enough ...
        begin = max(offset - len(own), 0)
        others = self.remote.list(
            offset=begin,
            limit=offset - begin + limit,
            search=search,
            style=style,
            owner=owner,
            without=waiting,
        )
        both = sorted([*own, *others], key=lambda book: book.id)
        both.sort(key=lambda book: book.created, reverse=True)
        # ... and whatever stands before the page here stands before it in the whole list.
        return both[offset - begin : offset - begin + limit]

    def count(self, *, search: str = "", style: str = "") -> int:
        own, waiting = self._snapshot(search, style)
        return len(own) + self.remote.count(search=search, style=style, without=waiting)

    def styles(self) -> builtins.list[tuple[str, int]]:
        own, waiting = self._snapshot("", "")
        both = Counter(book.style for book in own if book.style)
        both.update(dict(self.remote.styles(without=waiting)))
        return sorted(both.items(), key=lambda item: (-item[1], item[0]))

    def owner(self, book_id: str) -> str | None:
        waits = self.waiting.owner(book_id)
        return self.remote.owner(book_id) if waits is None else waits

    def stamp(self) -> str:
        return f"{self.remote.stamp()}.{self.waiting.stamp()}"

    def ids(self) -> builtins.list[str]:
        waiting = dict.fromkeys(self.waiting.ids())
        return [*(i for i in self.remote.ids() if i not in waiting), *waiting]

    def notice(self) -> str:
        n, elsewhere = self.waiting.count(), self.remote.notice()
        if n and (self._trouble or elsewhere == GONE):
            return (
                f"{n} books wait for the network and are published when it is back."
                if n > 1
                else "1 book waits for the network and is published when it is back."
            )
        refused = next(iter(self._refused.values()), None)
        if n and refused:
            return f"Kept on this machine and not published: {refused.why}"
        return elsewhere

    def delete(self, book_id: str, *, owner: str, only: Book | None = None) -> None:
        if only is not None:
            try:
                if self.waiting.get(book_id) != only:
                    raise has_changed()
            except NotFound:
                return self.remote.delete(book_id, owner=owner, only=only)
        done = False
        owners = (self.waiting.owner(book_id), self.remote.owner(book_id))
        if all(kept is not None and (not owner or same_owner(kept, owner)) for kept in owners):
            # Where this fails, what waits stays as it is.
            with suppress(NotFound, BelongsToAnother):
                self.remote.delete(book_id, owner=owner)
                done = True
        with suppress(NotFound):
            self.waiting.delete(book_id, owner=owner, only=only)
            done = True
        noted = False
        if done:
            # What waited may have arrived there, although no answer came back. Noted before
            # anybody is asked, which may take long: this machine may go down meanwhile.
            with suppress(StorageError):  # on a full disk there is only this try
                self._deleted.add(book_id, owner)
                noted = True
        try:
            # Also after the above: what waited may have been published meanwhile.
            self.remote.delete(book_id, owner=owner)
        except (NotFound, BelongsToAnother):
            if not done:  # else what waited was never published
                raise
        except Unreachable:
            kept = self.remote.owner(book_id)
            if noted and (kept is None or (owner and not same_owner(kept, owner))):
                return self._wake.set()
            if noted:
                self._deleted.forget(book_id)  # who asked is told that it was not deleted
            raise
        self._deleted.forget(book_id)

    def close(self) -> None:
        """Stop publishing; what waits is published when the library is opened again."""
        self._closed.set()
        self._wake.set()
        # Without the network a call may take longer; what it does is made good the next time.
        self._publisher.join(CLOSE_SECONDS)
        self.remote.close()

    # Publishing

    def publish(self) -> bool:
        """Publish what waits, oldest first, and deletions; False when they wait for the network.

        One that is refused keeps nobody else waiting. Its own turn comes again later, or at once
        when it is saved again.
        """
        try:
            self._delete_elsewhere()
        except Unreachable as e:
            return self._wait(e)
        refused: dict[str, Refusal] = {}
        for summary in reversed(self.waiting.list(limit=2**31)):
            if self._closed.is_set():
                return True
            before = self._refused.get(summary.id)
            revision = self.waiting.revision(summary.id)
            if before and before.revision == revision and time.monotonic() < before.until:
                refused[summary.id] = before
                continue
            try:
                self._publish_one(summary.id)
            except NotFound:
                continue  # deleted meanwhile
            except Unreachable as e:
                return self._wait(e)
            except AppError as e:
                if before is None:
                    logger.warning("Book %s was not published: %s", summary.id, e)
                pause = min(2 * before.pause, LONGEST_PAUSE) if before else self._first_pause
                until = time.monotonic() + pause
                refused[summary.id] = Refusal(revision, str(e), pause, until)
        self._trouble, self._refused = "", refused
        try:
            self.remote.tell_deletions()
        except StorageError as e:
            logger.warning("Deletions wait: %s", e)
            return False
        return True

    def _wait(self, why: Unreachable) -> bool:
        if not self._trouble:  # told once, not at every try
            logger.warning("Books wait: %s", why)
        self._trouble = str(why)
        return False

    def _delete_elsewhere(self) -> None:
        """Delete what was deleted here and may have been published. Raises: Unreachable."""
        for book_id, owner in self._deleted.all():
            try:
                if self.waiting.owner(book_id) is None:  # else it was saved again
                    self.remote.delete(book_id, owner=owner)
            except (NotFound, BelongsToAnother):
                pass
            except Unreachable:
                raise
            except StorageError as e:
                logger.warning("The deletion of book %s waits: %s", book_id, e)
                continue
            self._deleted.forget(book_id)

    def _publish_one(self, book_id: str) -> None:
        revision = self.waiting.revision(book_id)
        if revision is None:
            return
        book = self.waiting.get(book_id)
        self.remote.save(book, wanted=lambda: self.waiting.revision(book_id) is not None)
        try:
            with explained(self._leaving), locked(self._leaving, fcntl.LOCK_EX):
                self._deleted.forget(book_id)  # it was saved again since
                self.waiting.discard(book_id, revision)
        except NotFound:
            # Saved again, then its turn comes again; or deleted, then it must not come back.
            if self.waiting.revision(book_id) is None:
                with suppress(StorageError):  # on a full disk there is only this try
                    self._deleted.add(book_id, book.owner)
                self.remote.delete(book_id, owner=book.owner)
                self._deleted.forget(book_id)

    def _publish(self) -> None:
        pause = self._first_pause
        while not self._closed.is_set():
            self._wake.clear()
            done = True
            try:
                with locked(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    done = self.publish()
            except BlockingIOError:
                pass  # another process is publishing from this folder
            except StorageError as e:
                logger.warning("The outbox could not be read: %s", e)
                done = False
            except Exception:
                if not self._closed.is_set():
                    logger.exception("Publishing failed")
                done = False
            if done:
                pause = self._first_pause
                self._wake.wait(LOOK_SECONDS)
            else:
                self._closed.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _snapshot(
        self, search: str, style: str, owner: str = ""
    ) -> tuple[builtins.list[BookSummary], builtins.list[str]]:
        """What waits and is looked for, and the ids of all that waits, of one moment."""
        while True:
            stamp = self.waiting.stamp()
            every = self.waiting.list(limit=2**31)
            if not every:
                return [], []
            found = every
            if search or style or owner:
                found = self.waiting.list(limit=len(every), search=search, style=style, owner=owner)
            if self.waiting.stamp() == stamp:
                return found, [book.id for book in every]


class Deleted:
    """Books that were deleted here while nobody could tell whether they had been published: each
    a file in `folder` that says for whom.

    A power cut neither takes a note away, or the book would come back, nor brings one back, or a
    book that was saved again would be deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, book_id: str, owner: str) -> None:
        """`owner` deleted the book, "" is the administrator."""
        with explained(self._folder):
            write_whole(self._folder / book_id, json.dumps({"owner": owner}).encode())

    def all(self) -> list[tuple[str, str]]:
        """The ids of the books, and for whom they are deleted."""
        found: list[tuple[str, str]] = []
        with explained(self._folder):
            for note in self._folder.iterdir():
                if not BOOK_ID.fullmatch(note.name):  # just being written, or of a file manager
                    continue
                with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                    found.append((note.name, str(json.loads(note.read_text())["owner"])))
        return found

    def forget(self, book_id: str) -> None:
        """The deletion is made good, or the book was saved again."""
        with explained(self._folder):
            remove_for_good(self._folder / book_id)


def open_firebase(place: str) -> OutboxLibrary:
    """The library at `firebase://PLACE`: a bucket's name, then `?prefix=...&index=firestore`.

    `prefix` begins the names of all its objects. `index` is `firestore` or
    `firestore:COLLECTION`. `folder` holds what waits and what is cached; by default it lies in
    the folder of the local library.

    Raises: InvalidInput for an address that means nothing; StorageError.
    """
    address = Address.parse(place)
    return OutboxLibrary(address.open(address.folder), address.folder)


@dataclass(frozen=True)
class Address:
    """What follows `firebase://`, see `open_firebase`."""

    bucket: str
    prefix: str
    collection: str
    folder: Path

    @staticmethod
    def parse(place: str) -> Address:
        """Raises: InvalidInput."""
        bucket, _, query = place.partition("?")
        given = dict(parse_qsl(query, keep_blank_values=True))
        prefix = given.pop("prefix", "").strip("/")
        kind, _, collection = given.pop("index", "").partition(":")
        folder = given.pop("folder", "")
        known = not given and kind in ("", "firestore")
        if not known or not re.fullmatch(r"[a-z0-9._-]{3,222}", bucket):
            raise InvalidInput(
                f"“firebase://{place}” is no address of a library: write firebase://BUCKET or "
                "firebase://BUCKET?prefix=books&index=firestore, with the name of the bucket as "
                "the Firebase console shows it under Storage, without gs://."
            )
        if "\0" in prefix + folder or "//" in prefix or ".." in prefix.split("/"):
            raise InvalidInput("The prefix of a library is one or more plain names, as in a/b.")
        own = digest(bucket, prefix)[:8]
        if kind and not collection:
            # A project has one Firestore for all its buckets and all the libraries in them.
            collection = f"storybrush-{own}"
        home = f"{bucket}-{own}"
        return Address(
            bucket,
            f"{prefix}/" if prefix else "",
            collection,
            expand_home(folder) if folder else default_folder() / "firebase" / home,
        )

    def waiting(self) -> int:
        """How many books wait on this machine to get there. Raises: StorageError."""
        folder = self.folder / "waiting"
        return LocalLibrary(folder).count() if (folder / "library.sqlite3").exists() else 0

    def open(self, folder: Path, kept_bytes: int = KEPT_BYTES) -> FirebaseLibrary:
        """The library itself, without an outbox. Raises: StorageError."""
        index = None
        if self.collection:
            from storage.firestore import FirestoreIndex

            index = FirestoreIndex(self.bucket, self.collection)
            folder = folder / self.collection
        bucket = Bucket(self.bucket, self.prefix)
        return FirebaseLibrary(bucket, folder, index=index, kept_bytes=kept_bytes)
