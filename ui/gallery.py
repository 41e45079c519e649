"""The Gallery tab: finished and unfinished books, newest first, and a reader for each."""

from __future__ import annotations

import math
import re
from typing import Any

import gradio as gr

from pipelines.book import Book
from pipelines.errors import InvalidInput
from storage.base import BOOK_ID
from storage.export import book_html, book_zip
from ui import markup
from ui.manuscript import Manuscript
from ui.messages import guarded
from ui.pictures import PicturesTab
from ui.story import StoryTab
from ui.theme import asset
from ui.workshop import (
    QUIET,
    Workshop,
    clicked,
    file_for_browser,
    new_secret,
    owner_of,
    session_of,
)

SHELF = 24
"""Books on one page of the shelf."""

CONFIRM = "Delete this book for good? Nobody can bring it back."


def build(
    shop: Workshop,
    tabs: gr.Tabs,
    story: StoryTab,
    pictures: PicturesTab,
    book: gr.State,
    secret: gr.BrowserState,
) -> Any:
    """Lay out the tab inside the current Tabs; returns the function that opens the page.

    It takes the browser's secret and gives [secret, tabs, ...] as listed in its `outputs`.
    """
    with gr.Tab("Gallery", id="gallery") as tab:
        with gr.Column(elem_id="bookcase") as bookcase:
            search = gr.Textbox(
                placeholder="Search titles and texts", show_label=False, label="Search", lines=1,
                max_length=200, elem_id="search",
            )  # fmt: skip
            shelf = gr.HTML(
                "", js_on_load=markup.button_js("open"), apply_default_css=False, elem_id="shelf"
            )
            with gr.Row(visible=False, elem_classes="actions") as pager:
                newer = gr.Button("‹ Newer", size="sm")
                where = gr.HTML("", apply_default_css=False)
                older = gr.Button("Older ›", size="sm")
        with gr.Column(visible=False, elem_id="reading") as reading:
            with gr.Row(elem_classes="actions"):
                back = gr.Button("‹ All books", size="sm", elem_id="back")
                work_on = gr.Button("Work on it", size="sm", visible=False, elem_id="work-on")
                as_zip = gr.DownloadButton("Download ZIP", size="sm", elem_id="as-zip")
                as_page = gr.DownloadButton("Download web page", size="sm", elem_id="as-page")
                delete = gr.Button("Delete", size="sm", visible=False, elem_id="delete")
            with gr.Row(visible=False, elem_classes="actions confirm") as confirm:
                gr.HTML(markup.status(CONFIRM))
                sure = gr.Button("Delete it", variant="stop", size="sm", elem_id="delete-sure")
                spare = gr.Button("Keep it", size="sm", elem_id="delete-spare")
            reader = gr.HTML("", js_on_load=asset("reader.js"), apply_default_css=False)
        opened, offset = gr.State(None), gr.State(0)

    def read(found: Book, owner: str) -> tuple[Any, ...]:
        """Show a book instead of the shelf."""
        name = file_name(found)
        mine = gr.update(visible=found.owner == owner)
        return (
            found,
            gr.update(visible=False),
            gr.update(visible=True),
            markup.reader(found),
            gr.update(value=file_for_browser(book_zip(found), f"{name}.zip")),
            gr.update(value=file_for_browser(book_html(found).encode(), f"{name}.html")),
            mine,
            mine,
            gr.update(visible=False),
        )

    def shut() -> tuple[Any, ...]:
        """Show the shelf instead of a book."""
        return (
            None, gr.update(visible=True), gr.update(visible=False), "",
            *(gr.skip(),) * 4, gr.update(visible=False),
        )  # fmt: skip

    def fill(search: str, offset: int, secret: str) -> tuple[Any, ...]:
        """Shelf, its pager and the offset, which ends where the books end."""
        words = (search or "").strip()
        total = shop.library.count(search=words)
        offset = min(max(offset, 0), max(total - 1, 0) // SHELF * SHELF)
        books = shop.library.list(offset=offset, limit=SHELF, search=words)
        if books:
            html = markup.shelf(books, owner_of(secret))
        elif words:
            html = markup.empty("No such book", f"Nothing on the shelf tells of “{words}”.")
        else:
            html = markup.empty("An empty shelf", "Your first book will stand here.")
        page = f"<p>Page {offset // SHELF + 1} of {max(math.ceil(total / SHELF), 1)}</p>"
        return (
            html,
            offset,
            gr.update(visible=total > SHELF),
            page,
            gr.update(interactive=offset > 0),
            gr.update(interactive=offset + SHELF < total),
        )

    @guarded
    def arrive(request: gr.Request, secret: str) -> tuple[Any, ...]:
        """A browser opens the page: give it a secret, and the book that its address names."""
        if not (isinstance(secret, str) and re.fullmatch("[0-9a-f]{32}", secret)):
            secret = new_secret()
        wanted = request.query_params.get("book", "")
        if not BOOK_ID.fullmatch(wanted):
            return (secret, gr.skip(), *(gr.skip(),) * 9)
        shown = read(shop.library.get(wanted), owner_of(secret))
        return (secret, gr.Tabs(selected="gallery"), *shown)

    @guarded
    def open_book(event: gr.EventData, secret: str) -> tuple[Any, ...]:
        wanted = clicked(event)
        if not BOOK_ID.fullmatch(wanted):
            raise InvalidInput("There is no such book: open the gallery again.")
        return read(shop.library.get(wanted), owner_of(secret))

    @guarded
    def remove(found: Book | None, search: str, offset: int, secret: str) -> tuple[Any, ...]:
        if found is None:
            raise InvalidInput("Open the book first.")
        shop.library.delete(found.id, owner=owner_of(secret))
        gr.Info("The book is deleted.")
        return (*shut(), *fill(search, offset, secret))

    @guarded
    def resume(request: gr.Request, found: Book | None, secret: str) -> tuple[Any, ...]:
        """Take a book of one's own back to the desk."""
        shop.jobs.refuse_while_busy(session_of(request))
        if found is None or found.owner != owner_of(secret):
            raise InvalidInput("This book belongs to someone else: it can be read, not changed.")
        value = Manuscript.from_book(found).to_value()
        line = markup.status("Paint what is missing, paint pages again, or change the words.")
        style = found.style if found.style else gr.skip()
        shown = gr.update(visible=True)
        return (
            found, value, None, shown, style, markup.spreads(found), line,
            gr.Tabs(selected="pictures"),
        )  # fmt: skip

    guarded_fill = guarded(fill)
    place = [opened, bookcase, reading, reader, as_zip, as_page, work_on, delete, confirm]
    bookshelf = [shelf, offset, pager, where, newer, older]
    shutting = guarded(shut)
    tab.select(guarded_fill, [search, offset, secret], bookshelf, **QUIET)
    search.change(
        lambda search, secret: guarded_fill(search, 0, secret),
        [search, secret],
        bookshelf,
        trigger_mode="always_last",
        **QUIET,
    )
    for button, by in ((newer, -SHELF), (older, SHELF)):
        button.click(
            lambda search, offset, secret, by=by: guarded_fill(search, offset + by, secret),
            [search, offset, secret],
            bookshelf,
            **QUIET,
        )
    shelf.open(open_book, secret, place, **QUIET)
    back.click(shutting, None, place, **QUIET).then(
        guarded_fill, [search, offset, secret], bookshelf, **QUIET
    )
    delete.click(lambda: gr.update(visible=True), None, confirm, **QUIET)
    spare.click(lambda: gr.update(visible=False), None, confirm, **QUIET)
    sure.click(remove, [opened, search, offset, secret], [*place, *bookshelf], **QUIET)
    work_on.click(
        resume,
        [opened, secret],
        [book, story.editor, story.origin, story.paint, pictures.style, pictures.pages,
         pictures.status, tabs],
        **QUIET,
    )  # fmt: skip
    return arrive, [secret, tabs, *place]


def file_name(book: Book) -> str:
    """A name for downloads that every system takes, from the title."""
    return re.sub(r"[^\w-]+", "-", book.title).strip("-_")[:60] or "storybook"
