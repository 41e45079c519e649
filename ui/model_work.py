"""The training that runs, if any: begun, followed, stopped, gone on with, and taken in.

It is a process of its own (`ui/model_order.py`), so the page goes on meanwhile. There is one for
the whole app, and everything about it lies in a folder: what was handed in, checkpoints, events.
Whoever closes the app, or kills it, finds the training again as it was.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pipelines.errors import AppError, InvalidInput, NotFound
from ui.model_order import (
    LANGUAGES,
    ROOT,
    Order,
    Places,
    base_of,
    command,
    fitting_steps,
    install_line,
    missing,
    take_in,
)
from ui.model_shelf import KINDS, SAMPLES, ModelShelf

log = logging.getLogger(__name__)

LOOK_EVERY = 0.4
"""Seconds between two looks at the process."""
PATIENCE = 60.0
"""Seconds that a process has to write its checkpoint when it is stopped."""
NICE = 10
"""How far training stands back behind the page and its painting."""

ONE_AT_A_TIME = "One training at a time: wait for it to end, or stop it."


@dataclass
class Record:
    """What the process has told so far, read from its file of events."""

    path: Path
    lines: list[str] = field(default_factory=list[str])
    """What is in the data, and what the run takes."""
    plan: tuple[int, float] | None = None
    """Steps of the usual epochs, seconds a step."""
    steps: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict[Any, Any])
    """Metrics by phase and step."""
    phase: str = ""
    step: int = 0
    eta: float | None = None
    """Seconds left of the phase."""
    stories: list[dict[str, Any]] = field(default_factory=list[Any])
    """Sample stories: step, words, text."""
    pictures: Path | None = None
    """The newest grid of samples."""
    done: bool = False
    _offset: int = 0

    def read(self) -> None:
        """Take in what is new."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]  # the last line may still be being written
        self._offset += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "data":
            self.lines = [str(line) for line in event["lines"]]
        elif kind == "plan":
            self.plan = int(event["steps"]), float(event["seconds"])
        elif kind == "step":
            self.phase, self.step = event.get("phase", ""), event["step"]
            self.eta = event["eta"]
            known = {k: v for k, v in event["metrics"].items() if v is not None}
            self.steps.setdefault((self.phase, self.step), {}).update(known)
        elif kind == "story":
            self.stories.append(event)
        elif kind == "pictures":
            self.pictures = Path(event["path"])
        elif kind == "done":
            self.done = True


@dataclass(frozen=True)
class Moment:
    """The training as a page shows it."""

    stage: str = "none"
    """none, checking, checked (waits to be started), running, stopped, or elsewhere (a process runs
    that an earlier app has begun)."""
    order: Order | None = None
    record: Record | None = None
    steps: int = 0
    """Steps that a writer will take."""
    passed: float = 0.0
    """Seconds of training so far."""
    stopping: bool = False
    result: bool = False
    """Whether a model was written that can be kept as it is."""
    trouble: str = ""
    """Why it did not go on."""
    news: str = ""
    """What the last training has come to."""


