"""A list of books elsewhere, in place of Firestore."""

from __future__ import annotations

from pipelines.book import Book
from pipelines.errors import Unreachable
from storage.mirror import Mirror


class ListElsewhere:
    """What the commands ask of Firestore, which can be gone; it is a dict of editions."""

    def __init__(self) -> None:
        self.books: dict[str, int] = {}
        self.gone = False

    def put(self, book: Book, edition: int, cover: str) -> None:
        self._reach()
        self.books[book.id] = edition

    def remove(self, book_id: str, edition: int) -> None:
        self.erase(book_id)

    def erase(self, book_id: str) -> None:
        self._reach()
        self.books.pop(book_id, None)

    def editions(self) -> dict[str, int]:
        return dict(self.books)

    @staticmethod
    def asks_for_everything(since: str) -> bool:
        return True

    def update(self, mirror: Mirror, since: str) -> str:
        return since

    def _reach(self) -> None:
        if self.gone:
            raise Unreachable("Firestore cannot be reached")
