"""What every training command shares: steps as events, a schedule, checkpoints that resume."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import pickle
import queue
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import nn

from finetune import distributed
from finetune.muon import Muon
from pipelines.device import is_out_of_memory
from pipelines.durable import fsync
from pipelines.errors import InvalidInput, StorageError
from pipelines.presets import MAX_SEED, check_range

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainStep:
    """One reported step of a training run; `metrics` are named by the field's own words."""

    step: int
    of: int
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    eta: float | None = None
    """Seconds left."""


_followed: Path | None = None


def follow(path: Path | None) -> None:
    """From now on `note` appends to the file at `path`; None: to none."""
    global _followed
    _followed = None if path is None or distributed.rank() > 0 else path


def note(event: str, **values: Any) -> None:
    """Tell a program that follows this run what happens, in a line of JSON of the file that
    `--events` names; nobody, unless it names one.

    The events: "data" (lines), "plan" (steps, seconds a step), "step" (step, of, metrics, eta),
    "story" (step, words, text), "pictures" (step, phase, path of a grid), "done" (folder, figures).
    """
    if _followed is not None:
        line = as_json({"event": event, **values})
        with _followed.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def as_json(values: Mapping[str, Any], indent: int | None = None) -> str:
    """Figures as JSON that any program reads: it has no word for what is no number, so null is
    written for that."""
    return json.dumps(
        _finite(values), default=str, ensure_ascii=False, indent=indent, allow_nan=False
    )


def _finite(value: Any) -> Any:
    """The same with None for what is no number, or infinite."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def note_step(step: TrainStep, **more: Any) -> None:
    """`note` of a step."""
    note("step", step=step.step, of=step.of, metrics=step.metrics, eta=step.eta, **more)


EVENTS_HELP = "append what happens to this file, in lines of JSON, for a program that follows"


def rate(progress: float, peak: float, warmup: float = 0.02) -> float:
    """The learning rate at `progress` in [0, 1]: a linear warm-up for its first part, then a cosine
    down to 2% of the peak."""
    if progress < warmup:
        return peak * max(progress / warmup, 0.01)
    t = (progress - warmup) / max(1 - warmup, 1e-9)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(t, 1.0))))


def optimizers_of(
    blocks: nn.Module,
    model: nn.Module,
    peak: float,
    *,
    tables: Sequence[torch.Tensor] = (),
    weight_decay: float = 0.05,
) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices of `blocks`, AdamW for all else of `model`, which holds `blocks`.

    Muon (Jordan et al. 2024) took half of AdamW's steps to the same loss here (finetune/LOG.md).
    `blocks` may hold convolutions, too: their kernels are matrices, but for depthwise ones.
    `tables` are seldom visited row by row, so they move TABLE_SPEED times faster.
    """
    from pipelines.device import fast_bf16

    matrices = [p for p in blocks.parameters() if p.ndim >= 2 and p.shape[1] > 1]
    apart = {id(p) for p in (*matrices, *tables)}
    rest = [p for p in model.parameters() if id(p) not in apart]
    groups = [{"params": rest, "speed": 1.0, "weight_decay": 0.0}]
    groups += [{"params": [*tables], "speed": TABLE_SPEED, "weight_decay": 0.0}] if tables else []
    low = torch.bfloat16 if fast_bf16(matrices[0].device) else torch.float32
    return {
        "muon": Muon(matrices, lr=peak, weight_decay=weight_decay, dtype=low),
        "adamw": torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95)),
    }


TABLE_SPEED = 6.0


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """The rate of every group, faster where the group says so."""
    for group in (g for o in optimizers for g in o.param_groups):
        group["lr"] = rate * group.get("speed", 1.0)


_asked = threading.Event()


def ask_to_stop(number: int, frame: FrameType | None) -> None:
    """A handler of signals: the run ends after the step it is at, with a checkpoint.

    Asked twice, or one of several processes, which must all take the same steps, it ends at once.
    """
    if _asked.is_set() or distributed.processes() > 1:
        raise KeyboardInterrupt
    _asked.set()


