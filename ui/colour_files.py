"""Drawings that come to the easel from files and pages, and pictures that leave it."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

from pipelines.book import Book, Page, Recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import Drawing, read_drawing
from pipelines.colorize.lineart import extract
from pipelines.colorize.openraster import is_openraster, size_of
from pipelines.colorize.saving import coloured_png, read_saved
from pipelines.errors import InvalidInput
from pipelines.presets import MAX_SEED
from ui.colour_work import refuse_while_stale
from ui.desk import Desk
from ui.easel import Easel, Place, Plan, new_easel
from ui.served_files import file_for_browser, url_of
from ui.workshop import Workshop

COLOURED = "coloured"
"""What files that are saved are called."""

AGAIN = "Your strokes of last time are here again: they were kept inside the picture."


def uploaded(path: object, folder: str) -> Path:
    """A file that a browser says it has handed in; nothing outside the folder is ever read.

    Raises: InvalidInput.
    """
    gone = InvalidInput("Your file did not arrive: hand it in again.")
    if not isinstance(path, str) or not path or "\0" in path:
        raise gone
    found = Path(path).resolve()
    if not found.is_relative_to(Path(folder).resolve()) or not found.is_file():
        raise gone
    return found


def read(path: Path) -> Easel:
    """A drawing, or a picture or document that was saved with its strokes. Raises: InvalidInput."""
    easel = _again(path.read_bytes()) or new_easel(read_drawing(path))
    easel.title = re.sub(f"(^|-){COLOURED}$", "", path.stem)
    return easel


def read_page(page: Page, number: int, place: Place | None, book: str = "") -> Easel:
    """A page of the book of that title: with its strokes where it was coloured before, else as
    line art.

    Raises: InvalidInput when it is not painted yet.
    """
    easel = _again(page.picture or b"")
    if easel is None:
        picture = page.image()
        lineart = extract(picture)
        easel = new_easel(Drawing(lineart, picture, "picture", (f"Page {number} as line art.",)))
    easel.place, easel.from_page = place, True
    easel.title = f"{book}-{number}" if book else ""
    return easel


def _again(data: bytes) -> Easel | None:
    """What was saved with its strokes, as it was. Raises: InvalidInput."""
    saved = read_saved(data)
    if saved is None:
        return None
    if is_openraster(data):  # painted anew, as another program may have changed any layer
        (width, height), size = size_of(data), saved[0].size
        scaled = f"Scaled from {width} × {height} to {size[0]} × {size[1]} pixels."
        return _taken_up(*saved, () if size == (width, height) else (scaled,))
    easel = _taken_up(*saved, (AGAIN,))
    easel.painted = easel.revision
    return easel


def _taken_up(document: Document, recipe: Recipe | None, notes: tuple[str, ...]) -> Easel:
    """A document to go on with, with the choice of colours that it was saved with."""
    easel = new_easel(Drawing(document.lineart, document.picture, "lineart", notes))
    if recipe is not None:
        easel.suggest = bool(recipe.settings.get("suggested", False))
        easel.tidy = bool(recipe.settings.get("within_lines", easel.tidy))
        easel.choice = recipe.seed if 0 <= recipe.seed <= MAX_SEED else 0
        masked = document.mask is not None and document.kept is not None
        easel.frozen = masked and bool(recipe.settings.get("frozen", False))
    plan = Plan.kept_in(document, easel.choice)
    easel.begin_round(replace(easel.here, document=document, recipe=recipe, plan=plan))
    if easel.coloured:
        easel.lay_out(document.picture)
    return easel


def save_files(easel: Easel) -> None:
    """Make the files to take away. Raises: InvalidInput before the last strokes are coloured."""
    refuse_while_stale(easel)

    def file(data: bytes, name: str, what: str) -> tuple[str, str, str]:
        return url_of(file_for_browser(data, name)), name, what

    document = easel.document
    hints = io.BytesIO()
    document.hint_picture().save(hints, "PNG")
    about = easel.recipe.to_json() if easel.recipe else {}
    name = re.sub(r"[^\w-]+", "-", easel.title).strip("-_")[:50]  # which every system takes
    name += "-" if name else ""
    layers, text = f"{name}{COLOURED}.ora", "Layers for Krita and GIMP (ORA)"
    easel.saved = (
        file(coloured_png(document, easel.recipe), f"{name}{COLOURED}.png", "Picture (PNG)"),
        file(hints.getvalue(), f"{name}hints.png", "Strokes (PNG)"),
        file(document.to_openraster(about), layers, text),
    )


def put_on_page(shop: Workshop, desk: Desk, easel: Easel) -> Book:
    """The book with the picture on its page, in the library and, if it lies there, on the desk.

    Raises: InvalidInput, StorageError.
    """
    place = easel.place
    if place is None:
        raise InvalidInput("This drawing does not come from a book: save it as a file.")
    if not easel.coloured:
        raise InvalidInput("There is no picture yet: wait until it is coloured.")
    refuse_while_stale(easel)
    desk.refuse_while_busy()  # what is painted now would replace it
    open_one = desk.book
    mine = open_one is not None and open_one.id == place.book
    book = open_one if mine and open_one is not None else shop.read(place.book, desk)
    if book.owner != desk.owner:
        raise InvalidInput("This book belongs to someone else: save the picture as a file.")
    index = place.find(book)
    page = book.pages[index]
    png = coloured_png(easel.document, easel.recipe, page.text)
    changed = book.with_page(index, replace(page, picture=png, score=None, recipe=easel.recipe))
    changed = shop.save(changed, desk if mine else None)
    if mine:
        desk.keep_book(changed)
    return changed
