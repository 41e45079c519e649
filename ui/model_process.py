"""The writer and the picture maker in a process of their own.

Python lets one thread of a process compute at a time, and a model takes thousands of small steps a
second: beside pages that are drawn for visitors it would wait at each of them. Apart, both have
the processor when they need it; and should a model take more memory than the machine has, the page
is still there to say so.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.errors import AppError, OutOfMemory

if TYPE_CHECKING:
    from pipelines.camera import Camera
    from pipelines.events import PictureProgress
    from pipelines.picture_request import PictureRequest
    from pipelines.story import StoryPipeline
    from pipelines.vqgan_clip import VQGANCLIPPipeline

log = logging.getLogger(__name__)

KILLED = -9
"""How a process ends that the system has ended, nearly always for want of memory."""


class Asked(Protocol):
    """Which model is meant. It can be sent to another process, which then calls `load`."""

    def load(self) -> Any:
        """Raises: ModelUnavailable, InvalidInput."""
        ...


@dataclass(frozen=True)
class Writer:
    """A story writer as `StoryPipeline.from_pretrained` takes it, by preset, folder or name."""

    source: str
    banned: tuple[str, ...] = ()
    called: str = ""
    """What recipes call it; "": by its source."""
    version: int = 0
    """Another number where the same source has changed."""

    def load(self) -> StoryPipeline:
        from pipelines.story import StoryPipeline

        writer = StoryPipeline.from_pretrained(self.source)
        writer.banned = self.banned
        writer.name = self.called or writer.name
        return writer


@dataclass(frozen=True)
class Painter:
    """A picture maker as `VQGANCLIPPipeline.from_pretrained` takes it."""

    preset: str
    vqgan: str = ""
    clip: str = ""
    version: int = 0
    """Another number where the same folders have changed."""

    def load(self) -> VQGANCLIPPipeline:
        from pipelines.vqgan_clip import VQGANCLIPPipeline

        return VQGANCLIPPipeline.from_pretrained(self.preset, vqgan=self.vqgan, clip=self.clip)


@dataclass(frozen=True)
class _Call:
    number: int
    asked: Asked
    method: str
    """Of the model, to iterate over; "" only has the model loaded, and tells its name."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class _Stop:
    number: int


@dataclass(frozen=True)
class _Told:
    number: int
    event: Any


@dataclass(frozen=True)
class _Ended:
    number: int
    error: Exception | None = None


