"""The list of a Firebase library in Firestore: what changed is asked for, not the whole bucket.

One document a book, named by its id, in one collection::

    title, author, style, created, owner, pages   as in storage.base.BookSummary
    text       words and page texts, what searches look through
    cover      name of the thumbnail's object
    edition    of the manifest that this tells of; only a later one replaces it
    deleted    True for a book that is gone, which says nothing else
    updated    when Firestore wrote it

A machine asks for the documents written since it last asked and puts them into its mirror
(storage/mirror.py), so that lists, search and pages cost no reads at all, and a quiet collection
costs one read each time it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.book import Book, Page
from pipelines.durable import write_whole
from pipelines.errors import StorageError, Unreachable
from storage.bucket import app_for
from storage.database import explained
from storage.mirror import Mirror

if TYPE_CHECKING:
    from google.cloud.firestore import DocumentReference, Transaction

CALL_SECONDS = 10.0
"""How long one call to Firestore is tried."""

TEXT_BYTES = 500_000
"""How much of a book's text is searched; a document may have a million bytes in all."""

OVERLAP = timedelta(seconds=90)
"""How far before the newest document is asked again, and for how long after it was first seen:
writes may be seen out of order."""

FORGOTTEN = timedelta(days=20)
"""After so long a machine asks for everything: marks of deleted books may have been tidied."""

BATCH = 500


@dataclass(frozen=True)
class Asked:
    """How far a machine has come. `newest` is when its newest document was written, by Firestore's
    clock; `seen` when it was first seen and `at` when was last asked, by this machine's."""

    newest: datetime | None
    seen: datetime
    at: datetime

    @staticmethod
    def parse(text: str) -> Asked | None:
        """None for what an older Storybrush wrote, or nobody."""
        try:
            fields = json.loads(text)
            times = [
                datetime.fromisoformat(fields[name]) if fields[name] else None
                for name in ("newest", "seen", "at")
            ]
        except (ValueError, KeyError, TypeError):
            return None
        newest, seen, at = times
        return Asked(newest, seen, at) if seen and at else None

    def __str__(self) -> str:
        return json.dumps({name: t and t.isoformat() for name, t in asdict(self).items()})

    @property
    def settled(self) -> bool:
        """Whether nothing can come to light any more that was written before `newest`."""
        return self.at - self.seen >= OVERLAP


