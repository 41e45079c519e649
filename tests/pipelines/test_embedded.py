"""The shipped picture models, end to end with fixed seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from finetune import colour_metrics as metrics
from pipelines.book import Page
from pipelines.colorize.paintstorch import PaintsTorchPipeline
from pipelines.colorize.planning import ColourPlanner
from pipelines.colorize.regions import find_regions, within_lines
from pipelines.events import PictureProgress, Sentence
from pipelines.few_rows import computes_alike
from pipelines.picture_request import PictureRequest
from pipelines.presets import PictureConfig
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.pipeline import prompt_of
from pipelines.vqgan_clip.pixels import to_pixels
from pipelines.weights import EMBEDDED, MAX_FILE, sha256
from tests.tiny_colorizer import drawing, strokes

MODELS = ("vqgan", "clip", "code_transformer")


SENTENCES = (
    Sentence("Pip walked in the forest.", "fox @forest day"),
    Sentence("The boat went out to sea.", "boat @beach sunset"),
    Sentence("The robot looked at the moon.", "robot @space night"),
)
QUICK = PictureConfig(steps=1, candidates=1)


@pytest.fixture(scope="module")
def painter() -> VQGANCLIPPipeline:
    return VQGANCLIPPipeline.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def pages(painter: VQGANCLIPPipeline) -> dict[str, list[Page]]:
    """The first two sentences, each painted by itself, from each start."""
    return {
        start: [
            painter(s, replace(QUICK, start=start, seed=n)) for n, s in enumerate(SENTENCES[:2])
        ]
        for start in ("transformer", "sketch", "noise")
    }


@pytest.mark.parametrize("start", ["transformer", "sketch", "noise"])
def test_same_seed_same_picture(
    painter: VQGANCLIPPipeline, pages: dict[str, list[Page]], start: str
) -> None:
    assert painter(SENTENCES[0], replace(QUICK, start=start, seed=0)) == pages[start][0]


@pytest.mark.parametrize("start", ["sketch", "noise"])  # "transformer" in the test after this one
def test_another_seed_another_picture(
    painter: VQGANCLIPPipeline, pages: dict[str, list[Page]], start: str
) -> None:
    other = painter(SENTENCES[0], replace(QUICK, start=start, seed=4))
    assert other.picture != pages[start][0].picture


@pytest.mark.skipif(not computes_alike(torch.device("cpu")), reason="no such processor")
def test_pages_begun_together_are_what_they_are_alone(
    painter: VQGANCLIPPipeline, pages: dict[str, list[Page]]
) -> None:
    requests = [PictureRequest(s, replace(QUICK, seed=n)) for n, s in enumerate(SENTENCES[:2])]
    requests.append(PictureRequest(SENTENCES[0], replace(QUICK, seed=4)))
    events = [*painter.stream_many(requests, in_turn=True)]
    *painted, other = (e for _, e in events if isinstance(e, Page))
    assert painted == pages["transformer"]
    assert other.picture != painted[0].picture
    stages = [(e.stage == "refine", k) for k, e in events if isinstance(e, PictureProgress)]
    begun, guided = ([k for refined, k in stages if refined == late] for late in (False, True))
    assert stages == [*((False, k) for k in begun), *((True, k) for k in guided)]
    assert begun[:6] == [0, 1, 2, 0, 1, 2]  # row by row
    assert guided == sorted(guided)


@pytest.mark.parametrize("start", ["transformer", "sketch"])
def test_a_page_scores_highest_with_its_own_prompt(
    painter: VQGANCLIPPipeline, pages: dict[str, list[Page]], start: str
) -> None:
    prompts = [prompt_of(s, QUICK) for s in SENTENCES]
    for n, page in enumerate(pages[start]):
        pixels = to_pixels(page.image(), QUICK.width, QUICK.height, torch.device("cpu"))
        scores = [painter.score(pixels, p).item() for p in prompts]
        assert scores[n] == max(scores), (page.text, scores)
        assert page.score == pytest.approx(scores[n], abs=0.01)


def test_guidance_raises_the_score(painter: VQGANCLIPPipeline) -> None:
    before, after = (
        painter(SENTENCES[0], replace(QUICK, start="noise", steps=n, seed=3)).score for n in (0, 12)
    )
    assert before is not None
    assert after is not None
    assert after > before + 0.1


def test_a_stroke_colours_its_region_and_little_else() -> None:
    """As the app does it: colours are chosen again, PaintsTorch paints, the filter evens out.

    A choice may be near the stroke's colour by chance, so several of them count together.
    """
    width, height = 256, 192
    lineart, red = drawing(width, height), strokes(width, height)
    regions, paint = find_regions(lineart), PaintsTorchPipeline.from_pretrained(device="cpu")
    choose = ColourPlanner.from_pretrained(device="cpu")
    plans = [choose(lineart, seed=seed) for seed in range(3)]

    def painted(hints: Image.Image | None) -> tuple[list[Image.Image], list[Image.Image]]:
        """Without the filter, and with it; a picture for each plan."""
        told = [
            choose.after_strokes(plan, lineart, None, hints, seed=seed)
            for seed, plan in enumerate(plans)
        ]
        pictures = [paint(lineart, layer) for layer in told]
        return pictures, [within_lines(regions, lineart, p, hints, planned=True) for p in pictures]

    shape = Image.new("1", (width, height))
    pen = ImageDraw.Draw(shape)
    pen.ellipse((width * 0.1, height * 0.1, width * 0.6, height * 0.7), fill=1)
    pen.rectangle((width * 0.5, height * 0.5, width * 0.9, height * 0.9), fill=0)
    region = np.asarray(shape)  # the circle but for the box over it
    paper = region & (np.asarray(lineart) > metrics.PAPER)

    def apart(pictures: list[Image.Image], colour: tuple[int, int, int]) -> float:
        wanted = np.full((int(paper.sum()), 3), colour, np.uint8)
        return sum(metrics.difference(np.asarray(p)[paper], wanted).mean() for p in pictures)

    before = painted(None)
    for colour in ((217, 79, 61), (61, 111, 182)):
        hints = Image.new("RGBA", red.size)
        hints.paste((*colour, 255), mask=red.getchannel("A"))
        after = painted(hints)
        for ones, others, most in zip(before, after, (0.8, 0.05), strict=True):
            assert apart(others, colour) < most * apart(ones, colour)
            for one, other in zip(ones, others, strict=True):
                under = metrics.hint_distance(other, hints, lineart)
                leak = metrics.leakage(one, other, region, lineart)
                assert under is not None
                assert leak is not None
                assert under < 3  # CIEDE2000: hardly seen
                assert leak < 0.04


def test_every_file_is_listed_with_its_hash_and_small() -> None:
    lines = (EMBEDDED / "SHA256SUMS").read_text("ascii").splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    weights = [p for p in EMBEDDED.rglob("*") if p.suffix in (".safetensors", ".json")]
    for path in weights:
        assert listed[path.relative_to(EMBEDDED).as_posix()] == sha256(path)
        assert path.stat().st_size < MAX_FILE + 500_000
    assert {EMBEDDED / name for name in listed} >= set(weights)
    assert all(Path(EMBEDDED / name).is_file() for name in listed)