class ModelProcess:
    """Models elsewhere, one of each kind at a time. The process begins with the first call, and
    again after it has died. Safe to call from any thread; calls are carried out in turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._reader: threading.Thread | None = None
        self._waiting: dict[int, SimpleQueue[_Told | _Ended]] = {}
        self._models: dict[type, RemoteModel] = {}

    def model(self, asked: Asked) -> RemoteModel:
        """The model, once it is loaded. Raises: what its loading raises."""
        with self._lock:
            found = self._models.get(type(asked))
        if found is None or found.asked != asked:
            (name,) = self.call(asked, "")
            found = RemoteModel(self, asked, name)
            with self._lock:
                self._models[type(asked)] = found
        return found

    def call(self, asked: Asked, method: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """What iterating over a method of the model yields; `close()` stops it there, too.

        Raises: what the method raises; OutOfMemory or AppError when the process dies.
        """
        number = next(self._numbers)
        told: SimpleQueue[_Told | _Ended] = SimpleQueue()
        try:
            self._send(_Call(number, asked, method, args, kwargs), told)
            while isinstance(answer := told.get(), _Told):
                yield answer.event
            if answer.error is not None:
                raise answer.error
        finally:
            with self._lock:
                if self._waiting.pop(number, None) is not None and self._pipe is not None:
                    with suppress(OSError):  # it is dead, and so is the call
                        self._pipe.send(_Stop(number))

    def close(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            process, reader = self._process, self._reader
        if process is not None and reader is not None:
            process.terminate()
            reader.join(10)

    def _send(self, call: _Call, told: SimpleQueue[_Told | _Ended]) -> None:
        with self._lock:
            if self._pipe is None:
                self._start()
            assert self._pipe is not None
            self._waiting[call.number] = told
            try:
                self._pipe.send(call)
            except OSError:  # it is dying: `_read` ends this call like all others
                log.debug("The models' process does not listen any more")

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), name="models", daemon=True)
        self._process.start()
        theirs.close()
        both = (self._process, self._pipe)
        self._reader = threading.Thread(target=self._read, args=both, name="models", daemon=True)
        self._reader.start()

    def _read(self, process: BaseProcess, pipe: Connection) -> None:
        """Hand on what the process tells, until it has ended."""
        while True:
            try:
                answer = pipe.recv()
            except (EOFError, OSError):
                break
            with self._lock:
                told = self._waiting.get(answer.number)
                if isinstance(answer, _Ended):
                    self._waiting.pop(answer.number, None)
            if told is not None:
                told.put(answer)
        process.join(5)  # nobody else may wait for it, or its status is lost
        error = _death(process.exitcode)
        with self._lock:
            self._pipe = self._process = self._reader = None
            pipe.close()
            left, self._waiting = self._waiting, {}
        for number, told in left.items():
            told.put(_Ended(number, error))


class RemoteModel:
    """A model of a `ModelProcess`: its methods yield what the model's own yield."""

    def __init__(self, process: ModelProcess, asked: Asked, name: str) -> None:
        self.asked = asked
        self.name = name
        self._process = process

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As `StoryPipeline.stream` or `VQGANCLIPPipeline.stream`."""
        return self._process.call(self.asked, "stream", *args, **kwargs)

    def stream_many(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As `VQGANCLIPPipeline.stream_many`."""
        return self._process.call(self.asked, "stream_many", *args, **kwargs)

    def animate(self, request: PictureRequest, camera: Camera) -> Iterator[PictureProgress]:
        """As `VQGANCLIPPipeline.animate`."""
        return self._process.call(self.asked, "animate", request, camera)


def _death(status: int | None) -> AppError:
    if status == KILLED:
        return OutOfMemory(
            "The models took more memory than this computer has and were ended. What was finished "
            "is kept: close other programs or ask for smaller pictures, and try again."
        )
    return AppError(
        f"The models' program has ended (status {status}). What was finished is kept: try again, "
        "and see the server's log if that does not help."
    )


def serve(pipe: Connection) -> None:
    """What the process does: carry out calls in turn until nobody is left to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the app, which ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    calls: SimpleQueue[_Call] = SimpleQueue()
    stopped: set[int] = set()
    threading.Thread(target=_work, args=(pipe, calls, stopped), daemon=True).start()
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # at once: a step of a model can take long
        if isinstance(message, _Stop):
            stopped.add(message.number)
        else:
            calls.put(message)


def _work(pipe: Connection, calls: SimpleQueue[_Call], stopped: set[int]) -> None:
    models: dict[type, tuple[Asked, Any]] = {}
    while True:
        call = calls.get()
        error: Exception | None = None
        try:
            for event in _carry_out(call, models):
                if call.number in stopped:
                    break
                pipe.send(_Told(call.number, event))
        except AppError as expected:
            error = expected
        except Exception as unexpected:
            # As in `ui.messages`: its message may quote what somebody has typed.
            frames = "".join(traceback.format_tb(unexpected.__traceback__))
            log.error("%s in a model:\n%s", type(unexpected).__name__, frames)
            error = RuntimeError(type(unexpected).__name__)
        stopped.discard(call.number)
        pipe.send(_Ended(call.number, error))


def _carry_out(call: _Call, models: dict[type, tuple[Asked, Any]]) -> Iterator[Any]:
    kind = type(call.asked)
    if kind not in models or models[kind][0] != call.asked:
        models.pop(kind, None)  # first: there need not be memory for both
        models[kind] = call.asked, call.asked.load()
    model = models[kind][1]
    if call.method:
        yield from getattr(model, call.method)(*call.args, **call.kwargs)
    else:
        yield model.name
