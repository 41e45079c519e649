"""Teaches a causal language model the texts of a `Lesson`: transformers' Trainer as a generator.

`finetune/gpt2_command.py` is its command line.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, TrainerControl, TrainerState

from finetune.checkpoints import (
    Needs,
    SafeTrainer,
    check_needs,
    last_checkpoint,
    needs,
    same_run,
    step_of,
)
from finetune.distributed import agree_on_start
from finetune.own import in_words
from finetune.texts import Lesson, report_values
from finetune.training import (
    LIMITS,
    MOST,
    TrainStep,
    are_numbers,
    check_numbers,
)
from finetune.writers import Writer, collate, train_top, with_lora
from pipelines.device import fast_bf16
from pipelines.errors import InvalidInput

log = logging.getLogger(__name__)

PROMPTS = ("a fox who wants to fly", "a girl and her grandmother by the sea")
"""Requests for the sample stories on the way."""
SMALL = 50_000_000
"""Parameters up to which a model may learn fast."""


@dataclass(frozen=True)
class Tuning:
    """How a writer is taught."""

    steps: int = 0
    """0: as `epochs` say."""
    epochs: float = 3.0
    minutes: float | None = None
    """End after so many, keeping the best so far."""
    batch: int = 8
    """Sequences a step and device."""
    accumulate: int = 1
    """Batches whose gradients are added before a step."""
    rate: float = 0.0
    """Peak learning rate; 0: 3e-4 for small models, 5e-5 for large ones, tenfold for LoRA."""
    train_top: int = 0
    """Only so many top blocks learn; 0 = all of the model."""
    lora: int = 0
    """Rank of low-rank adapters; 0 = none."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third slower."""
    evaluations: int = 8
    """How often the run looks at held-out text, and keeps a checkpoint."""
    patience: int = 3
    """Looks without an improvement after which it ends."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(vars(self), LIMITS | {"steps": (0, MOST)})
        if self.train_top and self.lora:
            raise InvalidInput("--train-top and --lora are two ways: choose one.")

    def steps_for(self, sequences: int, processes: int) -> int:
        """Optimiser steps of the whole run."""
        each = self.batch * self.accumulate * processes
        return self.steps or max(math.ceil(self.epochs * math.ceil(sequences / each)), 1)


@dataclass(frozen=True)
class SampleStory:
    """What the writer makes of a request at this step."""

    step: int
    words: str
    text: str


@dataclass(frozen=True)
class Taught:
    """The end of a run: where the writer lies, and what it has learned."""

    folder: Path
    metrics: dict[str, float]


Event = TrainStep | SampleStory | Taught


def processes() -> int:
    """Of this run; torchrun says it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def prepare(writer: Writer, tuning: Tuning) -> Any:
    """The model with what does not learn frozen, adapters added."""
    model = writer.model
    model.config.use_cache = False
    if tuning.train_top:
        train_top(model, tuning.train_top)
    if tuning.lora:
        model = with_lora(model, tuning.lora)
    if tuning.checkpointing and tuning.lora:
        model.enable_input_require_grads()
    return model


def needs_of(found: Lesson, model: Any, tuning: Tuning, device: torch.device) -> Needs:
    """Memory and disk that the run takes on each device."""
    longest = max(len(ids) for ids, _ in found.train.items)
    return needs(
        model, found.writer.model.config, tuning.batch, longest,
        checkpointing=tuning.checkpointing, half=fast_bf16(device),
    )  # fmt: skip


