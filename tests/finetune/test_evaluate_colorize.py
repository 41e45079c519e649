"""The table of the colour models: what its figures measure, on pictures whose answer is known."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from finetune import colour_metrics as metrics
from finetune import evaluate, evaluate_planner, perceptual
from finetune import evaluate_colorize as module
from finetune.colour_methods import FILL, PLANNED, Method, all_methods, fill
from finetune.colour_test_set import Sample, sample, samples
from finetune.evaluate_colorize import (
    COLUMNS,
    HINTS,
    LATENCY,
    LEAKAGE,
    LPIPS,
    OUTSIDE,
    PSNR,
    WITHIN,
    Row,
    cell,
    grid,
    measure,
    run,
)
from finetune.planner import wanted_colours
from pipelines.colorize.regions import find_regions
from pipelines.colorize.settings import StablePaintConfig
from pipelines.vqgan_clip.clip import CLIP
from pipelines.weights import save_model
from storage.ratings import Results
from tests import tiny, tiny_colorizer
from tests.pipelines import test_stablepaint as tiny_stablepaint
from tests.tiny_colorizer import CPU

SIZE = (256, 256)


def noise(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def two_boxes() -> tuple[Image.Image, Image.Image, Image.Image]:
    """Line art of two boxes, a red stroke in the left one, and how it is meant."""
    lineart, picture = Image.new("L", SIZE, 255), Image.new("RGB", SIZE, "white")
    for x, colour in ((20, "#d02020"), (140, "#2040d0")):
        ImageDraw.Draw(picture).rectangle((x, 40, x + 96, 210), fill=colour)
        ImageDraw.Draw(lineart).rectangle((x, 40, x + 96, 210), outline=0, width=3)
    hints = Image.new("RGBA", SIZE)
    ImageDraw.Draw(hints).rectangle((50, 100, 70, 110), fill="#d02020")
    return lineart, hints, picture


@pytest.fixture(scope="module")
def judge() -> CLIP:
    return tiny.clip()


@pytest.fixture(scope="module")
def held_out() -> list[Sample]:
    return list(samples(2, None))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three models and the planner at tiny size."""
    folder = tmp_path_factory.mktemp("weights")
    for name, inputs in (("paintstorch", 1), ("stenciltorch", 4)):
        model = tiny_colorizer.generator(inputs)
        save_model(model, model.config, folder / name)
    model = tiny_stablepaint.tiny()
    save_model(model, model.config, folder / "stablepaint")
    planner = tiny_colorizer.planner()
    save_model(planner, planner.config, folder / "planner")
    return folder


def test_a_planner_that_knows_the_colours_is_told_from_one_that_does_not(
    held_out: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = tiny_colorizer.planner()
    colours = planner.config.colours
    plain = evaluate_planner.run(planner, held_out)
    wanted = wanted_colours(evaluate_planner.batch_of(held_out, "none", CPU), planner.palette)
    knowing = 20 * F.one_hot(wanted, colours).float()
    unread = planner.unread(*wanted.shape[1:])

    def logits(drawing: Tensor, hints: Tensor, tokens: Tensor) -> Tensor:
        told = tokens < colours
        assert (tokens[told] == wanted[told]).all()  # what is not hidden is true
        return 0 * knowing if (drawing == unread).all() else knowing

    monkeypatch.setattr(planner, "forward", logits)
    found = evaluate_planner.run(planner, held_out)
    assert len(found) == len(plain) == 16
    for strokes in ("no strokes", "few strokes"):
        for hidden in ("all hidden", "half hidden"):
            name = f"{strokes}, {hidden}"
            assert found[f"{name}: right"] == 1 > plain[f"{name}: right"]
            assert found[f"{name}, drawing not shown: right"] < 1
            uniform = pytest.approx(math.log(colours), abs=1e-4)
            assert found[f"{name}, drawing not shown: nats"] == uniform


def test_distances_are_nothing_between_a_picture_and_itself(judge: CLIP) -> None:
    one, two = noise(1), noise(2)
    assert metrics.psnr(one, one) == 80
    assert metrics.ssim(one, one) == pytest.approx(1)
    assert metrics.psnr(one, two) < 10
    assert abs(metrics.ssim(one, two)) < 0.1
    a, b = (metrics.patches(judge, [p]) for p in (one, two))
    assert metrics.patch_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.patch_distance(a, b) > 1e-5
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-4)