class Clock:
    """How far a run is: by its steps, or by the minutes that it may take, whichever is further.

    A run on a borrowed machine must end in time; its schedule then follows the minutes. A resumed
    run goes on from the `progress` that its checkpoint holds. Of several processes the first one's
    watch counts.
    """

    def __init__(
        self, start: int, of: int, minutes: float | None = None, progress: float = 0.0
    ) -> None:
        self._start, self._of, self._begin = start, of, time.monotonic()
        self._seconds = None if minutes is None else 60 * minutes
        self._done = progress
        self._told = (-1, False)

    def progress(self, step: int) -> float:
        """In [0, 1], before `step` (counted from 0) is taken."""
        share = step / max(self._of, 1)
        if self._seconds is not None:
            passed = self._done + (time.monotonic() - self._begin) / self._seconds
            share = max(share, distributed.agreed(passed))
        return min(share, 1.0)

    def over(self, step: int) -> bool:
        """Whether no step is left, or no time, or the run was asked to stop.

        The answer for one step stays the same: what asks after a step, to write its checkpoint, and
        before the next one must be of one mind.
        """
        if step != self._told[0]:
            self._told = step, self.progress(step) >= 1.0 or _asked.is_set()
        return self._told[1]

    def eta(self, step: int) -> float | None:
        """Seconds left once `step` steps are done."""
        done = step - self._start
        if done <= 0:
            return None
        passed = time.monotonic() - self._begin
        left = passed / done * (self._of - step)
        if self._seconds is not None:
            left = min(left, (1 - self._done) * self._seconds - passed)
        return max(left, 0.0)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device has it; on older processors it would be ten times slower."""
    from pipelines.device import fast_bf16

    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device))


Item = TypeVar("Item")


def prefetch(items: Iterator[Item], ahead: int = 3) -> Iterator[Item]:
    """The same items, prepared by a background thread while the device works on the last ones."""
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(ahead)
    stopped = threading.Event()

    def offer(item: Item | None, error: BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put((item, error), timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer(item, None):
                    return
            offer(None, StopIteration())
        except BaseException as e:
            offer(None, e)

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()


def save_checkpoint(
    path: Path, step: int, parts: dict[str, nn.Module | torch.optim.Optimizer], **extra: Any
) -> None:
    """Write everything needed to resume; whatever happens, the file at `path` is whole.

    Of several processes the first one writes. Raises StorageError when the disk is full,
    InvalidInput when the weights are no numbers any more.
    """
    if distributed.rank() > 0:
        return
    kept = "The last one is kept" if path.exists() else "There is none yet"
    if not all(are_numbers(part) for part in parts.values() if isinstance(part, nn.Module)):
        raise out_of_bounds(step, kept)
    state: dict[str, Any] = {"step": step, "extra": extra}
    for name, part in parts.items():
        state[name] = part.state_dict()
        if isinstance(part, nn.Module):
            state[name + ".buffers"] = dict(part.named_buffers())
    fresh = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, fresh)
        fsync(fresh)
        os.replace(fresh, path)
        fsync(path.parent)
    except (OSError, RuntimeError) as e:  # torch's own writer raises RuntimeError on a full disk
        fresh.unlink(missing_ok=True)
        raise StorageError(
            f"The checkpoint of step {step} could not be written to {path} ({e}). {kept}: free "
            "some disk space and run the same command again, it goes on from there."
        ) from e


def are_numbers(model: nn.Module) -> bool:
    """Whether all weights are. If not, nothing is learned any more, and a checkpoint would take the
    place of a good one."""
    return all(bool(p.isfinite().all()) for p in model.parameters())


def out_of_bounds(step: int, kept: str) -> InvalidInput:
    """The error for a model whose weights no checkpoint is worth; `kept` tells of the last one."""
    return InvalidInput(
        f"At step {step} the training has run out of bounds: the weights are no numbers any more, "
        f"and no checkpoint was written of them. {kept}: train with a lower learning rate."
    )


def load_checkpoint(
    path: Path,
    parts: dict[str, nn.Module | torch.optim.Optimizer],
    facts: dict[str, Any] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Restore `parts` in place; -> (step, extra), (0, {}) when there is no checkpoint.

    Raises InvalidInput when the checkpoint was saved with other `facts` (as extra "facts"), holds
    another model, is of no use any more, or is not the one that other processes find.
    """
    step, extra = _restored(path, parts, facts) if path.exists() else (0, {})
    distributed.agree_on_start(step, path.parent)
    return step, extra


def _restored(
    path: Path, parts: dict[str, nn.Module | torch.optim.Optimizer], facts: dict[str, Any] | None
) -> tuple[int, dict[str, Any]]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, pickle.UnpicklingError) as e:
        raise InvalidInput(
            f"The checkpoint {path} is damaged: delete it to begin anew, or name another folder "
            "with --runs."
        ) from e
    saved = state["extra"].get("facts")
    if facts is not None and saved != facts:
        differs = ", ".join(k for k, v in facts.items() if (saved or {}).get(k) != v)
        raise InvalidInput(
            f"{path} belongs to another run (different: {differs}). Name another folder with "
            "--runs, delete that file, or repeat the settings it was started with."
        )
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
            if isinstance(part, nn.Module):
                own = dict(part.named_buffers())
                for key, value in state[name + ".buffers"].items():
                    own[key].copy_(value)
    except (KeyError, RuntimeError, ValueError) as e:  # how torch says that shapes or names differ
        if is_out_of_memory(e):
            raise
        raise InvalidInput(
            f"{path} holds a model of another shape. Name another folder with --runs, delete that "
            "file, or repeat the settings it was started with."
        ) from e
    log.info("resumed %s at step %d", path, state["step"])
    return int(state["step"]), state["extra"]


