"""A page is opened: who comes, and what they were working on.

A browser keeps a secret (whose books and desks are its own), a name for each tab, and what stands
in the editor and the settings (`assets/desk.js`), so that even a restart of the server loses none
of a visitor's words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.errors import AppError, InvalidInput, NotFound
from storage.base import BOOK_ID
from ui import gallery
from ui.account import account_of
from ui.desk import FIRST_TAB, Desk, Tale
from ui.manuscript import Manuscript
from ui.messages import guarded
from ui.prompts import prompts_in
from ui.recipe import fits
from ui.repaint import OPENED
from ui.running import Runner
from ui.workshop import QUIET, Workshop, a_secret, owner_of, session_of

NO_SUCH_BOOK = (
    "The book of this address is not here: it may have been deleted. Others are in the Gallery."
)

OTHER_TABS = ("pictures", "gallery", "colour")
"""Those that every page has, besides the first."""

MAX_KEPT = 100_000
"""Characters of what a browser kept that are looked at."""


def build(
    demo: gr.Blocks,
    runner: Runner,
    secret: gr.BrowserState,
    settings: Mapping[str, Sequence[Component]],
) -> Any:
    """Connect the page's load event, and return it; `settings` are kept under their names."""
    shop = runner.shop
    kept = gr.Textbox(visible=False)
    wanted = [component for group in settings.values() for component in group]

    @guarded
    def arrive(request: gr.Request, secret_now: object, kept_now: object) -> dict[Any, Any]:
        known = a_secret(secret_now)
        memory = read_memory(kept_now)
        owner = account_of(request) or owner_of(known)
        tab, last = a_secret(memory.get("tab")), str(memory.get("last"))
        # What other events show meanwhile would be older, and might reach the browser later.
        visit, belongs = shop.desks.arrive(session_of(request), owner, tab, last, ready=False)
        try:
            if belongs and visit.desk.tales:
                visit.desk.remember(memory.get("tale"))
            elif belongs:
                restore(shop, visit.desk, memory)
                if memory.get("again") is True and memory.get("shown") in OTHER_TABS:
                    visit.desk.shown = str(memory["shown"])
            desk = visit.desk
            desk.asks_for_drawing = belongs and desk.easel is None and desk.easel_before is None
            wanted = request.query_params.get("book", "")
            open_address(shop, visit.desk, wanted, again=memory.get("again") is True)
            if visit.desk.tale is not None:
                visit.desk.handed = visit.desk.tale.to_value()
            if visit.desk.shown == FIRST_TAB:
                runner.knows_tab(visit, FIRST_TAB)  # or a quick click on another would be undone
            drawn = {**runner.draw(visit), **runner.greeting(visit.desk)}
        finally:
            visit.ready = True
        found: dict[Any, Any] = {secret: known}
        for name, components in settings.items():
            values = memory.get(name)
            if isinstance(values, list) and len(values) == len(components):
                pairs = zip(components, values, strict=True)
                found |= {component: value for component, value in pairs if fits(component, value)}
        return {**drawn, **found}

    for name, components in settings.items():
        gr.on(
            [component.change for component in components],  # type: ignore[attr-defined]
            None,
            [*components],
            None,
            js=f"(...values) => {{ storybrush.keep({json.dumps(name)}, values); }}",
            **QUIET,
        )
    arrived = demo.load(
        arrive,
        [secret, kept],
        [secret, *wanted, *runner.outputs, *runner.greeted],
        js="(secret) => [secret, storybrush.kept()]",
        **QUIET,
    )
    arrived.success(None, js=OPENED)
    return arrived


def read_memory(kept: object) -> Mapping[str, Any]:
    """What the browser kept, which may be anything: "tab", "last", "again", "shown" (the tab that
    was open), "tale" (as `Tale.to_value` gives it), "book" ({"id", "of"}: of which tale it is) and
    settings."""
    if not isinstance(kept, str) or len(kept) > MAX_KEPT:
        return {}
    try:
        memory = json.loads(kept)
    except (ValueError, RecursionError):
        return {}
    return memory if isinstance(memory, dict) else {}


def restore(shop: Workshop, desk: Desk, memory: Mapping[str, Any]) -> None:
    """Put the story that the browser remembers on a new desk, with its book if that is the
    visitor's own, and painted from that story: it would be painted over otherwise."""
    try:
        tale = Tale(Manuscript.from_value(memory.get("tale")))
    except InvalidInput:
        return
    if isinstance(key := memory["tale"].get("of"), str) and len(key) < 40:
        tale = replace(tale, key=key)
    kept = memory.get("book")
    wanted = kept.get("id") if isinstance(kept, Mapping) and kept.get("of") == tale.key else None
    if isinstance(wanted, str) and BOOK_ID.fullmatch(wanted):
        with suppress(AppError):
            book = shop.read(wanted, desk)
            if book.owner == desk.owner:
                shop.took_up(desk, book)
                tale = replace(tale, book=book, prompts=prompts_in(book))
    desk.add((tale,), choose=True)


def open_address(shop: Workshop, desk: Desk, wanted: str, *, again: bool = False) -> None:
    """Open the book that the page's address names.

    A page that is loaded `again` stays on its tab: the address names the book that is open in the
    gallery, whatever else is looked at.
    """
    if not wanted:
        return
    is_open = desk.reading is not None and desk.reading.book.id == wanted
    tab = desk.shown if is_open and again else "gallery"
    try:
        gallery.open_book(shop, desk, wanted)  # also anew: it may have changed
    except (InvalidInput, NotFound):
        if is_open:
            desk.reading = None
        gr.Warning(NO_SUCH_BOOK)  # of an address, nobody has typed the id
    except AppError as error:
        gr.Warning(escape(str(error)))  # the page is there all the same
    if is_open:
        desk.shown = tab
