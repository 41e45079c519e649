"""Films in the page: made as a job, then played where they were asked for and taken away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipelines.book import Book
from pipelines.errors import AppError
from pipelines.events import Eta
from ui import markup
from ui.desk import Desk
from ui.jobs import Job, until_stopped
from ui.workshop import file_for_browser, paced, url_of


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


def progress(filming: Filming) -> str:
    """HTML: how far it is, and a button that stops it."""
    line = f"Making the film of “{filming.title}”…"
    return (
        f'<div class="filming">{markup.status(line, "busy", filming.left)}'
        f"{markup.bar(filming.done, 'Filmed so far')}"
        '<button type="button" class="small-button" data-stop="1">Stop</button></div>'
    )


def player(path: Path, label: str) -> str:
    """HTML: the film to be played, and to be taken away."""
    address = escape(url_of(path))
    return (
        f'<div class="film" data-key="{address}">'
        f'<video src="{address}" aria-label="{escape(label)}" controls playsinline '
        'preload="metadata"></video>'
        f'<a class="small-button" href="{address}" download="{escape(path.name)}">'
        f"Download {escape(label[:1].lower() + label[1:])}</a></div>"
    )
