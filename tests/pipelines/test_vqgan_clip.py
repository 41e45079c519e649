"""VQGAN, code transformer, guidance and the pipeline around them, at tiny size."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from pipelines.book import Page, read_recipe
from pipelines.errors import InvalidInput, OutOfMemory
from pipelines.events import PictureProgress, Sentence
from pipelines.picture_request import PictureRequest, with_style
from pipelines.presets import STARTS, PictureConfig
from pipelines.reading import brief_of
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.clip import CLIP, tokenize
from pipelines.vqgan_clip.code_transformer import (
    FIELDS,
    PIECES,
    CodeTransformer,
    Drawn,
    nll,
    plan_nll,
)
from pipelines.vqgan_clip.pipeline import prompt_of
from pipelines.vqgan_clip.pixels import to_picture, to_pixels
from pipelines.vqgan_clip.starts import empty_stage
from pipelines.vqgan_clip.vqgan import VQGAN
from tests.tiny import CPU, FOX, QUICK, clip, pipeline, transformer, vqgan


@pytest.fixture(scope="module")
def painter() -> VQGANCLIPPipeline:
    return pipeline()


@pytest.fixture(scope="module")
def coder() -> VQGAN:
    return vqgan()


@pytest.fixture(scope="module")
def judge() -> CLIP:
    return clip()


@pytest.fixture(scope="module")
def drawer() -> CodeTransformer:
    return transformer()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def a_picture() -> Image.Image:
    return to_picture(noise(3, 96, 160, seed=4) / 3)


# VQGAN


def test_indices_are_the_nearest_entries(coder: VQGAN) -> None:
    latents = noise(2, 8, 3, 5)
    q = coder.quantizer
    found = q.indices(latents)
    assert found.shape == (2, 15, 2)
    for b in range(2):
        for y in range(3):
            for x in range(5):
                for g in range(2):
                    vector = latents[b, 4 * g : 4 * g + 4, y, x]
                    distances = (q.codebook[g] - vector).square().sum(-1)
                    assert found[b, 5 * y + x, g] == distances.argmin()


def test_lookup_and_indices_are_inverse(coder: VQGAN) -> None:
    codes = torch.randint(16, (3, 4 * 6, 2), generator=torch.Generator().manual_seed(1))
    latents = coder.quantizer.lookup(codes, 4, 6)
    assert latents.shape == (3, 8, 4, 6)
    assert torch.equal(coder.quantizer.indices(latents), codes)
    quantised, again = coder.quantizer(latents)
    assert torch.equal(again, codes)
    assert torch.allclose(quantised, latents)


def test_quantised_latents_are_entries_and_gradients_pass_straight_through(coder: VQGAN) -> None:
    latents = noise(1, 8, 4, 4).requires_grad_(True)
    quantised, indices = coder.quantizer(latents)
    assert torch.allclose(quantised, coder.quantizer.lookup(indices, 4, 4), atol=1e-6)
    assert (quantised - latents).abs().max() > 0.1
    pull = noise(1, 8, 4, 4, seed=1)
    (gradient,) = torch.autograd.grad((quantised * pull).sum(), [latents])
    assert torch.equal(gradient, pull)


def test_bounds_hold_every_entry_and_are_reached(coder: VQGAN) -> None:
    low, high = coder.quantizer.bounds()
    assert low.shape == high.shape == (1, 8, 1, 1)
    codes = torch.arange(16)[None, :, None].expand(1, 16, 2)
    every = coder.quantizer.lookup(codes, 4, 4)
    assert torch.equal(every.amin((2, 3), keepdim=True), low)
    assert torch.equal(every.amax((2, 3), keepdim=True), high)


def test_seed_from_and_adapt_bring_codes_closer_to_the_data() -> None:
    q = vqgan().quantizer
    data = noise(4, 8, 8, 8) * 3 + 1
    generator = torch.Generator().manual_seed(0)

    def error() -> float:
        return (q(data)[0] - data).square().mean().item()

    random_codes = error()
    q.seed_from(data, generator)
    seeded = error()
    assert seeded < 0.5 * random_codes
    moved = data + 6.0
    before = (q(moved)[0] - moved).square().mean().item()
    for _ in range(100):
        q.adapt(moved, q.indices(moved), generator)
    assert (q(moved)[0] - moved).square().mean().item() < 0.5 * before


def test_dead_codes_are_seeded_again() -> None:
    q = vqgan().quantizer
    q.codebook[:, 8:] = 1000.0  # far from everything
    q.sums[:, 8:] = 1000.0
    data = noise(4, 8, 8, 8)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        q.adapt(data, q.indices(data), generator)
    assert q.codebook.abs().max() < 10
    assert all(q.indices(data)[..., g].unique().numel() > 12 for g in range(2))


@pytest.mark.parametrize("size", [(128, 128), (128, 512), (160, 96)])
def test_shapes_of_the_vqgan(coder: VQGAN, size: tuple[int, int]) -> None:
    height, width = size
    latents = coder.encode(noise(1, 3, height, width))
    assert latents.shape == (1, 8, height // 16, width // 16)
    assert coder.decode(latents).shape == (1, 3, height, width)
    codes = coder.quantizer.indices(latents)
    assert coder.decode_indices(codes, height // 16).shape == (1, 3, height, width)


def test_a_crop_on_the_grid_encodes_as_in_the_whole_picture() -> None:
    """Norms look at one position: three from the crop's edge, latents are the same."""
    model = vqgan()
    whole = noise(1, 3, 256, 256)
    inner = model.encode(whole[:, :, 64:192, 64:192])
    assert torch.allclose(inner[:, :, 3:5, 3:5], model.encode(whole)[:, :, 7:9, 7:9], atol=1e-4)


