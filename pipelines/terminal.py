"""What the commands that make books have in common: options that name models, bars of progress."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipelines.errors import InvalidInput
from pipelines.presets import PRESETS

if TYPE_CHECKING:
    from rich.progress import Progress

MOST_TOGETHER = 64
"""Pictures painted as one batch at most."""


def add_model_options(p: argparse.ArgumentParser) -> None:
    """`--preset`, and `--story`, `--vqgan` and `--clip` in the place of what it has."""
    p.add_argument("--preset", choices=PRESETS, default="embedded")
    g = p.add_argument_group("other models than the preset's")
    g.add_argument("--story", default="", help="language model: hub name or folder")
    g.add_argument("--vqgan", default="", help="checkpoint (.ckpt), folder or hub name")
    g.add_argument("--clip", default="", help="one or several: ViT-B/32:1,RN50.pt:0.5")


def add_together_option(p: argparse.ArgumentParser) -> None:
    """`--together`, as a number that `check_together` reads."""
    p.add_argument("--together", type=int, default=1, help="pictures painted as one batch")


def check_together(args: argparse.Namespace) -> None:
    """Raises InvalidInput for a number of pictures that no batch has."""
    if not 1 <= args.together <= MOST_TOGETHER:
        raise InvalidInput(f"--together must be from 1 to {MOST_TOGETHER}, not {args.together}.")


def progress_bars() -> Progress:
    """Bars that tell of `note`, a field that every task has, as plain text."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.fields[note]}", markup=False),  # titles are what people typed
        TimeRemainingColumn(),
    )  # fmt: skip
