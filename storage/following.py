"""Keeps the mirror of a Firebase library up to date, in the background."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.book import Book
from pipelines.errors import StorageError, Unreachable
from storage.base import BOOK_ID
from storage.database import explained
from storage.manifest import decode_manifest, edition_of, is_deleted, manifest_of
from storage.mirror import Mirror

if TYPE_CHECKING:
    from storage.firebase import FirebaseLibrary

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.75
"""How old the mirror may be before it is brought up to date, while somebody looks.

Others see a new book within five seconds, two of which are their page's (`ui/assets/shelf.js`), and
a day of looking is less than Firestore's 50,000 reads that cost nothing.
"""

LOOKING_SECONDS = 10.0
"""How long somebody is taken to look who has asked: pages ask again before that."""

CLOSE_SECONDS = 3.0
"""How long closing waits for calls to the network that are under way."""

GONE = "The network is gone: the shelf shows the books that were there before."
"""What readers are told meanwhile."""

FIRST_SECONDS = 3.0
"""For how long after the first look all wait for the bucket, where the mirror has never seen it:
the list of a large one fills while they look on."""


class Following:
    """Follows what changes in `library`, from its bucket's list or from Firestore.

    `synced` is a file that tells how far it came; `trouble` says why the mirror is old, "" while
    it is not.
    """

    def __init__(
        self,
        library: FirebaseLibrary,
        mirror: Mirror,
        synced: Path,
        every: float,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._library = library
        self._mirror = mirror
        self._synced = synced
        self._every = every
        self._pool = pool
        self._closed = threading.Event()
        self._first = threading.Event()
        self._busy = threading.Lock()
        self._lock = threading.Lock()
        self._asked = 0.0
        self._patient = 0.0
        self._follower: threading.Thread | None = None
        self._damaged: dict[str, tuple[int, str]] = {}
        self.trouble = ""

    def close(self) -> None:
        """Follow no further; waits a little for what is under way."""
        self._closed.set()
        if follower := self._follower:
            follower.join(CLOSE_SECONDS)

    def soon(self) -> None:
        """Keep the mirror up to date in the background, as somebody looks; only the very first time
        is waited for."""
        with self._lock:
            self._asked = time.monotonic()
            self._patient = self._patient or self._asked + FIRST_SECONDS
            if self._follower is None and not self._closed.is_set():
                self._follower = threading.Thread(target=self._keep_up, name="mirror", daemon=True)
                self._follower.start()
        if not (self._closed.is_set() or self._synced.exists()):
            self._first.wait(max(self._patient - time.monotonic(), 0.0))

    def now(self) -> None:
        """Bring the mirror up to date now. Raises: StorageError."""
        with self._busy:
            self._follow()

    def damaged(self) -> dict[str, str]:
        """Books that were left out, and why."""
        return {book_id: why for book_id, (_, why) in dict(self._damaged).items()}

    def _keep_up(self) -> None:
        while self._goes_on():
            self._try()
            self._first.set()
            self._closed.wait(self._every)

    def _goes_on(self) -> bool:
        with self._lock:  # whoever asks after this begins anew
            looking = time.monotonic() - self._asked < LOOKING_SECONDS
            if self._closed.is_set() or not looking:
                self._follower = None
                return False
            return True

    def _try(self) -> None:
        try:
            self.now()
            self.trouble = ""
        except StorageError as e:
            trouble = GONE if isinstance(e, Unreachable) else str(e)
            if trouble != self.trouble:  # told once, not every few seconds
                logger.warning("The list is not up to date: %s", e)
            self.trouble = trouble
        except Exception:
            if not self._closed.is_set():
                logger.exception("The list is not up to date")

    def _follow(self) -> None:
        with explained(self._synced.parent):
            index = self._library.index
            if index is None:
                self._follow_bucket()
                self._synced.touch()
                return
            since = self._synced.read_text() if self._synced.exists() else ""
            everything = index.asks_for_everything(since)
            since = index.update(self._mirror, since)
            if everything:
                # Firestore may have been switched on for a bucket that has books already.
                self._follow_bucket()
            self._synced.write_text(since)

    def _follow_bucket(self) -> None:
        before = self._mirror.editions()
        there: dict[str, int] = {}
        generations: dict[str, int] = {}
        for stored in self._library.bucket.list("books/", "books/*/book.json"):
            book_id = stored.name.split("/")[1]
            if BOOK_ID.fullmatch(book_id) and not is_deleted(stored):
                there[book_id] = edition_of(stored)
                generations[book_id] = stored.generation
        self._mirror.drop([(i, edition) for i, edition in before.items() if i not in there])
        self._damaged = {
            i: damage for i, damage in self._damaged.items() if generations.get(i) == damage[0]
        }
        changed = [
            book_id
            for book_id, edition in there.items()
            if before.get(book_id, -1) < edition and book_id not in self._damaged
        ]
        for begin in range(0, len(changed), 100):
            entries = self._pool.map(self._entry, changed[begin : begin + 100])
            self._mirror.put([entry for entry in entries if entry is not None])

    def _entry(self, book_id: str) -> tuple[Book, int, str] | None:
        """A row of the list, None for a book that is gone or damaged."""
        stored = self._library.bucket.get(manifest_of(book_id))
        if stored is None or is_deleted(stored):
            return None
        try:
            manifest = decode_manifest(stored.data)
        except StorageError as e:
            self._damaged[book_id] = stored.generation, str(e)
            logger.warning("Left out of the list: %s (%s)", book_id, e)
            return None
        return manifest.book, edition_of(stored), manifest.cover
