"""`--engine ray`: workers of their own, on this machine or on a Ray cluster.

An actor holds the models: one for every GPU of the cluster, or one for every core where there is
none. What an actor was doing when it died is done again by a new one. An actor computes with one
thread unless more are asked for: with as many as the local engine, it makes the same bytes.
"""

from __future__ import annotations

import logging
import os
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
STORE_BYTES = 200_000_000
"""Ray's shared memory on this machine: pages are small."""


@dataclass
class _Running:
    key: int
    task: Task
    actor: Any
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
                    num_cpus=workers or None, include_dashboard=False, log_to_driver=False,
                    object_store_memory=STORE_BYTES, runtime_env={"env_vars": variables},
                    logging_level=logging.WARNING,
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
        self._idle = [self._start() for _ in range(workers or max(limit, 1))]
        self._running: dict[Any, _Running] = {}

    def _start(self) -> Any:
        # Two calls at a time: one works, the other says how far it is.
        options = {**self._options, "max_concurrency": 2}
        return self._actor.options(**options).remote(self._models, self._threads)

    def __exit__(self, *error: object) -> None:
        for actor in (*self._idle, *(r.actor for r in self._running.values())):
            with suppress(Exception):
                self._ray.kill(actor)
        self._ray.shutdown()

    @property
    def free(self) -> int:
        return len(self._idle)

    def submit(self, key: int, task: Task) -> None:
        self._send(_Running(key, task, self._idle.pop()))

    def _send(self, running: _Running) -> None:
        self._running[running.actor.do.remote(running.task)] = running

    def wait(self) -> Iterator[Doing | Done]:
        while True:
            found, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL)
            if not found:
                yield from self._shares()
                continue
            ready = found[0]
            running = self._running.pop(ready)
            try:
                outcome = self._ray.get(ready)
            except self._lost as error:
                log.warning("A worker was lost (try %d): %s", running.attempt, error)
                with suppress(Exception):
                    self._ray.kill(running.actor)
                running.actor = self._start()
                running.attempt += 1
                if running.attempt <= ATTEMPTS:
                    self._send(running)
                    continue
                outcome = Outcome(error=f"{ATTEMPTS} workers were lost over it: is memory short?")
            self._idle.append(running.actor)
            yield Done(running.key, outcome)
            return

    def _shares(self) -> Iterator[Doing]:
        """How far those are that answer at once; others are loading, or lost."""
        asked = {running.actor.share.remote(): running.key for running in self._running.values()}
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=POLL)
        for answer in answered:
            with suppress(self._lost):
                yield Doing(asked[answer], self._ray.get(answer))
