"""Books taken away from the Gallery as files, and brought back into it.

A file is made when it is asked for. Then the panel holds its link, which the browser follows
(`assets/takeaway.js`). A film takes longer: it is a job, and can be looked at before.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.book import Book, new_id, now
from pipelines.errors import InvalidInput, StorageError
from pipelines.presets import STYLES
from storage.export import FORMATS, MAX_ZIP_BYTES, export, read_zip
from storage.export.wording import clean
from ui import film as films
from ui import markup
from ui.desk import Desk
from ui.jobs import Work
from ui.panel import panel
from ui.running import Runner
from ui.served_files import file_for_browser, url_of
from ui.workshop import Workshop, clicked

FEW = {"concurrency_id": "files", "concurrency_limit": 2}
"""How many files are made or read at once, of all visitors: each may take a processor a while."""
EACH = {**FEW, "trigger_mode": "multiple"}
"""Another file can be asked for while one is being made."""


def build_buttons(runner: Runner) -> gr.HTML:
    """A button for every format of the book that is open."""
    shown = panel(events=("take", "film", "stop"), script="takeaway.js", elem_id="takeaway")

    def draw(desk: Desk) -> dict[Any, Any]:
        if desk.reading is None:
            return {shown: ""}
        book = desk.reading.book
        line = desk.lines.get(films.line_of(book), ("", ""))[0]
        return {shown: buttons(book, problem=line, film=film_of(runner.shop, desk))}

    def take(desk: Desk, event: gr.EventData) -> dict[Any, Any]:
        book, name = open_book(desk), clicked(event)
        film = film_of(runner.shop, desk)
        try:
            data = make(book, name)
        except InvalidInput as error:  # said where it happened, and the buttons are ready again
            return {shown: buttons(book, problem=str(error), film=film)}
        path = file_for_browser(data, file_name(book) + FORMATS[name].suffix)
        note = too_large(runner.shop, len(data)) if name == "zip" else ""
        return {shown: buttons(book, made=path, problem=note, film=film)}

    def begin(desk: Desk) -> Work:
        book = open_book(desk)
        name = file_name(book) + FORMATS["film"].suffix
        return lambda job: films.film_book(desk, job, book, name)

    runner.shows(draw, [shown])
    runner.acts(partial(shown.take, **EACH), take, (), [shown])
    runner.starts(shown.film, "film", begin, ())
    runner.stops(shown.stop)
    return shown


def open_book(desk: Desk) -> Book:
    """The book that is open. Raises: InvalidInput when none is."""
    if desk.reading is None:
        raise InvalidInput("Open the book first.")
    return desk.reading.book


def film_of(shop: Workshop, desk: Desk) -> str:
    """HTML: the film that is being made, or the one there is of the book that is open."""
    if job := desk.job_of("film"):
        if isinstance(job.moment, films.Filming):
            return films.progress(job.moment, stopping=job.stopped)
        return markup.waiting(shop.jobs.ahead(job))
    if desk.reading is None or desk.book_film is None:
        return ""
    book, path = desk.book_film
    # Files for browsers do not stay for ever.
    return films.player(path, "The film") if book == desk.reading.book and path.exists() else ""


def build_import(runner: Runner, opened: Callable[[Desk, str], None]) -> None:
    """A button that takes a book back in; `opened(desk, id)` shows it."""
    with gr.Row(elem_classes="actions centred"):
        bring = gr.UploadButton(
            "Import a book", file_types=[".zip"], type="filepath", size="sm", elem_id="import"
        )

    def take_in(desk: Desk, path: str | None) -> None:
        if path:
            opened(desk, import_book(runner.shop, desk, Path(path)).id)

    runner.acts(partial(bring.upload, **FEW), take_in, [bring])


def make(book: Book, name: str) -> bytes:
    """The book in a format of FORMATS but a film, which is a job. Raises: InvalidInput."""
    if name == "film":
        raise InvalidInput("A film takes longer: use its own button.")
    from pipelines.colorize.colouring import draw_pages  # OpenCV is loaded with the first one

    return export(book, name, draw_pages)


def import_book(shop: Workshop, desk: Desk, path: Path) -> Book:
    """Put a book from a ZIP into the library as this visitor's own.

    It keeps its id, unless another book has it already: somebody else's, or one's own that was
    changed since. The very same book of one's own is left as it is. Whoever made the ZIP, no book
    is of tomorrow, and none has a style that is not one of the app's.

    Raises: InvalidInput for a file that is no such ZIP, too large, or with words that nobody gets
    to use here; StorageError.
    """
    if path.stat().st_size > MAX_ZIP_BYTES:
        raise InvalidInput(f"This ZIP is too large: at most {MAX_ZIP_BYTES // 2**20} MB.")
    book = replace(read_zip(path.read_bytes()), owner=desk.owner)
    book = replace(
        book,
        created=no_later_than_now(book.created),
        style=book.style if book.style in STYLES else "",
    )
    shop.rules.check_recipes(book)
    same_id = [b for b in (shop.waits(book.id),) if b is not None]
    with suppress(StorageError):  # not there; or damaged or out of reach, and its owner is known
        same_id.append(shop.library.get(book.id))
    for same in same_id:
        if replace(book, created=same.created) == same:
            return same
    if same_id or shop.library.owner(book.id) is not None:
        book = replace(book, id=new_id())
    shop.save(book)
    return book


def no_later_than_now(created: str) -> str:
    """A time, ISO 8601, as `now` writes it; without a zone it is UTC."""
    latest = now()
    try:
        time = datetime.fromisoformat(created)
        zoned = time if time.tzinfo else time.replace(tzinfo=UTC)
        return min(zoned.astimezone(UTC).isoformat(timespec="microseconds"), latest)
    except (ValueError, OverflowError):
        return latest


def too_large(shop: Workshop, size: int) -> str:
    """A word about a ZIP that could not be brought back here, "" where it can."""
    most = min(shop.upload * 10**6 or MAX_ZIP_BYTES, MAX_ZIP_BYTES)
    if size <= most:
        return ""
    return f"Keep it well: with {size / 10**6:.0f} MB it is too large to be imported here again."


def file_name(book: Book) -> str:
    """A name for downloads that every system takes, from the title."""
    kept = "-"
    for c in clean(book.title):
        # In many scripts vowels are marks on the letter before them, and no word without it.
        of_letter = unicodedata.category(c)[0] == "M" and not kept.endswith("-")
        kept += c if c.isalnum() or c == "_" or of_letter else "-"
    return re.sub("-+", "-", kept).strip("-_")[:60] or "storybook"


def buttons(book: Book, *, made: Path | None = None, problem: str = "", film: str = "") -> str:
    """HTML of the panel. `made` is followed at once; a `problem` is said below the buttons.

    `film` is the HTML of one that there is, or will be.
    """
    ways = "".join(
        f'<button type="button" class="small-button" '
        f"""{'data-film="1"' if name == "film" else f'data-take="{name}"'}>{form.label}"""
        f"<small>{form.use}</small></button>"
        for name, form in FORMATS.items()
    )
    link, line = "", escape(problem)
    if made is not None:
        # The browser follows a link once; a new key says that it was asked for again.
        link = (
            f'<a href="{escape(url_of(made))}" download="{escape(made.name)}" hidden '
            f'data-made="{secrets.token_hex(4)}">{escape(made.name)}</a>'
        )
        line = f"{escape(made.name)} is ready. {line}".strip()
    return (
        f'<div class="takeaway"><h3>Take it with you</h3>'
        f'<div class="ways">{ways}</div>{link}<p role="status">{line}</p>{film}</div>'
    )
