"""transformers' Trainer, made safe: a checkpoint is whole or it is not there.

The Trainer writes a checkpoint's `trainer_state.json` last. A folder without it was being written
when the run was killed, and is thrown away when the run goes on, as one is that was damaged since;
a checkpoint that cannot be written is, too, and the run ends with the last good one. Before a run
starts, its memory and disk space are estimated.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from finetune.data.packing import SKIPPED
from finetune.training import are_numbers, out_of_bounds
from pipelines.durable import write_whole
from pipelines.errors import InvalidInput, OutOfMemory, StorageError
from pipelines.hub import short

log = logging.getLogger(__name__)

STATE = "trainer_state.json"
KEPT = 2
"""Checkpoints that are kept: the best and the last."""


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, and all of it can be read again."""
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        weights = list(checkpoint.glob("*.safetensors"))
        for path in weights:
            with safe_open(path, "pt"):  # a file that was cut off does not open
                pass
        for path in checkpoint.glob("*.pt*"):  # the optimiser's state and more, in ZIPs
            with zipfile.ZipFile(path) as parts:
                if parts.testzip() is not None:
                    return False
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile, zlib.error):
        return False
    return bool(weights)


def _checkpoints(folder: Path) -> list[Path]:
    found = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    return [p for p in found if p.is_dir() and p.name.rpartition("-")[2].isdigit()]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint."""
    newest = sorted(_checkpoints(folder), key=step_of, reverse=True)
    return next(filter(whole, newest), None)


class SafeTrainer(Trainer):
    """A Trainer whose last good checkpoint is never lost, and whose held-out loss is exact."""

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Mean negative log-likelihood of every held-out token, in nats.

        The Trainer's own weighs batches alike, whatever they hold, so its figure depends on the
        number of processes.
        """
        items: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        size, args = self.args.per_device_eval_batch_size, self.args
        model: Any = self.model
        model.eval()
        totals = torch.zeros(2, device=args.device)
        for k in range(args.process_index * size, len(items), size * args.world_size):
            group = [items[n] for n in range(k, min(k + size, len(items)))]
            inputs = {n: t.to(args.device) for n, t in self.data_collator(group).items()}
            learned = (inputs["labels"][:, 1:] != SKIPPED).sum()
            if learned:
                with self.accelerator.autocast():
                    totals[0] += model(**inputs).loss * learned
                totals[1] += learned
        totals = self.accelerator.reduce(totals)
        metrics = {f"{metric_key_prefix}_loss": float(totals[0] / totals[1].clamp_min(1))}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Weights that are no numbers any more are not written: they end the run, with the best.

        Raises StorageError when the checkpoint cannot be written, InvalidInput when there is none
        yet and the weights are no numbers any more.
        """
        folder = Path(self.args.output_dir or ".")
        fresh = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if not are_numbers(model):
            error = out_of_bounds(self.state.global_step, _good(folder))
            if last_checkpoint(folder) is None:
                raise error
            log.warning("%s", error)
            self.control.should_training_stop = True
            return
        try:
            super()._save_checkpoint(model, trial)
        except (
            Exception
        ) as e:  # safetensors and torch.save have errors of their own for a full disk
            shutil.rmtree(fresh, ignore_errors=True)
            raise StorageError(
                f"The checkpoint of step {self.state.global_step} could not be written to {folder} "
                f"({short(e)}). {_good(folder)}: free some disk space and run the same command "
                "again, it goes on from there."
            ) from e


def _good(folder: Path) -> str:
    """Tells of the last checkpoint that a run can go on from."""
    kept = last_checkpoint(folder)
    return f"The checkpoint of step {step_of(kept)} is kept" if kept else "There is none yet"


# --- what a run needs --------------------------------------------------------------------

ADAM = 2
"""Values that the optimiser keeps for each one that it trains."""


@dataclass(frozen=True)
class Needs:
    """Bytes that a run takes, estimated."""

    weights: int
    gradients: int
    optimiser: int
    activations: int
    disk: int

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.activations

    def lines(self, free_memory: int, free_disk: int) -> list[str]:
        """For a person to read."""
        parts = (
            f"weights {_mb(self.weights)}, gradients {_mb(self.gradients)}, optimiser "
            f"{_mb(self.optimiser)}, activations {_mb(self.activations)}"
        )
        return [
            f"memory: about {_mb(self.memory)} of {_mb(free_memory)} free ({parts})",
            f"disk: about {_mb(self.disk)} of {_mb(free_disk)} free",
        ]


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def needs(
    model: nn.Module, config: Any, batch: int, length: int, *, checkpointing: bool, half: bool
) -> Needs:
    """What training takes at `batch` sequences of `length` tokens, `half`: in bfloat16.

    Activations by Korthikanti et al. 2022 (arXiv 2205.05198), equation 2, and the logits, of which
    three copies live at once.
    """
    everything = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    width = int(getattr(config, "hidden_size", 0) or 768)
    layers = int(getattr(config, "num_hidden_layers", 0) or 12)
    heads = int(getattr(config, "num_attention_heads", 0) or 12)
    words = int(getattr(config, "vocab_size", 0) or 50257)
    bytes_each = 1 if half else 2  # the formula counts bytes at two bytes a value
    layer = bytes_each * batch * length * width * (34 + 5 * heads * length / width)
    kept = layer + 2 * bytes_each * batch * length * width * layers if checkpointing else (
        layer * layers)  # fmt: skip
    logits = 3 * 4 * batch * length * words
    disk = (KEPT + 1) * (everything + 4 * ADAM * trained) + 2 * everything
    return Needs(everything, 4 * trained, 4 * ADAM * trained, int(kept) + logits, disk)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device for this process; those of one machine share its memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def check_needs(found: Needs, device: torch.device, folder: Path) -> None:
    """Raises OutOfMemory or StorageError when a run would not fit."""
    memory, disk = free_memory(device), free_disk(folder)
    if found.memory > memory:
        raise OutOfMemory(
            f"This needs about {_mb(found.memory)} of memory, and {_mb(memory)} are free: lower "
            "--batch (and raise --accumulate as much), shorten --block, add "
            "--gradient-checkpointing, or train less of the model with --train-top or --lora."
        )
    if found.disk > disk:
        raise StorageError(
            f"The checkpoints need about {_mb(found.disk)}, and {_mb(disk)} are free where "
            f"{folder} is: free some space, or name another disk with --runs."
        )


def same_run(folder: Path, facts: dict[str, Any]) -> None:
    """Note what a folder of checkpoints belongs to; broken ones of this run are deleted.

    Raises InvalidInput when it holds those of another run, which do not fit this one, or of other
    programs.
    """
    path, found = folder / "run.json", _checkpoints(folder)
    if found and not path.is_file():
        raise InvalidInput(
            f"{folder} holds checkpoints that were not written here: name another folder with "
            "--runs, which may be new."
        )
    if found:
        try:
            other = dict(json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            other = {}
        if other != facts:
            differs = ", ".join(k for k in facts if other.get(k) != facts[k]) or "all"
            raise InvalidInput(
                f"{folder} holds the checkpoints of another run (different: {differs}). Name "
                "another folder with --runs, delete that one, or repeat the settings it was "
                "started with."
            )
    for broken in (c for c in found if not whole(c)):
        shutil.rmtree(broken, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{json.dumps(facts, indent=2)}\n".encode())
