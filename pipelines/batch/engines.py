"""Where the tasks of a batch run. `local`: here, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pipelines.batch.work import Models, Outcome, Task, Worker


@dataclass(frozen=True)
class Doing:
    """Task `key` is done to this share, in [0, 1]."""

    key: int
    share: float


@dataclass(frozen=True)
class Done:
    """Task `key` has ended."""

    key: int
    outcome: Outcome


class Engine(Protocol):
    """Runs tasks. Used as a context manager, which ends whatever still runs."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: object) -> None: ...

    @property
    def free(self) -> int:
        """How many more tasks may be handed over now."""
        ...

    def submit(self, key: int, task: Task) -> None:
        """Hand over a task; not more than are `free`. Raises: ModelUnavailable."""
        ...

    def wait(self) -> Iterator[Doing | Done]:
        """Events until a task has ended: its Done comes last."""
        ...


class LocalEngine(AbstractContextManager["LocalEngine"]):
    """One worker in this process."""

    def __init__(self, models: Models, threads: int = 0) -> None:
        """`threads` that compute; 0: as many as PyTorch takes."""
        self._worker = Worker(models, threads)
        self._next: tuple[int, Task] | None = None

    def __exit__(self, *error: object) -> None:
        self._next = None

    @property
    def free(self) -> int:
        return 1 if self._next is None else 0

    def submit(self, key: int, task: Task) -> None:
        assert self._next is None
        # What is wrong with a model is said at once, not of every book once it is written.
        self._worker.prepare(task)
        self._next = key, task

    def wait(self) -> Iterator[Doing | Done]:
        assert self._next is not None
        (key, task), self._next = self._next, None
        for event in self._worker.stream(task):
            yield Done(key, event) if isinstance(event, Outcome) else Doing(key, event)