# pictures in and out


def test_pixels_and_pictures_are_inverse() -> None:
    picture = a_picture()
    pixels = to_pixels(picture, 160, 96, CPU)
    assert pixels.shape == (1, 3, 96, 160)
    assert -1 <= pixels.min() < pixels.max() <= 1
    assert to_picture(pixels[0]).tobytes() == picture.tobytes()


def test_the_middle_of_a_picture_is_taken() -> None:
    picture = Image.new("RGB", (300, 100), "white")
    picture.paste("red", (100, 0, 200, 100))
    taken = to_picture(to_pixels(picture, 128, 128, CPU)[0])
    assert taken.size == (128, 128)
    assert taken.getpixel((64, 64)) == (255, 0, 0)
    assert taken.getpixel((10, 64)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 3), (128, 144)])
def test_pictures_of_any_kind_and_size(mode: str, size: tuple[int, int]) -> None:
    assert to_pixels(Image.new(mode, size), 128, 144, CPU).shape == (1, 3, 144, 128)


def test_of_a_strip_only_what_is_shown_is_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    strip = Image.new("RGB", (3001, 1), "white")
    strip.paste("red", (1490, 0, 1510, 1))
    made: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def watched(image: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
        made.append(size)
        return resize(image, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", watched)
    taken = to_picture(to_pixels(strip, 128, 128, CPU)[0])
    assert made == [(128, 128)]
    assert taken.tobytes() == Image.new("RGB", (128, 128), "red").tobytes()


# CLIP


def test_embeddings_are_unit_vectors_and_do_not_depend_on_the_batch(judge: CLIP) -> None:
    pictures = noise(3, 3, 32, 32)
    prompts = ["a fox", "an owl near a lake, at night. It was late.", "x"]
    for together, alone in (
        (judge.embed_images(pictures), [judge.embed_images(p[None]) for p in pictures]),
        (judge.embed_texts(prompts), [judge.embed_texts([p]) for p in prompts]),
    ):
        assert together.shape == (3, 32)
        assert torch.allclose(together.norm(dim=-1), torch.ones(3))
        assert torch.allclose(together, torch.cat(alone), atol=1e-5)
        assert (together[0] - together[1]).norm() > 1e-3


def test_prompts_of_any_length_and_script(judge: CLIP) -> None:
    prompts = ["", "fox " * 300, "月の猫", "שועל קטן", "🦊", "\x00"]
    assert judge.embed_texts(prompts).isfinite().all()
    ids, mask = tokenize(prompts, CPU)
    assert ids.shape == mask.shape == (6, 48)


# code transformer


def draw(drawer: CodeTransformer, prompt: str, count: int, **options: Any) -> list[Drawn]:
    options = {"generator": torch.Generator().manual_seed(0), **options}
    return [*drawer.sample(prompt, count, **options)]


def some_plan(count: int) -> Tensor:
    """Two pieces, one half over the other, on a grid of 4."""
    pieces = [1, 0, 0, 0, 2, 1, 1, 1]  # word, column, row, which size
    return torch.tensor([pieces + [0] * (PIECES * FIELDS - len(pieces))] * count)


def some_codes(count: int) -> Tensor:
    return torch.randint(16, (count, 16, 2), generator=torch.Generator().manual_seed(1))


def test_cached_sampling_equals_teacher_forcing(drawer: CodeTransformer) -> None:
    """The most likely codes, drawn one by one with a cache, are the argmax of one whole pass."""
    prompt = "a fox near an owl, in the forest"
    rows = draw(drawer, prompt, 2, guidance=1.0, top_k=1)
    last = rows[-1]
    assert [r.codes.shape for r in rows] == [(2, 4 * (n + 1), 2) for n in range(4)]
    assert torch.equal(last.codes[0], last.codes[1])
    assert last.codes.unique().numel() > 4  # not the same code everywhere
    planned, logits = drawer(*tokenize([prompt] * 2, CPU), last.plan, last.codes)
    for k in range(PIECES * FIELDS):
        assert torch.equal(planned[k].argmax(-1), last.plan[:, k])
    for g in range(2):
        assert torch.equal(logits[g].argmax(-1), last.codes[..., g])
    other = draw(drawer, "x", 2, guidance=1.0, top_k=1)[-1]
    assert not torch.equal(other.codes, last.codes)  # the prompt is heard


def test_guided_sampling_equals_its_definition(drawer: CodeTransformer) -> None:
    prompt, guidance = "a fox near an owl, in the forest", 3.0
    last = draw(drawer, prompt, 1, guidance=guidance, top_k=1)[-1]
    wanted = drawer(*tokenize([prompt], CPU), last.plan, last.codes)
    free = drawer(*tokenize([""], CPU), last.plan, last.codes)
    for k in range(PIECES * FIELDS):
        logits = free[0][k] + guidance * (wanted[0][k] - free[0][k])
        assert torch.equal(logits.argmax(-1), last.plan[:, k])
    for g in range(2):
        logits = free[1][g] + guidance * (wanted[1][g] - free[1][g])
        assert torch.equal(logits.argmax(-1), last.codes[..., g])


def test_surprise_is_the_likelihood_of_what_was_drawn(drawer: CodeTransformer) -> None:
    likeliest = draw(drawer, "a fox", 2, guidance=1.0, top_k=1)[-1]
    other = Drawn(likeliest.plan, some_codes(2))
    _, logits = drawer(*tokenize(["a fox"] * 2, CPU), other.plan, other.codes)
    found = drawer.surprise("a fox", other)
    assert torch.equal(found, nll(logits, other.codes))
    assert (drawer.surprise("a fox", likeliest).mean(1) < found.mean(1)).all()


def test_same_generator_same_codes(drawer: CodeTransformer) -> None:
    def once(seed: int) -> Tensor:
        return draw(drawer, "a fox", 3, generator=torch.Generator().manual_seed(seed))[-1].codes

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))
    assert not torch.equal(once(1)[0], once(1)[1])


