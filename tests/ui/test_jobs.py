"""One job a visitor; whoever stops or leaves ends theirs and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.errors import InvalidInput
from ui.jobs import Job, Jobs, until_stopped


def test_a_running_job_is_not_replaced() -> None:
    jobs = Jobs()
    job = jobs.begin("ada")
    assert jobs.start(job)
    with pytest.raises(InvalidInput, match="One thing at a time"):
        jobs.begin("ada")
    jobs.end(job)
    assert jobs.start(jobs.begin("ada"))


def test_a_waiting_job_gives_way_to_the_next() -> None:
    jobs = Jobs()
    first = jobs.begin("ada")
    second = jobs.begin("ada")
    assert not jobs.start(first)
    assert jobs.start(second)
    jobs.end(first)  # the late end of the first must not end the second
    assert jobs.busy("ada")


def test_stopping_reaches_only_the_visitor_who_asks() -> None:
    jobs = Jobs()
    ada, bob = jobs.begin("ada"), jobs.begin("bob")
    jobs.start(ada)
    assert jobs.ahead(bob) == 1
    assert jobs.stop("ada")
    assert not jobs.stop("nobody")
    assert ada.stopped
    assert not bob.stopped
    assert not jobs.stop("bob")  # it only waited: gone at once
    assert not jobs.start(bob)
    assert not jobs.busy("bob")


def test_events_end_when_stopped_and_the_source_is_closed() -> None:
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    job = Job("ada")
    seen: list[int] = []
    for event in until_stopped(job, source()):
        seen.append(event)
        if event == 2:
            job.stop()
    assert seen == [0, 1, 2]
    assert closed == [True]


def test_closing_midway_closes_the_source() -> None:
    closed: list[bool] = []

    def source() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    events = until_stopped(Job("ada"), source())
    assert next(iter(events)) == 0
    events.close()  # type: ignore[attr-defined]
    assert closed == [True]
