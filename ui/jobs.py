"""Work that a visitor has asked for: one job a visitor, which ends when told to or left alone."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

from pipelines.errors import InvalidInput

Event = TypeVar("Event")

_ONE_AT_A_TIME = "One thing at a time: wait for your work to end, or press Stop."


class Job:
    """One writing or painting. Any thread may stop it; it ends between two events."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.running = False
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()


class Jobs:
    """The jobs of all visitors, oldest first; knows nothing of what they make."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def begin(self, session: str) -> Job:
        """A job that waits for its turn. Raises InvalidInput while the visitor's last one runs."""
        with self._lock:
            last = self._jobs.pop(session, None)
            if last is not None and last.running:
                self._jobs[session] = last
                raise InvalidInput(_ONE_AT_A_TIME)
            if last is not None:
                last.stop()  # it still waits in the queue; it will end as soon as it is called
            job = self._jobs[session] = Job(session)
            return job

    def start(self, job: Job) -> bool:
        """Its turn has come: False when it was stopped meanwhile and must not run."""
        with self._lock:
            job.running = not job.stopped
            return job.running

    def end(self, job: Job) -> None:
        """It has finished, whatever way."""
        with self._lock:
            job.running = False
            if self._jobs.get(job.session) is job:
                del self._jobs[job.session]

    def stop(self, session: str) -> bool:
        """Stop a visitor's job; True when it was running and will end at its next event."""
        with self._lock:
            job = self._jobs.get(session)
            if job is None:
                return False
            job.stop()
            if not job.running:
                del self._jobs[session]
            return job.running

    def refuse_while_busy(self, session: str) -> None:
        """Raises InvalidInput while the visitor's job runs or waits."""
        if self.busy(session):
            raise InvalidInput(_ONE_AT_A_TIME)

    def busy(self, session: str) -> bool:
        """Whether the visitor has a job that runs or waits."""
        with self._lock:
            return session in self._jobs

    def ahead(self, job: Job) -> int:
        """How many jobs of other visitors come first."""
        with self._lock:
            others = list(self._jobs.values())
        return others.index(job) if job in others else 0


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
