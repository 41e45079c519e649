"""Every figure that the model cards quote, on held-out data: `python -m finetune.evaluate NAME`.

`vqgan`     PSNR, SSIM and Fréchet distance (of the judge's patches) of reconstructions, PSNR of
            clip art, codebook usage, and how well the judge ranks them against originals; of
            those drawn at twice the side PSNR and Fréchet distance
`clip`      recall among 100 held-out pairs, for the guiding CLIP and for the judge; with `--pages`
            how the guiding CLIP and that of pages rank held-out pages of real books
`pictures`  R-precision of each way to paint, by the judge, which guided none of them, and seconds
            a page
`story`     perplexity, distinct-2, endings and steering of the story writer
`colorize`  the colour models against two baselines: finetune/evaluate_colorize.py
`planner`   how likely the planner of colours finds those of held-out pictures

The judge is a CLIP of another seed (`python -m finetune.clip --seed 1 --out
pipelines/weights/judge`). The last line is JSON.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from finetune import colour_metrics as metrics
from finetune.clip import recall
from finetune.clip_pairs import ranks
from finetune.data.pages import PageSet, read_pages
from finetune.data.scenes import SceneRecord, SceneSet
from finetune.losses import psnr
from finetune.training import as_json
from pipelines.book import Page
from pipelines.device import pick_device
from pipelines.errors import AppError
from pipelines.events import Sentence
from pipelines.picture_request import PictureRequest
from pipelines.presets import PictureConfig
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.loading import load_clip
from pipelines.vqgan_clip.models import PictureTextModel
from pipelines.vqgan_clip.pipeline import prompt_of
from pipelines.vqgan_clip.pixels import to_picture, to_pixels
from pipelines.vqgan_clip.vqgan import VQGAN
from pipelines.weights import EMBEDDED

AMONG = 100
"""A caption competes with 99 others."""


def sentence_of(record: SceneRecord) -> Sentence:
    """What the app would hold of this scene: the sentence, if it has one, and the brief."""
    return Sentence(record.captioned.sentence, str(record.captioned.scene))


def batches(scenes: SceneSet, count: int, size: int = 50) -> Iterator[tuple[list[int], Tensor]]:
    """Held-out pictures (B, 3, 256, 256) in [-1, 1], in order."""
    for begin in range(0, count, size):
        ids = list(range(begin, min(begin + size, count)))
        yield ids, pixels_of(scenes.pictures[begin : ids[-1] + 1])


def pixels_of(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) -> (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def embed(judge: PictureTextModel, pixels: Tensor) -> Tensor:
    """Pictures of any size in [-1, 1] -> unit vectors."""
    size = judge.image_size
    return judge.embed_images(F.interpolate(pixels, size=(size, size), mode="area"))


@torch.no_grad()
def r_precision(judge: CLIP, seen: Tensor, prompts: list[str], pool: list[str]) -> float:
    """Share of pictures whose own prompt the judge ranks first among it and 99 others of `pool`.

    `seen` (N, D) are the judge's embeddings, `prompts` the N own prompts; `pool` holds prompts of
    other held-out scenes, from which 99 that differ are drawn for each (the same for every method).
    """
    own, others = judge.embed_texts(prompts), judge.embed_texts(pool)
    first = 0
    for n, prompt in enumerate(prompts):
        rng = random.Random(f"r-precision {n}")
        rivals = rng.sample([i for i, p in enumerate(pool) if p != prompt], AMONG - 1)
        best = (others[rivals] @ seen[n]).max()
        first += bool(own[n] @ seen[n] > best)
    return first / len(prompts)


@torch.no_grad()
def real_psnr(vqgan: VQGAN, pages: PageSet) -> float:
    """Mean PSNR in dB of pages of real books, encoded and decoded."""
    found: list[float] = []
    for picture in pages.pictures:
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        found.append(psnr(vqgan.decode(vqgan.quantizer(vqgan.encode(pixels))[0]), pixels))
    return float(np.mean(found))


@torch.no_grad()
def real_recall(clip: PictureTextModel, pages: PageSet) -> dict[str, float]:
    """How often CLIP finds the words of a real page among those of all, and its picture: apart for
    captions, which say what is to be seen, and for the story that stands beside the picture."""
    device = clip.embed_texts(["a page"]).device
    raw = torch.from_numpy(pages.pictures).permute(0, 3, 1, 2)
    seen = [embed(clip, part.to(device).float() / 127.5 - 1) for part in raw.split(16)]
    everything = torch.cat(seen)
    found: dict[str, float] = {}
    for kind, words in (("captions", [p.caption for p in pages.pages]),
                        ("story text", [p.text for p in pages.pages])):  # fmt: skip
        kept = [n for n, w in enumerate(words) if w]
        if not kept:
            continue
        said = [words[n] for n in kept]
        shown, read = everything[kept], clip.embed_texts(said)
        found[f"real pages, {kind}"] = float(len(kept))
        ways = (("picture to words", shown @ read.T), ("words to picture", read @ shown.T))
        for name, scores in ways:
            position = ranks(scores, said).float()
            found[f"{kind}, {name}: recall@10"] = (position < 10).float().mean().item()
            found[f"{kind}, {name}: median rank"] = position.median().item() + 1
    return found


def evaluate_vqgan(vqgan: VQGAN, judge: CLIP, scenes: SceneSet, count: int) -> dict[str, float]:
    """PSNR in dB (peak 255), SSIM, how codes are used, judge's figures before and after.

    Perplexity is of the codes of one group, the mean over groups: as many codes, used equally
    often, would be as hard to guess.
    """
    rng = random.Random(0)
    c = vqgan.config
    uses = torch.zeros(c.groups, c.codebook_size)
    whole, front, alike = list[float](), list[float](), list[float]()
    real, rebuilt_patches = list[Tensor](), list[Tensor]()
    before, after, prompts = list[Tensor](), list[Tensor](), list[str]()
    for ids, pixels in batches(scenes, count):
        with torch.no_grad():
            quantised, indices = vqgan.quantizer(vqgan.encode(pixels))
            fake = vqgan.decode(quantised).clamp(-1, 1)
        for g in range(c.groups):
            uses[g] += indices[..., g].flatten().bincount(minlength=c.codebook_size).cpu()
        originals, rebuilts = ([to_picture(p) for p in x] for x in (pixels, fake))
        alike += map(metrics.ssim, rebuilts, originals)
        real.append(metrics.patches(judge, originals))
        rebuilt_patches.append(metrics.patches(judge, rebuilts))
        error = (fake - pixels).square().mean(1)  # (B, H, W)
        for k, i in enumerate(ids):
            whole.append(error[k].mean().item())
            mask = torch.from_numpy(scenes.labels[i] >= 0)
            mask = mask.repeat_interleave(16, 0).repeat_interleave(16, 1)
            if mask.any():
                front.append(error[k][mask].mean().item())
            prompts.append(scenes.records[i].prompt(rng))
        before.append(embed(judge, pixels))
        after.append(embed(judge, fake))
    original = r_precision(judge, torch.cat(before), prompts, prompts)
    rebuilt = r_precision(judge, torch.cat(after), prompts, prompts)

    def decibel(errors: list[float]) -> float:
        return float(np.mean([10 * np.log10(4 / max(e, 1e-9)) for e in errors]))

    return {
        "PSNR": decibel(whole),
        "PSNR clip art": decibel(front),
        "SSIM": float(np.mean(alike)),
        "Fréchet distance": metrics.frechet_distance(torch.cat(rebuilt_patches), torch.cat(real)),
        "codes used": (uses > 0).float().mean().item(),
        "perplexity of codes": torch.distributions.Categorical(uses).entropy().exp().mean().item(),
        "R-precision originals": original,
        "R-precision reconstructions": rebuilt,
        "reconstructions / originals": rebuilt / original if original else float("nan"),
    }


@torch.no_grad()
def evaluate_large(vqgan: VQGAN, judge: CLIP, scenes: SceneSet, count: int) -> dict[str, float]:
    """Of pictures drawn at twice the side, `scenes` being painted so: PSNR in dB, and the Fréchet
    distance of the judge's patches of their quarters, which sees edges where PSNR sees none."""
    errors = list[float]()
    real, drawn = list[Tensor](), list[Tensor]()
    for ids, target in batches(scenes, min(count, len(scenes)), size=4):
        small = pixels_of(scenes.small[ids[0] : ids[-1] + 1])
        styles = torch.tensor([vqgan.style_index(scenes.records[i].style) for i in ids])
        fake = vqgan.decode_large(vqgan.quantise(vqgan.encode(small)), styles).clamp(-1, 1)
        errors += [psnr(a[None], b[None]) for a, b in zip(fake, target, strict=True)]
        for pictures, into in ((target, real), (fake, drawn)):
            quarters = [q for half in pictures.chunk(2, 2) for q in half.chunk(2, 3)]
            into.append(metrics.patches(judge, [to_picture(p) for q in quarters for p in q]))
    return {
        "large: PSNR": float(np.mean(errors)),
        "large: Fréchet distance": metrics.frechet_distance(torch.cat(drawn), torch.cat(real)),
    }


