"""What a worker does for a batch, wherever it runs: stories and pages, one task at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pipelines.batch.jobs import Job
from pipelines.book import Book, Page
from pipelines.device import use_threads
from pipelines.errors import AppError
from pipelines.events import PictureProgress, Sentence
from pipelines.presets import PictureConfig

if TYPE_CHECKING:
    from pipelines.story import StoryPipeline
    from pipelines.vqgan_clip import VQGANCLIPPipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """Which models make the books; small enough to be sent to another machine."""

    preset: str = "embedded"
    story: str = ""
    vqgan: str = ""
    clip: str = ""

    def named(self) -> dict[str, str]:
        """What was asked for in place of the embedded ones, by the names of the fields."""
        preset = "" if self.preset == "embedded" else self.preset
        asked = {"preset": preset, "story": self.story, "vqgan": self.vqgan, "clip": self.clip}
        return {name: value for name, value in asked.items() if value}

    def writer(self) -> StoryPipeline:
        """Raises: ModelUnavailable."""
        from pipelines.storybook import load_story

        return load_story(self.preset, self.story)

    def painter(self) -> VQGANCLIPPipeline:
        """Raises: ModelUnavailable."""
        from pipelines.storybook import load_pictures

        return load_pictures(self.preset, self.vqgan, self.clip)


@dataclass(frozen=True)
class Write:
    """A story to be written."""

    job: Job


@dataclass(frozen=True)
class PageWork:
    """A page to be painted; `config` has its own seed."""

    number: int
    """Of its job."""
    index: int
    """From 0."""
    sentence: Sentence
    config: PictureConfig


@dataclass(frozen=True)
class Paint:
    """Pages to be painted together, of one book or of several."""

    pages: tuple[PageWork, ...]


Task = Write | Paint


@dataclass(frozen=True)
class Outcome:
    """What became of a task: a book without pictures, or a picture for every page, or why not."""

    book: Book | None = None
    pages: tuple[Page, ...] = ()
    notes: tuple[str, ...] = ()
    """For every page what went otherwise than asked, or ""."""
    error: str = ""


class Worker:
    """Does one task after the other; models are loaded when the first task needs them."""

    def __init__(self, models: Models, threads: int = 0) -> None:
        """Sums come out a little otherwise with another number of `threads`, and so do pictures;
        0: as many as PyTorch takes."""
        self._models, self._threads = models, threads
        self._share = 0.0

    @cached_property
    def _writer(self) -> StoryPipeline:
        return self._models.writer()

    @cached_property
    def _painter(self) -> VQGANCLIPPipeline:
        return self._models.painter()

    def prepare(self, task: Task) -> None:
        """Load what a task and those that follow from it need. Raises: ModelUnavailable."""
        _ = self._painter
        if isinstance(task, Write) and not task.job.text:
            _ = self._writer

    def stream(self, task: Task) -> Iterator[float | Outcome]:
        """How much of the task is done, in [0, 1], and then its outcome; never fails."""
        try:
            if self._threads:
                use_threads(self._threads)  # of the thread that computes: at every task
            if isinstance(task, Write):
                yield Outcome(book=self._write(task.job))
            else:
                yield from self._paint(task)
        except AppError as error:
            yield Outcome(error=str(error))
        except Exception as error:
            # One book must not end the others.
            log.exception("A task of the batch failed")
            yield Outcome(error=f"Something unexpected went wrong ({type(error).__name__}).")

    def do(self, task: Task) -> Outcome:
        """`stream` to its end."""
        self._share, outcome = 0.0, Outcome()
        for event in self.stream(task):
            if isinstance(event, Outcome):
                outcome = event
            else:
                self._share = event
        return outcome

    def share(self) -> float:
        """How much of the task that another thread has `do` is done, in [0, 1]."""
        return self._share

    def _write(self, job: Job) -> Book:
        from pipelines.storybook import book_from_draft, draft_of_text

        if job.text:
            draft = draft_of_text(job.text, job.story.words, job.story.seed or 0)
        else:
            draft = self._writer(job.story)[0]  # the best comes first
        if job.title:
            draft = replace(draft, title=job.title)
        return book_from_draft(draft, job.story, style=job.picture.style, author=job.author)

    def _paint(self, task: Paint) -> Iterator[float | Outcome]:
        from pipelines.picture_request import PictureRequest

        requests = [PictureRequest(p.sentence, p.config) for p in task.pages]
        done = [0.0] * len(requests)
        pages: dict[int, Page] = {}
        notes = [""] * len(requests)
        for k, event in self._painter.stream_many(requests):
            if isinstance(event, PictureProgress):
                done[k] = event.step / event.of
                notes[k] = f"{notes[k]} {event.note}".strip()
                yield sum(done) / len(done)
            else:
                pages[k] = event
        yield Outcome(pages=tuple(pages[k] for k in range(len(requests))), notes=tuple(notes))
