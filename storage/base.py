"""What every library of finished books can do, and how one is opened.

A library is chosen by a URL: a folder (`sqlite:///path/to/folder`, or just its path),
`firebase://bucket` or `memory://`. All backends pass the same contract tests
(`tests/storage/test_contract.py`).
"""

from __future__ import annotations

import builtins
import hmac
import io
import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from pipelines.book import Book
from pipelines.errors import InvalidInput, NotFound, StorageError

if TYPE_CHECKING:
    from PIL.Image import Image

BOOK_ID = re.compile(r"[0-9a-f]{16}")
"""A book id; nothing else ever becomes part of a path."""

COVER_SIZE = 320
"""Longest edge of a cover thumbnail, in pixels; smaller pictures keep their size."""

MAX_PICTURE = 4096
"""Longest edge of a page's picture, in pixels."""

MAX_SEARCH_WORDS = 16
"""Words of a search that are looked at."""


class BelongsToAnother(StorageError):
    """The book that has this id is somebody else's."""


class HasChanged(StorageError):
    """The book is not the one any more that was read."""


@dataclass(frozen=True)
class BookSummary:
    """One book in a list.

    `created` is UTC, ISO 8601. `pages` counts painted and unpainted pages. `cover` is a WebP
    file of at most 320 px, None while no page is painted. `owner` is a hash, never to be shown.
    """

    id: str
    title: str
    author: str
    style: str
    created: str
    pages: int
    cover: Path | None
    owner: str


class Library(Protocol):
    """Books, finished or not. Safe to call from any thread and from several processes.

    Failures raise StorageError, and the library stays as it was before the call.
    """

    def save(self, book: Book) -> None:
        """Insert the book, or replace the one with the same id, all or nothing.

        Raises: InvalidInput when the book cannot be written as it is (id, date, damaged cover);
        StorageError also when the book with this id belongs to another owner.
        """
        ...

    def get(self, book_id: str) -> Book:
        """The whole book with its pictures. Raises: NotFound."""
        ...

    def list(
        self,
        *,
        offset: int = 0,
        limit: int = 24,
        search: str = "",
        style: str = "",
        owner: str = "",
    ) -> builtins.list[BookSummary]:
        """Books newest first (`created` descending, then id).

        With `search`, those which hold every word of it in title, words or page texts; upper
        and lower case are the same. With `style`, those painted in exactly this style. With
        `owner`, the hash kept in the books, those of this one.
        """
        ...

    def count(self, *, search: str = "", style: str = "") -> int:
        """How many books `list` would give without a limit."""
        ...

    def styles(self) -> builtins.list[tuple[str, int]]:
        """The styles of the books and how many each has, most first; "" is left out."""
        ...

    def owner(self, book_id: str) -> str | None:
        """The hash of a book's owner, None for a book that the list does not have.

        Asks nobody elsewhere, so it is quick, and there is an answer without the network, too.
        """
        ...

    def stamp(self) -> str:
        """A text that differs whenever the list may have changed, whoever changed it.

        Quick enough to be asked every second: who shows a list draws it again when the stamp
        is another one.
        """
        ...

    def ids(self) -> builtins.list[str]:
        """The ids of all books, oldest first; any that wait to be published come last."""
        ...

    def notice(self) -> str:
        """What people should know about the library just now, such as books that wait for the
        network; "" where all is well."""
        ...

    def delete(self, book_id: str, *, owner: str, only: Book | None = None) -> None:
        """Remove the book and its files.

        `owner` is the hash kept in the book; "" is the administrator, who may delete any book.
        With `only`, the book is removed only where it is this very one still.
        Raises: NotFound; HasChanged; StorageError when the book belongs to someone else.
        """
        ...


def open_library(url: str = "", *, make: bool = True) -> Library:
    """The library at `url`, made if it is not there yet and `make` allows it.

    `sqlite:///home/me/books` is the folder /home/me/books, `sqlite://~/books` one in the home
    folder, `sqlite://books` one in the current folder; anything without `scheme://` is a path.
    `memory://` is empty and forgotten at exit. `firebase://bucket?prefix=...&index=firestore` is
    a Cloud Storage bucket behind an outbox (`storage.outbox.open_firebase`). Empty:
    `$STORYBRUSH_LIBRARY`, else `$XDG_DATA_HOME/storybrush`, else `~/.local/share/storybrush`.

    Raises: InvalidInput for an unknown kind of library; StorageError when it cannot be opened;
    NotFound without `make` for a folder that holds no library.
    """
    url = url.strip() or os.environ.get("STORYBRUSH_LIBRARY", "").strip() or str(default_folder())
    scheme, separator, place = url.partition("://")
    if not separator:
        scheme, place = "", url
    if scheme == "memory":
        from storage.memory import MemoryLibrary

        return MemoryLibrary()
    if scheme == "firebase":
        from storage.outbox import open_firebase

        return open_firebase(place)
    if scheme not in ("", "sqlite"):
        raise InvalidInput(
            f"Unknown kind of library “{scheme}://”: "
            "use a folder, sqlite:///path/to/folder, firebase://bucket or memory://."
        )
    if scheme:
        place = unquote(place)
        # SQLAlchemy writes absolute paths with four slashes; both spellings mean the same here.
        place = "/" + place.lstrip("/") if place.startswith("/") else place
    if not place or "\0" in place:
        raise InvalidInput("The library needs a folder: use sqlite:///path/to/folder.")
    from storage.local import LocalLibrary

    folder = expand_home(place)
    if not make and not any((folder / name).exists() for name in ("library.sqlite3", "books")):
        raise NotFound(f"There is no library in {folder}: check how the folder is written.")
    return LocalLibrary(folder)