NOISE = PictureConfig(start="noise", steps=60, step_size=0.1)
TOGETHER = "code transformer + guidance, 4 pages together"
METHODS: dict[str, PictureConfig] = {
    "code transformer alone": PictureConfig(steps=0, candidates=1),
    "code transformer + CLIP ranking": PictureConfig(steps=0),
    "code transformer + guidance": PictureConfig(),
    "noise + guidance": NOISE,
    "sketch + guidance": PictureConfig(start="sketch"),
    # What each trick costs in quality, and saves in time, beside the two of the same name.
    "code transformer + guidance, 4 cutouts": PictureConfig(cutouts=4),
    "code transformer + guidance, 32 cutouts": PictureConfig(cutouts=32),
    "code transformer + guidance, as in a book": PictureConfig(scenery=1),
    "code transformer + guidance, pooled cutouts": PictureConfig(cutout_method="pooled"),
    TOGETHER: PictureConfig(),
    "noise + guidance, 32 cutouts": replace(NOISE, cutouts=32),
    "noise + guidance, pooled cutouts": replace(NOISE, cutout_method="pooled"),
    "noise + guidance, half the size first": replace(NOISE, small_first=0.5),
    "noise + guidance, early stop": replace(NOISE, patience=12),
    "noise + guidance, half the size first, early stop": replace(
        NOISE, small_first=0.5, patience=12
    ),
}
"""Ways to paint; the third is the app's default."""


