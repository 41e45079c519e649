"""Guidance: cutouts, losses, the fast step against the plain one, batches, and short memory."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import grad

from pipelines.presets import AUGMENTATIONS, OPTIMISERS, SCHEDULES, PictureConfig
from pipelines.vqgan_clip import guidance
from pipelines.vqgan_clip.canvas import Aims, Canvas, Step, small_size
from pipelines.vqgan_clip.checkpointing import blocks_of, bytes_kept, checkpointed
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.cutouts import Views, draw_views, take
from pipelines.vqgan_clip.guidance import Guidance
from pipelines.vqgan_clip.losses import (
    Targets,
    asymmetry,
    palette_distance,
    smoothness,
    spherical_distance,
)
from pipelines.vqgan_clip.models import WeightedModel
from pipelines.vqgan_clip.optimisers import make_optimiser, step_factor
from pipelines.vqgan_clip.vqgan import VQGAN
from tests.tiny import clip, vqgan

PLAIN = PictureConfig(step_size=0.1, cutouts=1, pull=0.0, steps=40)


@pytest.fixture(scope="module")
def coder() -> VQGAN:
    return vqgan()


@pytest.fixture(scope="module")
def judge() -> CLIP:
    return clip()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth(side: int, seed: int = 0) -> Tensor:
    """A picture without fine detail: (1, 3, side, side)."""
    return F.interpolate(noise(1, 3, 6, 6, seed=seed) / 2, size=(side, side), mode="bicubic")


def aims(judge: CLIP, *prompts: str) -> Aims:
    """One phase with these prompts, all of weight 1."""
    vectors = judge.embed_texts(prompts)
    one = torch.ones(len(prompts))
    return Aims(((Targets(vectors, one, torch.full_like(one, -math.inf)),),))


def canvas(
    coder: VQGAN, judge: CLIP, config: PictureConfig = PLAIN, seed: int = 1, side: int = 128
) -> Canvas:
    start = coder.random_latents(side, side, 1, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 100)
    return Canvas(coder, start, aims(judge, "a fox near an owl"), config, generator)


def engine(coder: VQGAN, judge: CLIP, **options: Any) -> Guidance:
    return Guidance(coder, (WeightedModel(judge),), **options)


def run(guide: Guidance, one: Canvas, steps: int) -> list[Step]:
    return [guide.descend([one])[0] for _ in range(steps)]


# losses


def test_spherical_distance_is_half_the_squared_angle() -> None:
    a, b = (F.normalize(noise(50, 7, seed=s).double(), dim=-1) for s in (1, 2))
    angle = (a * b).sum(-1).arccos()
    assert torch.allclose(spherical_distance(a, b), angle.square() / 2)
    assert torch.equal(spherical_distance(a, a), torch.zeros(50, dtype=torch.double))
    assert torch.allclose(
        spherical_distance(a, -a), torch.full((50,), math.pi**2 / 2, dtype=torch.double)
    )


def test_the_distance_has_a_gradient_where_it_is_zero() -> None:
    a = F.normalize(noise(3, 7), dim=-1).requires_grad_(True)
    (gradient,) = grad(spherical_distance(a, a.detach()).sum(), [a])
    assert torch.equal(gradient, torch.zeros(3, 7))


def test_weights_push_away_and_stops_stop() -> None:
    """As in the known tools: the gradient of max(sign * distance, stop), times |weight|."""
    target = F.normalize(noise(1, 7, seed=1), dim=-1)
    seen = F.normalize(noise(1, 7, seed=2), dim=-1).requires_grad_(True)
    distance = spherical_distance(seen, target).item()

    def slope(weight: float, stop: float = -math.inf) -> Tensor:
        targets = Targets(target, torch.tensor([weight]), torch.tensor([stop]))
        return grad(targets.loss(seen).sum(), [seen])[0]

    assert torch.allclose(slope(-2.0), -2 * slope(1.0))
    assert slope(1.0, distance + 0.1).abs().max() == 0
    assert torch.equal(slope(1.0, distance - 0.1), slope(1.0))
    assert slope(-1.0, -distance + 0.1).abs().max() == 0  # far enough away
    assert torch.equal(slope(-1.0, -distance - 0.1), slope(-1.0))


def test_losses_of_pictures() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert smoothness(flat).item() == 0
    assert smoothness(noise(1, 3, 8, 8)).item() > 1
    half = torch.cat([noise(1, 3, 8, 4), noise(1, 3, 8, 4).flip(-1)], dim=-1)
    assert asymmetry(half).item() == 0
    assert asymmetry(noise(1, 3, 8, 8)).item() > 0.5
    palette = torch.tensor([[1.0, -1, -1], [0, 0, 0]])
    assert palette_distance(torch.tensor([0.9, -1, -1]).view(1, 3, 1, 1), palette).item() == (
        pytest.approx(0.01, abs=1e-4)
    )
    both = palette_distance(torch.cat([flat, flat * 0]), palette)
    assert both.tolist() == pytest.approx([0.27, 0.0])


# cutouts


def views_of(pixels: Tensor, config: PictureConfig, size: int = 32, seed: int = 1) -> Tensor:
    shape = pixels.shape[-2], pixels.shape[-1]
    views = draw_views(config, size, shape, torch.Generator().manual_seed(seed))
    return take(pixels, [views], [(0, v) for v in range(len(views))])


@pytest.mark.parametrize("method", ["crops", "pooled"])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (24, 24)])
def test_cutouts(method: str, count: int, size: tuple[int, int]) -> None:
    config = PictureConfig(cutouts=count, cutout_method=method, augment=tuple(AUGMENTATIONS))
    pixels = noise(1, 3, *size).requires_grad_(True)
    views = views_of(pixels, config)
    assert views.shape == (count, 3, 32, 32)
    if method == "crops" and size[0] > 32:
        assert torch.equal(views[:1], F.interpolate(pixels, size=(32, 32), mode="area"))
    for k in range(1, count):
        assert (views[k] - views[0]).abs().mean() > 0.02
        (gradient,) = grad(views[k].sum(), [pixels], retain_graph=True)
        assert gradient.isfinite().all()
        assert (gradient != 0).float().mean() > 0.1
    assert torch.equal(views, views_of(pixels, config))


def test_the_gradient_of_views_is_the_same_each_time_with_several_threads() -> None:
    config = PictureConfig()
    views = draw_views(config, 64, (256, 256), torch.Generator().manual_seed(1))
    wanted = [(0, view) for view in range(config.cutouts)]
    pixels, weights = torch.rand(1, 3, 256, 256), torch.rand(config.cutouts, 3, 64, 64)

    def gradient() -> torch.Tensor:
        leaf = pixels.clone().requires_grad_()
        (take(leaf, [views], wanted) * weights).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert all(torch.equal(gradient(), first) for _ in range(12))
    finally:
        torch.set_num_threads(threads)


def test_some_views_at_a_time_are_those_of_all_at_once() -> None:
    config = PictureConfig(cutouts=9, cutout_min=0.2, augment=tuple(AUGMENTATIONS))
    pixels = noise(2, 3, 160, 128)
    both = [draw_views(config, 32, (160, 128), torch.Generator().manual_seed(s)) for s in (1, 2)]
    assert any(views.levels.unique().numel() > 1 for views in both)
    wanted = [(b, v) for b in range(2) for v in range(9)]
    parts = [take(pixels, both, wanted[n : n + 4]) for n in range(0, 18, 4)]
    assert torch.allclose(torch.cat(parts), take(pixels, both, wanted), atol=1e-6)
    alone = take(pixels[1:], both[1:], [(0, v) for v in range(9)])
    assert torch.allclose(torch.cat(parts)[9:], alone, atol=1e-6)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_can_be_switched(name: str) -> None:
    still = replace(PLAIN, cutouts=6, cutout_min=1.0, augment=())
    pixels = smooth(128)
    plain = views_of(pixels, still)
    assert torch.allclose(plain, plain[:1].expand_as(plain), atol=1e-5)  # nothing changes them
    one = views_of(pixels, replace(still, augment=(name,)))
    assert torch.allclose(one[0], plain[0])
    assert (one[1:] - plain[1:]).abs().amax((1, 2, 3)).max() > 0.02
    if name == "flip":
        mirrored = [torch.allclose(view, plain[0].flip(-1), atol=1e-5) for view in one]
        kept = [torch.allclose(view, plain[0], atol=1e-5) for view in one]
        assert all(m or k for m, k in zip(mirrored, kept, strict=True))
        assert any(mirrored)
    if name == "erase":
        assert ((one - plain).abs() > 1e-4).float().mean() < 0.3
    if name == "colour":
        grey = views_of(pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1), replace(
            still, augment=(name,)))  # fmt: skip
        assert (grey.amax(1) - grey.amin(1)).max() < 1e-4
        orange = torch.tensor([1.0, 0.2, -0.6]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
        seen = views_of(orange, replace(still, augment=(name,), cutouts=32)).mean((2, 3))
        part = (seen[:, 1] - seen[:, 2]) / (seen[:, 0] - seen[:, 2])
        assert (part - 0.5).abs().max() < 1e-3  # its hue stays, however pale it is


def test_power_makes_crops_small_and_small_crops_read_sharp_pictures() -> None:
    shape, count = (256, 256), 128

    def sides(power: float) -> Views:
        config = PictureConfig(
            cutouts=count, cutout_min=0.1, cutout_power=power, augment=()
        )  # fmt: skip
        return draw_views(config, 32, shape, torch.Generator().manual_seed(0))

    small, large = sides(4.0), sides(0.25)
    assert small.warps[:, 0, 0].mean() < 0.4 < 0.7 < large.warps[:, 0, 0].mean()
    for views in (small, large):
        density = views.warps[:, 0, 0] * 2.0**views.levels  # pixels read for each pixel seen
        assert density.max() < 1.5
        assert density[views.levels < 3].min() > 0.66
        assert (views.warps[:, 0, 0] + views.warps[:, 0, 2].abs()).max() <= 1.0001  # inside


def test_one_resampling_is_what_several_in_a_row_make() -> None:
    """Crop, then rotation, then mirroring, each resampled: the gradient points the same way."""
    config = replace(PLAIN, cutouts=2, augment=("rotate", "flip"))
    pixels = smooth(128).requires_grad_(True)
    target = smooth(32, seed=1)
    for seed in range(4):
        views = draw_views(config, 32, (128, 128), torch.Generator().manual_seed(seed))
        (fast,) = grad(((take(pixels, [views], [(0, 1)]) - target) ** 2).sum(), [pixels])
        warp = views.warps[0]
        scale = warp[1, :2].norm()
        mirror = torch.linalg.det(warp[:2, :2]).sign()
        crop = torch.cat([scale * torch.eye(2), warp[:2, 2:]], dim=1)
        turn = torch.cat([warp[:2, :2] / scale @ torch.diag(torch.stack([mirror, mirror**2])),
                          torch.zeros(2, 1)], dim=1)  # fmt: skip
        flip = torch.tensor([[mirror.item(), 0, 0], [0, 1.0, 0]])
        seen = pixels
        for matrix in (crop, turn, flip):
            grid = F.affine_grid(matrix[None], [1, 3, 128, 128], align_corners=False)
            seen = F.grid_sample(seen, grid, padding_mode="reflection", align_corners=False)
        seen = F.interpolate(seen, size=(32, 32), mode="area")
        (slow,) = grad(((seen - target) ** 2).sum(), [pixels])
        assert F.cosine_similarity(blur(fast).flatten(), blur(slow).flatten(), dim=0) > 0.99


def blur(gradient: Tensor) -> Tensor:
    """What a decoder passes on of a gradient in pixels: nothing as fine as single ones."""
    return F.avg_pool2d(gradient, 8)


# the step


def plain_gradient(coder: VQGAN, judge: CLIP, one: Canvas) -> Tensor:
    """A step as the paper has it: one picture, one view after the other, one graph."""
    generator = torch.Generator()
    generator.set_state(one.generator.get_state())
    config = one.config
    latents = one.latents.detach().clone().requires_grad_(True)
    pixels = coder.decode(coder.quantizer(latents)[0]).clamp(-1, 1)
    shape = pixels.shape[-2], pixels.shape[-1]
    views = draw_views(config, judge.image_size, shape, generator)
    losses = []
    for v in range(config.cutouts):
        seen = judge.embed_images(take(pixels, [views], [(0, v)]))
        losses.append(spherical_distance(seen, one.targets()[0].vectors).sum())
    loss = torch.stack(losses).mean() + config.pull * F.mse_loss(latents, one.start)
    loss = loss + config.smoothness * smoothness(pixels).sum()
    return grad(loss, [latents])[0]


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("views", [1, 4, 64])
def test_the_fast_step_has_the_gradient_of_the_plain_one(
    coder: VQGAN, judge: CLIP, views: int, checkpoints: bool
) -> None:
    config = replace(PLAIN, cutouts=9, pull=0.7, smoothness=0.2, augment=tuple(AUGMENTATIONS))
    one = canvas(coder, judge, config)
    run(engine(coder, judge), one, 1)  # away from the start, so that the pull counts
    expected = plain_gradient(coder, judge, one)
    guide = engine(coder, judge, views=views, checkpoints=checkpoints)
    gradient, _ = guide.gradients([one])
    assert F.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) > 0.9999
    assert torch.allclose(gradient, expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item())


def test_a_batch_is_as_each_alone(coder: VQGAN, judge: CLIP) -> None:
    """Pictures with prompts, steps and losses of their own; two of them share a size."""
    configs = [
        replace(PLAIN, cutouts=3, steps=6),
        replace(PLAIN, cutouts=3, steps=4, pull=2.0, smoothness=0.5, optimiser="adagrad"),
        replace(PLAIN, cutouts=2, steps=5),
    ]
    sides = (128, 128, 160)

    def canvases() -> list[Canvas]:
        return [canvas(coder, judge, c, n, side=sides[n]) for n, c in enumerate(configs)]

    alone = canvases()
    for one in alone:
        while not one.finished:
            engine(coder, judge).descend([one])
    for options in ({}, {"together": 1}, {"views": 2}):
        together, guide = canvases(), engine(coder, judge, **options)
        while left := [c for c in together if not c.finished]:
            guide.descend(left)
        for a, b in zip(alone, together, strict=True):
            assert a.step == b.step
            # Not value by value: Adam makes steps of what rounding leaves of no gradient.
            assert (a.latents - b.latents).abs().mean() < 1e-4
            assert (a.decode() - b.decode()).abs().mean() < 1e-3


def test_guidance_lowers_its_loss_and_raises_the_score(coder: VQGAN, judge: CLIP) -> None:
    one = canvas(coder, judge)
    low, high = coder.bounds()
    found = run(engine(coder, judge), one, 40)
    losses, scores = [s.loss for s in found], [s.score for s in found]
    assert min(losses[-5:]) < 0.8 * losses[0]
    assert max(scores[-5:]) > scores[0] + 0.05
    assert (one.latents >= low).all()
    assert (one.latents <= high).all()
    picture = one.decode()
    assert picture.shape == (1, 3, 128, 128)
    assert -1 <= picture.min() < picture.max() <= 1
    assert one.finished


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_descends(coder: VQGAN, judge: CLIP, name: str) -> None:
    one = canvas(coder, judge, replace(PLAIN, optimiser=name))
    found = run(engine(coder, judge), one, 16)
    assert min(s.loss for s in found[-3:]) < found[0].loss
    assert type(make_optimiser(name, one.latents, 0.1)).__name__ == OPTIMISERS[name]


def test_schedules() -> None:
    for name in SCHEDULES:
        factors = [step_factor(name, n / 100) for n in range(100)]
        assert all(0 < f <= 1 for f in factors)
        assert max(factors) == 1
    assert step_factor("linear", 0.75) == 0.25
    assert step_factor("cosine", 0.5) == pytest.approx(0.5)
    assert step_factor("warmup", 0.0) == pytest.approx(0.1)


def test_the_schedule_sets_the_step(coder: VQGAN, judge: CLIP) -> None:
    one = canvas(coder, judge, replace(PLAIN, schedule="linear", steps=10, optimiser="rmsprop"))
    guide, moved = engine(coder, judge), list[float]()
    for _ in range(10):
        before = one.latents.detach().clone()
        guide.descend([one])
        moved.append((one.latents - before).abs().mean().item())
    assert moved[-1] < 0.4 * moved[2]


def test_the_pull_keeps_latents_near_the_start_and_fades(coder: VQGAN, judge: CLIP) -> None:
    moved: list[float] = []
    for pull, end in ((0.0, 1.0), (10.0, 1.0), (10.0, 0.0)):
        config = replace(PLAIN, pull=pull, pull_end=end, cutouts=2, steps=12)
        one = canvas(coder, judge, config)
        run(engine(coder, judge), one, 12)
        moved.append((one.latents - one.start).norm().item())
    free, held, let_go = moved
    assert held < 0.7 * free
    assert held < let_go < free


# stopping early


def take_steps(one: Canvas, *steps: tuple[float, float]) -> None:
    """Steps that found these losses and scores, and go nowhere."""
    for loss, score in steps:
        one.apply(torch.zeros_like(one.latents), Step(loss, score))


def test_tired_of_the_small_size_it_goes_on_at_the_large_one(coder: VQGAN, judge: CLIP) -> None:
    config = replace(PLAIN, width=256, height=256, steps=40, small_first=0.5, patience=3)
    one = canvas(coder, judge, config, side=256)
    one.resize(128, 128)
    take_steps(one, *[(1.0, 0.5)] * 3)
    one.grow()
    assert one.pixels_wide == (128, 128)
    take_steps(one, (1.0, 0.5))
    assert not one.finished
    one.grow()
    assert one.pixels_wide == (256, 256)
    take_steps(one, *[(1.0, 0.4)] * 3)  # a large picture has scores of its own
    assert not one.finished
    take_steps(one, (1.0, 0.4))
    assert one.finished
    assert one.step == 8


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_the_last_step_is_never_at_the_small_size(coder: VQGAN, judge: CLIP, steps: int) -> None:
    config = replace(PLAIN, width=256, height=256, steps=steps, small_first=0.9)
    one = canvas(coder, judge, config, side=256)
    if size := small_size(config, coder.stride):
        one.resize(*size)
    while not one.finished:
        one.grow()
        take_steps(one, (1.0, 0.5))
    assert one.pixels_wide == (256, 256)


def test_what_memory_made_as_small_as_the_small_size_stays_so(coder: VQGAN, judge: CLIP) -> None:
    config = replace(PLAIN, width=288, height=288, steps=20, small_first=0.5, patience=2)
    one = canvas(coder, judge, config, side=288)
    one.resize(144, 144)
    one.step, one.shrunk = 15, True
    take_steps(one, *[(1.0, 0.5)] * 3)
    one.grow()
    assert one.pixels_wide == (144, 144)
    assert one.finished


def test_each_phase_of_a_story_has_a_best_of_its_own(coder: VQGAN, judge: CLIP) -> None:
    one = canvas(coder, judge, replace(PLAIN, steps=20, patience=3))
    one.aims = Aims(aims(judge, "an owl").phases + aims(judge, "a boat at sea").phases)
    take_steps(one, *[(1.0, 0.9)] * 9)
    assert not one.finished  # the last words are still to come
    take_steps(one, (1.0, 0.9), *[(1.0, 0.1 + n / 50) for n in range(6)])
    assert (one.step, one.finished) == (16, False)
    take_steps(one, *[(1.0, 0.1)] * 3)
    assert (one.step, one.finished) == (19, True)


def test_prompts_that_only_push_away_are_watched_by_their_loss(coder: VQGAN, judge: CLIP) -> None:
    one = canvas(coder, judge, replace(PLAIN, patience=3))
    (target,) = aims(judge, "text").phases[0]
    one.aims = Aims(((Targets(target.vectors, -target.weights, target.stops),),))
    take_steps(one, *[(1 - n / 20, 0.0) for n in range(10)])
    assert not one.finished
    take_steps(one, *[(0.9, 0.0)] * 3)
    assert one.finished


def test_guidance_in_low_precision(coder: VQGAN, judge: CLIP) -> None:
    (slow, (precise,)), (fast, (quick,)) = (
        engine(coder, judge, low_precision=p).gradients([canvas(coder, judge)])
        for p in (False, True)
    )
    assert F.cosine_similarity(slow.flatten(), fast.flatten(), dim=0) > 0.99
    assert quick.loss == pytest.approx(precise.loss, abs=0.05)
    assert quick.score == pytest.approx(precise.score, abs=0.05)


def test_several_clips_guide_by_their_weights(coder: VQGAN, judge: CLIP) -> None:
    other = clip(seed=9)

    def gradient(*models: WeightedModel) -> Tensor:
        one = canvas(coder, judge)
        phase = tuple(aims(m, "a fox near an owl").phases[0][0] for m in (judge, other))
        mine = {id(judge): phase[0], id(other): phase[1]}
        one.aims = Aims((tuple(mine[id(m.model)] for m in models),))
        return Guidance(coder, models).gradients([one])[0]

    first, second = gradient(WeightedModel(judge)), gradient(WeightedModel(other))
    both = gradient(WeightedModel(judge, 0.25), WeightedModel(other, 0.75))
    assert torch.allclose(both, 0.25 * first + 0.75 * second, atol=1e-5)
    assert F.cosine_similarity(first.flatten(), second.flatten(), dim=0) < 0.9


# memory


def test_checkpointed_blocks_keep_less_and_are_put_back(coder: VQGAN) -> None:
    latents = noise(1, 8, 8, 8).requires_grad_(True)
    kept: list[int] = []

    def sizes(tensor: Tensor) -> Tensor:
        kept[-1] += tensor.numel()
        return tensor

    gradients: list[Tensor] = []
    for context in (None, checkpointed(coder)):
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(sizes, lambda t: t):
            if context is None:
                pixels = coder.decode(latents)
            else:
                with context:
                    pixels = coder.decode(latents)
        gradients.append(grad(pixels.square().sum(), [latents])[0])
    assert kept[1] < 0.7 * kept[0]
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4)
    assert len(blocks_of(coder)) >= 4
    assert not any("forward" in vars(block) for block in coder.modules())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_fewer_views_at_a_time_where_memory_is_short(
    coder: VQGAN, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """The picture is the same as with all the memory in the world."""
    judge = clip()
    config = replace(PLAIN, cutouts=8)
    expected = canvas(coder, judge, config)
    run(engine(coder, judge), expected, 3)
    original = judge.embed_images

    def small(pixels: Tensor) -> Tensor:
        if len(pixels) > 2:
            raise error("DefaultCPUAllocator: can't allocate memory")
        return original(pixels)

    monkeypatch.setattr(judge, "embed_images", small)
    guide, one = engine(coder, judge), canvas(coder, judge, config)
    run(guide, one, 3)
    assert guide.views == 2
    assert guide.notes == [
        f"Memory is short: CLIP sees {n} cutouts at a time." for n in (4, 2)
    ]  # fmt: skip
    assert torch.allclose(one.latents, expected.latents, atol=1e-4)


def test_on_a_processor_it_begins_with_what_the_free_memory_holds(
    coder: VQGAN, judge: CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There no error tells that memory is short: the system ends the process."""
    free = {"now": 2**40}
    monkeypatch.setattr(guidance, "free_memory", lambda: free["now"])
    config = replace(PLAIN, cutouts=8)
    plenty, expected = engine(coder, judge), canvas(coder, judge, config)
    run(plenty, expected, 2)
    assert (plenty.notes, plenty.views, plenty.checkpoints) == ([], 16, False)
    costs = plenty._measured(expected)
    picture = 64 * costs.latent
    assert picture > costs.view > costs.fixed >= 0
    free["now"] = int(1.5 * (costs.fixed + picture + 2.5 * costs.view))
    short, one = engine(coder, judge), canvas(coder, judge, config)
    run(short, one, 2)
    assert (short.views, short.checkpoints) == (2, False)
    assert short.notes == [f"Memory is short: CLIP sees {n} cutouts at a time." for n in (4, 2)]
    assert torch.allclose(one.latents, expected.latents, atol=1e-4)
    # With checkpoints there is enough for 160 pixels.
    assert 0 < costs.again < 1
    free["now"] = int(1.5 * (costs.fixed + costs.again * (160 / 128) ** 2 * picture + costs.view))
    least, pictures = engine(coder, judge), [canvas(coder, judge, config, n) for n in range(3)]
    pictures += [canvas(coder, judge, config, n, side=256) for n in range(3)]
    least.descend(pictures)
    assert (least.views, least.together, least.checkpoints) == (1, 1, True)
    assert [c.pixels_wide[0] for c in pictures] == [128] * 3 + [144] * 3
    assert "going on at 144x144" in least.notes[-1]
    free["now"] = 0
    with pytest.raises(torch.OutOfMemoryError):
        engine(coder, judge).descend([canvas(coder, judge, side=256)])


