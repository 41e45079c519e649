"""VQGAN+CLIP against the plain algorithm: `python -m tests.bench.vqgan_clip`. Ends in JSON.

The yardstick is the algorithm as it is usually written: float32, one picture, 32 cutouts that are
augmented one after the other, everything in one graph. Each row runs in a process of its own.
Seconds a step and gigabytes (10^9 bytes) at the peak, models included.

With `--full` the models have the real sizes (VQGAN f16 with 16,384 entries, CLIP ViT-B/32) and
random weights, which cost what trained ones cost. With the embedded models a second table says how
long each takes to the CLIP score that the plain algorithm reaches (`--race`); the score is of crops
that neither has seen, the same for all. Pages an hour are of as many steps as a variant has, or to
that score. `--device cuda` for a GPU. `--shared` counts the processor's seconds instead of the
clock's, where others work, too.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.device import fast_bf16
from pipelines.presets import PictureConfig
from pipelines.vqgan_clip.canvas import Aims, Canvas, resize
from pipelines.vqgan_clip.cutouts import draw_views, take
from pipelines.vqgan_clip.guidance import Guidance, usual_views
from pipelines.vqgan_clip.losses import Targets, spherical_distance
from pipelines.vqgan_clip.models import ImageCodec, PictureTextModel, WeightedModel

CROPS = 48
"""Crops that a race is judged by."""
ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a fox near an owl, in the forest, at night"


@dataclass(frozen=True)
class Variant:
    """A way to take a step."""

    config: PictureConfig
    pages: int = 1
    plain: bool = False
    checkpoints: bool = False
    views: int | None = None
    """None: as many as the app takes on this device."""


NOISE = PictureConfig(
    start="noise", step_size=0.1, steps=500, cutouts=32, pull=0.0, cutout_min=0.4,
    augment=("flip", "rotate", "shear", "noise", "perspective", "colour"),
)  # fmt: skip

STEPS: dict[str, Variant] = {
    "plain, 32 cutouts": Variant(NOISE, plain=True),
    "32 cutouts": Variant(NOISE),
    "16 cutouts": Variant(replace(NOISE, cutouts=16)),
    "8 cutouts": Variant(replace(NOISE, cutouts=8)),
    "8 cutouts, 4 pages together": Variant(replace(NOISE, cutouts=8), pages=4),
    "16 cutouts, least memory": Variant(replace(NOISE, cutouts=16), checkpoints=True, views=4),
}

RACE: dict[str, Variant] = {
    "plain, 32 cutouts": Variant(NOISE, plain=True),
    "32 cutouts": Variant(NOISE),
    "8 cutouts": Variant(replace(NOISE, cutouts=8)),
    "8 cutouts, half size first": Variant(replace(NOISE, cutouts=8, small_first=0.6, steps=60)),
}
"""Who is first at the plain algorithm's score."""


class Plain:
    """The plain algorithm, with the same quantiser, bounds, loss and optimiser."""

    def __init__(
        self, codec: ImageCodec, clip: PictureTextModel, target: Tensor, latents: Tensor,
        config: PictureConfig,
    ) -> None:  # fmt: skip
        self.codec, self.clip, self.target, self.config = codec, clip, target, config
        self.latents = latents.detach().clone().requires_grad_(True)
        self.optimiser = torch.optim.Adam([self.latents], lr=config.step_size)
        self.low, self.high = codec.bounds()

    def descend(self) -> None:
        self.optimiser.zero_grad()
        pixels = self.codec.decode(self.codec.quantise(self.latents)).clamp(-1, 1)
        views = torch.cat([self.view(pixels) for _ in range(self.config.cutouts)])
        loss = spherical_distance(self.clip.embed_images(views), self.target).mean()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.latents.clamp_(self.low, self.high)

    def view(self, pixels: Tensor) -> Tensor:
        """Crop, resize, mirror, turn and shear, perspective, colours, noise; each on its own."""
        height, width = pixels.shape[-2:]
        least = self.config.cutout_min
        side = int(min(height, width) * (least + (1 - least) * torch.rand(()).item()))
        y = int(torch.randint(height - side + 1, ()))
        x = int(torch.randint(width - side + 1, ()))
        size = self.clip.image_size
        view = F.adaptive_avg_pool2d(pixels[..., y : y + side, x : x + side], size)
        if torch.rand(()) < 0.5:
            view = view.flip(-1)
        angle, shear = (torch.rand(2) * 2 - 1) * torch.tensor([0.14, 0.05])
        turn = torch.stack([
            torch.stack([angle.cos(), shear - angle.sin(), torch.zeros(())]),
            torch.stack([angle.sin(), angle.cos(), torch.zeros(())]),
        ])[None].to(pixels)  # fmt: skip
        grid = F.affine_grid(turn, [1, 3, size, size], align_corners=False)
        view = F.grid_sample(view, grid, padding_mode="reflection", align_corners=False)
        tilt = torch.eye(3)
        tilt[2, :2] = (torch.rand(2) * 2 - 1) * 0.15
        line = (2 * torch.arange(size) + 1) / size - 1
        gy, gx = torch.meshgrid(line, line, indexing="ij")
        seen = torch.stack([gx, gy, torch.ones_like(gx)], -1) @ tilt.T
        grid = (seen[..., :2] / seen[..., 2:])[None].to(pixels)
        view = F.grid_sample(view, grid, padding_mode="reflection", align_corners=False)
        low, high = 0.9, 1.1
        view = view + (torch.rand(()).item() * 2 - 1) * 0.1
        view = view * (low + (high - low) * torch.rand(()).item())
        grey = view.mean(1, keepdim=True)
        view = grey + (view - grey) * (low + (high - low) * torch.rand(()).item())
        return view + 0.05 * torch.randn_like(view)