def evaluate_pictures(
    pipeline: VQGANCLIPPipeline,
    judge: CLIP,
    scenes: SceneSet,
    count: int,
    methods: dict[str, PictureConfig],
    grid: Path | None = None,
) -> dict[str, float]:
    """R-precision of each method on the first `count` held-out scenes that show an unstyled page,
    and its seconds a page.

    "original" is the painter's own picture: what the judge can reach at most. Each prompt is
    the scene's true description, which in the app the writer makes up, and its sentence where it
    has one.
    """
    plain = [i for i, r in enumerate(scenes.records) if r.style == "storybook"]
    chosen, rest = plain[:count], plain[count:]
    plainly = PictureConfig()
    prompts = [prompt_of(sentence_of(scenes.records[i]), plainly) for i in chosen]
    pool = prompts + [prompt_of(sentence_of(scenes.records[i]), plainly) for i in rest]
    pictures: dict[str, list[Image.Image]] = {
        "original": [Image.fromarray(np.array(scenes.pictures[i])) for i in chosen]
    }
    found: dict[str, float] = {}
    for name, config in methods.items():
        together = 4 if name == TOGETHER else 1
        made = dict[int, Image.Image]()
        begun = time.perf_counter()
        for begin in tqdm(range(0, len(chosen), together), desc=name, mininterval=10):
            requests = [
                PictureRequest(sentence_of(scenes.records[chosen[n]]), replace(config, seed=n))
                for n in range(begin, min(begin + together, len(chosen)))
            ]
            for k, event in pipeline.stream_many(requests):
                if isinstance(event, Page):
                    made[begin + k] = event.image()
        found[f"seconds a page {name}"] = (time.perf_counter() - begun) / max(len(chosen), 1)
        pictures[name] = [made[n] for n in range(len(chosen))]
    device = judge.model.logit_scale.device
    for name, made in pictures.items():
        seen = torch.cat([embed(judge, to_pixels(p, 256, 256, device)) for p in made])
        found[f"R-precision {name}"] = r_precision(judge, seen, prompts, pool)
        own = judge.embed_texts(prompts)
        found[f"judge similarity {name}"] = (seen * own).sum(1).mean().item()
    if grid is not None:
        save_grid(list(pictures.values()), grid)
    return found


def save_grid(rows: list[list[Image.Image]], path: Path, columns: int = 10) -> None:
    """One row a method, one column a scene."""
    side = 192
    columns = min(columns, len(rows[0]))
    page = Image.new("RGB", (columns * side, len(rows) * side), "white")
    for y, row in enumerate(rows):
        for x in range(columns):
            page.paste(row[x].resize((side - 4, side - 4)), (x * side, y * side))
    page.save(path, quality=88)


def reconstruction_grid(vqgan: VQGAN, scenes: SceneSet, path: Path, count: int = 10) -> None:
    """Originals above their reconstructions."""
    _, pixels = next(batches(scenes, count))
    with torch.no_grad():
        fake = vqgan.decode(vqgan.quantizer(vqgan.encode(pixels))[0])
    save_grid([[to_picture(p) for p in pixels], [to_picture(p) for p in fake]], path)