def test_memory_is_measured_in_the_numbers_that_are_computed_with(
    coder: VQGAN, judge: CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = canvas(coder, judge)
    whole = engine(coder, judge)._measured(one)
    half = engine(coder, judge, low_precision=True)._measured(one)
    assert 0.4 * whole.latent < half.latent < 0.8 * whole.latent
    # What CLIP keeps, however many views it sees, says nothing of the decoder's checkpoints.
    original, ballast = judge.embed_images, torch.ones(10**6)

    def heavy(pixels: Tensor) -> Tensor:
        seen = original(pixels)
        return seen + 0 * (ballast * seen.sum()).sin().mean()

    monkeypatch.setattr(judge, "embed_images", heavy)
    found = engine(coder, judge)._measured(one)
    assert found.fixed > 4e6
    assert found.again == whole.again


def test_then_fewer_pictures_then_checkpoints_then_a_smaller_size(
    judge: CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = vqgan()
    original = coder.decode

    def small(latents: Tensor) -> Tensor:
        if latents.requires_grad and latents.shape[0] * latents.shape[2] * latents.shape[3] > 100:
            raise torch.OutOfMemoryError("8 GiB")
        return original(latents)

    monkeypatch.setattr(coder, "decode", small)
    guide = engine(coder, judge, views=2)
    pictures = [canvas(coder, judge, PLAIN, n, side=192) for n in range(2)]
    found = guide.descend(pictures)
    assert len(found) == 2
    assert [c.pixels_wide for c in pictures] == [(144, 144)] * 2
    assert [c.step for c in pictures] == [1, 1]
    told = " ".join(guide.notes)
    for part in ("1 cutouts", "1 pictures", "twice", "144x144"):
        assert part in told
    assert guide.checkpoints
    tiny = canvas(coder, judge, side=160)
    monkeypatch.setattr(coder, "decode", lambda z: small(torch.cat([z] * 4)))
    with pytest.raises(torch.OutOfMemoryError):
        guide.descend([tiny])


def test_what_is_no_want_of_memory_is_not_tried_again(
    coder: VQGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = clip()
    monkeypatch.setattr(judge, "embed_images", lambda p: p.view(-1) @ p.view(-1, 2))
    guide = engine(coder, judge)
    with pytest.raises(RuntimeError, match="multiplied"):
        run(guide, canvas(coder, judge), 1)
    assert guide.notes == []


def test_what_is_weighed_is_let_go() -> None:
    """A graph that keeps its own output stays in memory until Python looks for such rings."""

    class Mark:
        pass

    begun = torch.zeros(3, requires_grad=True)
    marks = list[weakref.ref[Mark]]()

    def compute() -> Tensor:
        made = begun.exp()  # whose backward pass needs its output
        mark = Mark()
        marks.append(weakref.ref(mark))
        assert made.grad_fn is not None
        made.grad_fn.register_prehook(lambda _, held=mark: None)
        return made

    gc.disable()
    try:
        assert bytes_kept(compute, None) == 12
        assert marks[0]() is None
    finally:
        gc.enable()
