"""The Gallery tab: finished and unfinished books, newest first, and a reader for each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pipelines.book import Book
from pipelines.errors import InvalidInput
from storage.base import BOOK_ID
from storage.export import book_html, book_zip
from ui import markup
from ui.desk import Desk, Reading, Tale
from ui.manuscript import Manuscript
from ui.messages import guarded
from ui.panel import panel
from ui.pictures import PicturesTab
from ui.running import Runner
from ui.story import StoryTab
from ui.theme import asset
from ui.workshop import QUIET, clicked, file_for_browser, session_of

SHELF = 24
"""Books on one page of the shelf."""

CONFIRM = "Delete this book for good? Nobody can bring it back."

TO_TOP = "() => setTimeout(() => document.querySelector('#tabs')?.scrollIntoView(), 80)"


@dataclass(frozen=True)
class GalleryTab:
    """What the other tabs need of this one."""

    reader: gr.HTML


def reading(book: Book) -> Reading:
    """A book to be read, with the files to take away."""
    name = file_name(book)
    return Reading(
        book,
        file_for_browser(book_zip(book), f"{name}.zip"),
        file_for_browser(book_html(book).encode(), f"{name}.html"),
    )


def build(runner: Runner, story: StoryTab, pictures: PicturesTab) -> GalleryTab:
    """Lay out the tab inside the current Tabs and connect its events."""
    shop = runner.shop
    with gr.Tab("Gallery", id="gallery") as tab:
        with gr.Column(elem_id="bookcase") as bookcase:
            search = gr.Textbox(
                placeholder="Search titles and texts", show_label=False, label="Search", lines=1,
                max_length=200, elem_id="search",
            )  # fmt: skip
            shelf = panel(events=("open", "begin"), elem_id="shelf")
            with gr.Row(visible=False, elem_classes="actions") as pager:
                newer = gr.Button("‹ Newer", size="sm")
                where = panel()
                older = gr.Button("Older ›", size="sm")
        with gr.Column(visible=False, elem_id="reading") as room:
            with gr.Row(elem_classes="actions"):
                back = gr.Button("‹ All books", size="sm", elem_id="back")
                work_on = gr.Button("Work on it", size="sm", visible=False, elem_id="work-on")
            reader = gr.HTML("", js_on_load=asset("reader.js"), apply_default_css=False)
            with gr.Row(elem_classes="actions centred"):
                as_zip = gr.DownloadButton("Download ZIP", size="sm", elem_id="as-zip")
                as_page = gr.DownloadButton("Download web page", size="sm", elem_id="as-page")
                delete = gr.Button("Delete", size="sm", visible=False, elem_id="delete")
            with gr.Row(visible=False, elem_classes="actions confirm") as confirm:
                gr.HTML(markup.status(CONFIRM))
                sure = gr.Button("Delete it", variant="stop", size="sm", elem_id="delete-sure")
                spare = gr.Button("Keep it", size="sm", elem_id="delete-spare")
        offset = gr.State(0)

    def draw(desk: Desk) -> dict[Any, Any]:
        found = desk.reading
        mine = gr.update(visible=found is not None and found.book.owner == desk.owner)
        return {
            bookcase: gr.update(visible=found is None),
            room: gr.update(visible=found is not None),
            reader: markup.reader(found.book) if found else "",
            as_zip: gr.update(value=str(found.zip)) if found else gr.update(),
            as_page: gr.update(value=str(found.page)) if found else gr.update(),
            work_on: mine,
            delete: mine,
            confirm: gr.update(visible=False),
        }

    def fill(desk: Desk, search: str, offset_now: float) -> dict[Any, Any]:
        """Shelf, its pager and the offset, which ends where the books end."""
        words = (search or "").strip()
        total = shop.library.count(search=words)
        begin = min(max(int(offset_now), 0), max(total - 1, 0) // SHELF * SHELF)
        books = shop.library.list(offset=begin, limit=SHELF, search=words)
        if books:
            html = markup.shelf(books, desk.owner)
        elif words:
            html = markup.empty("No such book", f"Nothing on the shelf tells of “{words}”.")
        else:
            html = markup.empty(
                "An empty shelf",
                "Your first book will stand here.",
                '<button type="button" class="small-button brave" data-begin="1">'
                "Make a book</button>",
            )
        return {
            shelf: html,
            offset: begin,
            pager: gr.update(visible=total > SHELF),
            where: f"<p>Page {begin // SHELF + 1} of {max(math.ceil(total / SHELF), 1)}</p>",
            newer: gr.update(interactive=begin > 0),
            older: gr.update(interactive=begin + SHELF < total),
        }

    def opened(desk: Desk, book_id: str) -> None:
        if not BOOK_ID.fullmatch(book_id):
            raise InvalidInput("There is no such book: open the gallery again.")
        desk.reading = reading(shop.library.get(book_id))
        desk.shown = "gallery"

    def open_book(desk: Desk, event: gr.EventData) -> None:
        opened(desk, clicked(event))

    def read_own(desk: Desk, value: Any) -> None:
        """Read the book that is being worked on, with the words as they are now."""
        desk.remember(value)
        tale = desk.tale
        if tale is None or tale.book is None:
            raise InvalidInput("There is no book yet: paint the story first.")
        desk.reading = reading(tale.manuscript.revise(tale.book))
        desk.shown = "gallery"

    def shut(desk: Desk, search: str, offset_now: float) -> dict[Any, Any]:
        desk.reading = None
        return fill(desk, search, offset_now)

    def remove(desk: Desk, search: str, offset_now: float) -> dict[Any, Any]:
        if desk.reading is None:
            raise InvalidInput("Open the book first.")
        shop.library.delete(desk.reading.book.id, owner=desk.owner)
        gr.Info("The book is deleted.")
        return shut(desk, search, offset_now)

    def resume(desk: Desk, value: Any) -> dict[Any, Any]:
        """Take a book of one's own back to the desk, beside what lies there."""
        desk.refuse_while_busy()
        if desk.reading is None or desk.reading.book.owner != desk.owner:
            raise InvalidInput("This book belongs to someone else: it can be read, not changed.")
        desk.remember(value)
        book = desk.reading.book
        at = next((n for n, t in enumerate(desk.tales) if t.book and t.book.id == book.id), None)
        if at is None:
            desk.add((Tale(Manuscript.from_book(book), None, book),), choose=True)
        else:
            desk.choose(at)
        line = "Paint what is missing, paint pages again, or change the words."
        desk.lines["pictures"] = (line, "")
        desk.shown = "pictures"
        style = pictures.settings[0]
        return {style: book.style if book.style else gr.skip()}

    def begin_one(desk: Desk) -> None:
        desk.shown = "story"

    place, shelved = [search, offset], [shelf, offset, pager, where, newer, older]
    runner.shows(draw, [bookcase, room, reader, as_zip, as_page, work_on, delete, confirm])
    runner.opens(tab, "gallery", fill, place, shelved)
    for button, by in ((newer, -SHELF), (older, SHELF)):
        runner.acts(
            button.click,
            lambda desk, search, at, by=by: fill(desk, search, at + by),
            place,
            shelved,
            js=TO_TOP,
        )
    runner.acts(shelf.open, open_book)
    runner.acts(shelf.begin, begin_one)
    runner.acts(pictures.read.click, read_own, [story.editor])
    runner.acts(back.click, shut, place, shelved)
    runner.acts(sure.click, remove, place, shelved)
    runner.acts(work_on.click, resume, [story.editor], [pictures.settings[0]])

    @guarded
    def look_for(request: gr.Request, search: str) -> Any:
        return fill(shop.desks.visit(session_of(request)).desk, search, 0)

    search.change(look_for, search, shelved, **{**QUIET, "trigger_mode": "always_last"})
    delete.click(lambda: gr.update(visible=True), None, confirm, **QUIET)
    spare.click(lambda: gr.update(visible=False), None, confirm, **QUIET)
    return GalleryTab(reader)


def file_name(book: Book) -> str:
    """A name for downloads that every system takes, from the title."""
    return re.sub(r"[^\w-]+", "-", book.title).strip("-_")[:60] or "storybook"
