"""The Gallery tab: the bookcase, and a reading room for the book that is open."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from pipelines.book import Book
from pipelines.errors import AppError, InvalidInput, NotFound
from storage.base import BOOK_ID
from ui import bookcase, markup, review, takeaway
from ui.desk import Desk, Reading, Tale
from ui.manuscript import Manuscript
from ui.panel import panel
from ui.pictures import PicturesTab
from ui.prompts import prompts_in
from ui.recipe import like
from ui.running import Runner, keyboard_to
from ui.story import StoryTab
from ui.theme import asset
from ui.workshop import Workshop, clicked

CONFIRM = "Delete this book for good? Nobody can bring it back."


@dataclass(frozen=True)
class GalleryTab:
    """What the other tabs need of this one."""

    reader: gr.HTML


def reading(book: Book, *, waits: bool = False) -> Reading:
    """A book to be read; `waits` for the administrator or not."""
    return Reading(book, waits)


def open_book(shop: Workshop, desk: Desk, book_id: str) -> None:
    """Let a visitor read a book. Raises: InvalidInput for no id; NotFound; StorageError."""
    if not BOOK_ID.fullmatch(book_id):
        raise InvalidInput("There is no such book: open the gallery again.")
    book = shop.read(book_id, desk)
    desk.reading = reading(book, waits=shop.waits(book_id) == book)
    desk.shown = "gallery"


def build(runner: Runner, story: StoryTab, pictures: PicturesTab) -> GalleryTab:
    """Lay out the tab inside the current Tabs and connect its events."""
    shop = runner.shop
    with gr.Tab("Gallery", id="gallery") as tab:
        case = bookcase.build(runner)
        with gr.Column(visible=False, elem_id="reading") as room:
            with gr.Row(elem_classes="actions"):
                back = gr.Button("‹ All books", size="sm", elem_id="back")
                alike = gr.Button("Make one like this", size="sm", elem_id="alike")
                work_on = gr.Button("Work on it", size="sm", visible=False, elem_id="work-on")
            office = review.build_office()
            reader = gr.HTML(
                "",
                js_on_load=asset("reader.js"),
                apply_default_css=False,
            )
            takeaway.build_buttons(runner)
            with gr.Row(elem_classes="actions centred"):
                delete = gr.Button("Delete", size="sm", visible=False, elem_id="delete")
            with gr.Row(visible=False, elem_classes="actions confirm") as confirm:
                gr.HTML(markup.status(CONFIRM))
                sure = gr.Button("Delete it", variant="stop", size="sm", elem_id="delete-sure")
                spare = gr.Button("Keep it", size="sm", elem_id="delete-spare")
            recipe = panel(events=("same",), elem_id="recipe")
        with gr.Column(elem_id="doorway") as doorway:
            review.build_door(runner, case)
            takeaway.build_import(runner, lambda desk, book_id: open_book(shop, desk, book_id))

    def draw(desk: Desk) -> dict[Any, Any]:
        found = desk.reading
        mine = found is not None and found.book.owner == desk.owner
        waits = found is not None and found.waits
        return {
            case.column: gr.update(visible=found is None),
            doorway: gr.update(visible=found is None),
            room: gr.update(visible=found is not None),
            reader: markup.reader(found.book) if found else "",
            recipe: markup.recipe(found.book) if found else "",
            work_on: gr.update(visible=mine),
            delete: gr.update(visible=mine or (desk.admin and found is not None)),
            office.row: gr.update(visible=waits),
            office.let_in: gr.update(visible=desk.admin),
            office.refuse: gr.update(visible=desk.admin),
            confirm: gr.update(visible=found is not None and found.to_delete),
        }

    def opened(desk: Desk, event: gr.EventData) -> None:
        open_book(shop, desk, clicked(event))

    def read_own(desk: Desk, value: Any) -> None:
        """Read the book that is being worked on, with the words as they are now."""
        desk.remember(value)
        book = desk.book
        if book is None:
            raise InvalidInput("There is no book yet: paint the story first.")
        desk.reading = reading(book)
        desk.shown = "gallery"

    def shut(desk: Desk, *place: Any) -> dict[Any, Any]:
        desk.reading = None
        return case.fill(desk, *place)

    def ask(desk: Desk, *, to_delete: bool = True) -> None:
        takeaway.open_book(desk)  # or say that none is
        if desk.reading:
            desk.reading = replace(desk.reading, to_delete=to_delete)

    def remove(desk: Desk, *place: Any) -> dict[Any, Any]:
        with suppress(NotFound):  # it was deleted in another tab, which is as well
            shop.delete(takeaway.open_book(desk).id, desk)
        gr.Info("The book is deleted.")
        return shut(desk, *place)

    def let_in(desk: Desk, *place: Any) -> dict[Any, Any]:
        review.let_in(shop, desk)
        gr.Info("The book is on the shelf.")
        return shut(desk, *place)

    def refuse(desk: Desk, *place: Any) -> dict[Any, Any]:
        review.refuse(shop, desk)
        gr.Info("The book is refused.")
        return shut(desk, *place)

    def make_alike(desk: Desk, *, same: bool = False) -> dict[Any, Any]:
        """Set Story and Pictures as they were for this book."""
        book = takeaway.open_book(desk)
        desk.lines["story"] = (
            f"Everything is set as for “{book.title}”. Change what you like.",
            "",
        )
        desk.shown = "story"
        return like(book, story, pictures, same=same)

    def resume(desk: Desk, value: Any) -> dict[Any, Any]:
        """Take a book of one's own back to the desk, beside what lies there."""
        desk.refuse_while_busy()
        book = takeaway.open_book(desk)
        if book.owner != desk.owner:
            raise InvalidInput("This book belongs to someone else: it can be read, not changed.")
        desk.remember(value)
        at = next((n for n, t in enumerate(desk.tales) if t.book and t.book.id == book.id), None)
        if at is None:
            tale = Tale(Manuscript.from_book(book), None, book, prompts_in(book))
            desk.add((tale,), choose=True)
            shop.took_up(desk, book)
        else:
            desk.choose(at)
        line = "Paint what is missing, paint pages again, or change the words."
        desk.lines["pictures"] = (line, "")
        desk.shown = "pictures"
        style = pictures.settings[0]
        return {style: book.style if book.style else gr.skip()}

    def walk(desk: Desk, event: gr.EventData, *place: Any) -> dict[Any, Any]:
        """The browser's own way back and forth: to a book, or to the shelf."""
        if not clicked(event):
            return shut(desk, *place)
        open_book(shop, desk, clicked(event))
        return {}

    def grow(desk: Desk) -> None:
        """Show the pages that were painted since this book was opened."""
        if desk.reading is None:
            return
        with suppress(AppError):  # nobody has asked for it, so nobody needs to know
            book = shop.read(desk.reading.book.id, desk)
            if painted(book) > painted(desk.reading.book):
                desk.reading = reading(book, waits=shop.waits(book.id) == book)

    everything = [*story.settings, *pictures.settings]
    runner.shows(
        draw,
        [case.column, doorway, room, reader, recipe, work_on, delete,
         office.row, office.let_in, office.refuse, confirm],
    )  # fmt: skip
    runner.opens(tab, "gallery", case.fill, case.place, case.shown)
    runner.acts(case.shelf.open, opened)
    runner.acts(pictures.read.click, read_own, [story.editor])
    for place in (reader, case.shelf):  # whichever of them is on the page
        runner.acts(place.walk, walk, case.place, case.shown)
    runner.acts(reader.grow, grow)
    for event, act in (
        (back.click, shut),
        (sure.click, remove),
        (office.let_in.click, let_in),
        (office.refuse.click, refuse),
    ):
        runner.acts(event, act, case.place, case.shown)
    runner.acts(alike.click, make_alike, (), everything, js=bookcase.TO_TOP)
    runner.acts(
        recipe.same, lambda desk: make_alike(desk, same=True), (), everything, js=bookcase.TO_TOP
    )
    runner.acts(work_on.click, resume, [story.editor], [pictures.settings[0]])
    # To the safe answer, which brings the question into sight; and back to where it came from.
    runner.acts(delete.click, ask, js=keyboard_to("#delete-spare"))
    runner.acts(spare.click, lambda desk: ask(desk, to_delete=False), js=keyboard_to("#delete"))
    return GalleryTab(reader)


def painted(book: Book) -> int:
    """How many of its pages have a picture."""
    return sum(page.picture is not None for page in book.pages)