def test_a_row_once_told_stays(drawer: CodeTransformer) -> None:
    rows = draw(drawer, "a fox", 2)
    for n, row in enumerate(rows):
        assert torch.equal(rows[-1].codes[:, : 4 * (n + 1)], row.codes)


def test_codes_do_not_see_what_comes_after_them(drawer: CodeTransformer) -> None:
    codes = some_codes(1)
    changed = codes.clone()
    changed[:, 9:] = (changed[:, 9:] + 5) % 16
    (_, a), (_, b) = (drawer(*tokenize(["a fox"], CPU), some_plan(1), c) for c in (codes, changed))
    assert torch.allclose(a[0][:, :10], b[0][:, :10], atol=1e-5)
    assert torch.allclose(a[1][:, :9], b[1][:, :9], atol=1e-5)
    assert not torch.allclose(a[0][:, 10], b[0][:, 10])
    assert not torch.allclose(a[1][:, 9], b[1][:, 9])  # the second code knows the first


def test_a_plan_does_not_see_codes_or_later_pieces(drawer: CodeTransformer) -> None:
    plan = some_plan(1)
    changed = plan.clone()
    changed[0, FIELDS] = 3
    prompt = tokenize(["a fox"], CPU)
    a, _ = drawer(*prompt, plan, some_codes(1))
    b, _ = drawer(*prompt, changed, some_codes(1).flip(1))
    for k in range(FIELDS + 1):
        assert torch.allclose(a[k], b[k], atol=1e-5)
    assert not torch.allclose(a[FIELDS + 1], b[FIELDS + 1])


