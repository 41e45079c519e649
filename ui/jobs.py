"""Work that visitors have asked for: a line for books, one for colours, and a few jobs a visitor.

A job runs on a thread of its own, not in the event of a page, so that it goes on while its
visitor loads the page again. Pages look at its `moment` as often as they like.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from pipelines.errors import InvalidInput

log = logging.getLogger(__name__)

Event = TypeVar("Event")

Work = Callable[["Job"], Iterator[Any]]
"""What a job does: its moments, one after another. It asks `job.stopped` between two."""

ONE_AT_A_TIME = "One thing at a time: wait for your work to end, or press Stop."

STOPPING = "Stopping…"
"""What a button says that stops a job, once it was pressed."""

MOST_JOBS = 100
MOST_EACH = 4
"""Jobs in line, of all visitors and of one, counting those that run."""

COLOURING = frozenset({"colour", "vary"})
"""Kinds of jobs with a line of their own: a stroke takes a moment and a book a minute, and the
models of books are in another process (`ui/model_process.py`)."""

GIVES_WAY = "colour"
"""Kind of jobs that nobody has asked for by a button: they follow what is drawn, end in a moment,
and keep no visitor from other work."""


class Job:
    """One writing or painting. Any thread may look at it or stop it; it ends between two moments.

    `left` tells whether its visitor has gone for good: then it is stopped, too. `visitor` is who
    asked for it; "" is nobody in particular.
    """

    def __init__(
        self,
        kind: str,
        work: Work,
        left: Callable[[], bool] = lambda: False,
        visitor: str = "",
    ) -> None:
        self.kind = kind
        self.visitor = visitor
        self.moment: Any = None
        self.news = 0
        """Grows with every moment, so that a page sees whether there is something new."""
        self.error: Exception | None = None
        self.done = False
        self._work = work
        self._left = left
        self._stop = threading.Event()
        # Who asks for it is known to the thread that works, too: ZeroGPU counts on that.
        self._context = contextvars.copy_context()

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set() or self._left()

    def run(self) -> None:
        """Work until the end; what goes wrong is kept for whoever asks."""
        begin = time.monotonic()
        self._context.run(self._run)
        end = "stopped" if self.stopped else "done"
        if self.error is not None:
            end = type(self.error).__name__  # its message may quote what somebody has typed
        log.info("%s: %s after %.1f s", self.kind, end, time.monotonic() - begin)

    def _run(self) -> None:
        try:
            if not self.stopped:
                for moment in self._work(self):
                    self.moment = moment
                    self.news += 1
        except Exception as error:
            self.error = error
        finally:
            self.done = True
            self.news += 1


class Jobs:
    """The lines of all visitors' jobs, one of books and one of colours: in each, first come, first
    served, one at a time.

    The thread that works on a line ends with its last job and begins with the next one. `most` jobs
    fit in both lines together, `each` of one visitor.
    """

    def __init__(self, most: int = MOST_JOBS, each: int = MOST_EACH) -> None:
        self.most = most
        self.each = each
        self._lock = threading.Lock()
        self._books: deque[Job] = deque()
        self._colours: deque[Job] = deque()
        self._workers: list[threading.Thread] = []

    def _line_of(self, job: Job) -> deque[Job]:
        return self._colours if job.kind in COLOURING else self._books

    def refuse_when_full(self, visitor: str) -> None:
        """Raises InvalidInput when there is no room for another job of this visitor."""
        with self._lock:
            self._refuse_when_full(visitor)

    def _refuse_when_full(self, visitor: str) -> None:
        found = [
            job
            for line in (self._books, self._colours)
            for n, job in enumerate(line)
            if not (job.done or (n and job.stopped))
        ]
        if visitor and sum(job.visitor == visitor for job in found) >= self.each:
            raise InvalidInput(
                f"You have {self.each} thing{'s' if self.each != 1 else ''} in line already: "
                "wait for one to end, or stop one in another tab."
            )
        if len(found) >= self.most:
            raise InvalidInput(
                f"The line is full: {len(found)} jobs come first already. "
                "Try again in a few minutes; what you have typed stays."
            )

    def add(self, job: Job) -> None:
        """Put a job at the end of its line. Raises: InvalidInput when there is no room for it."""
        with self._lock:
            self._refuse_when_full(job.visitor)
            line = self._line_of(job)
            line.append(job)
            if len(line) == 1:
                worker = threading.Thread(target=self._serve, args=[line], name="jobs", daemon=True)
                self._workers = [*(w for w in self._workers if w.is_alive()), worker]
                worker.start()

    def stop(self, job: Job) -> None:
        """End a job: at once while it waits, at its next moment while it runs."""
        with self._lock:
            job.stop()
            line = self._line_of(job)
            if job in line and line[0] is not job:
                line.remove(job)
                job.done = True

    def ahead(self, job: Job) -> int:
        """How many jobs come first, without those that will be skipped; 0 for one that runs."""
        with self._lock:
            line = list(self._line_of(job))
        if job not in line:
            return 0
        return sum(n == 0 or not other.stopped for n, other in enumerate(line[: line.index(job)]))

    def close(self, seconds: float = 10.0) -> None:
        """Stop all jobs and wait until those that run have ended, for some seconds at most."""
        with self._lock:
            for job in (*self._books, *self._colours):
                job.stop()
            workers = self._workers
        end = time.monotonic() + seconds
        for worker in workers:
            worker.join(max(end - time.monotonic(), 0))

    def _serve(self, line: deque[Job]) -> None:
        """Work until the line is empty; whoever adds to an empty line begins anew."""
        while True:
            line[0].run()  # nobody else takes the first one away
            with self._lock:
                line.popleft()
                if not line:
                    return


def until_stopped(job: Job, events: Iterator[Event]) -> Iterator[Event]:
    """Pass on events until the job is stopped; the source is closed in any case.

    Asked between two events, so that a visitor who has left costs one step at most.
    """
    try:
        for event in events:
            yield event
            if job.stopped:
                return
    finally:
        if isinstance(events, Generator):
            events.close()
