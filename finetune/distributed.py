"""Several processes that train one model: `torchrun --nproc_per_node N -m finetune.NAME ...`.

Every process draws the whole batch of a step, by the same seed, and works on its own share of it;
gradients are averaged before the optimiser moves. A run of N processes so takes the steps that one
process with a batch N times as large would take. Without torchrun all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipelines.errors import InvalidInput

Item = TypeVar("Item")


def rank() -> int:
    """Of this process, from 0; torchrun says it."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """Of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: torch.device) -> torch.device:
    """Meet the other processes -> the device of this one: of several graphics cards its own."""
    if processes() == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def leave() -> None:
    """Part from the other processes, once all have come so far."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def share(batch: Tensor) -> Tensor:
    """The rows of a batch that this process works on; all shares are equally large."""
    rows = _rows(len(batch))
    return batch[rows]


def share_of(items: Sequence[Item]) -> list[Item]:
    """As `share`, of a list."""
    return list(items[_rows(len(items))])


def _rows(count: int) -> slice:
    each = count // processes()
    return slice(rank() * each, (rank() + 1) * each)


@torch.no_grad()
def average_gradients(modules: Iterable[nn.Module]) -> None:
    """Replace every gradient by its mean over the processes.

    What no process has a gradient for must have none on every one.
    """
    if processes() == 1:
        return
    found = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in found])  # one message instead of hundreds
    dist.all_reduce(flat)
    flat /= processes()
    for grad, part in zip(found, flat.split([g.numel() for g in found]), strict=True):
        grad.copy_(part.view_as(grad))


def gathered(rows: Tensor) -> Tensor:
    """(b, ...) of each process -> (B, ...) of all, in the order of the batch; no gradient."""
    if processes() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(processes())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def gathered_with_gradient(rows: Tensor) -> Tensor:
    """As `gathered`; the gradient of a loss of all rows goes to the process that owns them.

    With the same loss on every process the averaged gradients are those of one process.
    """
    if processes() == 1:
        return rows
    whole, mine = gathered(rows.detach()), _rows(len(rows) * processes())
    # Averaging will divide by the number of processes what this one alone has.
    own = rows + (processes() - 1) * (rows - rows.detach())
    return torch.cat([whole[: mine.start], own, whole[mine.stop :]])


def averaged(value: Tensor) -> Tensor:
    """Its mean over the processes; no gradient."""
    value = value.detach()
    if processes() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / processes()


def mean(value: Tensor) -> float:
    """Of a number over the processes."""
    return averaged(value.float()).item()


def agreed(value: float) -> float:
    """The first process's number, for all: their clocks differ."""
    if processes() == 1 or not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def agree_on_start(step: int, runs: Path) -> None:
    """Raises InvalidInput, on every process, unless all go on from this step: they would wait for
    each other for ever. Checkpoints are written by the first, and read by all."""
    if processes() == 1 or not dist.is_initialized():
        return
    steps = [0] * processes()
    dist.all_gather_object(steps, step)
    if len(set(steps)) > 1:
        raise InvalidInput(
            f"The machines found checkpoints of different steps in {runs} "
            f"({', '.join(map(str, sorted(set(steps))))}): --runs must be one folder that all "
            "machines share."
        )


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process goes through the block before the others: it makes files that they read."""
    wait = processes() > 1 and dist.is_initialized()
    if wait and rank() > 0:
        dist.barrier()
    try:
        yield
    finally:
        if wait and rank() == 0:
            dist.barrier()