def test_features_tell_the_piece_on_top_and_the_one_under_it(drawer: CodeTransformer) -> None:
    both = drawer.features(some_plan(1))[0].view(4, 4, -1)
    first = some_plan(1)
    first[0, FIELDS:] = 0
    alone = drawer.features(first)[0].view(4, 4, -1)
    empty = drawer.features(torch.zeros_like(first))[0].view(4, 4, -1)
    assert torch.equal(both[0, 0], alone[0, 0])  # the first piece, nothing over it
    assert not torch.equal(both[1, 1], alone[1, 1])  # the second covers it there
    assert torch.equal(alone[2, 2], empty[2, 2])
    assert not torch.equal(alone[0, 0], alone[0, 1])  # another part of the same piece


def test_padding_of_a_prompt_changes_nothing(drawer: CodeTransformer) -> None:
    prompts = ["a fox", "a fox near an owl, by the lake, at night"]
    together = drawer(*tokenize(prompts, CPU), some_plan(2), some_codes(2))
    alone = drawer(*tokenize(["a fox"], CPU), some_plan(1), some_codes(2)[:1])
    for a, b in zip(together[0] + together[1], alone[0] + alone[1], strict=True):
        assert torch.allclose(a[:1], b, atol=1e-4)


def test_where_a_plan_ends_counts_and_what_follows_does_not() -> None:
    plan = some_plan(1)
    logits = [noise(1, 12, seed=k) for k in range(PIECES * FIELDS)]
    counted = [*range(2 * FIELDS), 2 * FIELDS]
    wanted = -sum(logits[k].log_softmax(-1)[0, plan[0, k]].item() for k in counted)
    assert plan_nll(logits, plan).item() == pytest.approx(wanted, rel=1e-5)


def test_nll_adds_the_codes_of_a_position() -> None:
    logits = [noise(2, 5, 16, seed=1), noise(2, 5, 16, seed=2)]
    codes = torch.randint(16, (2, 5, 2), generator=torch.Generator().manual_seed(3))
    losses = nll(logits, codes)
    assert losses.shape == (2, 5)
    chance = (
        logits[0][1, 3].softmax(-1)[codes[1, 3, 0]] * logits[1][1, 3].softmax(-1)[codes[1, 3, 1]]
    )
    assert losses[1, 3].item() == pytest.approx(-math.log(chance.item()), rel=1e-4)


# the pipeline


def run(
    painter: VQGANCLIPPipeline, config: PictureConfig, sentence: Sentence = FOX, **more: Any
) -> tuple[list[PictureProgress], Page]:
    if config.start == "picture":
        more.setdefault("picture", a_picture())
    *steps, page = painter.stream(sentence, config, **more)
    assert isinstance(page, Page)
    progress = [s for s in steps if isinstance(s, PictureProgress)]
    assert len(progress) == len(steps)
    return progress, page


