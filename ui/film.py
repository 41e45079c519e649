"""Films in the page: of a whole book, which is a job, and of how a page was painted.

They are played where they were asked for and can be taken away.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from pipelines.book import Book, Page, picture_name
from pipelines.errors import AppError
from pipelines.events import Eta
from pipelines.film import Reel, write_painting
from ui import markup
from ui.desk import Desk
from ui.jobs import STOPPING, Job, until_stopped
from ui.running import Runner
from ui.served_files import file_for_browser, picture_url, url_of
from ui.workshop import paced

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Filming:
    """How far a film is, in [0, 1], and for how long it will take still, in words."""

    title: str
    done: float = 0.0
    left: str = ""


def film_book(desk: Desk, job: Job, book: Book, name: str) -> Iterator[Filming]:
    """Make a book's film, which the desk has then; of a stopped one nothing stays.

    `name` is the file's. What goes wrong stands in the desk's line of this book's film, too.
    """
    from storage.export import stream_film

    desk.lines[line_of(book)] = ("", "")
    yield Filming(book.title)
    eta, due = Eta(), paced(0.4)
    try:
        with tempfile.TemporaryDirectory(prefix="film-") as folder:
            path = Path(folder) / "film.mp4"
            for done in until_stopped(job, stream_film(book, path)):
                if next(due):
                    seconds = eta(done)
                    left = f"About {markup.seconds(seconds)} left" if seconds is not None else ""
                    yield Filming(book.title, done, left)
            if path.exists():
                desk.book_film = book, file_for_browser(path.read_bytes(), name)
            else:
                desk.lines[line_of(book)] = ("Stopped: no film was made.", "")
    except AppError as error:
        desk.lines[line_of(book)] = (str(error), "")  # stays when the toast has gone
        raise


def line_of(book: Book) -> str:
    """Name of the desk's line that says what became of a book's film."""
    return f"film {book.id}"


def progress(filming: Filming, *, stopping: bool = False) -> str:
    """HTML: how far it is, and a button that stops it."""
    line = f"Making the film of “{filming.title}”…"
    return (
        f'<div class="filming">{markup.status(line, "busy", filming.left)}'
        f"{markup.bar(filming.done, 'Filmed so far')}"
        '<button type="button" class="small-button" data-stop="1">'
        f"{STOPPING if stopping else 'Stop'}</button></div>"
    )


def player(path: Path, label: str, poster: str = "", more: str = "") -> str:
    """HTML: the film to be played, and to be taken away; `more` stands beside that.

    With the address of a `poster` it is fetched when it is played.
    """
    address = escape(url_of(path))
    first = f'preload="none" poster="{escape(poster)}"' if poster else 'preload="metadata"'
    return (
        f'<div class="film" data-key="{address}">'
        f'<video src="{address}" aria-label="{escape(label)}" controls playsinline {first}></video>'
        f'<div class="ways"><a class="small-button" href="{address}" '
        f'download="{escape(path.name)}">Download the film</a>{more}</div></div>'
    )


def build_switch(runner: Runner) -> None:
    """A switch that lets the desk keep films of how its pages are painted."""
    switch = gr.Checkbox(
        label="Keep a film of the painting",
        info="Each page painted from now on can be watched being painted",
        elem_id="keep-films",
    )

    def turn(desk: Desk, on: bool) -> None:
        desk.keeps_films = bool(on)

    runner.shows(lambda desk: {switch: gr.update(value=desk.keeps_films)}, [switch])
    runner.acts(switch.input, turn, [switch])


class PaintingFilms:
    """Films how pages are painted, if the desk keeps such films; a film that fails stops nothing.

    The frames of a page are on the disk until it is finished. Used as a context.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reels: dict[int, Reel | None] = {}
        """Of each page that is being painted; None: its film is given up."""

    def __enter__(self) -> PaintingFilms:
        return self

    def __exit__(self, *_: object) -> None:
        for index in [*self._reels]:
            self._drop(index)

    def watch(self, index: int, preview: Image | None) -> None:
        """Page `index` (from 0), which is being painted, looks like this now."""
        if not self._desk.keeps_films or preview is None:
            return
        with self._no_harm(index):
            reel = self._reels[index] if index in self._reels else Reel()
            self._reels[index] = reel
            if reel is not None:
                reel.add(preview)

    def finish(self, index: int, page: Page) -> None:
        """A page that was watched is finished: its film is kept."""
        reel = self._reels.get(index)
        if reel is not None:
            with self._no_harm(index), tempfile.TemporaryDirectory(prefix="film-") as folder:
                path = Path(folder) / "film.mp4"
                write_painting(reel, page, path)
                name = f"{Path(picture_name(index)).stem}-painting.mp4"
                self._desk.films[key_of(page)] = file_for_browser(path.read_bytes(), name)
        self._drop(index)

    def _drop(self, index: int) -> None:
        reel = self._reels.pop(index, None)
        if reel is not None:
            reel.close()

    @contextmanager
    def _no_harm(self, index: int) -> Iterator[None]:
        """Nobody loses a page because its film cannot be written."""
        try:
            yield
        except (AppError, OSError) as error:
            self._drop(index)
            self._reels[index] = None
            log.warning("The film of a page's painting could not be kept: %s", error)


def key_of(page: Page) -> str:
    """What a desk finds a page's films by: another picture has other films."""
    return hashlib.sha256(page.picture or b"").hexdigest()


def moving_key(page: Page) -> str:
    """What a desk finds the film by that goes on from a page's picture."""
    return f"moving {key_of(page)}"


def of_pages(desk: Desk, book: Book) -> dict[int, str]:
    """HTML of buttons with a player each, for the pages (from 0) there are films of."""
    found: dict[int, str] = {}
    if not desk.films:
        return found
    for index, page in enumerate(book.pages):
        if page.picture is None:
            continue
        for key, what in ((key_of(page), "How it was painted"), (moving_key(page), "Moving")):
            path = desk.films.get(key)
            if path is not None and path.exists():  # files for browsers do not stay for ever
                found[index] = found.get(index, "") + _projection(path, page, index, what)
    return found


def _projection(path: Path, page: Page, index: int, what: str) -> str:
    # A popover: open or closed is no attribute, so it stays as it is when the page is drawn again.
    assert page.picture is not None
    name = f"film-{path.stem}-{index + 1}"
    label = f"{what}: page {index + 1}"
    poster = picture_url(page.picture, picture_name(index))
    close = (
        f'<button type="button" class="small-button" popovertarget="{name}" '
        'popovertargetaction="hide">Close</button>'
    )
    return (
        f'<button type="button" class="small-button" popovertarget="{name}" '
        f'aria-label="{label}">{what}</button>'
        f'<div popover id="{name}" class="projection" role="dialog" aria-label="{label}">'
        f"{player(path, label, poster, close)}</div>"
    )
