"""What all visitors share (models, library, queue) and how one visitor is told from another."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import gradio as gr

from pipelines.book import Book
from pipelines.errors import AppError, InvalidInput, NotFound, StorageError, Unreachable
from pipelines.presets import PictureConfig
from storage.base import Library, not_found, refuse_other_owner
from storage.local import LocalLibrary
from storage.merging import merged
from storage.ratings import Survey
from ui.colour_models import Colourists
from ui.desk import Desk, Desks
from ui.jobs import Jobs
from ui.model_process import ModelProcess
from ui.model_work import Training
from ui.news import News
from ui.rules import Rules

if TYPE_CHECKING:
    from pipelines.story import StoryPipeline
    from pipelines.vqgan_clip import VQGANCLIPPipeline

log = logging.getLogger(__name__)

QUIET: Any = {"show_progress": "hidden", "api_visibility": "private"}
"""How events are bound: the page shows progress in its own way, and there is no API yet."""

DELETED = (
    "This book was deleted in the meantime and is not saved again. To keep what you see, press "
    "“Read your book”, take it with you as a ZIP and import it."
)


@dataclass(frozen=True)
class Workshop:
    """Everything that outlives a visit. `writer` and `painter` load a model on their first call."""

    writer: Callable[[], StoryPipeline]
    painter: Callable[[], VQGANCLIPPipeline]
    library: Library
    jobs: Jobs = field(default_factory=Jobs)
    desks: Desks = field(default_factory=Desks)
    colourists: Colourists = field(default_factory=Colourists)
    rules: Rules = field(default_factory=Rules)
    painting: PictureConfig = field(default_factory=PictureConfig)
    """The settings that suit the painter, which a page opens with."""
    waiting: Library | None = None
    """Where books wait for the administrator; None where they go onto the shelf at once."""
    admin: str = ""
    """The administrator's secret; "" where there is none."""
    survey: Survey | None = None
    """Coloured drawings to be rated; None where that is switched off."""
    training: Training | None = None
    """Models of one's own; None where visitors must not train any."""
    near: bool = False
    """Whether models are trained by this computer's own visitors alone, and not by those who come
    through another server."""
    upload: int = 0
    """Megabytes of a file that is handed in; 0 where nobody has said."""
    models: ModelProcess | None = None
    """Where writer and painter are; None where they are in this process."""
    _taken_up: WeakKeyDictionary[Desk, dict[str, Book]] = field(
        default_factory=WeakKeyDictionary[Any, Any], repr=False
    )
    """Books as each desk last knew them to be in the library, by id."""
    _turns: Sequence[threading.Lock] = field(
        default_factory=lambda: [threading.Lock() for _ in range(64)], repr=False
    )

    @cached_property
    def news(self) -> News:
        """Whether the shelf or what waits for it has changed."""
        return News([lib for lib in (self.library, self.waiting) if lib is not None])

    def save(self, book: Book, desk: Desk | None = None) -> Book:
        """Put a visitor's book onto the shelf, or among those that wait -> the book as it is there.

        What `desk` has not changed since it took up or saved the book stays as another tab has
        saved it meanwhile. A book that was deleted since does not come back, and is painted no
        further.

        Raises: InvalidInput when its words break the house rules, or it was deleted; StorageError.
        """
        self.rules.check_book(book)
        with self.turn(book.id):
            kept = self.library.owner(book.id)
            if kept is not None:
                refuse_other_owner(kept, book.owner)
            since = self._taken_up.get(desk, {}).get(book.id) if desk is not None else None
            if desk is not None and since is not None:
                try:
                    stored = self._stored(book.id)
                except NotFound as error:
                    if job := desk.job_of("paint", "make"):
                        self.jobs.stop(job)
                    raise InvalidInput(DELETED) from error
                if stored is not None:
                    book = merged(book, since, stored)
            (self.library if self.waiting is None else self.waiting).save(book)
            if desk is not None:
                self.took_up(desk, book)
        return book

    def took_up(self, desk: Desk, book: Book) -> None:
        """A book that is in the library lies on this desk, just as it is there."""
        self._taken_up.setdefault(desk, {})[book.id] = book

    def turn(self, book_id: str) -> threading.Lock:
        """Held while a book is looked at and then replaced or removed."""
        return self._turns[zlib.crc32(book_id.encode()) % len(self._turns)]

    def _stored(self, book_id: str) -> Book | None:
        """The book that a new version replaces; None where it cannot be had. Raises: NotFound."""
        for library in (self.waiting, self.library):
            if library is not None:
                try:
                    return library.get(book_id)
                except NotFound:
                    continue
                except StorageError:
                    return None  # out of reach, or damaged
        raise not_found(book_id)

    def read(self, book_id: str, desk: Desk) -> Book:
        """A book as this visitor may see it: one that waits is its maker's and the
        administrator's alone, who see it as it is now.

        Raises: NotFound, StorageError.
        """
        book = self.waits(book_id)
        if book is not None and (desk.admin or book.owner == desk.owner):
            return book
        return self.library.get(book_id)

    def waits(self, book_id: str) -> Book | None:
        """A book that waits for the administrator, if it does and is within reach."""
        if self.waiting is None:
            return None
        try:
            return self.waiting.get(book_id)
        except (NotFound, Unreachable):
            return None

    def delete(self, book_id: str, desk: Desk) -> None:
        """Remove a book wherever it is. Raises: NotFound; StorageError for another's book."""
        owner = "" if desk.admin else desk.owner
        with self.turn(book_id):
            if self.waits(book_id) is not None and self.waiting is not None:
                self.waiting.delete(book_id, owner=owner)
                with suppress(NotFound):  # it may never have been on the shelf
                    self.library.delete(book_id, owner=owner)
            else:
                self.library.delete(book_id, owner=owner)

    def private_folders(self) -> list[str]:
        """Folders and files that no address may reach."""
        found = (lib for lib in (self.library, self.waiting) if isinstance(lib, LocalLibrary))
        names = ("books", "writing", "library.sqlite3")
        folders = [str(library.folder / name) for library in found for name in names]
        return folders + ([str(self.training.shelf.folder)] if self.training else [])

    def is_admin(self, secret: str) -> bool:
        """Whether somebody knows the administrator's secret."""
        given = secret.encode("utf-8", "replace")
        return bool(self.admin) and hmac.compare_digest(given, self.admin.encode())

    def close(self) -> None:
        """End all work; what a library still has to publish waits for its next start."""
        self.jobs.close()
        if self.models is not None:
            self.models.close()
        if self.training is not None:
            self.training.close()
        for library in (self.library, self.waiting):
            close = getattr(library, "close", None)
            if close is not None:
                close()

    def warm(self) -> None:
        """Load the models ahead of the first story; what goes wrong is said when they are used."""
        begin = time.monotonic()
        try:
            self.writer()
            self.painter()
        except AppError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("The models could not be loaded ahead of time")
        else:
            log.info("Models ready after %.1f s", time.monotonic() - begin)


