"""Optimisers of the latents by name, and how their step size changes on the way."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

_MAKERS: dict[str, Callable[[list[Tensor], float], Optimizer]] = {
    # The second beta forgets within 50 steps: the cutouts, and so the gradients, change each step.
    "adam": lambda p, lr: torch.optim.Adam(p, lr, betas=(0.9, 0.98)),
    "adamw": lambda p, lr: torch.optim.AdamW(p, lr, betas=(0.9, 0.98)),
    "radam": lambda p, lr: torch.optim.RAdam(p, lr, betas=(0.9, 0.98)),
    "nadam": lambda p, lr: torch.optim.NAdam(p, lr, betas=(0.9, 0.98)),
    "adamax": lambda p, lr: torch.optim.Adamax(p, lr),
    "adagrad": lambda p, lr: torch.optim.Adagrad(p, lr),
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr),
}

_FACTORS: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 + 0.5 * math.cos(math.pi * done),
    "warmup": lambda done: min(1.0, 0.1 + 9 * done),
}


def make_optimiser(name: str, latents: Tensor, step_size: float) -> Optimizer:
    """An optimiser of these latents; `name` is a key of `presets.OPTIMISERS`."""
    return _MAKERS[name]([latents], step_size)


def step_factor(schedule: str, done: float) -> float:
    """What the step size is multiplied with, in [0, 1]; `done` in [0, 1) of the steps.

    `schedule` is a key of `presets.SCHEDULES`.
    """
    return _FACTORS[schedule](done)