@pytest.mark.parametrize("start", STARTS)
def test_every_start_ends_in_a_page(painter: VQGANCLIPPipeline, start: str) -> None:
    config = replace(QUICK, start=start, steps=3)
    progress, page = run(painter, config)
    assert [p.step for p in progress] == sorted(p.step for p in progress)
    assert progress[-1].step == progress[-1].of
    assert {p.of for p in progress} == {progress[-1].of}
    stages = [p.stage for p in progress]
    assert stages == sorted(stages, key=["start", "refine"].index)
    assert stages.count("refine") == 3 + 1
    for p in progress:
        assert p.stage == "refine" or (p.loss is None and p.score is None)
        if p.preview is not None:
            assert p.preview.mode == "RGB"
            assert p.stage == "start" or p.preview.size == (128, 128)
    last = progress[-1]
    assert last.preview is not None
    assert last.eta == 0
    assert progress[0].preview is not None

    assert (page.text, page.brief) == (FOX.text, FOX.brief)
    assert page.image().tobytes() == last.preview.tobytes()
    assert page.score is not None
    assert -1 <= page.score <= 1
    assert page.picture is not None
    assert page.recipe is not None
    recipe = page.recipe
    assert read_recipe(page.picture) == recipe
    assert recipe.prompt == prompt_of(FOX, config)
    assert recipe.seed == 5
    assert recipe.models["pictures"] == "tiny"
    fingerprints = {part: m for part, m in recipe.models.items() if part != "pictures"}
    assert set(fingerprints) == {"vqgan", "clip", "code_transformer"}
    assert len(set(fingerprints.values())) == 3
    assert PictureConfig.from_settings(recipe.settings) == config


def test_words_alone_are_read_for_what_they_show(painter: VQGANCLIPPipeline) -> None:
    words = "A fox sits in the snow."
    page = painter(words, QUICK)
    assert "fox" in page.brief
    assert "snow" in page.brief
    assert page == painter(Sentence(words, brief_of(words)), QUICK)
    with pytest.raises(InvalidInput, match="Say in words"):
        painter("  ", QUICK)


@pytest.mark.parametrize("start", STARTS)
def test_same_seed_same_bytes(painter: VQGANCLIPPipeline, start: str) -> None:
    config = replace(QUICK, start=start)
    first, second = run(painter, config)[1], run(painter, config)[1]
    assert first == second
    other = run(painter, replace(config, seed=6))[1]
    assert other.image().tobytes() != first.image().tobytes()


def test_the_code_transformers_own_size() -> None:
    """Where the grid is that of the picture, its codes are the start as they are."""
    painter, config = pipeline(grid=8), replace(QUICK, steps=0, candidates=1)
    progress, page = run(painter, config)
    assert len(progress) == 8 + 2  # a row each, the start, the end
    assert {p.preview.size for p in progress if p.preview is not None} == {(128, 128)}
    generator = torch.Generator().manual_seed(5)
    assert painter.transformer is not None
    codes = [*painter.transformer.sample(prompt_of(FOX, config), 1, generator=generator)][-1].codes
    assert isinstance(painter.vqgan, VQGAN)
    drawn = to_picture(painter.vqgan.decode_indices(codes)[0])
    assert page.image().tobytes() == drawn.tobytes()
    first = progress[0].preview  # one row, and paper below it
    assert first is not None
    assert first.getpixel((64, 120)) == (246, 246, 246)
    assert first.getpixel((64, 8)) != (246, 246, 246)


def test_changes_that_the_code_transformer_finds_unlikely_are_taken_back() -> None:
    painter = pipeline(grid=8)
    config = replace(QUICK, steps=3, step_size=0.5, pull=0.0, candidates=1)

    def codes(**changed: Any) -> Tensor:
        """Of the finished picture."""
        kept: list[Tensor] = []
        quantise = painter.vqgan.quantise

        def listening(latents: Tensor) -> Tensor:
            assert isinstance(painter.vqgan, VQGAN)
            kept.append(painter.vqgan.quantizer.indices(latents.detach()))
            return quantise(latents)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(painter.vqgan, "quantise", listening)
            painter(FOX, replace(config, **changed))
        return kept[-1]

    start, free = codes(steps=0), codes(surprise=0.0)
    assert painter.transformer is not None
    last = draw(painter.transformer, prompt_of(FOX, config), 1,
                generator=torch.Generator().manual_seed(5))[-1]  # fmt: skip
    assert torch.equal(last.codes, start)
    now = painter.transformer.surprise(prompt_of(FOX, config), Drawn(last.plan, free))
    odd = now > painter.transformer.surprise(prompt_of(FOX, config), last) + 2.0
    back = odd & (free != start).any(-1)
    assert 0 < back.sum() < back.numel()
    expected = torch.where(odd[..., None], start, free)
    assert torch.equal(codes(surprise=2.0), expected)
    # What somebody asks for besides the sentence is likely to nobody but them.
    palette = {"palette": "red", "palette_weight": 50.0}
    assert torch.equal(codes(surprise=2.0, **palette), codes(surprise=0.0, **palette))


