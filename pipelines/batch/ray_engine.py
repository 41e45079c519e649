"""`--engine ray`: workers of their own, on this machine or on a Ray cluster.

An actor holds the models: one for every GPU of the cluster, or one for every core where there is
none. It gets a task when it has started, so that none waits for an actor the cluster has no room
for. What one was doing when it died is done again by the next that is free, and a new one starts in
its place: at once where only its process died, and with a machine that was lost when that is back.
An actor computes with one thread unless more are asked for: with as many as the local engine, it
makes the same bytes.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.batch.engines import Doing, Done
from pipelines.batch.work import Models, Outcome, Task, Worker
from pipelines.errors import InvalidInput, ModelUnavailable

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
ATTEMPTS = 3
"""Workers that may die over one task before it is given up."""
POLL = 1.0
"""Seconds between looks at how far the actors are."""
STARTING = 300.0
"""Seconds without any worker after which the run ends."""
STORE_BYTES = 200_000_000
"""Ray's shared memory on this machine: pages are small."""


@dataclass
class _Running:
    key: int
    task: Task
    actor: Any = None
    """None while it waits for one."""
    attempt: int = 1


class RayEngine(AbstractContextManager["RayEngine"]):
    """Tasks on Ray actors."""

    def __init__(
        self, models: Models, *, workers: int = 0, address: str = "", threads: int = 0
    ) -> None:
        """`address` of a Ray cluster ("auto", "ray://host:10001"), "" for one of its own on this
        machine; `workers`: how many actors, 0: one for each GPU, or else for each core; `threads`
        of each of them, 0: one.

        Raises: ModelUnavailable when Ray is not installed or not reached.
        """
        # Set before Ray is imported: nothing is told to anybody.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Otherwise Ray hides the GPUs from actors that ask for none, and warns that it will not.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
            from ray.exceptions import RayError
        except ImportError as error:
            raise ModelUnavailable(
                "Ray is not installed: pip install ray, or use --engine local."
            ) from error
        self._ray, self._lost = ray, RayError
        self._threads = threads or 1
        variables = {"OMP_NUM_THREADS": str(self._threads)}
        try:
            if address:
                files: dict[str, Any] = {
                    "working_dir": str(ROOT), "excludes": [".venv", ".git", "runs", "docs"],
                    "env_vars": variables,
                }  # fmt: skip
                ray.init(address=address, runtime_env=files, logging_level=logging.WARNING)
            else:
                variables["PYTHONPATH"] = str(ROOT)
                ray.init(
                    address="local", num_cpus=workers or None, include_dashboard=False,
                    log_to_driver=False, object_store_memory=STORE_BYTES,
                    runtime_env={"env_vars": variables}, logging_level=logging.WARNING,
                )  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ModelUnavailable(
                f"The Ray cluster {address or 'of this machine'} is not reached ({error}): "
                "check --address, or use --engine local."
            ) from error
        resources = ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        self._options: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        limit = gpus or cores
        if not 0 <= workers <= limit:
            ray.shutdown()
            raise InvalidInput(f"--workers must be from 1 to {limit} here, not {workers}.")
        self._actor = ray.remote(Worker)
        self._models = models
        self._starting: dict[Any, Any] = {}
        """Actors by what they will answer once they are there."""
        self._idle: list[Any] = []
        self._running: dict[Any, _Running] = {}
        self._waiting: deque[_Running] = deque()
        self._trouble = ""
        for _ in range(workers or max(limit, 1)):
            self._start()

    def _start(self) -> None:
        # Two calls at a time: one works, the other says how far it is.
        options = {**self._options, "max_concurrency": 2}
        self._greet(self._actor.options(**options).remote(self._models, self._threads))

    def _greet(self, actor: Any) -> None:
        """Only one that answers gets a task."""
        self._starting[actor.share.remote()] = actor

    def __exit__(self, *error: object) -> None:
        running = (r.actor for r in self._running.values())
        for actor in (*self._starting.values(), *self._idle, *running):
            with suppress(Exception):
                self._ray.kill(actor)
        self._ray.shutdown()

    @property
    def free(self) -> int:
        spare = len(self._starting) + len(self._idle) - len(self._waiting)
        # Without any worker a task is taken all the same: `wait` says what is the matter.
        return max(spare, 0 if self._running or self._waiting else 1)

    def submit(self, key: int, task: Task) -> None:
        self._waiting.append(_Running(key, task))

    def wait(self) -> Iterator[Doing | Done]:
        """Raises: ModelUnavailable when no worker is left, and none comes."""
        begin = time.monotonic()
        while True:
            while self._waiting and self._idle:
                self._send(self._waiting.popleft(), self._idle.pop())
            if self._running:
                begin = time.monotonic()
            elif not self._starting or time.monotonic() - begin > STARTING:
                raise ModelUnavailable(
                    f"The Ray cluster has no worker for this{self._trouble}: once it has, the same "
                    "command goes on."
                )
            answers = [*self._running, *self._starting]
            found, _ = self._ray.wait(answers, num_returns=1, timeout=POLL)
            if not found:
                yield from self._shares()
            elif found[0] in self._starting:
                self._meet(found[0])
            else:
                running = self._running.pop(found[0])
                outcome = self._outcome(running, found[0])
                if outcome is not None:
                    yield Done(running.key, outcome)
                    return

    def _send(self, running: _Running, actor: Any) -> None:
        running.actor = actor
        self._running[actor.do.remote(running.task)] = running

    def _meet(self, answer: Any) -> None:
        """An actor that was greeted has answered, or died."""
        actor = self._starting.pop(answer)
        try:
            self._ray.get(answer)
        except self._lost as error:
            log.warning("A worker did not start: %s", error)
            self._trouble = f" ({error})"
        else:
            self._idle.append(actor)

    def _outcome(self, running: _Running, answer: Any) -> Outcome | None:
        """What became of a task; None where its worker was lost, and it waits for another."""
        try:
            outcome = self._ray.get(answer)
        except self._lost as error:
            log.warning("A worker was lost (try %d): %s", running.attempt, error)
            with suppress(Exception):
                self._ray.kill(running.actor)
            while self._idle:  # its machine may have taken them along
                self._greet(self._idle.pop())
            self._start()
            running.attempt += 1
            if running.attempt > ATTEMPTS:
                return Outcome(error=f"{ATTEMPTS} workers were lost over it: is memory short?")
            self._waiting.appendleft(running)
            return None
        self._idle.append(running.actor)
        return outcome

    def _shares(self) -> Iterator[Doing]:
        """How far those are that answer at once; others are loading, or lost."""
        asked = {running.actor.share.remote(): running.key for running in self._running.values()}
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=POLL)
        for answer in answered:
            with suppress(self._lost):
                yield Doing(asked[answer], self._ray.get(answer))
