"""Teach a story writer texts of your own: `python -m finetune.gpt2 --base embedded --data FOLDER`.

The base is the embedded writer, a folder or any causal language model of the hub (`gpt2`). The
texts are files, folders or data sets of the hub; `--recipe` reads children's stories, film plots
or descriptions of paintings out of the data sets they are known for. What is written to `--out` is
a writer that the app and `StoryPipeline.from_pretrained` take by its folder. A run that was stopped
or killed goes on when the same command is run again; under torchrun the same command uses every
device.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from finetune.checkpoints import free_disk, free_memory
from finetune.data.documents import Columns
from finetune.data.recipes import RECIPES, sources
from finetune.language_model import (
    Event,
    SampleStory,
    Tuning,
    needs_of,
    prepare,
    processes,
    said,
    teach,
)
from finetune.own import check_room, own_place
from finetune.texts import Lesson, LessonPlan, lesson
from finetune.training import (
    EVENTS_HELP,
    TrainStep,
    autocast,
    check_writable,
    follow,
    note,
    note_step,
)
from finetune.writers import BLOCK, Writer, collate
from pipelines.device import fast_bf16, pick_device
from pipelines.errors import AppError

log = logging.getLogger(__name__)


def plan_lines(found: Lesson, model: Any, tuning: Tuning, device: torch.device, runs: Path) -> (
    list[str]
):  # fmt: skip
    """What `--dry-run` says: texts, sequences, steps, memory, disk."""
    steps = tuning.steps_for(len(found.train), processes())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters())
    kinds = ", ".join(f"{kind} {n}" for kind, n in found.shares.items())
    each = tuning.batch * tuning.accumulate * processes()
    return [
        *(line for r in found.reports for line in r.lines()),
        f"sequences: {len(found.train):,} of at most {found.block} tokens, {found.tokens:,} tokens "
        f"in all ({kinds}); {len(found.validation)} held out",
        f"steps: {steps:,} of {each} sequences, {steps * each / len(found.train):.1f} epochs",
        f"model: {trained:,} of {whole:,} values learn, on {device}"
        + (" in bfloat16" if fast_bf16(device) else ""),
        *needs_of(found, model, tuning, device).lines(free_memory(device), free_disk(runs)),
    ]


def seconds_a_step(found: Lesson, model: Any, tuning: Tuning, device: torch.device) -> float:
    """Tried on a few batches, of which the first only warms up."""
    model.to(device).train()
    taken = list[float]()
    for n in range(3):
        begun = time.monotonic()
        items = found.train.items
        group = [items[(n * tuning.batch + k) % len(items)] for k in range(tuning.batch)]
        with autocast(device):
            loss = model(**{k: t.to(device) for k, t in
                            collate(group, found.writer.pad_id).items()}).loss  # fmt: skip
        loss.backward()
        model.zero_grad()
        taken.append(time.monotonic() - begun)
    return min(taken[1:]) * tuning.accumulate


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    defaults = Tuning()
    p = argparse.ArgumentParser(
        prog="python -m finetune.gpt2", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("--base", required=True, help="embedded, a folder, or a hub name such as gpt2")
    p.add_argument("--data", nargs="+", required=True, metavar="TEXTS",
                   help="files (txt, md, csv, tsv, jsonl, json, parquet, epub), folders, or data "
                   "sets of the hub as OWNER/NAME, OWNER/NAME:SPLIT or "
                   "OWNER/NAME/CONFIGURATION:SPLIT")  # fmt: skip
    p.add_argument("--recipe", nargs="+", default=[], choices=RECIPES, help="kinds of text in them")
    p.add_argument("--mix", nargs="+", type=float, default=[], metavar="WEIGHT",
                   help="weights of the recipes, or of the data, in their order")  # fmt: skip
    p.add_argument("--out", type=Path, required=True, help="folder for the finished writer")
    p.add_argument("--runs", type=Path, help="checkpoints; runs/NAME OF OUT unless named")
    p.add_argument("--text", default="", help="column of the text (else text, story, plot, ...)")
    p.add_argument("--title", default="", help="column of the title")
    p.add_argument("--language", default="en", help="ISO 639-1, or any")
    p.add_argument("--steps", type=int, default=defaults.steps, help="0: as the epochs say")
    p.add_argument("--epochs", type=float, default=defaults.epochs)
    p.add_argument("--minutes", type=float, help="end after so many")
    p.add_argument("--batch", type=int, default=defaults.batch, help="sequences a device")
    p.add_argument("--accumulate", type=int, default=defaults.accumulate, help="batches a step")
    p.add_argument("--block", type=int, default=BLOCK, help="tokens of a sequence at most")
    p.add_argument("--rate", type=float, default=defaults.rate, help="peak learning rate, 0 = auto")
    p.add_argument("--train-top", type=int, default=0, help="only so many top blocks learn")
    p.add_argument("--lora", type=int, default=0, help="rank of LoRA adapters, merged at the end")
    p.add_argument("--gradient-checkpointing", action="store_true", help="less memory, slower")
    p.add_argument("--keep", type=float, default=LessonPlan().keep,
                   help="share of the embedded writer's own stories")  # fmt: skip
    p.add_argument("--evaluations", type=int, default=defaults.evaluations, help="looks on the way")
    p.add_argument("--patience", type=int, default=defaults.patience, help="looks without gain")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    p.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all cores")
    p.add_argument("--dry-run", action="store_true", help="say what it takes, and do nothing")
    p.add_argument("--events", type=Path, metavar="FILE", help=EVENTS_HELP)
    return p.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    transformers_logging.set_verbosity_error()  # what matters is said here
    transformers_logging.disable_progress_bar()
    try:
        run(args)
    except Exception as e:
        told = said(e)
        if not isinstance(told, AppError):
            raise
        raise SystemExit(str(told)) from e


def run(args: argparse.Namespace) -> None:
    """The command, its arguments read. Raises AppError."""
    if args.threads:
        torch.set_num_threads(args.threads)
    follow(args.events)
    device = pick_device(args.device)
    runs = args.runs or Path("runs") / args.out.resolve().name
    tuning = Tuning(
        steps=args.steps, epochs=args.epochs, minutes=args.minutes, batch=args.batch,
        accumulate=args.accumulate, rate=args.rate, train_top=args.train_top, lora=args.lora,
        checkpointing=args.gradient_checkpointing, evaluations=args.evaluations,
        patience=args.patience, seed=args.seed,
    )  # fmt: skip
    out = own_place(args.out, args.base, *args.data, runs.absolute())
    check_writable(out)
    columns = Columns(args.text, args.title)
    wanted = tuning.steps * tuning.batch * tuning.accumulate * processes()
    plan = LessonPlan(
        tuple(args.mix), args.keep, args.block, "" if args.language == "any" else args.language,
        wanted, args.seed,
    )  # fmt: skip
    chosen = sources(args.data, args.recipe, columns)
    found = lesson(Writer.load(args.base), chosen, plan)
    check_room(out, sum(p.numel() * p.element_size() for p in found.writer.model.parameters()))
    main_process = int(os.environ.get("RANK", "0")) == 0
    if args.dry_run:
        model = prepare(found.writer, tuning)
        lines = plan_lines(found, model, tuning, device, runs)
        if args.minutes is not None:
            seconds = seconds_a_step(found, model, tuning, device)
            steps = tuning.steps_for(len(found.train), processes())
            note("plan", steps=steps, seconds=seconds)
            lines.append(
                f"time: about {seconds:.1f} s a step, so that {60 * args.minutes / seconds:,.0f} "
                f"steps fit into {args.minutes:g} min"
            )
        note("data", lines=lines)
        print("\n".join(lines))
        return
    if main_process:
        for line in (line for r in found.reports for line in r.lines()):
            log.info(line)
    events = teach(found, tuning, out, runs, device, {"data": args.data})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for e in events:
            _tell(e)
    except KeyboardInterrupt:
        events.close()  # type: ignore[attr-defined]
        log.info("stopped; the best so far is in %s, and the same command goes on", out)


def _tell(event: Event) -> None:
    if isinstance(event, TrainStep):
        eta = "" if event.eta is None else f"  {event.eta / 60:.1f} min left"
        metrics = "  ".join(f"{k} {v:.3f}" for k, v in event.metrics.items())
        log.info("step %d/%d  %s%s", event.step, event.of, metrics, eta)
        note_step(event)
    elif isinstance(event, SampleStory):
        log.info("“%s” at step %d: %s", event.words, event.step, event.text)
        note("story", step=event.step, words=event.words, text=event.text)
    else:
        log.info("wrote %s, perplexity %.1f", event.folder, event.metrics["perplexity"])
        note("done", folder=event.folder, figures=event.metrics)