class RandomCLIP(nn.Module):
    """CLIP ViT-B/32 with random weights; words are random directions."""

    image_size = 224

    def __init__(self) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        self.model = CLIPVisionModelWithProjection(CLIPVisionConfig())
        self.eval().requires_grad_(False)

    def embed_images(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.model(pixel_values=pixels).image_embeds.float(), dim=-1)

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        drawn = torch.randn(len(prompts), 512, generator=torch.Generator().manual_seed(0))
        return F.normalize(drawn, dim=-1).to(self.model.device)


def models(
    full: bool, device: torch.device, *, plain: bool = False
) -> tuple[ImageCodec, PictureTextModel]:
    """The embedded models, or random ones of the real sizes; of those `plain` ones as their
    libraries have them."""
    if not full:
        from pipelines.vqgan_clip import VQGANCLIPPipeline

        pipeline = VQGANCLIPPipeline.from_pretrained("embedded", device=device)
        return pipeline.vqgan, pipeline.clips[0].model
    from diffusers.models.autoencoders.vq_model import VQModel

    from pipelines.vqgan_clip import clip_checkpoints, vq_model
    from pipelines.vqgan_clip.vq_model import VQModelCodec

    torch.manual_seed(0)
    codec = VQModelCodec(VQModel(
        block_out_channels=(128, 128, 256, 256, 512), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4 + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 4,
        latent_channels=256, vq_embed_dim=256, num_vq_embeddings=16384,
    ))  # fmt: skip
    clip = RandomCLIP()
    if not plain:
        vq_model.lighten(codec.model)
        clip_checkpoints.lighten(clip.model)
        if fast_bf16(device):
            clip_checkpoints.halve(clip.model)
    return codec.to(device), clip.to(device)