def test_the_frechet_distance_of_normal_samples() -> None:
    """Of two normal distributions it is known: (m - n)^2 + (s - r)^2 in every dimension."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn((20_000, 3), generator=generator) for _ in "ab")
    assert metrics.frechet_distance(a, 2 * b + 1) == pytest.approx(3 * (1 + 1), rel=0.05)


@pytest.fixture
def lpips(monkeypatch: pytest.MonkeyPatch) -> perceptual.LPIPS:
    """Untrained and narrow, with channels that count for something."""
    monkeypatch.setattr(perceptual, "WIDTHS", ((4, 4), (8, 8)))
    torch.manual_seed(0)
    network = perceptual.LPIPS()
    for lin in network.lins:
        torch.nn.init.constant_(lin.get_parameter("weight"), 1.0)
    return network.eval().requires_grad_(False)


def test_lpips_is_a_column_where_it_is_given(
    known: Sample, judge: CLIP, lpips: perceptual.LPIPS
) -> None:
    assert metrics.lpips(lpips, noise(1), noise(1)) == 0
    assert metrics.lpips(lpips, noise(1), noise(2)) > 0
    row = Row("perfect", "none", (), [known.picture])
    real = metrics.patches(judge, row.pictures)
    module.judged(row, [known], judge, real, lpips)
    assert row.figures[LPIPS] == 0
    plain = Row("perfect", "none", (), [known.picture])
    module.judged(plain, [known], judge, real, None)
    assert LPIPS not in plain.figures
    assert LPIPS.name not in module.table([plain], 1, 0)


def test_lpips_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "colorize", "--lpips", str(tmp_path)])
    with pytest.raises(SystemExit, match="does not hold LPIPS"):
        evaluate.main()


def test_strokes_that_are_obeyed_and_colours_that_leak() -> None:
    lineart, hints, picture = two_boxes()
    assert metrics.hint_distance(picture, hints, lineart) == pytest.approx(0)
    assert metrics.hint_distance(Image.new("RGB", SIZE), hints, lineart) or 0 > 30
    assert metrics.hint_distance(picture, Image.new("RGBA", SIZE), lineart) is None
    region = np.zeros((256, 256), np.bool_)
    region[40:211, 20:117] = True
    inside = picture.copy()
    ImageDraw.Draw(inside).rectangle((30, 50, 100, 200), fill="lime")
    assert metrics.leakage(picture, inside, region, lineart) == 0
    everywhere = metrics.leakage(picture, Image.new("RGB", SIZE, "lime"), region, lineart)
    assert everywhere is not None
    assert everywhere > 0.5
    assert metrics.leakage(picture, picture, region, lineart) is None  # nothing was obeyed
    assert metrics.changed_outside(picture, inside, region) == 0
    assert metrics.changed_outside(picture, inside, ~region) == 71 * 151


def test_nearest_stroke_fill() -> None:
    lineart, hints, _ = two_boxes()
    regions = find_regions(lineart)
    assert np.array_equal(np.asarray(fill(regions, lineart, None))[..., 0], np.asarray(lineart))
    ImageDraw.Draw(hints).rectangle((150, 60, 160, 70), fill="#2040d0")
    filled = np.asarray(fill(regions, lineart, hints))
    assert filled[200, 30].tolist() == [0xD0, 0x20, 0x20]
    assert filled[200, 220].tolist() == [0x20, 0x40, 0xD0]
    assert filled[100, 20].max() == 0  # a line


def test_held_out_pictures_come_from_pages_and_scenes(tmp_path: Path) -> None:
    rows = list[str]()
    for n, split in enumerate(("train", "test", "test")):
        noise(n).save(tmp_path / f"{n}.png")
        rows.append(json.dumps({"image": f"{n}.png", "split": split}))
    (tmp_path / "pages.jsonl").write_text("\n".join(rows))
    names = [s.name for s in samples(3, tmp_path)]
    assert names == ["000-page-1", "001-scene", "002-page-2"]


def test_a_sample_has_hints_of_each_kind(held_out: list[Sample]) -> None:
    one = held_out[0]
    covered = {k: h and np.asarray(h)[..., 3].mean() / 255 for k, h in one.hints.items()}
    assert covered["none"] is None
    assert covered["full"] == 1
    assert 0 < (covered["sparse"] or 0) < 1
    assert one.picture.size == one.lineart.size == SIZE
    again = next(samples(1, None))
    assert np.array_equal(np.asarray(again.picture), np.asarray(one.picture))
    assert again.hints == one.hints
    assert any(s.probe is not None and s.probe.region.any() for s in held_out)


@pytest.fixture(scope="module")
def known(held_out: list[Sample]) -> Sample:
    """One that has a probe."""
    return next(s for s in held_out if s.probe)


def test_the_original_itself_would_win(
    known: Sample, judge: CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that knows the answer beats both baselines; one that ignores a mask is found out."""
    monkeypatch.setattr(module, "TIMED_SIDE", 64)
    grey = Image.new("RGB", SIZE, "grey")

    def know(lineart: Image.Image, hints: Image.Image | None, seed: int) -> Image.Image:
        return known.picture if lineart is known.lineart else grey.resize(lineart.size)

    methods = [
        Method(FILL, lambda lineart, hints, seed: fill(find_regions(lineart), lineart, hints)),
        Method("untrained", lambda lineart, hints, seed: grey.resize(lineart.size)),
        Method("perfect", know, lambda s: noise(3), (FILL, "untrained")),
    ]
    rows = list(measure(methods, [known], judge))
    perfect = next(r for r in rows if (r.method, r.regime) == ("perfect", "sparse"))
    assert perfect.figures[PSNR] == 80
    assert LEAKAGE not in perfect.figures  # it heeds no stroke
    assert perfect.figures[OUTSIDE] > 100
    figures = {r.method: r.figures for r in rows if r.regime == "sparse"}
    assert cell(perfect, PSNR, figures) == "**80.0**"
    assert cell(perfect, LEAKAGE, figures) == ""
    assert HINTS not in next(r for r in rows if r.regime == "none").figures
    alone = Row("new", "sparse", ("gone",), figures={PSNR: 90})
    assert cell(alone, PSNR, figures) == "90.0"  # there is nothing that it has beaten
    equal = Row("new", "sparse", ("perfect",), figures={PSNR: 80.01})
    assert cell(equal, PSNR, figures) == "80.0"  # as good, as far as is shown


