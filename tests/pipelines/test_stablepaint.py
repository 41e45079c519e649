"""StablePaint's pipeline: seeds, masks, samplers, sizes, errors; on tiny networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from pipelines.colorize import stablepaint as module
from pipelines.colorize.autoencoder import AutoencoderConfig, pool_hints
from pipelines.colorize.denoiser import (
    Condition,
    DenoiserConfig,
    StablePaint,
    StablePaintNetworks,
)
from pipelines.colorize.progress import ColourProgress, Variations
from pipelines.colorize.settings import StablePaintConfig
from pipelines.colorize.stablepaint import (
    StablePaintPipeline,
    guided,
    slerp,
    timesteps_of,
    variation_seeds,
)
from pipelines.errors import InvalidInput, ModelUnavailable, OutOfMemory
from pipelines.presets import MAX_SEED
from pipelines.weights import save_model
from tests.tiny import CPU

NETWORKS = StablePaintNetworks(
    AutoencoderConfig(
        latent_channels=4, illustration_channels=(8, 8), illustration_blocks=1,
        condition_channels=(8, 8, 8, 8), decoder_channels=(8, 8), decoder_blocks=(1, 1),
    ),
    DenoiserConfig(latent_channels=4, channels=(8, 16), context_channels=8, heads=2, groups=4),
)  # fmt: skip
QUICK = StablePaintConfig(variations=2, steps=3, seed=5, preview_every=1)


def tiny() -> StablePaint:
    torch.manual_seed(4)
    model = StablePaint(NETWORKS)
    for block in model.modules():
        if isinstance(block, torch.nn.Conv2d):  # residual blocks begin as zero: wake them
            torch.nn.init.normal_(block.weight, std=(0.7 / block.weight[0].numel()) ** 0.5)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pipeline() -> StablePaintPipeline:
    return StablePaintPipeline(tiny(), name="tiny", low_precision=False)


def drawing(width: int = 64, height: int = 64) -> Image.Image:
    lines = np.full((height, width), 255, np.uint8)
    lines[height // 3] = 0
    lines[:, width // 2] = 0
    return Image.fromarray(lines)


def strokes(width: int = 64, height: int = 64) -> Image.Image:
    layer = Image.new("RGBA", (width, height))
    layer.paste((220, 40, 30, 255), (4, 4, 20, 12))
    layer.paste((30, 60, 200, 255), (40, 40, 60, 48))
    return layer


def noise_picture(width: int = 64, height: int = 64) -> Image.Image:
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def arrays(result: Variations) -> list[np.ndarray]:
    return [np.asarray(p).astype(int) for p in result.pictures]


def test_the_shipped_size_keeps_to_its_limit() -> None:
    model = StablePaint(StablePaintNetworks())
    size = sum(v.numel() * 2 for v in model.state_dict().values())
    assert size <= 18_000_000
    assert model.alphas[-1] == 0  # zero terminal SNR: the last step is noise alone


def test_events_count_the_steps_and_end_with_the_pictures(pipeline: StablePaintPipeline) -> None:
    *steps, last = pipeline.stream(drawing(), strokes(), QUICK)
    assert [(e.step, e.of) for e in steps if isinstance(e, ColourProgress)] == [
        (1, 3), (2, 3), (3, 3)
    ]  # fmt: skip
    assert isinstance(last, Variations)
    assert last.seeds == (5, 6)
    for event in steps:
        assert isinstance(event, ColourProgress)
        assert event.previews is not None
        assert len(event.previews) == 2
    final = steps[-1]
    assert isinstance(final, ColourProgress)
    assert final.previews == last.pictures
    assert final.eta == 0.0


def test_previews_come_as_often_as_asked(pipeline: StablePaintPipeline) -> None:
    config = StablePaintConfig(variations=1, steps=5, seed=1, preview_every=2)
    events = [e for e in pipeline.stream(drawing(), None, config) if isinstance(e, ColourProgress)]
    assert [e.previews is not None for e in events] == [False, True, False, True, True]


@pytest.mark.parametrize("size", [(1, 1), (33, 70), (400, 40)])
def test_any_size_comes_back_as_it_was(
    pipeline: StablePaintPipeline, size: tuple[int, int]
) -> None:
    events = list(pipeline.stream(drawing(*size), strokes(*size), QUICK))
    last = events[-1]
    assert isinstance(last, Variations)
    assert all(p.size == size and p.mode == "RGB" for p in last.pictures)
    first = events[0]
    assert isinstance(first, ColourProgress)
    assert first.previews is not None
    small = size if max(size) <= module.PREVIEW_SIDE else (200, 20)
    assert first.previews[0].size == small


def test_a_seed_means_one_picture_whatever_is_beside_it(pipeline: StablePaintPipeline) -> None:
    both = pipeline(drawing(), strokes(), QUICK)
    again = pipeline(drawing(), strokes(), QUICK)
    alone = pipeline(
        drawing(), strokes(), StablePaintConfig(variations=1, steps=3, seed=6, preview_every=3)
    )
    np.testing.assert_array_equal(arrays(both), arrays(again))
    np.testing.assert_array_equal(arrays(both)[1], arrays(alone)[0])
    assert np.abs(arrays(both)[0] - arrays(both)[1]).mean() > 1


def test_seeds_follow_each_other_and_a_generator_overrides(pipeline: StablePaintPipeline) -> None:
    assert variation_seeds(MAX_SEED, 3) == (MAX_SEED, 0, 1)
    a, b = (
        pipeline(drawing(), None, QUICK, generator=torch.Generator().manual_seed(2))
        for _ in range(2)
    )
    assert a.seeds == b.seeds
    assert a.seeds[0] != 5


@settings(max_examples=6, deadline=None)
@given(
    box=st.tuples(*[st.integers(0, 63)] * 4), corruption=st.sampled_from([0.0, 0.4, 1.0])
)  # fmt: skip
def test_outside_the_mask_nothing_changes(
    pipeline: StablePaintPipeline, box: tuple[int, int, int, int], corruption: float
) -> None:
    left, right = sorted(box[:2])
    top, bottom = sorted(box[2:])
    mask = Image.new("L", (64, 64))
    mask.paste(255, (left, top, right + 1, bottom + 1))
    inside = np.asarray(mask) > 127
    before = noise_picture()
    config = StablePaintConfig(variations=1, steps=2, seed=5, corruption=corruption)
    after = arrays(pipeline(drawing(), strokes(), config, mask=mask, picture=before))[0]
    changed = (after != np.asarray(before)).any(axis=2)
    assert not (changed & ~inside).any()
    assert changed[inside].mean() > 0.9


def test_without_a_picture_a_mask_leaves_the_line_art(pipeline: StablePaintPipeline) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    after = arrays(pipeline(drawing(), strokes(), QUICK, mask=mask))[0]
    lines = np.asarray(drawing().convert("RGB"))
    np.testing.assert_array_equal(after[:, 32:], lines[:, 32:])
    assert (after[:, :32] != lines[:, :32]).mean() > 0.5


def test_corruption_says_how_far_variations_stray(pipeline: StablePaintPipeline) -> None:
    def far(corruption: float) -> list[np.ndarray]:
        config = StablePaintConfig(variations=2, steps=4, seed=5, corruption=corruption)
        return arrays(pipeline(drawing(), strokes(), config))

    still, near, free = far(0.0), far(0.15), far(1.0)
    np.testing.assert_array_equal(still[0], still[1])
    distances = [np.abs(x[0] - still[0]).mean() for x in (near, free)]
    assert 0 < distances[0] < distances[1]
    apart = [np.abs(x[0] - x[1]).mean() for x in (near, free)]
    assert 0 < apart[0] < apart[1]


def test_a_picture_without_a_mask_is_what_variations_stray_from(
    pipeline: StablePaintPipeline,
) -> None:
    still = StablePaintConfig(variations=1, corruption=0.0, seed=1)
    pixels = torch.from_numpy(np.array(noise_picture())).permute(2, 0, 1)[None] / 127.5 - 1
    lines = torch.from_numpy(np.array(drawing()))[None, None] / 127.5 - 1
    coder = pipeline.model.autoencoder
    rebuilt = (coder.decode(coder.encode(pixels), lines)[0].clamp(-1, 1) + 1) * 127.5
    after = arrays(pipeline(drawing(), strokes(), still, picture=noise_picture()))[0]
    np.testing.assert_allclose(after, rebuilt.permute(1, 2, 0).numpy(), atol=0.6)


def test_guidance_follows_the_hints_and_needs_some(pipeline: StablePaintPipeline) -> None:
    def painted(hints: Image.Image | None, guidance: float) -> np.ndarray:
        config = StablePaintConfig(variations=1, steps=3, seed=5, guidance=guidance)
        return arrays(pipeline(drawing(), hints, config))[0]

    np.testing.assert_array_equal(painted(None, 1.0), painted(None, 4.0))
    np.testing.assert_array_equal(painted(Image.new("RGBA", (64, 64)), 4.0), painted(None, 1.0))
    assert np.abs(painted(strokes(), 4.0) - painted(strokes(), 1.0)).mean() > 0.05


def test_guided_keeps_the_contrast() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    torch.testing.assert_close(guided(a, b, 1.0), a)
    plain = b + 5 * (a - b)
    assert guided(a, b, 5.0).std() < 0.6 * plain.std()
    assert torch.nn.functional.cosine_similarity(
        guided(a, b, 5.0)[0].flatten(), plain[0].flatten(), dim=0
    ) == pytest.approx(1.0)


class Oracle(torch.nn.Module):
    """Knows the clean latents, so that any right sampler must arrive at them."""

    def __init__(self, model: StablePaint, clean: Tensor) -> None:
        super().__init__()
        self.alphas, self.clean = model.alphas, clean

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        alpha = self.alphas[timesteps][:, None, None, None].double()
        signal, share = alpha.sqrt(), (1 - alpha).sqrt()
        noise = (noisy - signal * self.clean) / share
        return (signal * noise - share * self.clean).float()


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
@pytest.mark.parametrize("steps", [1, 4, 12])
@pytest.mark.parametrize("corruption", [0.03, 0.5, 1.0])
def test_samplers_arrive_where_a_perfect_denoiser_points(
    sampler: str, steps: int, corruption: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny()
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    model.denoiser = Oracle(model, clean)  # type: ignore[assignment]
    pipeline = StablePaintPipeline(model, low_precision=False)
    seen: list[Tensor] = []
    monkeypatch.setattr(pipeline, "_decode", lambda x, _: seen.append(x) or drawing())
    config = StablePaintConfig(
        variations=1, steps=steps, seed=1, sampler=sampler, corruption=corruption
    )
    pipeline(drawing(), None, config)
    torch.testing.assert_close(seen[0], clean, atol=2e-3, rtol=0)


def test_timesteps_fall_evenly_from_the_corruption() -> None:
    def of(corruption: float, steps: int) -> list[int]:
        return timesteps_of(StablePaintConfig(corruption=corruption, steps=steps))

    assert of(1.0, 4) == [999, 749, 499, 249]
    assert of(0.5, 2) == [499, 249]
    assert of(0.003, 100) == [2, 1, 0]
    assert of(0.0, 12) == []


def test_latents_outside_the_mask_are_kept_while_noise_is_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny()
    pipeline = StablePaintPipeline(model, low_precision=False)
    seen: list[Tensor] = []
    monkeypatch.setattr(
        pipeline, "_decode", lambda x, _: seen.append(x) or drawing().convert("RGB")
    )
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 33, 32))
    pipeline(drawing(), None, QUICK, mask=mask, picture=noise_picture())
    pixels = torch.from_numpy(np.array(noise_picture())).permute(2, 0, 1)[None] / 127.5 - 1
    kept = (seen[0] - model.autoencoder.encode(pixels)).abs().amax(1)[0] < 1e-5
    expected = torch.ones(8, 8, dtype=torch.bool)
    expected[2:4, 2:5] = False  # the column of pixels at 32 frees a position of its own
    assert torch.equal(kept, expected)


def test_interpolation_leads_from_one_variation_to_the_other(
    pipeline: StablePaintPipeline,
) -> None:
    events = list(pipeline.interpolate(drawing(), strokes(), QUICK, (5, 6), count=4))
    between = events[-1]
    assert isinstance(between, Variations)
    assert between.seeds == (5, 5, 6, 6)
    ends = arrays(pipeline(drawing(), strokes(), QUICK))
    way = arrays(between)
    np.testing.assert_array_equal(way[0], ends[0])
    assert np.abs(way[3] - ends[1]).max() <= 1
    distances = [np.abs(w - ends[0]).mean() for w in way]
    assert distances == sorted(distances)
    events = list(pipeline.interpolate(drawing(), strokes(), QUICK, (5, 6), count=4, ends=False))
    assert isinstance(events[-1], Variations)
    np.testing.assert_array_equal(arrays(events[-1]), way[1:3])
    with pytest.raises(InvalidInput, match="from 3 to 16"):
        pipeline.interpolate(drawing(), strokes(), QUICK, (5, 6), count=2, ends=False)
    with pytest.raises(InvalidInput, match="from 2 to 16"):
        pipeline.interpolate(drawing(), strokes(), QUICK, (5, 6), count=1)


def test_slerp_keeps_to_the_sphere() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, 4, 16, 16, generator=generator) for _ in range(2))
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    assert slerp(a, b, 0.5).norm() == pytest.approx(
        (float(a.norm()) + float(b.norm())) / 2, rel=0.05
    )
    torch.testing.assert_close(slerp(a, a, 0.3), a)


def test_large_pictures_are_decoded_in_bands_without_seams(
    pipeline: StablePaintPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = StablePaintConfig(variations=1, corruption=0.0, seed=1)
    size = (64, 512)
    whole = arrays(pipeline(drawing(*size), strokes(*size), still))[0]
    monkeypatch.setattr(module, "BAND", 128)
    banded = arrays(pipeline(drawing(*size), strokes(*size), still))[0]
    assert np.abs(whole - banded).max() <= 1


def test_larger_drawings_are_painted_smaller_and_decoded_at_full_size(
    pipeline: StablePaintPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORK_PIXELS", 64 * 64)
    size = (250, 130)
    events = list(
        pipeline.stream(drawing(*size), strokes(*size), QUICK, picture=noise_picture(*size))
    )
    first, last = events[0], events[-1]
    assert isinstance(first, ColourProgress)
    assert first.previews is not None
    assert first.previews[0].size == (89, 46)
    assert isinstance(last, Variations)
    assert last.pictures[0].size == size


def test_enlarged_latents_lie_where_their_pixels_are(pipeline: StablePaintPipeline) -> None:
    lineart = torch.zeros(1, 1, 128, 256)
    condition = Condition(*[torch.zeros(1)] * 3)
    drawn = module._Drawing((240, 120), lineart, (120, 60), torch.zeros(1, 1, 64, 128), condition,
                            None)  # fmt: skip
    ramp = torch.arange(16.0).expand(1, 1, 8, 16) * 8 + 4  # the position of its middle, in pixels
    large = pipeline._enlarged(ramp, drawn)
    assert large.shape == (1, 1, 16, 32)
    middles = (torch.arange(32.0) * 8 + 4) / 2
    torch.testing.assert_close(large[0, 0, 3, 1:-1], middles[1:-1])


def test_pooled_hints_are_not_diluted() -> None:
    hints = torch.zeros(1, 4, 8, 8)
    hints[0, :, 0, 0] = torch.tensor([0.5, -1.0, 0.25, 1.0])
    pooled = pool_hints(hints, 4)
    assert pooled[0, :, 0, 0].tolist() == pytest.approx([0.5, -1.0, 0.25, 1.0], abs=1e-4)
    assert pooled[0, :, 1, 1].tolist() == [0, 0, 0, 0]


def test_what_does_not_fit_is_refused(pipeline: StablePaintPipeline) -> None:
    with pytest.raises(InvalidInput, match="same size"):
        pipeline(drawing(), None, QUICK, picture=noise_picture(32, 64))
    with pytest.raises(InvalidInput, match="mask is empty"):
        pipeline(drawing(), None, QUICK, mask=Image.new("L", (64, 64)))


def test_too_little_memory_is_said(
    pipeline: StablePaintPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pipeline, "_velocity", full)
    with pytest.raises(OutOfMemory, match="fewer"):
        pipeline(drawing(), None, QUICK)


def test_closing_midway_frees_the_pipeline(pipeline: StablePaintPipeline) -> None:
    events: Iterator[ColourProgress | Variations] = pipeline.stream(drawing(), None, QUICK)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert len(pipeline(drawing(), None, QUICK).pictures) == 2


def test_saved_and_loaded(tmp_path: Path, pipeline: StablePaintPipeline) -> None:
    save_model(pipeline.model.half().float(), NETWORKS, tmp_path)
    loaded = StablePaintPipeline.from_pretrained(str(tmp_path), device="cpu")
    assert loaded.model.config == NETWORKS
    loaded.low_precision = False
    a, b = (p(drawing(), strokes(), QUICK) for p in (pipeline, loaded))
    for x, y in zip(arrays(a), arrays(b), strict=True):
        assert np.abs(x - y).max() <= 1
    with pytest.raises(ModelUnavailable, match="no StablePaint"):
        StablePaintPipeline.from_pretrained(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text('{"layers": 3}')
    with pytest.raises(ModelUnavailable, match="another kind"):
        StablePaint.from_pretrained(tmp_path, CPU)


def test_shares_of_signal_and_noise(pipeline: StablePaintPipeline) -> None:
    signal, share = pipeline.model.signal_noise(torch.tensor([0, 999]))
    assert math.isclose(float(signal[1]), 0.0)
    torch.testing.assert_close(signal**2 + share**2, torch.ones(2, 1, 1, 1))