def test_a_missing_seed_is_drawn_and_told(painter: VQGANCLIPPipeline) -> None:
    page = run(painter, replace(QUICK, seed=None))[1]
    again = run(painter, replace(QUICK, seed=None))[1]
    assert page.recipe is not None
    assert again.recipe is not None
    assert page.recipe.seed != again.recipe.seed
    repeated = run(painter, PictureConfig.from_settings(page.recipe.settings))[1]
    assert repeated == page


def test_a_generator_stands_above_the_seed(painter: VQGANCLIPPipeline) -> None:
    config = replace(QUICK, start="noise", seed=9)
    generator = torch.Generator().manual_seed(5)
    first = painter(FOX, config, generator=generator)
    assert first == painter(FOX, replace(config, seed=5))
    # The same one goes on with other pictures, whose recipes make them again.
    second = painter(FOX, config, generator=generator)
    assert second.picture != first.picture
    assert second.recipe is not None
    assert painter(FOX, PictureConfig.from_settings(second.recipe.settings)) == second


def test_calling_equals_draining(painter: VQGANCLIPPipeline) -> None:
    assert painter(FOX, QUICK) == run(painter, QUICK)[1]


def test_no_steps_and_many_previews(painter: VQGANCLIPPipeline) -> None:
    progress, page = run(painter, replace(QUICK, steps=0))
    assert [p.stage for p in progress].count("refine") == 1
    assert page.picture is not None
    progress, _ = run(painter, replace(QUICK, steps=5, preview_every=2))
    shown = [p.preview is not None for p in progress if p.stage == "refine"]
    assert shown == [False, True, False, True, False, True]


@pytest.mark.parametrize("size", [(128, 512), (512, 128), (144, 272), (512, 512)])
@pytest.mark.parametrize("start", STARTS)
def test_sizes(painter: VQGANCLIPPipeline, start: str, size: tuple[int, int]) -> None:
    config = replace(QUICK, start=start, steps=1, width=size[0], height=size[1])
    progress, page = run(painter, config)
    assert page.image().size == size
    assert progress[-2].preview is None or progress[-2].preview.size == size


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("events", [1, 3])
def test_close_midway_leaves_everything_ready(
    painter: VQGANCLIPPipeline, start: str, events: int
) -> None:
    config = replace(QUICK, start=start, steps=4)
    expected = run(painter, config)[1]
    stream = painter.stream(FOX, config, picture=a_picture())
    for _ in range(events):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not painter._lock.locked()
    assert run(painter, config)[1] == expected
    assert torch.is_grad_enabled()


def test_two_streams_by_turns_are_as_one_after_the_other(painter: VQGANCLIPPipeline) -> None:
    configs = [replace(QUICK, start="transformer"), replace(QUICK, start="noise", seed=8)]
    expected = [run(painter, c)[1] for c in configs]
    streams = [painter.stream(FOX, c) for c in configs]
    pages: list[Page] = []
    while streams:
        for stream in [*streams]:
            event = next(stream, None)
            if event is None:
                streams.remove(stream)
            elif isinstance(event, Page):
                pages.append(event)
    assert sorted(pages, key=lambda p: p.score or 0) == sorted(expected, key=lambda p: p.score or 0)