def test_the_whole_table(
    weights: Path,
    held_out: list[Sample],
    judge: CLIP,
    lpips: perceptual.LPIPS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMED_SIDE", 64)
    methods = all_methods(weights, tiny.CPU, StablePaintConfig(steps=1))
    assert len(methods) == 10  # with three that are told a plan
    shown = tmp_path / "docs" / "grid.jpg"
    found = run(judge, methods, held_out[:1], tmp_path / "out", shown, lpips=lpips)
    text = (tmp_path / "out" / "table.md").read_text()
    assert shown.with_suffix(".md").read_text() == text  # whole, to be shipped beside the grid
    assert all(column.name in text for column in COLUMNS)
    assert found[f"untrained PaintsTorch, sparse: {LPIPS.name}"] > 0
    ours = ("PaintsTorch" + WITHIN, "StencilTorch" + PLANNED + WITHIN, "StablePaint" + PLANNED)
    for name in (FILL, "untrained StablePaint", *ours):
        assert text.count(f"| {name} |") == 3
    assert found[f"StencilTorch, sparse: {OUTSIDE.name}"] == 0
    assert found[f"StablePaint, sparse: {OUTSIDE.name}"] == 0
    assert found[f"PaintsTorch, none: {LATENCY.name}"] > 0
    with Image.open(shown) as picture:
        assert picture.width == 176 * 10
    results = Results(tmp_path / "out" / "rating")
    assert {r.method for r in results.all} >= {"PaintsTorch", "original", "nearest-stroke-fill"}


def test_a_model_that_is_missing_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = all_methods(tmp_path, tiny.CPU)
    assert [m.name for m in methods] == [FILL]
    assert capsys.readouterr().out.count("left out") == 4


def test_a_picture_of_one_colour_has_no_probe(held_out: list[Sample]) -> None:
    plain = sample("plain", Image.new("RGB", (300, 200), "red"), 0.5, np.random.default_rng(1), 1)
    assert plain.probe is None
    page = grid([Row(FILL, r, (), [plain.picture]) for r in ("sparse", "none")], [plain])
    assert page.height == 56 + 2 * 176