def _arguments(tuning: Tuning, model: Any, steps: int, runs: Path, device: torch.device) -> (
    TrainingArguments
):  # fmt: skip
    size = sum(p.numel() for p in model.parameters())
    rate = tuning.rate or (3e-4 if size < SMALL else 5e-5) * (10 if tuning.lora else 1)
    every = max(steps // tuning.evaluations, 1)
    distributed = processes() > 1
    return TrainingArguments(
        output_dir=str(runs),
        max_steps=steps,
        per_device_train_batch_size=tuning.batch,
        per_device_eval_batch_size=tuning.batch,
        gradient_accumulation_steps=tuning.accumulate,
        activation_checkpointing=tuning.checkpointing,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(max(steps // 20, 1), 200),
        weight_decay=0.01,
        bf16=fast_bf16(device),
        use_cpu=device.type == "cpu",
        ddp_backend="gloo" if distributed and device.type == "cpu" else None,
        ddp_find_unused_parameters=False if distributed else None,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(min(every // 4, 20), 1),
        remove_unused_columns=False,
        label_names=["labels"],
        seed=tuning.seed,
        data_seed=tuning.seed,
        report_to=[],
        disable_tqdm=True,
    )


def _kept(state: TrainerState, callback: Any, attribute: str) -> Any:
    """What a callback knew when the checkpoint was written; what it knows where there is none.

    The Trainer writes these states, but only reads them for callbacks that it makes anew.
    """
    saved: Any = state.stateful_callbacks
    own = saved.setdefault(type(callback).__name__, callback.state())
    return own["attributes"][attribute]


class _Patience(EarlyStoppingCallback):
    """Goes on counting where the run was resumed."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        super().on_train_begin(args, state, control, **more)
        self.early_stopping_patience_counter = _kept(state, self, "early_stopping_patience_counter")


class _Watcher(TrainerCallback, ExportableState):
    """Puts what happens into a queue, tells samples, and stops when asked or out of time: as a
    `Clock` does, a resumed run has the minutes that are left."""

    def __init__(
        self, events: queue.Queue[Any], stop: threading.Event, found: Lesson, tuning: Tuning
    ) -> None:
        self._events, self._stop, self._found, self._tuning = events, stop, found, tuning
        self._begun, self._first, self._done = time.monotonic(), 0, 0.0

    def progress(self) -> float:
        """Share of the minutes that is over; 0 without any."""
        minutes = self._tuning.minutes
        passed = (time.monotonic() - self._begun) / (60 * minutes) if minutes else 0.0
        return self._done + passed

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"progress": self.progress()}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        self._done = _kept(state, self, "progress")
        self._begun, self._first = time.monotonic(), state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        late = self._tuning.minutes is not None and self.progress() > 1
        if _agreed(late or self._stop.is_set()):
            # A look at held-out text goes before every checkpoint, so that the best one is known.
            control.should_training_stop = control.should_save = control.should_evaluate = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        named = {"loss": "loss", "eval_loss": "validation"}
        metrics = {named[k]: float(v) for k, v in (logs or {}).items() if k in named}
        if not metrics or not state.is_world_process_zero:
            return
        nats = metrics.get("validation", metrics.get("loss", 0.0))
        metrics["perplexity"] = math.exp(min(nats, 50))
        done = state.global_step - self._first
        passed = time.monotonic() - self._begun
        eta = passed / done * (state.max_steps - state.global_step) if done > 0 else None
        if eta is not None and self._tuning.minutes is not None:
            eta = min(eta, max(60 * self._tuning.minutes * (1 - self.progress()), 0.0))
        self._events.put(TrainStep(state.global_step, state.max_steps, metrics, eta))

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        model: Any = None, **more: Any,
    ) -> None:  # fmt: skip
        if not state.is_world_process_zero or self._stop.is_set():
            return
        plain = model.get_base_model() if self._tuning.lora else model
        if not are_numbers(plain):  # nothing can be drawn from them
            return
        words = PROMPTS[state.global_step % len(PROMPTS)]
        title, told = self._found.writer.tell(plain, words, seed=self._tuning.seed, sentences=4)
        self._events.put(SampleStory(state.global_step, words, f"{title}: {' '.join(told)}"))


def _agreed(stop: bool) -> bool:
    """Whether any process wants to stop: all of them must at the same step."""
    if processes() == 1:
        return stop
    import torch.distributed as dist

    wanted: list[Any] = [None] * processes()
    dist.all_gather_object(wanted, stop)
    return any(wanted)


def teach(
    found: Lesson,
    tuning: Tuning,
    out: Path,
    runs: Path,
    device: torch.device,
    facts: dict[str, Any] | None = None,
) -> Iterator[Event]:
    """Train, resuming from `runs`, and write the best writer to `out`; the last event is Taught.

    close() ends the run after the step it is at, with a checkpoint, and writes the best so far.
    Under torchrun only the first process reports and writes.
    Raises InvalidInput, OutOfMemory or StorageError, before the first step where it can be known.
    """
    events: queue.Queue[Any] = queue.Queue()
    stop = threading.Event()
    model = prepare(found.writer, tuning)
    main = int(os.environ.get("RANK", "0")) == 0
    steps = tuning.steps_for(len(found.train), processes())
    check_needs(needs_of(found, model, tuning, device), device, runs)
    shape = dataclasses.asdict(tuning) | {"minutes": None}
    if main:
        same_run(runs, {"base": found.writer.name, "texts": found.fingerprint,
                        "steps of it": steps, "processes": processes(), **shape})  # fmt: skip

    def work() -> None:
        try:
            options = _arguments(tuning, model, steps, runs, device)  # here the processes meet
            last = last_checkpoint(runs)
            agree_on_start(step_of(last) if last else 0, runs)
            options.eval_on_start = last is None
            trainer = SafeTrainer(
                model=model,
                args=options,
                data_collator=functools.partial(collate, pad_id=found.writer.pad_id),
                train_dataset=found.train,
                eval_dataset=found.validation,
                callbacks=[
                    _Watcher(events, stop, found, tuning),
                    _Patience(tuning.patience),
                ],
            )
            trainer.remove_callback(PrinterCallback)
            if last and main:
                log.info("goes on from %s", last)
            trainer.train(resume_from_checkpoint=str(last) if last else None)
            events.put(_written(found, model, tuning, out, trainer.state, facts) if main else None)
        except BaseException as e:  # raised again where the events are read
            events.put(e)

    worker = threading.Thread(target=work, name="teach", daemon=True)
    worker.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise said(event)
            yield event
            if isinstance(event, Taught):
                return
    finally:
        stop.set()
        worker.join()
        left = [events.get_nowait() for _ in range(events.qsize())]
        for error in (e for e in left if isinstance(e, BaseException)):
            raise said(error)  # nobody else will tell that the end went wrong


def _written(
    found: Lesson,
    model: Any,
    tuning: Tuning,
    out: Path,
    state: TrainerState,
    facts: dict[str, Any] | None,
) -> Taught:
    """Write the best writer so far, which the Trainer has loaded."""
    best = float(state.best_metric) if state.best_metric is not None else math.nan
    metrics = {"validation": best, "perplexity": math.exp(best)}
    first = next((e["eval_loss"] for e in state.log_history if e.get("step") == 0
                  and "eval_loss" in e), None)  # fmt: skip
    before = {} if first is None else {"validation": first, "perplexity": math.exp(first)}
    taught = model.merge_and_unload() if tuning.lora else model
    taught.config.use_cache = True
    told = {
        "base": found.writer.name, "step": state.global_step, **metrics, "before": before,
        "sequences": found.shares, "tuning": dataclasses.asdict(tuning),
        "texts": report_values(found), **(facts or {}),
    }  # fmt: skip
    found.writer.save(taught, out, told)
    return Taught(out, metrics)


def said(error: BaseException) -> BaseException:
    """An error that says what to do where one runs out of memory or disk; else the same."""
    return in_words(
        error,
        "lower --batch (and raise --accumulate as much), shorten --block, or add "
        "--gradient-checkpointing",
    )
