"""Models in a process of their own: what comes back from there, and what happens when it dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.errors import AppError, InvalidInput, ModelUnavailable, OutOfMemory
from ui.model_process import ModelProcess


class Counter:
    """A model that counts, and notes in a file what befalls it."""

    def __init__(self, name: str, notes: Path) -> None:
        self.name = name
        self.notes = notes
        self.note(f"loaded {name}")

    def note(self, text: str) -> None:
        with self.notes.open("a") as f:
            f.write(text + "\n")

    def stream(self, to: int, *, pause: float = 0.0) -> Iterator[tuple[int, int]]:
        try:
            for n in range(to):
                yield n, os.getpid()
                time.sleep(pause)
        finally:
            self.note("ended")

    def fail(self, error: Exception) -> Iterator[int]:
        yield 1
        raise error

    def die(self, number: int) -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), number)
        time.sleep(60)
        yield 2


@dataclass(frozen=True)
class Asked:
    name: str
    notes: Path

    def load(self) -> Counter:
        if self.name == "missing":
            raise ModelUnavailable("There is no such model.")
        return Counter(self.name, self.notes)


@dataclass(frozen=True)
class OtherKind(Asked):
    pass


@pytest.fixture
def models() -> Iterator[ModelProcess]:
    found = ModelProcess()
    yield found
    found.close()


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked("one", tmp_path / "notes")


def noted(asked: Asked) -> list[str]:
    return asked.notes.read_text().splitlines()


def test_events_come_in_order_from_another_process(models: ModelProcess, asked: Asked) -> None:
    model = models.model(asked)
    assert model.name == "one"
    told = list(model.stream(5))
    assert [n for n, _ in told] == [0, 1, 2, 3, 4]
    assert {process for _, process in told} != {os.getpid()}
    assert list(model.stream(2)) == told[:2]  # the same one
    assert noted(asked) == ["loaded one", "ended", "ended"]


def test_one_model_of_a_kind_is_loaded_at_a_time(models: ModelProcess, asked: Asked) -> None:
    first = models.model(asked)
    assert models.model(Asked("one", asked.notes)) is first
    other = models.model(OtherKind("other", asked.notes))
    assert models.model(asked) is first
    second = models.model(Asked("two", asked.notes))
    assert (second.name, other.name) == ("two", "other")
    assert noted(asked) == ["loaded one", "loaded other", "loaded two"]
    assert len(list(first.stream(1))) == 1  # whoever still has it gets it again
    assert noted(asked)[3:] == ["loaded one", "ended"]


def test_a_stream_that_is_closed_stops_there(models: ModelProcess, asked: Asked) -> None:
    model = models.model(asked)
    events = model.stream(10_000, pause=0.01)
    assert next(events)[0] == 0
    begin = time.monotonic()
    events.close()  # type: ignore[attr-defined]  # a generator
    assert [n for n, _ in model.stream(2)] == [0, 1]  # which waits for its turn
    assert time.monotonic() - begin < 30  # not the 100 s of the first
    assert noted(asked) == ["loaded one", "ended", "ended"]


def test_errors_say_what_they_say_here_and_no_more(models: ModelProcess, asked: Asked) -> None:
    model = models.model(asked)
    for error in (InvalidInput("Ask for less."), OutOfMemory("Too large.")):
        with pytest.raises(type(error), match=str(error)):
            list(models.call(asked, "fail", error))
    with pytest.raises(RuntimeError) as told:
        list(models.call(asked, "fail", ValueError("what somebody has typed")))
    assert str(told.value) == "ValueError"
    with pytest.raises(ModelUnavailable, match="no such model"):
        models.model(Asked("missing", asked.notes))
    assert len(list(model.stream(3))) == 3


@pytest.mark.parametrize(
    "number, kind, words",
    [(signal.SIGKILL, OutOfMemory, "memory"), (signal.SIGTERM, AppError, "has ended")],
)
def test_when_it_dies_that_is_said_and_the_next_call_works(
    models: ModelProcess, asked: Asked, number: int, kind: type[AppError], words: str
) -> None:
    model = models.model(asked)
    before = {process for _, process in model.stream(1)}
    events = models.call(asked, "die", number)
    assert next(events) == 1
    with pytest.raises(kind, match=words):
        next(events)
    after = {process for _, process in model.stream(1)}
    assert after
    assert after != before


def test_closing_ends_whatever_is_done(models: ModelProcess, asked: Asked) -> None:
    events = models.model(asked).stream(10_000, pause=0.1)
    ((_, process),) = [next(events)]
    begin = time.monotonic()
    models.close()
    with pytest.raises(AppError, match="has ended"):
        list(events)
    assert time.monotonic() - begin < 30
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