def session_of(request: gr.Request) -> str:
    """One visit: a tab in a browser until it is closed or loaded again."""
    return str(request.session_hash)


def a_secret(given: object = None) -> str:
    """What a browser keeps to show that its work is its own: as given, or else a new one."""
    known = isinstance(given, str) and re.fullmatch(r"[0-9a-f]{32}", given)
    return str(given) if known else secrets.token_hex(16)


def owner_of(secret: object) -> str:
    """SHA-256 of a browser's secret; a browser that kept none owns nothing it could ask for again.

    Never "", which is the administrator.
    """
    return hashlib.sha256(a_secret(secret).encode()).hexdigest()


def clicked_number(event: gr.EventData) -> int | None:
    """The number that a button of `markup.button_js` carried; None for anything else."""
    value = clicked(event)
    return int(value) if value.isdecimal() and len(value) < 6 else None


def clicked(event: gr.EventData) -> str:
    """The text that a button of `markup.button_js` carried; "" for anything else."""
    value = carried(event)
    return value if isinstance(value, str) else ""


def carried(event: gr.EventData) -> object:
    """What an event of a component of our own carried, from any browser; None for nothing."""
    data = event._data
    return data.get("value") if isinstance(data, dict) else None


def paced(seconds: float) -> Iterator[bool]:
    """Endless answers to "is it time again?", so that events do not flood the browser."""
    last = 0.0
    while True:
        due = time.monotonic() - last >= seconds
        if due:
            last = time.monotonic()
        yield due