class FirestoreIndex:
    """The documents of one library. Safe to call from any thread; failures raise StorageError."""

    def __init__(self, bucket: str, collection: str) -> None:
        from firebase_admin import firestore

        self._name = collection
        with self._explained():
            self._client = firestore.client(app_for(bucket))
            self._books = self._client.collection(collection)

    def put(self, book: Book, edition: int, cover: str) -> None:
        """Tell of an edition of a book, unless a later one is told of already."""
        text = "\n".join([book.words, *(page.text for page in book.pages)])
        fields = {
            "title": book.title,
            "author": book.author,
            "style": book.style,
            "created": book.created,
            "owner": book.owner,
            "pages": len(book.pages),
            "text": text.encode()[:TEXT_BYTES].decode("utf-8", "ignore"),
            "cover": cover,
            "edition": edition,
            "deleted": False,
        }
        self._write(book.id, fields)

    def remove(self, book_id: str, edition: int) -> None:
        """Tell that the book was deleted in this edition."""
        self._write(book_id, {"edition": edition, "deleted": True})

    @staticmethod
    def asks_for_everything(since: str) -> bool:
        """Whether `update` does: the first time, and after so long that it may have missed that
        books were deleted. Which those are, only the bucket can tell then."""
        asked = Asked.parse(since)
        return asked is None or _clock() - asked.at > FORGOTTEN

    def update(self, mirror: Mirror, since: str) -> str:
        """Put what changed into the mirror; `since` is what the last call returned, "" at first."""
        begin = _clock()
        query = self._books.order_by("updated")
        asked = None if self.asks_for_everything(since) else Asked.parse(since)
        last = newest = asked.newest if asked else None
        if asked is not None and newest is not None:
            from google.cloud.firestore_v1.base_query import FieldFilter

            known = newest if asked.settled else newest - OVERLAP
            query = query.where(filter=FieldFilter("updated", ">", known))
        batch: list[tuple[str, dict[str, Any]]] = []
        with self._explained():
            for document in query.stream(timeout=60.0 if asked is None else CALL_SECONDS):
                fields = document.to_dict() or {}
                last = fields["updated"]
                batch.append((document.id, fields))
                if len(batch) == BATCH:
                    _into(mirror, batch)
                    batch.clear()
        _into(mirror, batch)
        known_before = asked is not None and last == newest
        return str(Asked(last, asked.seen if asked and known_before else begin, begin))

    def editions(self) -> dict[str, int]:
        """Every book that is told of as being there, with its edition."""
        with self._explained():
            return {
                document.id: int(document.get("edition"))
                for document in self._books.select(["edition", "deleted"]).stream(timeout=60.0)
                if not document.get("deleted")
            }

    def erase(self, book_id: str) -> None:
        """Forget even that there was such a book."""
        with self._explained():
            self._books.document(book_id).delete(timeout=CALL_SECONDS)

    def _write(self, book_id: str, fields: dict[str, Any]) -> None:
        from google.cloud.firestore import SERVER_TIMESTAMP, transactional

        @transactional
        def advance(transaction: Transaction, reference: DocumentReference) -> None:
            there = reference.get(transaction=transaction, timeout=CALL_SECONDS)
            if not there.exists or int(there.get("edition")) < fields["edition"]:
                transaction.set(reference, {**fields, "updated": SERVER_TIMESTAMP})

        with self._explained():
            advance(self._client.transaction(), self._books.document(book_id))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth

        try:
            yield
        except (api.PermissionDenied, api.Unauthenticated) as e:
            raise StorageError(
                "The key may not use Firestore: give its service account the role “Cloud "
                "Datastore User”, or open the library without index=firestore."
            ) from e
        except api.NotFound as e:
            raise StorageError(
                "There is no Firestore database in this project: create one in the Firebase "
                "console, or open the library without index=firestore."
            ) from e
        except (
            api.RetryError,
            api.ServerError,
            api.Aborted,
            api.TooManyRequests,
            auth.TransportError,
        ) as e:
            raise Unreachable(
                "Firestore cannot be reached: the network may be gone. Try again later."
            ) from e
        except (api.GoogleAPICallError, auth.GoogleAuthError, ValueError) as e:
            raise StorageError(
                f"The list {self._name} in Firestore could not be read or written "
                f"({e.__class__.__name__})."
            ) from e


class Untold:
    """Deletions that Firestore has not heard of yet, each an empty file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, book_id: str, edition: int) -> None:
        """The book was deleted in this edition."""
        with explained(self._folder):
            write_whole(self._folder / f"{book_id}.{edition}", b"")

    def tell(self, index: FirestoreIndex) -> None:
        """Tell of all of them. Raises: StorageError; those that are left are told the next time."""
        with explained(self._folder):
            for note in self._folder.iterdir():
                book_id, _, edition = note.name.partition(".")
                if edition.isdecimal():  # else something that a file manager has left here
                    index.remove(book_id, int(edition))
                    note.unlink(missing_ok=True)


def _clock() -> datetime:
    return datetime.now(UTC)


def _into(mirror: Mirror, documents: list[tuple[str, dict[str, Any]]]) -> None:
    gone = [(book_id, int(f["edition"])) for book_id, f in documents if f["deleted"]]
    there = [
        (
            # The list needs the number of pages and one text, not which page it is from.
            Book(
                f["title"],
                (Page(""),) * int(f["pages"]),
                id=book_id,
                author=f["author"],
                words=f["text"],
                style=f["style"],
                created=f["created"],
                owner=f["owner"],
            ),
            int(f["edition"]),
            f["cover"],
        )
        for book_id, f in documents
        if not f["deleted"]
    ]
    mirror.drop(gone)
    mirror.put(there)