class Training:
    """One for the whole app. Safe to call from any thread."""

    def __init__(self, shelf: ModelShelf, *, anywhere: bool = False) -> None:
        """`anywhere`: training may begin from any folder of this computer that is named."""
        self.shelf, self.anywhere = shelf, anywhere
        self.places = Places(shelf.folder / ".work")
        self._lock = threading.RLock()
        self._now = Moment()
        self._process: subprocess.Popen[bytes] | None = None
        self._follower: threading.Thread | None = None
        self._begun = 0.0
        self._closing = False
        self._find_again()
        if self._now.stage == "none":  # left half made
            shutil.rmtree(self.places.home, ignore_errors=True)

    # --- what pages see ------------------------------------------------------------------

    def moment(self) -> Moment:
        """As it is now."""
        with self._lock:
            now = self._now
            if now.stage == "running" and self._begun:
                now = replace(now, passed=now.passed + time.monotonic() - self._begun)
            return now

    def look(self) -> None:
        """Find out what another app with the same models has done to the training: begun, ended
        or thrown it away."""
        with self._lock:
            if self._process is not None:
                return  # nobody else can have
            stage = self._now.stage
            other = self.places.order.exists() if stage == "none" else not self.places.home.is_dir()
            if stage == "elsewhere" or other or self._locked():
                self._find_again()

    # --- what buttons do -----------------------------------------------------------------

    def check(self, order: Order, files: Sequence[Path]) -> None:
        """Take in what somebody has handed in, and have the command look at it.

        Raises: InvalidInput, StorageError.
        """
        with self._lock:
            self._refuse_second()
            self.shelf.refuse_taken(order.name)
            base_of(order, self.shelf, anywhere=self.anywhere)  # before the files are taken
            gone = missing(order.kind, order.learns, order.language)
            if gone:
                raise InvalidInput(
                    f"Training needs packages that are not installed. In a terminal: "
                    f"{install_line(gone)}"
                )
            shutil.rmtree(self.places.home, ignore_errors=True)
            try:
                with self._held():
                    take_in(files, self.places.data)
                    self._set(Moment("checking", order, Record(self.places.events)))
            except AppError as error:
                shutil.rmtree(self.places.home, ignore_errors=True)
                self._set(Moment(trouble=str(error)))  # stays when the toast has gone
                raise
            self._run(command(order, self.places, self.shelf, dry=True))

    def start(self) -> None:
        """Begin what was checked, or go on with what was stopped. Raises: InvalidInput."""
        with self._lock:
            now = self._seen()
            if now.stage not in ("checked", "stopped") or now.order is None:
                raise InvalidInput("There is nothing to start: hand in texts or pictures first.")
            line = command(now.order, self.places, self.shelf, steps=now.steps)
            self._set(replace(now, stage="running", trouble="", stopping=False, result=False))
            self._run(line)

    def stop(self) -> None:
        """End the process; training keeps its last checkpoint."""
        with self._lock:
            if self._process is None or self._now.stage not in ("checking", "running"):
                return
            checking = self._now.stage == "checking"
            self._set(replace(self._now, stopping=True))
            self._process.kill() if checking else self._process.terminate()

    def keep(self) -> None:
        """Take in what was stopped as it is. Raises: InvalidInput, StorageError."""
        with self._lock:
            now = self._seen()
            if now.stage != "stopped" or now.order is None:
                raise InvalidInput("There is nothing to keep.")
            if now.result:
                self._take_in(now.order)
                return
            if now.order.kind != "painter" or not any(self.places.runs.glob("*.pt")):
                raise InvalidInput("Nothing was learned yet: go on, or throw it away.")
            line = command(now.order, self.places, self.shelf, finish=True)
            self._set(replace(now, stage="running", trouble="", stopping=False))
            self._run(line)

    def discard(self) -> None:
        """Throw away what was checked or stopped, and all that was handed in. Raises: InvalidInput
        while another app works on it."""
        with self._lock:
            if self._seen().stage in ("checked", "stopped"):
                shutil.rmtree(self.places.home, ignore_errors=True)
                self._set(Moment())

    def delete(self, slug: str) -> None:
        """Remove a model of the shelf. Raises: InvalidInput while a training goes on from it;
        NotFound, StorageError."""
        with self._lock:
            self.look()
            order = self._now.order
            if self._now.stage != "none" and order is not None and order.base == slug:
                raise InvalidInput(
                    f"“{order.name}” goes on from this model: keep it or throw it away first."
                )
            self.shelf.delete(slug)

    def close(self) -> None:
        """Stop, and wait until the checkpoint is written."""
        with self._lock:
            self._closing = True
            process, follower = self._process, self._follower
            if process is None:
                return
            print("The training is stopped; it can go on next time.", flush=True)
            process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        if follower is not None:
            follower.join(5)

    # --- the process ---------------------------------------------------------------------

    def _run(self, line: list[str]) -> None:
        """Start it, with a lock that it holds as long as it lives."""
        with self._held() as lock, self.places.log.open("wb") as out:
            # A session of its own: Ctrl-C is for the app, which stops the training itself.
            self._process = subprocess.Popen(
                line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(lock.fileno(),),
                env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        self._begun = time.monotonic()
        self._follower = threading.Thread(
            target=self._follow, args=(self._process,), name="training", daemon=True
        )
        self._follower.start()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            with self._lock:
                if self._now.record is not None:
                    self._now.record.read()
            time.sleep(LOOK_EVERY)
        try:
            with self._lock:
                self._ended(process.returncode)
        except AppError as error:
            with self._lock:
                self._set(replace(self._now, stage="stopped", trouble=str(error), result=True))
        except Exception:
            log.exception("The end of a training was not understood")
            trouble = "That should not have happened: see the app's log."
            with self._lock:
                self._set(replace(self._now, stage="stopped", trouble=trouble))

    def _ended(self, status: int) -> None:
        """What the end of the process means."""
        now, order = self._now, self._now.order
        assert order is not None
        assert now.record is not None
        passed = now.passed
        if now.stage == "running":
            passed += time.monotonic() - self._begun
        self._process, self._begun = None, 0.0
        now.record.read()
        result = self.places.result(order.kind).is_file()
        if now.stage == "checking":
            if status == 0 and now.record.lines:
                steps = fitting_steps(*now.record.plan, order.minutes) if now.record.plan else 0
                self._set(replace(now, stage="checked", steps=steps))
                return
            trouble = "" if now.stopping else self._trouble(status, order)
            shutil.rmtree(self.places.home, ignore_errors=True)
            self._set(Moment(order=order, trouble=trouble))
        elif status == 0 and now.record.done and not now.stopping:
            self._set(replace(now, passed=passed, result=True))
            self._take_in(order)
        else:
            asked = now.stopping or self._closing
            trouble = "" if asked else self._trouble(status, order)
            self._set(replace(now, stage="stopped", passed=passed, result=result,
                              stopping=False, trouble=trouble))  # fmt: skip

    def _take_in(self, order: Order) -> None:
        """Put the model that was written onto the shelf. Raises: InvalidInput, StorageError."""
        now = self._now
        assert now.record is not None
        told = json.loads(self.places.result(order.kind).read_text(encoding="utf-8"))
        if order.kind == "writer":
            figures = {k: told[k] for k in ("validation", "perplexity") if k in told}
        else:
            figures = told["figures"]
        if now.record.pictures is not None and now.record.pictures.is_file():
            shutil.copyfile(now.record.pictures, self.places.out / SAMPLES)
        base = self._name_of(order.base) if order.base else "embedded"
        card = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "base": base,
            "minutes": round(now.passed / 60, 1),
            "data": now.record.lines[0] if now.record.lines else "",
            "figures": figures,
            "before": told.get("before", {}),
            "story": now.record.stories[-1] if now.record.stories else None,
            "order": order.to_json(),
        }
        model = self.shelf.add(order.name, order.kind, self.places.out, card)
        shutil.rmtree(self.places.home, ignore_errors=True)
        what = f"Your {KINDS[order.kind]} “{order.name}” is ready"
        if not gained(card["figures"], card["before"]):
            self._set(Moment(news=f"{what}, but it does no better than before on what was held "
                             "out. It is not in use: begin from it again, for more minutes or "
                             "with more to learn from."))  # fmt: skip
            return
        if order.use:
            self.shelf.use(order.kind, model.slug)
        said = "and the app uses it from now on" if order.use else "press “Use it” to try it"
        self._set(Moment(news=f"{what}, {said}."))

    def _name_of(self, slug: str) -> str:
        try:
            return self.shelf.get(slug).name
        except NotFound:  # removed by hand: what was learned from it is there all the same
            return slug

    def _trouble(self, status: int, order: Order) -> str:
        """Why a process has failed, in words."""
        if -status == signal.SIGBUS:
            return (
                "The training was killed, most likely because the disk is full: free some space "
                f"where {self.places.home.parent} is. The last checkpoint is kept."
            )
        if -status in (signal.SIGKILL, signal.SIGABRT):
            return (
                "The training was killed, most likely because memory ran out: close what else "
                "takes memory, or lower “At a time” under Advanced. The last checkpoint is kept."
            )
        try:
            said = self.places.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            said = ""
        gone = re.search(r"No module named '([\w.]+)'", said)
        if gone:
            return f"Training needs a package: {install_line([gone[1].split('.')[0]])}"
        if "Traceback (most recent call last)" in said:
            log.error("Training failed:\n%s", said[-4000:])
            last = said.strip().splitlines()[-1][:300]
            return f"The training failed unexpectedly ({last}). The app's log tells more."
        lines = said.splitlines()
        begin = max((n + 1 for n, line in enumerate(lines) if LOGGED.match(line)), default=0)
        text = "\n".join(lines[begin:]).strip() or f"The training ended with status {status}."
        return in_words(text.replace(f"{self.places.data}{os.sep}", ""), self.places.data)

    # --- the folder ----------------------------------------------------------------------

    @contextmanager
    def _held(self) -> Iterator[IO[str]]:
        """The folder is this app's, and of a process that is given the lock as long as it lives.

        Raises: InvalidInput while it is another app's.
        """
        self.places.home.mkdir(parents=True, exist_ok=True)
        with self.places.lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InvalidInput(ONE_AT_A_TIME) from error
            yield lock

    def _set(self, now: Moment) -> None:
        self._now = now
        if now.order is not None and now.stage != "none":
            values = {"order": now.order.to_json(), "stage": now.stage, "steps": now.steps,
                      "passed": now.passed, "trouble": now.trouble}  # fmt: skip
            fresh = self.places.order.with_suffix(".new")
            with suppress(OSError):  # a full disk: the training itself says so
                self.places.home.mkdir(parents=True, exist_ok=True)
                fresh.write_text(json.dumps(values), encoding="utf-8")
                os.replace(fresh, self.places.order)

    def _find_again(self) -> None:
        """The training that an earlier app has left, if any."""
        if not self.places.home.is_dir():
            self._now = Moment()
            return
        try:
            values = json.loads(self.places.order.read_text(encoding="utf-8"))
            order = Order.from_json(values["order"])
            stage, steps = str(values["stage"]), int(values["steps"])
            passed, trouble = float(values["passed"]), str(values["trouble"])
        except (OSError, ValueError, KeyError, TypeError, AppError):
            stage, order, steps, passed, trouble = "", None, 0, 0.0, ""
        if self._locked():
            self._now = Moment("elsewhere", order)
            return
        if order is None or stage not in ("checked", "running", "stopped"):
            self._now = Moment()
            return
        record = Record(self.places.events)
        record.read()
        result = self.places.result(order.kind).is_file()
        stage = "checked" if stage == "checked" else "stopped"
        self._now = Moment(stage, order, record, steps, passed, result=result, trouble=trouble)

    def _locked(self) -> bool:
        """Whether a process holds the lock."""
        try:
            with self.places.lock.open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _seen(self) -> Moment:
        """As it is now. Raises: InvalidInput while another app works on it."""
        self.look()
        if self._now.stage == "elsewhere":
            raise InvalidInput(ONE_AT_A_TIME)
        return self._now

    def _refuse_second(self) -> None:
        if self._seen().stage == "none":
            return
        if self._now.stage in ("checked", "stopped"):
            raise InvalidInput(
                "Another training waits here: start it, keep it or throw it away first."
            )
        raise InvalidInput(ONE_AT_A_TIME)


def gained(after: Mapping[str, float | None], before: Mapping[str, float | None]) -> bool:
    """Whether a model does better than its base, where that is known; None is no number."""
    for name, better in (("perplexity", -1), ("PSNR", 1)):
        if name in after and name in before:
            now, was = after[name], before[name]
            return now is not None and (was is None or better * now > better * was)
    return True


LOGGED = re.compile(r"\d\d:\d\d:\d\d ")
"""How lines of a command's log begin; what follows the last one is its message."""

SAID = {
    "--language any takes all": f"choose “{LANGUAGES['any']}” under Advanced",
    "lower --batch": "lower “At a time” under Advanced",
    ", add --gradient-checkpointing,": "",
    "--batch": "“At a time”",
}
"""Options of the commands, and where they stand on the page."""


def in_words(text: str, folder: Path) -> str:
    """A message of a command as somebody reads it who has typed none."""
    for option, said in SAID.items():
        text = text.replace(option, said)
    text = re.sub(rf"\bin {re.escape(str(folder))}", "in what you handed in", text)
    return text.replace(str(folder), "what you handed in")