class Ema:
    """Moving average of a model's parameters: what is evaluated and shipped."""

    def __init__(self, model: nn.Module, averaged: nn.Module, decay: float = 0.998) -> None:
        self.model, self.averaged, self.decay = model, averaged, decay
        averaged.load_state_dict(model.state_dict())
        averaged.requires_grad_(False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Early on the average follows quickly, so that it is never of random weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine = [p.data for p in self.averaged.parameters()]
        theirs = [p.data for p in self.model.parameters()]
        # A few kernels instead of one for every parameter.
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # type: ignore[attr-defined]
        for mine, theirs in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            mine.copy_(theirs)


def parser(description: str, *, steps: int, out: str) -> argparse.ArgumentParser:
    """The options that every training command has."""
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--out", type=Path, default=Path(out), help="where the trained model goes")
    p.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints; resumes from here")
    p.add_argument("--steps", type=int, default=steps)
    p.add_argument("--minutes", type=float, help="end after so many minutes, if steps are left")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    p.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all cores")
    p.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    p.add_argument("--events", type=Path, metavar="FILE", help=EVENTS_HELP)
    return p


def checkpointing_option(p: argparse.ArgumentParser) -> None:
    """Of the commands whose networks have blocks (`pipelines/vqgan_clip/checkpointing.py`)."""
    p.add_argument(
        "--gradient-checkpointing",
        action="store_true",
        help="activations are computed twice instead of kept: less memory, a third slower",
    )


MOST = 10**9
LIMITS: dict[str, tuple[float, float]] = {
    "accumulate": (1, MOST), "adversary_from": (0, 1), "batch": (1, MOST), "critic_from": (0, 1),
    "enlarge_steps": (1, MOST), "epochs": (0.001, MOST), "evaluations": (1, MOST),
    "large_scenes": (1, MOST), "lora": (0, MOST),
    "minutes": (0.001, MOST), "more": (0, MOST), "patience": (1, MOST), "peak": (0, 1),
    "rate": (0, 1), "report_every": (1, MOST), "save_every": (1, MOST), "scenes": (1, MOST),
    "seed": (0, MAX_SEED), "sharpen_peak": (0, 1), "sharpen_steps": (1, MOST), "side": (0, MOST),
    "steps": (1, MOST), "threads": (0, MOST), "top": (0, MOST), "train_top": (0, MOST),
    "workers": (0, MOST),
}  # fmt: skip
"""Of the numbers that any command takes, by the names of their options."""


def check_numbers(
    values: Mapping[str, Any], limits: Mapping[str, tuple[float, float]] = LIMITS
) -> None:
    """Raises InvalidInput for an option that is out of its limits; None is one that is not set."""
    for name, (least, most) in limits.items():
        value = values.get(name)
        if value is not None:
            check_range(f"--{name.replace('_', '-')}", value, least, most)


def check_writable(out: Path) -> None:
    """Before hours of work: raises InvalidInput or StorageError where `out`, or the folder that it
    will be made in, takes no files."""
    there = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not there.is_dir():
        raise InvalidInput(f"{there} is a file: name a folder for your models with --out.")
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"is there room?")
    except OSError as e:
        raise StorageError(
            f"Nothing can be written to {there} ({e.strerror}): put that right, or name another "
            "folder with --out."
        ) from e


def begin(args: argparse.Namespace) -> torch.device:
    """Logging, threads, device and, under torchrun, the other processes of a training command.

    Raises InvalidInput for numbers that nothing can be trained with, and as `check_writable` does.
    """
    from pipelines.device import pick_device

    check_numbers(vars(args))
    check_writable(args.out)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = distributed.join(pick_device(args.device))
    follow(args.events)
    return device


Model = TypeVar("Model", bound=nn.Module)


def report(events: Iterator[TrainStep | Model], phase: str = "") -> Model:
    """Drain a training run, a line per step -> the model that is its last event.

    `phase` tells the steps of this run from those of others for the same model.
    Raises KeyboardInterrupt when the run was asked to stop, once its checkpoint is written.
    """
    model: Model | None = None
    for e in events:
        if isinstance(e, TrainStep):
            if distributed.rank() > 0:
                continue
            eta = "" if e.eta is None else f"  {e.eta / 60:.1f} min left"
            metrics = "  ".join(f"{k} {v:.4f}" for k, v in e.metrics.items())
            log.info("step %d/%d  %s%s", e.step, e.of, metrics, eta)
            note_step(e, phase=phase)
        else:
            model = e
            if _asked.is_set():
                raise KeyboardInterrupt
    assert model is not None
    return model
