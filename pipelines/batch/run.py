"""The run of a batch: which task is next, what its outcome means, how far everything is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.batch.engines import Doing, Engine
from pipelines.batch.jobs import Job
from pipelines.batch.shelf import Shelf
from pipelines.batch.work import Outcome, PageWork, Paint, Task, Write
from pipelines.book import Book
from pipelines.errors import AppError
from pipelines.events import Eta
from pipelines.storybook import page_config, page_request


@dataclass(frozen=True)
class BatchProgress:
    """How far all books are: pages done (parts of pages count), pages in all, seconds left."""

    done: float
    of: int
    eta: float | None


@dataclass(frozen=True)
class PageNote:
    """A page (from 0) was painted otherwise than asked, such as with too little memory."""

    job: Job
    index: int
    note: str


@dataclass(frozen=True)
class BookDone:
    """A book is finished, or was by an earlier run."""

    job: Job
    book: Book
    before: bool = False


@dataclass(frozen=True)
class BookFailed:
    """A book cannot be finished; the pages it has stay."""

    job: Job
    reason: str


@dataclass
class _Running:
    task: Task
    share: float = 0.0


class _Batch:
    """The state of a run."""

    def __init__(self, jobs: Sequence[Job], shelf: Shelf, together: int) -> None:
        self.shelf, self.together = shelf, together
        self.jobs = {job.number: job for job in jobs}
        self.expected = {job.number: job.pages for job in jobs}
        self.unwritten: deque[Job] = deque()
        self.books: dict[int, Book] = {}
        """Those that are being painted."""
        self.pages: deque[PageWork] = deque()
        self.alone: deque[PageWork] = deque()
        """Pages whose batch failed: which of them it was is found out by painting each alone."""
        self.running: dict[int, _Running] = {}
        self.painted = 0
        self.begun_with = 0

    def begin(self) -> Iterator[BookDone | BookFailed]:
        """Take up what an earlier run has left."""
        for job in self.jobs.values():
            try:
                book = self.shelf.find(job)
                whole = book is not None and self.add(job, book)
            except AppError as error:
                yield self.fail(job.number, str(error))
                continue
            if book is None:
                self.unwritten.append(job)
            elif whole:
                yield BookDone(job, book, before=True)
        self.begun_with = self.painted

    def add(self, job: Job, book: Book) -> bool:
        """Queue the pages that a book lacks; whether it lacks none."""
        left = [n for n, page in enumerate(book.pages) if page.picture is None]
        self.expected[job.number] = len(book.pages)
        self.painted += len(book.pages) - len(left)
        if not left:
            return True
        self.books[job.number] = book
        for n in left:
            config = page_config(job.picture, n)
            request = page_request(book, n, config)
            self.pages.append(PageWork(job.number, n, request.sentence, request.config))
        return False

    def next_task(self) -> Task | None:
        """Full batches of pages first, then stories, whose pages fill the next ones."""
        if self.alone:
            return Paint((self.alone.popleft(),))
        if len(self.pages) < self.together:
            if self.unwritten:
                return Write(self.unwritten.popleft())
            if any(isinstance(r.task, Write) for r in self.running.values()):
                return None
        if not self.pages:
            return None
        return Paint(
            tuple(self.pages.popleft() for _ in range(min(self.together, len(self.pages))))
        )

    def settle(self, task: Task, outcome: Outcome) -> Iterator[PageNote | BookDone | BookFailed]:
        """What the end of a task means. Raises: StorageError."""
        if isinstance(task, Write):
            job = task.job
            if outcome.book is None:
                yield self.fail(job.number, outcome.error)
                return
            self.shelf.save(job, outcome.book)
            self.add(job, outcome.book)
            return
        if outcome.error and len(task.pages) > 1:
            self.alone.extend(task.pages)
            return
        for n, work in enumerate(task.pages):
            book = self.books.get(work.number)
            if book is None:  # it has failed meanwhile
                continue
            if outcome.error:
                yield self.fail(work.number, f"page {work.index + 1}: {outcome.error}")
                continue
            book = book.with_page(work.index, outcome.pages[n])
            job = self.jobs[work.number]
            self.shelf.save(job, book)
            self.books[work.number] = book
            self.painted += 1
            if outcome.notes and outcome.notes[n]:
                yield PageNote(job, work.index, outcome.notes[n])
            if all(page.picture is not None for page in book.pages):
                del self.books[work.number]
                yield BookDone(job, book)

    def fail(self, number: int, reason: str) -> BookFailed:
        """Give a book up; what is painted of it stays, and nothing more is expected."""
        book = self.books.pop(number, None)
        kept = 0 if book is None else sum(page.picture is not None for page in book.pages)
        self.expected[number] = kept
        self.pages = deque(w for w in self.pages if w.number != number)
        self.alone = deque(w for w in self.alone if w.number != number)
        return BookFailed(self.jobs[number], reason)

    def progress(self, eta: Eta) -> BatchProgress:
        """How far all books are now."""
        shares = (
            r.share * len(r.task.pages) for r in self.running.values() if isinstance(r.task, Paint)
        )
        done, of = self.painted + sum(shares), sum(self.expected.values())
        # What was there at the beginning says nothing about the pace.
        left = of - self.begun_with
        share = (done - self.begun_with) / left if left else 1.0
        return BatchProgress(done, of, eta(share))


def run(
    jobs: Sequence[Job], shelf: Shelf, engine: Engine, *, together: int = 1
) -> Iterator[BatchProgress | PageNote | BookDone | BookFailed]:
    """Make the books; `close()` stops, and another run goes on with what is missing.

    `together` pages, of whichever books, are painted as one batch. Pages are written to the shelf
    as they are finished. A book that fails is told and the others go on.

    Raises: StorageError when the shelf cannot be written.
    """
    batch, eta = _Batch(jobs, shelf, together), Eta()
    yield from batch.begin()
    count = 0
    with engine:
        while True:
            while engine.free and (task := batch.next_task()) is not None:
                engine.submit(count, task)
                batch.running[count] = _Running(task)
                count += 1
            if not batch.running:
                return
            for event in engine.wait():
                if isinstance(event, Doing):
                    batch.running[event.key].share = event.share
                else:
                    task = batch.running.pop(event.key).task
                    yield from batch.settle(task, event.outcome)
                yield batch.progress(eta)
