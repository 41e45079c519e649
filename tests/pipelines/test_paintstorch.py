"""PaintsTorch: any size, hints, memory, the slot for features, weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipelines.colorize import live
from pipelines.colorize.features import FEATURES, LocalFeatures, make_features, register
from pipelines.colorize.generator import Generator, GeneratorConfig
from pipelines.colorize.paintstorch import PaintsTorchPipeline
from pipelines.errors import ModelUnavailable, OutOfMemory
from pipelines.weights import save_model
from tests import tiny
from tests.tiny_colorizer import CPU, config, drawing, generator, strokes


@pytest.fixture
def paint() -> PaintsTorchPipeline:
    return PaintsTorchPipeline(generator(), low_precision=False)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (300, 50), (1, 700), (64, 48)])
def test_any_size(paint: PaintsTorchPipeline, size: tuple[int, int]) -> None:
    picture = paint(drawing(*size), strokes(*size))
    assert picture.mode == "RGB"
    assert picture.size == size


def test_the_same_drawing_gives_the_same_picture(paint: PaintsTorchPipeline) -> None:
    first = paint(drawing(96, 80), strokes(96, 80))
    assert paint(drawing(96, 80), strokes(96, 80)) == first
    assert (
        PaintsTorchPipeline(generator(), low_precision=False)(drawing(96, 80), strokes(96, 80))
        == first
    )  # from an empty memory, too


def test_strokes_count_and_empty_ones_do_not(paint: PaintsTorchPipeline) -> None:
    plain = paint(drawing(96, 80))
    assert paint(drawing(96, 80), Image.new("RGBA", (96, 80), (255, 0, 0, 127))) == plain
    outside = Image.new("RGBA", (200, 80), (0, 0, 0, 0))
    outside.paste((255, 0, 0, 255), (150, 0, 200, 80))
    assert paint(drawing(96, 80), outside) == plain
    assert paint(drawing(96, 80), strokes(96, 80)) != plain


def test_transparent_is_paper_and_other_modes_count_by_brightness(
    paint: PaintsTorchPipeline,
) -> None:
    lines = drawing(64, 64)
    expected = paint(lines)
    see_through = Image.new("RGBA", lines.size, (0, 0, 0, 0))
    see_through.putalpha(lines.point(lambda v: 255 - v))  # black ink, paper transparent
    for other in (lines.convert("RGB"), lines.convert("LA"), see_through):
        found = np.asarray(paint(other)).astype(int)
        assert np.abs(found - np.asarray(expected)).max() <= 2, other.mode


def test_a_further_stroke_runs_only_what_hangs_on_strokes(
    paint: PaintsTorchPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = list[tuple[int, ...]]()
    encode = Generator.encode

    def counting(model: Generator, inputs: Tensor) -> object:
        encoded.append(tuple(inputs.shape))
        return encode(model, inputs)

    monkeypatch.setattr(Generator, "encode", counting)
    for hints in (None, strokes(64, 64), None):
        paint(drawing(64, 64), hints)
    assert len(encoded) == 1
    paint(drawing(64, 64).rotate(90))  # another drawing of the same size
    assert len(encoded) == 2
    paint(drawing(64, 64))
    assert len(encoded) == 2
    monkeypatch.setattr(live, "CACHE", 1)
    paint(drawing(48, 64))  # no room for more than the last
    paint(drawing(64, 64))
    assert len(encoded) == 4


def test_a_large_drawing_is_painted_in_tiles_without_seams(
    paint: PaintsTorchPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, hints = drawing(400, 300), strokes(400, 300)
    whole = np.asarray(paint(lines, hints)).astype(int)
    for name, value in (("MAX_PIXELS", 64**2), ("TILE", 192), ("OVERLAP", 96)):
        monkeypatch.setattr(live, name, value)
    pieces = list[tuple[int, ...]]()
    piece = live.LivePainter._piece

    def counting(painter: live.LivePainter, inputs: np.ndarray, *rest: object) -> np.ndarray:
        pieces.append(inputs.shape)
        return piece(painter, inputs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(live.LivePainter, "_piece", counting)
    monkeypatch.setattr(live.LivePainter, "_glance", lambda self, inputs, cells, mask: cells)
    tiled = np.asarray(paint(lines, hints)).astype(int)
    assert len(pieces) > 4
    assert tiled.shape == whole.shape
    assert np.abs(tiled - whole).mean() < 2  # the same hints, cut elsewhere
    monkeypatch.undo()
    for name, value in (("MAX_PIXELS", 64**2), ("TILE", 192), ("OVERLAP", 96)):
        monkeypatch.setattr(live, name, value)
    blank = np.asarray(paint(Image.new("L", (400, 300), 255))).astype(int)
    jumps = [np.abs(np.diff(blank, axis=a)) for a in (0, 1)]
    for axis, starts in ((0, (96, 112)), (1, (96, 112, 208))):  # where tiles begin
        inner = np.abs(np.diff(blank, axis=axis)).max()
        for start in starts:
            seam = np.take(jumps[axis], range(start - 2, start + 2), axis=axis)
            assert seam.max() <= inner


def test_the_glance_fills_in_what_was_not_hinted(paint: PaintsTorchPipeline) -> None:
    inputs = np.asarray(drawing(128, 128))[None]
    cells = np.zeros((4, 32, 32), np.float32)
    cells[:, 4, 5] = (1, -1, 0.5, 1)
    filled = paint.painter._glance(inputs, cells, False)
    assert filled.shape == cells.shape
    assert (filled[3] == 1).all()
    assert filled[:, 4, 5].tolist() == [1, -1, 0.5, 1]
    assert np.abs(filled[:3]).max() <= 1


def test_hints_gather_into_fewer_cells() -> None:
    cells = np.zeros((4, 6, 6), np.float32)
    cells[:, 0, 0] = (1, 0, 0, 1)
    cells[:, 1, 1] = (0, 0, 1, 1)
    cells[:, 5, 4] = (-1, -1, -1, 1)
    few = live.gather(cells, 3, 3)
    assert few[:, 0, 0].tolist() == [0.5, 0, 0.5, 1]
    assert few[:, 2, 2].tolist() == [-1, -1, -1, 1]
    assert few[3].sum() == 2


def test_too_little_memory_is_said(
    paint: PaintsTorchPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Generator, "encode", full)
    with pytest.raises(OutOfMemory, match="memory"):
        paint(drawing(64, 64))


def test_weights_come_back(tmp_path: Path, paint: PaintsTorchPipeline) -> None:
    save_model(paint.painter.generator, config(), tmp_path / "model")
    loaded = PaintsTorchPipeline.from_pretrained(str(tmp_path / "model"), device="cpu")
    assert loaded.painter.generator.config == config()
    found = np.asarray(loaded(drawing(64, 64), strokes(64, 64))).astype(int)
    expected = np.asarray(paint(drawing(64, 64), strokes(64, 64)))
    assert np.abs(found - expected).max() <= 4  # half precision
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        PaintsTorchPipeline.from_pretrained(str(tmp_path / "nothing"), device="cpu")


def test_a_model_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    save_model(generator(4), config(4), tmp_path)
    with pytest.raises(ModelUnavailable, match="paintstorch"):
        PaintsTorchPipeline.from_pretrained(str(tmp_path), device="cpu")


@pytest.mark.parametrize("inputs", [1, 4])
def test_the_shipped_shape_fits_its_limit(inputs: int) -> None:
    model = Generator(GeneratorConfig(inputs=inputs))
    assert sum(p.numel() for p in model.parameters()) <= 3_200_000


# --- the slot for features ----------------------------------------------------------------


@pytest.mark.parametrize("inputs", [1, 4])
def test_features_of_clip_fill_the_slot(
    inputs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.colorize.features.EMBEDDED", tmp_path)
    with pytest.raises(ModelUnavailable):
        make_features("clip", inputs, 8)
    save_model(tiny.clip(), tiny.CLIP_CONFIG, tmp_path / "clip")
    model = generator(inputs, "clip")
    assert model.features.channels == 64
    seen = torch.rand(2, inputs, 48, 64) * 2 - 1
    features = model.features(seen)
    assert features.shape == (2, 64, 3, 4)
    assert features.std() > 0.1
    assert not any("features" in name for name in model.state_dict())
    assert not any(p.requires_grad for p in model.features.parameters())
    with torch.inference_mode():  # CLIP moves with the model that it serves
        assert model.double()(
            seen.double(), torch.zeros(2, 4, 12, 16).double()
        ).dtype.is_floating_point
    save_model(model.float(), config(inputs, "clip"), tmp_path / "model")
    again = Generator.from_pretrained(tmp_path / "model", CPU)
    assert torch.allclose(again.features(seen), features, atol=0.05)


def test_a_network_of_ones_own_fills_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    class Brightness(LocalFeatures):
        channels = 1

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.nn.functional.avg_pool2d(inputs[:, :1], 16)

    monkeypatch.setattr("pipelines.colorize.features.FEATURES", dict(FEATURES))
    register("brightness", lambda inputs, width: Brightness())
    paint = PaintsTorchPipeline(generator(1, "brightness"), low_precision=False)
    assert paint(drawing(64, 64)).size == (64, 64)


def test_the_slot_may_stay_empty_but_not_hold_the_unknown() -> None:
    paint = PaintsTorchPipeline(generator(1, "none"), low_precision=False)
    assert paint(drawing(20, 64)).size == (20, 64)
    with pytest.raises(ModelUnavailable, match="own, clip, none"):
        make_features("illustration2vec", 1, 8)