def main() -> None:
    from finetune.compare_story import text_options

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("what", choices=("vqgan", "clip", "pictures", "story", "colorize", "planner"))
    p.add_argument("--count", type=int, help="held-out scenes, or stories")
    p.add_argument("--weights", type=Path, default=EMBEDDED)
    p.add_argument("--runs", type=Path, default=Path("runs"), help="where painted scenes are kept")
    p.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    p.add_argument("--grid", type=Path, help="write a grid of pictures here")
    p.add_argument("--pages", type=Path, help="folder of story pages, for figures on real books")
    p.add_argument("--lpips", type=Path, metavar="FOLDER",
                   help="colorize: LPIPS as well, by vgg16.pth of torchvision and vgg.pth of LPIPS"
                   )  # fmt: skip
    p.add_argument("--before", help="story: compare this writer with that of --after")
    p.add_argument("--after", help="story: a folder that finetune.gpt2 wrote")
    p.add_argument("--data", nargs="+", default=[], help="story: texts for perplexity")
    text_options(p)
    p.add_argument("--page", type=Path, help="story: both writers side by side, as HTML")
    p.add_argument("--device", default="auto")
    p.add_argument("--threads", type=int, default=0)
    args = p.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)

    def judge_and_scenes() -> tuple[CLIP, SceneSet]:
        scenes = SceneSet(args.runs / "scenes-test", 1000, split="test")
        return CLIP.from_pretrained(args.weights / "judge", device), scenes

    def real(*, coloured: bool = True) -> PageSet:
        return PageSet(list(read_pages(args.pages, "test", coloured=coloured)))

    def vqgan() -> dict[str, float]:
        judge, scenes = judge_and_scenes()
        model = VQGAN.from_pretrained(args.weights / "vqgan", device)
        if args.grid:
            reconstruction_grid(model, scenes, args.grid)
        found = evaluate_vqgan(model, judge, scenes, args.count or 500)
        if model.config.large:
            painted = SceneSet(args.runs / "scenes-large-test", 100, split="test", scale=2)
            found |= evaluate_large(model, judge, painted, args.count or 100)
        return found | ({"PSNR real pages": real_psnr(model, real())} if args.pages else {})

    def clip() -> dict[str, float]:
        judge, scenes = judge_and_scenes()
        guide = CLIP.from_pretrained(args.weights / "clip", device)
        found = recall(guide, scenes)
        found |= {f"judge {k}": v for k, v in recall(judge, scenes).items()}
        if args.pages:
            pages, second = real(coloured=False), load_clip("pages", device)
            found |= real_recall(guide, pages)
            found |= {f"pages CLIP, {k}": v for k, v in real_recall(second, pages).items()}
        return found

    def pictures() -> dict[str, float]:
        judge, scenes = judge_and_scenes()
        pipeline = VQGANCLIPPipeline.from_pretrained(str(args.weights), device=device)
        methods = {name: METHODS[name] for name in args.methods}
        return evaluate_pictures(pipeline, judge, scenes, args.count or 100, methods, args.grid)

    def story() -> dict[str, float]:
        if args.before or args.after:
            from finetune.compare_story import run as compare

            return compare(args).values()
        from finetune.evaluate_story import run
        from pipelines.story import StoryPipeline

        writer = StoryPipeline.from_pretrained(str(args.weights / "story"), device=device)
        return run(writer, stories=args.count or 100)

    def colorize() -> dict[str, float]:
        from finetune import evaluate_colorize
        from finetune.colour_methods import all_methods
        from finetune.colour_test_set import samples
        from finetune.perceptual import LPIPS

        lpips = LPIPS.from_pretrained(args.lpips, device) if args.lpips else None
        home = args.weights if (args.weights / "judge").is_dir() else EMBEDDED
        judge = CLIP.from_pretrained(home / "judge", device)
        held_out = list(samples(args.count or 12, args.pages))
        methods = all_methods(args.weights, device)
        return evaluate_colorize.run(
            judge, methods, held_out, args.runs / "colorize", args.grid, lpips=lpips
        )

    def planner() -> dict[str, float]:
        from finetune import evaluate_planner
        from finetune.colour_test_set import samples
        from pipelines.colorize.planner import Planner

        model = Planner.from_pretrained(args.weights / "planner", device)
        return evaluate_planner.run(model, list(samples(args.count or 64, args.pages)))

    jobs: dict[str, Callable[[], dict[str, float]]] = {
        "vqgan": vqgan, "clip": clip, "pictures": pictures, "story": story, "colorize": colorize,
        "planner": planner,
    }  # fmt: skip
    try:
        found = jobs[args.what]()
    except AppError as e:
        raise SystemExit(str(e)) from e
    for name, value in found.items():
        print(f"{name:45s} {value:8.3f}")
    print(as_json({k: round(v, 4) for k, v in found.items()}))


if __name__ == "__main__":
    main()