def default_folder() -> Path:
    """Where books are kept if nothing else is said: `$XDG_DATA_HOME/storybrush` or like it."""
    # The XDG specification says that a relative XDG_DATA_HOME is to be ignored.
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if os.path.isabs(data) else expand_home("~/.local/share")
    return base / "storybrush"


def expand_home(place: str) -> Path:
    """A path that may begin with `~`. Raises: StorageError where there is no home."""
    try:
        return Path(place).expanduser()
    except RuntimeError as e:
        raise StorageError(
            "Your home folder is unknown: name the library's folder with STORYBRUSH_LIBRARY."
        ) from e


def encode_book(book: Book, extra: Mapping[str, Any] | None = None) -> bytes:
    """`book.json` as UTF-8 bytes; `extra` is added at the top level and ignored by readers.

    Raises InvalidInput when the book could not be found, ordered or read again.
    """
    if not BOOK_ID.fullmatch(book.id):
        raise InvalidInput("This book's id is not 16 characters of 0-9 and a-f: make a new one.")
    try:
        datetime.fromisoformat(book.created)
        text = json.dumps(
            book.to_json() | dict(extra or {}), ensure_ascii=False, indent=1, allow_nan=False
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise InvalidInput(f"This book cannot be written: {e}.") from e


def decode_book(data: bytes, pictures: Mapping[str, bytes]) -> Book:
    """The inverse of `encode_book`; `pictures` maps file names to PNG bytes.

    Raises InvalidInput for anything that is not a book, whatever the bytes are.
    """
    try:
        book = Book.from_json(json.loads(data), pictures)
    except (ValueError, OverflowError, AttributeError, RecursionError) as e:
        raise InvalidInput("This book cannot be read: book.json is damaged.") from e
    encode_book(book)
    return book


def open_picture(data: bytes, number: int) -> Image:
    """The picture of page `number` (from 1), decoded to its last row.

    Raises InvalidInput when it is damaged, no PNG, or larger than 4096 px.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        if max(image.size) > MAX_PICTURE:
            raise InvalidInput(
                f"The picture of page {number} is larger than {MAX_PICTURE} x {MAX_PICTURE}: "
                "make it smaller."
            )
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise InvalidInput(f"The picture of page {number} is damaged: paint it again.") from e
    return image


def encode_cover(book: Book) -> bytes | None:
    """The cover as WebP of at most 320 px, None while no page is painted.

    Raises InvalidInput when the picture is damaged.
    """
    for number, page in enumerate(book.pages, start=1):
        if page.picture is not None:
            image = open_picture(page.picture, number).convert("RGB")
            image.thumbnail((COVER_SIZE, COVER_SIZE))
            out = io.BytesIO()
            image.save(out, "WEBP", quality=82)
            return out.getvalue()
    return None


def searchable(book: Book) -> str:
    """Title, words and page texts in the form that `search_words` are looked for in."""
    # The end makes every character the first of three, as the local index wants them.
    return _fold("\n".join([book.title, book.words, *(p.text for p in book.pages)])) + "\n\n"


def search_words(search: str) -> list[str]:
    """The words of a search, each of which must occur somewhere in `searchable`."""
    return _fold(storable(search)).split()[:MAX_SEARCH_WORDS]


def storable(text: str) -> str:
    """The text without lone surrogates: they cannot be stored, so looking for them is no failure
    and finds nothing."""
    return text.encode("utf-8", "replace").decode()


def _fold(text: str) -> str:
    # Folding may undo the normal form and the other way round, hence twice.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.replace("\0", "\ufffd")  # which ends a text for parts of SQLite


def same_owner(a: str, b: str) -> bool:
    """Compare two owner hashes in a time that tells nothing about them."""
    return hmac.compare_digest(a.encode("utf-8", "replace"), b.encode("utf-8", "replace"))


def refuse_other_owner(kept: str, given: str) -> None:
    """Raises BelongsToAnother when `given` may not replace a book of owner `kept`."""
    if not same_owner(kept, given):
        raise BelongsToAnother(
            "A book with this id belongs to someone else and was not changed: "
            "save yours with a new id."
        )


def refuse_deletion(kept: str, given: str) -> None:
    """Raises BelongsToAnother when `given` may not delete a book of owner `kept`."""
    if given and not same_owner(kept, given):
        raise BelongsToAnother(
            "Only the one who made this book can delete it, in the browser it was made in."
        )


def has_changed() -> HasChanged:
    """The error for a book that is not the one any more that was read."""
    return HasChanged("This book has changed in the meantime: open it again.")


def not_found(book_id: str) -> NotFound:
    """The error for an id that no book has."""
    shown = book_id if BOOK_ID.fullmatch(book_id) else "this address"
    return NotFound(f"There is no book {shown} in this library: it may have been deleted.")