def test_two_threads_at_once_are_as_one_after_the_other(painter: VQGANCLIPPipeline) -> None:
    configs = [replace(QUICK, start=s, seed=n) for n, s in enumerate(STARTS)]
    expected = [run(painter, c)[1] for c in configs]
    found: dict[int, Page] = {}

    def work(n: int) -> None:
        found[n] = run(painter, configs[n])[1]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(configs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert [found.get(n) for n in range(len(configs))] == expected


def test_a_stream_may_go_on_in_another_thread(painter: VQGANCLIPPipeline) -> None:
    expected = run(painter, QUICK)[1]
    stream = painter.stream(FOX, QUICK)
    events: list[Any] = []

    def step() -> None:
        event = next(stream, None)
        if event is not None:
            events.append(event)

    for _ in range(100):
        before = len(events)
        thread = threading.Thread(target=step)
        thread.start()
        thread.join(60)
        if len(events) == before:
            break
    assert events[-1] == expected


def test_pictures_need_a_picture(painter: VQGANCLIPPipeline) -> None:
    with pytest.raises(InvalidInput, match="picture to start from"):
        next(painter.stream(FOX, replace(QUICK, start="picture")))


def test_the_picture_is_where_it_starts(
    painter: VQGANCLIPPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = painter.vqgan.encode

    def in_turn(pixels: Tensor) -> Tensor:
        assert painter._lock.locked()
        return encode(pixels)

    monkeypatch.setattr(painter.vqgan, "encode", in_turn)
    config = replace(QUICK, start="picture", steps=0)
    one = run(painter, config, picture=Image.new("RGB", (128, 128), "black"))[1]
    two = run(painter, config, picture=Image.new("RGB", (128, 128), "white"))[1]
    assert one.image().tobytes() != two.image().tobytes()


def test_a_brief_nobody_can_read(painter: VQGANCLIPPipeline) -> None:
    with pytest.raises(InvalidInput, match="gryphon"):
        next(painter.stream(Sentence("A gryphon.", "gryphon @forest"), QUICK))
    assert not painter._lock.locked()


def test_a_sentence_without_brief(painter: VQGANCLIPPipeline) -> None:
    for start in ("transformer", "sketch"):
        page = run(painter, replace(QUICK, start=start), Sentence("Ünter der Brücke 月."))[1]
        assert page.text == "Ünter der Brücke 月."


def test_too_little_memory_is_told(
    painter: VQGANCLIPPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("8 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(painter.vqgan, "decode", full)
        with pytest.raises(OutOfMemory, match="smaller size"):
            run(painter, QUICK)
        assert not painter._lock.locked()
    run(painter, QUICK)


def test_prompts_hold_style_scene_and_sentence() -> None:
    config = PictureConfig(style="pencil", prefix=" old ", suffix="softly")
    assert (
        prompt_of(FOX, config)
        == "old a pencil drawing of a fox near an owl, in the forest, at night. "
        "Pip saw an owl. softly"
    )
    assert prompt_of(Sentence("Only words."), PictureConfig()) == "Only words."


def test_the_candidate_is_taken_that_fits_best_and_is_likely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.vqgan_clip.starts.UNTIDY", 10.0)  # random weights know little
    painter, config = pipeline(grid=8), replace(QUICK, steps=0, candidates=6, seed=6)
    generator = torch.Generator().manual_seed(6)
    prompt = prompt_of(FOX, config)
    assert painter.transformer is not None
    drawn = [*painter.transformer.sample(prompt, 6, guidance=config.guidance, generator=generator)]
    assert isinstance(painter.vqgan, VQGAN)
    scores = painter.score(painter.vqgan.decode_indices(drawn[-1].codes), prompt)
    assert scores.max() > scores.min()
    fit = scores - 10 * painter.transformer.surprise(prompt, drawn[-1]).mean(1)
    assert fit.argmax() != scores.argmax()  # so that one is told from the other
    for taken, surprise in ((fit.argmax(), config.surprise), (scores.argmax(), 0.0)):
        page = run(painter, replace(config, surprise=surprise))[1]
        assert page.score == pytest.approx(scores[taken].item(), abs=1e-4)


@pytest.mark.parametrize(
    "brief, words",
    [
        ("fox near owl @lake day", "by the lake, by day"),
        ("fox @lake night", ""),  # empty, it would be another place
        ("fox @forest day snow", ""),
    ],
)
def test_the_stage_of_a_page_is_its_place_without_anybody(brief: str, words: str) -> None:
    request = PictureRequest(Sentence("A fox slept.", brief), QUICK)
    assert empty_stage(request) == (with_style(words, QUICK) if words else "")
