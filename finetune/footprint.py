"""What a training run takes, told before it starts: memory, disk, steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.errors import OutOfMemory, StorageError
from pipelines.vqgan_clip.checkpointing import bytes_checkpointed

MODEL_COPIES = 5
"""Weights, gradients, two moments of Adam, and the moving average."""
SAVED_COPIES = 4
"""Of those a checkpoint holds all but the gradients."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that a run takes on each device, and on disk."""

    models: int
    activations: int
    disk: int
    held: int = 0
    """Pictures that lie on a graphics card while it learns."""

    @property
    def memory(self) -> int:
        return self.models + self.activations + self.held

    @property
    def written(self) -> int:
        """Of the finished model."""
        return self.models // MODEL_COPIES

    def then(self, other: Footprint) -> Footprint:
        """Of a run that does one after the other: checkpoints of both stay, memory is freed."""
        return replace(max(self, other, key=lambda f: f.memory), disk=self.disk + other.disk)

    def line(self, device: torch.device, runs: Path) -> str:
        """For a person to read."""
        from finetune.checkpoints import free_disk, free_memory  # transformers' Trainer: slow

        return (
            f"memory: about {_mb(self.memory)} of {_mb(free_memory(device))} free (models and "
            f"optimiser {_mb(self.models)}, activations {_mb(self.activations)}"
            + (f", pictures {_mb(self.held)}" if self.held else "")
            + f"); disk: about {_mb(self.disk)} of {_mb(free_disk(runs))} free"
        )

    def check(self, device: torch.device, runs: Path) -> None:
        """Raises OutOfMemory or StorageError when the run would not fit."""
        from finetune.checkpoints import free_disk, free_memory

        memory, disk = free_memory(device), free_disk(runs)
        if self.memory > memory:
            raise OutOfMemory(
                f"This needs about {_mb(self.memory)} of memory, and {_mb(memory)} are free: "
                "lower --batch, add --gradient-checkpointing, or close what else takes memory."
            )
        if self.disk > disk:
            raise StorageError(
                f"Checkpoints and cut pictures need about {_mb(self.disk)}, and {_mb(disk)} are "
                f"free where {runs} is: free some space, or name another disk with --runs."
            )


def footprint(
    models: list[nn.Module], loss: Callable[[], Tensor], examples: int, batch: int,
    judges: Sequence[nn.Module] = (), again: Sequence[nn.Module] = (),
) -> Footprint:  # fmt: skip
    """Of training `models` at `batch` examples a device.

    `loss` runs the models, and the `judges`, which learn nothing, on `examples` examples; what it
    keeps for the way back is weighed. `again`: those whose blocks will be computed twice instead.
    """
    values, judged = (sum(p.numel() * p.element_size() for m in of for p in m.parameters())
                      for of in (models, judges))  # fmt: skip
    everything = nn.ModuleList([*models, *judges])
    kept = bytes_checkpointed(loss, everything, again)
    # On the way back about as much again as the largest layers is held for a moment.
    activations = int(1.2 * kept * batch / examples)
    return Footprint(MODEL_COPIES * values + judged, activations, 2 * SAVED_COPIES * values)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
