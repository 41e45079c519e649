"""Train PaintsTorch: `python -m finetune.paintstorch --data SET`.

G1 colours, G2 redraws the line art from the colours (the cycle), a WGAN-GP critic with drift judges
(Hati et al. 2019). SET is a folder made by `python -m finetune.data.illustrations`.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetune.colorizer import Recipe, Task, footprint_of, train
from finetune.data.illustrations import ColourBatch, IllustrationSet
from finetune.distributed import leave, processes, rank
from finetune.own import base_folder, facts_of, guarded, set_options, tell_set
from finetune.training import begin, parser, report
from pipelines.colorize.generator import Generator, GeneratorConfig, Joined, LineDrawer
from pipelines.errors import InvalidInput
from pipelines.weights import save_model

log = logging.getLogger(__name__)


class PaintsTorch:
    """Line art and hints in, everything coloured."""

    name = "paintstorch"
    inputs = 1

    def helper(self, config: GeneratorConfig) -> nn.Module:
        return LineDrawer(config.channels[0])

    def prepare(self, made: ColourBatch) -> ColourBatch:
        return replace(made, mask=torch.ones_like(made.mask))

    def see(self, made: ColourBatch) -> Tensor:
        return made.lineart

    def paste(self, fake: Tensor, made: ColourBatch) -> Tensor:
        return fake

    def help(self, helper: nn.Module, fake: Tensor, joined: Joined, made: ColourBatch) -> Tensor:
        """The line art must be readable from the colours, painted and original alike."""
        drawn, learned = helper(torch.cat([fake, made.picture])).float().chunk(2)
        return F.mse_loss(drawn, made.lineart) + F.mse_loss(learned, made.lineart)


def options(description: str, out: str) -> argparse.ArgumentParser:
    """The options of both colorizers' commands."""
    p = parser(description, steps=20_000, out=out)
    set_options(p)
    p.add_argument("--batch", type=int, default=16, help="pictures a step")
    p.add_argument("--workers", type=int, default=0, help="processes that make the batches")
    p.add_argument("--features", default="own", help="what fills the slot: own, clip, none")
    p.add_argument("--clip", type=Path, help="folder of a CLIP whose features measure content")
    p.add_argument("--peak", type=float, default=8e-4, help="learning rate")
    p.add_argument("--critic-from", type=float, default=0.35, metavar="SHARE",
                   help="of the run, where the critic joins")  # fmt: skip
    return p


def command(task: Task, p: argparse.ArgumentParser) -> None:
    """Train a colorizer and write it."""
    args = p.parse_args()
    guarded(lambda: run(task, args, begin(args)))


def run(task: Task, args: argparse.Namespace, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    clip = None
    if args.clip is not None:
        from pipelines.vqgan_clip.clip import CLIP

        clip = CLIP.from_pretrained(args.clip, device)
    folder = base_folder(args.base, task.name)
    base = None if folder is None else Generator.from_pretrained(folder, device)
    if base is not None and base.config.inputs != task.inputs:
        raise InvalidInput(f"{folder} holds no {task.name}: name “embedded” or a folder with one.")
    fresh = GeneratorConfig(inputs=task.inputs, features=args.features)
    config = fresh if base is None else base.config
    data = IllustrationSet(args.data)
    again = args.gradient_checkpointing
    taken = footprint_of(task, config, data, args.batch, device, clip, checkpointing=again)
    if not tell_set(len(data), args, taken, device):
        leave()
        return
    facts = facts_of(args, data.digest, batch=args.batch * processes())
    events = train(
        task, args.steps, data, args.runs, device, config=config, base=base,
        recipe=Recipe.with_critic(args.critic_from), minutes=args.minutes, clip=clip,
        seed=args.seed, count=args.batch, workers=args.workers, peak=args.peak,
        save_every=args.save_every, checkpointing=again, facts=facts,
    )  # fmt: skip
    model = report(events)
    if rank() == 0:
        save_model(model, model.config, args.out)
        log.info("wrote %s", args.out)
    leave()


def main() -> None:
    command(PaintsTorch(), options(__doc__ or "", "pipelines/weights/paintstorch"))


if __name__ == "__main__":
    main()