class Run:
    """One variant, ready to step."""

    def __init__(self, variant: Variant, args: argparse.Namespace) -> None:
        device, size = torch.device(args.device), args.size
        if args.threads:
            torch.set_num_threads(args.threads)
        self.variant, self.shared = variant, args.shared
        self.codec, self.clip = models(args.full, device, plain=variant.plain)
        with torch.no_grad():
            self.target = self.clip.embed_texts([PROMPT])
        one = torch.ones(1, device=device)
        aims = Aims(((Targets(self.target, one, one * -torch.inf),),))
        config = replace(variant.config, width=size, height=size)
        self.plain: Plain | None = None
        self.canvases: list[Canvas] = []
        for n in range(variant.pages):
            generator = torch.Generator().manual_seed(n)
            start = self.codec.random_latents(size, size, 1, generator)
            if variant.plain:
                self.plain = Plain(self.codec, self.clip, self.target, start, config)
            else:
                canvas = Canvas(self.codec, start, aims, config, generator)
                if config.small_first:
                    half = self.codec.random_latents(size // 2, size // 2, 1, generator)
                    canvas.resize(size // 2, size // 2)
                    canvas.begin_from(self.codec.decode(half).clamp(-1, 1))
                self.canvases.append(canvas)
        self.guide = Guidance(
            self.codec, (WeightedModel(self.clip),), fast_bf16(device),
            variant.views or usual_views(device), checkpoints=variant.checkpoints,
        )  # fmt: skip
        self.size, self.device = size, device
        held_out = replace(NOISE, cutouts=CROPS + 1, augment=())
        generator = torch.Generator().manual_seed(2026)
        self.crops = draw_views(held_out, self.clip.image_size, (size, size), generator)

    def step(self) -> None:
        if self.plain is not None:
            self.plain.descend()
            return
        for canvas in self.canvases:
            canvas.grow()
        self.guide.descend(self.canvases)

    def score(self) -> float:
        """CLIP's mean similarity of fixed crops of the first picture at full size.

        Not of the whole picture: that is always among the views of one engine alone.
        """
        with torch.no_grad():
            if self.plain is not None:
                latents = self.plain.latents
            else:
                latents = self.canvases[0].latents
            pixels = self.codec.decode(self.codec.quantise(latents)).float().clamp(-1, 1)
            if pixels.shape[-1] != self.size:  # still at half the size
                pixels = resize(pixels, self.size, self.size)
            wanted = [(0, n + 1) for n in range(CROPS)]
            seen = self.clip.embed_images(take(pixels, [self.crops], wanted))
            return (seen @ self.target.T).mean().item()

    def clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.process_time() if self.shared else time.perf_counter()


def peak(device: torch.device) -> float:
    """Gigabytes of 10^9 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(args: argparse.Namespace) -> dict[str, float]:
    """In a process of its own: seconds a step and page, and the peak of memory."""
    run = Run(STEPS[args.only], args)
    times: list[float] = []
    for _ in range(args.steps + 1):
        begin = run.clock()
        run.step()
        times.append(run.clock() - begin)
    best = min(times[1:]) if len(times) > 1 else times[0]  # the first step warms caches up
    seconds = best / run.variant.pages
    hourly = 3600 / (seconds * run.variant.config.steps)
    return {"seconds": seconds, "gigabytes": peak(run.device), "pages an hour": hourly}


def race(args: argparse.Namespace) -> dict[str, float | None]:
    """In a process of its own: seconds to a score, or the score that the plain steps reach.

    Without `steps` and pages an hour when it is not reached in ten times as many steps.
    """
    run = Run(RACE[args.only], args)
    spent, best = 0.0, -1.0
    for n in range(1, args.race + 1 if args.goal is None else 10 * args.race):
        begin = run.clock()
        run.step()
        spent += run.clock() - begin
        best = max(best, run.score())
        if args.goal is not None and best >= args.goal:
            return {"seconds": spent, "steps": n, "score": best, "pages an hour": 3600 / spent}
    steps, hourly = (args.race, 3600 / spent) if args.goal is None else (None, None)
    return {"seconds": spent, "steps": steps, "score": best, "pages an hour": hourly}


def compared(row: dict[str, float | None], yardstick: dict[str, float | None]) -> float | None:
    """How many times quicker than the yardstick; None for what never came to its score."""
    if row.get("steps", 0) is None:
        return None
    ours, plain = row["seconds"], yardstick["seconds"]
    assert ours is not None
    assert plain is not None
    return plain / ours


def child(name: str, *more: str) -> dict[str, float | None]:
    asked = [a for a in sys.argv[1:] if a]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.vqgan_clip", *asked, "--only", name, *more],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--full", action="store_true", help="random weights of the real sizes")
    p.add_argument("--steps", type=int, default=5, help="timed steps of each variant")
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--race", type=int, default=0, help="plain steps that set the score to reach")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--shared", action="store_true", help="count the processor's seconds")
    p.add_argument("--variants", nargs="*", choices=STEPS, default=list(STEPS))
    p.add_argument("--only", help=argparse.SUPPRESS)
    p.add_argument("--goal", type=float, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.only:
        print(json.dumps(race(args) if args.race else measure(args)))
        return
    found: dict[str, dict[str, float | None]] = {}
    yardstick: dict[str, float | None] = {}
    names = list(RACE) if args.race else args.variants
    for name in names:
        goal = ["--goal", str(yardstick["score"])] if args.race and yardstick else []
        row = found[name] = child(name, *goal)
        yardstick = yardstick or row
        row["times quicker"] = compared(row, yardstick)
        told = (f"{k} " + ("-" if v is None else f"{v:.2f}") for k, v in row.items())
        print(f"{name:28s} " + "  ".join(told), flush=True)
    machine = f"{platform.machine()}, torch {torch.__version__}, {args.device}"
    print(json.dumps({"machine": machine, **found}))


if __name__ == "__main__":
    main()
