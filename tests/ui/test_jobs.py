"""Lines for all visitors; whoever stops or leaves ends their job and nobody else's."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pipelines.errors import InvalidInput
from ui.jobs import Job, Jobs, until_stopped


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Gate:
    """Work that goes one step each time it is let through."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)

    def __call__(self, job: Job) -> Iterator[int]:
        n = 0
        while not job.stopped:
            yield n
            n += 1
            self.steps.acquire(timeout=0.05)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    line = Jobs()
    yield line
    line.close()


def test_jobs_run_one_after_another_and_know_their_place(jobs: Jobs) -> None:
    first, second, third = (Job("paint", Gate()) for _ in range(3))
    for job in (first, second, third):
        jobs.add(job)
    until(lambda: first.news > 1)
    assert [jobs.ahead(j) for j in (first, second, third)] == [0, 1, 2]
    jobs.stop(second)  # it only waited: gone at once
    assert second.done
    assert second.news == 0
    assert jobs.ahead(third) == 1
    jobs.stop(first)
    until(lambda: third.news > 1)
    assert first.done
    assert jobs.ahead(third) == 0


def test_a_visitor_who_has_left_does_not_hold_up_the_line(jobs: Jobs) -> None:
    left = threading.Event()
    gone = Job("paint", Gate(), left.is_set)
    waiting = Job("write", Gate(), left.is_set)
    here = Job("write", lambda job: iter("ab"))
    for job in (gone, waiting, here):
        jobs.add(job)
    until(lambda: gone.news > 0)
    assert jobs.ahead(here) == 2
    left.set()
    until(lambda: here.done)
    assert gone.done
    assert waiting.moment is None
    assert here.moment == "b"


def test_what_goes_wrong_is_kept_and_the_next_job_runs(jobs: Jobs) -> None:
    def fail(job: Job) -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    bad, good = Job("paint", fail), Job("paint", lambda job: iter([7]))
    jobs.add(bad)
    jobs.add(good)
    until(lambda: good.done)
    assert bad.done
    assert "the disk is gone" in str(bad.error)
    assert good.moment == 7
    assert good.error is None


def test_closing_ends_what_runs_and_what_waits(jobs: Jobs) -> None:
    running, waiting = Job("paint", Gate()), Job("paint", Gate())
    jobs.add(running)
    jobs.add(waiting)
    until(lambda: running.news > 0)
    jobs.close()
    assert running.done
    assert waiting.done
    assert waiting.news == 1  # skipped


def test_the_line_has_room_for_so_many_and_so_many_of_each() -> None:
    line = Jobs(most=3, each=2)
    mine = [Job("paint", Gate(), visitor="ada") for _ in range(2)]
    try:
        for job in mine:
            line.add(job)
        with pytest.raises(InvalidInput, match="You have 2 things in line"):
            line.add(Job("paint", Gate(), visitor="ada"))
        other = Job("paint", Gate(), visitor="bob")
        line.add(other)
        with pytest.raises(InvalidInput, match="The line is full: 3 jobs"):
            line.add(Job("paint", Gate(), visitor="eve"))
        assert line.ahead(other) == 2
        line.stop(mine[1])  # whoever stops makes room
        line.add(Job("paint", Gate(), visitor="eve"))
    finally:
        line.close()


def test_a_stroke_does_not_wait_for_others_books() -> None:
    line = Jobs(most=4)
    book, next_book = Job("make", Gate()), Job("paint", Gate())
    stroke, variations = Job("colour", Gate()), Job("vary", Gate())
    try:
        for job in (book, next_book, stroke, variations):
            line.add(job)
        until(lambda: book.news > 0 and stroke.news > 0)
        assert [line.ahead(j) for j in (next_book, variations)] == [1, 1]
        with pytest.raises(InvalidInput, match="The line is full: 4 jobs"):
            line.add(Job("colour", Gate()))
        line.stop(stroke)
        until(lambda: variations.news > 0)
        assert next_book.news == 0
    finally:
        line.close()
    assert book.done
    assert variations.done


def test_the_log_tells_kind_and_end_and_no_words(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job) -> Iterator[int]:
        raise ValueError("a fox named Ada")
        yield

    caplog.set_level("INFO")
    for work in (fail, lambda job: iter([7])):
        job = Job("paint", work)
        jobs.add(job)
        until(lambda job=job: job.done)
    until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[0].startswith("paint: ValueError after")
    assert caplog.messages[1].startswith("paint: done after")
    assert "fox" not in caplog.text


def test_a_job_knows_on_whose_behalf_it_works(jobs: Jobs) -> None:
    visitor = contextvars.ContextVar("visitor", default="nobody")

    def ask(name: str) -> Job:
        visitor.set(name)
        return Job("paint", lambda job: iter([visitor.get()]))

    asked = [contextvars.copy_context().run(ask, name) for name in ("ada", "bob")]
    for job in asked:
        jobs.add(job)
    until(lambda: all(job.done for job in asked))
    assert [job.moment for job in asked] == ["ada", "bob"]


def test_events_end_when_stopped_and_the_source_is_closed() -> None:
    job, closed = Job("paint", Gate()), list[bool]()

    def source() -> Iterator[int]:
        try:
            for n in range(100):
                if n == 2:
                    job.stop()
                yield n
        finally:
            closed.append(True)

    assert list(until_stopped(job, source())) == [0, 1, 2]
    assert closed == [True]


def test_closing_midway_closes_the_source() -> None:
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    events = until_stopped(Job("paint", Gate()), source())
    assert next(iter(events)) == 0
    events.close()  # type: ignore[attr-defined]
    assert closed == [True]
