"""The administrator: shows a secret, reads the books that wait, lets them in or refuses them.

With `--review` no visitor's book reaches the shelf before. It waits in a library of its own; a
book that stands on the shelf already stays there as it is until its new version is let in.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import gradio as gr

from pipelines.errors import InvalidInput
from storage.base import HasChanged, Library, open_library
from storage.local import LocalLibrary
from ui import markup
from ui.bookcase import Bookcase
from ui.desk import Desk
from ui.running import Runner
from ui.workshop import Workshop

GUESS_SECONDS = 1.0
"""How long a wrong secret keeps whoever tries it waiting."""

CHANGED = "Its maker has changed this book in the meantime: open it again and read it once more."


def open_waiting(url: str, library: Library) -> Library:
    """Where books of `library`, opened from `url`, wait: a library beside it, made if missing."""
    url = url.strip()
    if isinstance(library, LocalLibrary):
        return open_library(str(library.folder / "waiting"))
    return open_library(waiting_url(url) if url.startswith("firebase://") else "memory://")


def waiting_url(url: str) -> str:
    """The address of the library beside the one in a bucket: other names in the same bucket."""
    parts = urlsplit(url)
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = fields.get("prefix", "").strip("/")
    fields["prefix"] = f"{prefix}-waiting" if prefix else "waiting"
    if ":" in fields.get("index", ""):  # otherwise the prefix tells them apart
        fields["index"] += "-waiting"
    if fields.get("folder"):
        fields["folder"] += "-waiting"
    return urlunsplit(parts._replace(query=urlencode(fields)))


def let_in(shop: Workshop, desk: Desk) -> None:
    """Put the book that the administrator has just read onto the shelf.

    Raises: InvalidInput when it has changed since it was opened; NotFound; StorageError.
    """
    book = _read(shop, desk)
    assert shop.waiting is not None
    with shop.turn(book.id):
        if shop.waiting.get(book.id) != book:
            raise InvalidInput(CHANGED)
        shop.library.save(book)
        with suppress(HasChanged):  # saved again on another server: that version waits
            shop.waiting.delete(book.id, owner="", only=book)


def refuse(shop: Workshop, desk: Desk) -> None:
    """Remove the book that the administrator reads from those that wait.

    A version of it that stands on the shelf stays. Raises as `let_in` does.
    """
    book = _read(shop, desk)
    assert shop.waiting is not None
    with shop.turn(book.id):
        try:
            shop.waiting.delete(book.id, owner="", only=book)
        except HasChanged as e:
            raise InvalidInput(CHANGED) from e


def _read(shop: Workshop, desk: Desk) -> Any:
    if not desk.admin or shop.waiting is None:
        raise InvalidInput("Only the administrator can do this: sign in below the shelf.")
    if desk.reading is None or not desk.reading.waits:
        raise InvalidInput("This book does not wait: open one of those that do.")
    return desk.reading.book


@dataclass(frozen=True)
class Office:
    """Buttons of the reading room for a book that waits."""

    row: gr.Row
    let_in: gr.Button
    refuse: gr.Button


def build_office() -> Office:
    """What stands above a book that waits."""
    with gr.Row(visible=False, elem_classes="actions confirm", elem_id="office") as row:
        gr.HTML(markup.status("This book waits to be let onto the shelf."))
        yes = gr.Button("Let it in", variant="primary", size="sm", elem_id="let-in")
        no = gr.Button("Refuse it", variant="stop", size="sm", elem_id="refuse")
    return Office(row, yes, no)


def build_door(runner: Runner, bookcase: Bookcase) -> None:
    """Where the administrator signs in, below the shelf; nothing where there is none."""
    shop = runner.shop
    if not shop.admin:
        return
    with gr.Accordion("Administrator", open=False, elem_id="door") as door:
        secret = gr.Textbox(
            label="Secret", type="password", lines=1, max_length=200, elem_id="admin-secret"
        )
        with gr.Row(elem_classes="actions"):
            enter = gr.Button("Sign in", size="sm", elem_id="admin-enter")
            leave = gr.Button("Sign out", size="sm", visible=False, elem_id="admin-leave")

    def draw(desk: Desk) -> dict[Any, Any]:
        return {
            door: gr.update(label="You are the administrator" if desk.admin else "Administrator"),
            enter: gr.update(visible=not desk.admin),
            leave: gr.update(visible=desk.admin),
            secret: gr.update(visible=not desk.admin),
        }

    def sign_in(desk: Desk, given: str, *place: Any) -> dict[Any, Any]:
        if not shop.is_admin(given or ""):
            time.sleep(GUESS_SECONDS)
            raise InvalidInput("This is not the administrator's secret.")
        desk.admin = True
        return {**bookcase.fill(desk, *place), secret: gr.update(value="", visible=False)}

    def sign_out(desk: Desk, *place: Any) -> dict[Any, Any]:
        desk.admin = False
        return bookcase.fill(desk, *place)

    runner.shows(draw, [door, enter, leave, secret])
    for event in (enter.click, secret.submit):
        runner.acts(event, sign_in, [secret, *bookcase.place], bookcase.shown)
    runner.acts(leave.click, sign_out, bookcase.place, bookcase.shown)
