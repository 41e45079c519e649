"""The bookcase of the Gallery: covers newest first, searched, by style, 24 on a page.

A book that appears, changes or goes is seen without loading the page again: the browser asks for
the library's news (`assets/shelf.js`), and has the shelf filled anew when it is another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.errors import AppError
from ui import markup
from ui.desk import Desk
from ui.messages import guarded
from ui.panel import panel
from ui.running import Runner
from ui.workshop import QUIET, Workshop, clicked, session_of

SHELF = 24
"""Books on one page of the shelf."""

MOST_WAITING = 500
"""Books that wait for the administrator, as many of them as are shown."""

TO_TOP = "() => setTimeout(() => document.querySelector('#tabs')?.scrollIntoView(), 80)"


@dataclass(frozen=True)
class Bookcase:
    """What the reading room needs: `fill(desk, *place)` says what `shown` shows."""

    column: gr.Column
    shelf: gr.HTML
    place: list[Component]
    shown: list[Component]
    fill: Callable[..., dict[Any, Any]]


def build(runner: Runner) -> Bookcase:
    """Lay out the bookcase inside the current tab and connect its own events."""
    shop = runner.shop
    with gr.Column(elem_id="bookcase") as column:
        with gr.Row(elem_id="finder"):
            search = gr.Textbox(
                placeholder="Search titles and texts", show_label=False, label="Search", lines=1,
                max_length=200, elem_id="search", container=False, type="text",
            )  # fmt: skip
            looks = panel(events=("look",), elem_id="looks")
        shelf = panel(events=("open", "begin", "news", "walk"), script="shelf.js", elem_id="shelf")
        with gr.Row(visible=False, elem_classes="actions pager") as pager:
            newer = gr.Button("‹ Newer", size="sm")
            where = panel()
            older = gr.Button("Older ›", size="sm")
    style, offset = gr.State(""), gr.State(0)

    def fill(desk: Desk, search: str, style_now: str, offset_now: float) -> dict[Any, Any]:
        """Everything in the bookcase, because its visitor asks for it."""
        before, desk.browsing = desk.browsing, None
        try:
            found = books(desk, search, style_now, offset_now)
        except AppError:
            # What stood there stands there still, and is to be kept up to date.
            desk.browsing = desk.browsing or before
            raise
        desk.browsing = found[style], found[offset]
        return found

    def books(desk: Desk, search: str, style_now: str, offset_now: float) -> dict[Any, Any]:
        """Everything in the bookcase; the offset ends where the books end."""
        seen = shop.news.now()  # before the books: what comes in between is seen next time
        words = (search or "").strip()
        styles = shop.library.styles()
        chosen = style_now if any(style_now == key for key, _ in styles) else ""
        total = shop.library.count(search=words, style=chosen)
        begin = min(max(int(offset_now), 0), max(total - 1, 0) // SHELF * SHELF)
        page = shop.library.list(offset=begin, limit=SHELF, search=words, style=chosen)
        waiting = "" if begin or words or chosen else _waiting(shop, desk)
        notice = markup.status(_notice(shop))
        if page:
            html = markup.shelf(page, desk.owner)
        elif words:
            html = markup.empty("No such book", f"Nothing on the shelf tells of “{words}”.")
        elif waiting:
            html = ""
        else:
            html = markup.empty(
                "An empty shelf",
                "Your first book will stand here.",
                '<button type="button" class="small-button brave" data-begin="1">'
                "Make a book</button>",
            )
        return {
            looks: markup.looks(styles, chosen),
            shelf: markup.stamped(notice + waiting + html, seen),
            style: chosen,
            offset: begin,
            pager: gr.update(visible=total > SHELF),
            where: f"<p>Page {begin // SHELF + 1} of {max(math.ceil(total / SHELF), 1)}</p>",
            newer: gr.update(interactive=begin > 0),
            older: gr.update(interactive=begin + SHELF < total),
        }

    place = [search, style, offset]
    shown = [looks, shelf, style, offset, pager, where, newer, older]
    for button, by in ((newer, -SHELF), (older, SHELF)):
        runner.acts(
            button.click,
            lambda desk, words, style, at, by=by: fill(desk, words, style, at + by),
            place,
            shown,
            js=TO_TOP,
        )
    runner.acts(shelf.begin, Desk.show_story)

    def look(desk: Desk, event: gr.EventData, words: str) -> dict[Any, Any]:
        return fill(desk, words, clicked(event), 0)

    runner.acts(looks.look, look, [search], shown)

    @guarded
    def look_for(request: gr.Request, words: str, style_now: str) -> Any:
        return fill(shop.desks.visit(session_of(request)).desk, words, style_now, 0)

    def refresh(request: gr.Request, words: str, style_now: str, offset_now: float) -> Any:
        """The same books as they are now, unless their visitor looks for others meanwhile.

        Nobody has asked for it, so nobody needs to know what goes wrong.
        """
        with suppress(AppError):
            desk = shop.desks.visit(session_of(request)).desk
            before = desk.browsing
            if before == (style_now, offset_now):
                found = books(desk, words, style_now, offset_now)
                if desk.browsing is before:
                    desk.browsing = found[style], found[offset]
                    return found
        return {shelf: gr.skip()}

    search.change(look_for, [search, style], shown, **{**QUIET, "trigger_mode": "always_last"})
    shelf.news(refresh, place, shown, **QUIET)
    return Bookcase(column, shelf, place, shown, fill)


def _notice(shop: Workshop) -> str:
    """What people should know about the shelf and where books wait for it; the same but once."""
    libraries = [lib for lib in (shop.library, shop.waiting) if lib is not None]
    return " ".join(dict.fromkeys(said for lib in libraries if (said := lib.notice())))


def _waiting(shop: Workshop, desk: Desk) -> str:
    """The visitor's own books that wait for the administrator; all of them for that one."""
    if shop.waiting is None:
        return ""
    books = shop.waiting.list(limit=MOST_WAITING, owner="" if desk.admin else desk.owner)
    return markup.waiting_books(books, desk.owner, admin=desk.admin) if books else ""
