"""Every control of a picture changes what it should, and a recipe brings the picture back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.book import Page, Recipe, read_recipe
from pipelines.camera import Camera
from pipelines.errors import InvalidInput
from pipelines.events import PictureProgress, Sentence
from pipelines.picture_request import ImagePrompt, PictureRequest, request_from
from pipelines.presets import PictureConfig, read_palette
from pipelines.prompts import Prompt
from pipelines.vqgan_clip import VQGANCLIPPipeline, guidance
from pipelines.vqgan_clip.canvas import Canvas, Step
from pipelines.vqgan_clip.guidance import Guidance
from pipelines.vqgan_clip.losses import (
    asymmetry,
    palette_distance,
    palette_tensor,
    smoothness,
)
from pipelines.vqgan_clip.pixels import Frame, to_picture, to_pixels
from pipelines.vqgan_clip.vqgan import VQGAN
from tests.tiny import CPU, FOX, QUICK, VQGAN_CONFIG, clip, pipeline

NOISE = replace(QUICK, start="noise", steps=6, step_size=0.1, enlarge=False, preview_every=100)
WORDS = Sentence("Only words.")


@pytest.fixture(scope="module")
def painter() -> VQGANCLIPPipeline:
    return pipeline()


def a_picture(seed: int = 4, size: tuple[int, int] = (128, 128)) -> Image.Image:
    noise = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed))
    return to_picture(noise / 3)


def pixels(page: Page) -> torch.Tensor:
    return to_pixels(page.image(), *page.image().size, CPU)


def difference(one: Page, two: Page) -> float:
    return (pixels(one) - pixels(two)).abs().mean().item()


# words


def test_sentences_are_plain_text_whatever_they_hold(painter: VQGANCLIPPipeline) -> None:
    """A story may say "12:30", or "this | that": only prompts typed as such are read."""
    told = Sentence("He left at 12:30 | she ^ stayed: 2:-1.")
    request = PictureRequest(told, PictureConfig())
    assert request.story == ((Prompt(told.text),),)
    page = painter(told, NOISE)
    assert page.recipe is not None
    assert page.recipe.prompt == page.text == told.text
    beside = PictureRequest(told, PictureConfig(prompts="red:0.5 ^ blue | text:-1"))
    assert beside.story == (
        (Prompt(told.text), Prompt("red", 0.5)),
        (Prompt(told.text), Prompt("blue"), Prompt("text", -1)),
    )


def test_prompts_alone_make_a_picture_in_the_style(painter: VQGANCLIPPipeline) -> None:
    config = replace(NOISE, style="pencil", prompts="text:-1 | a fox:2 ^ an owl")
    request = PictureRequest(Sentence(""), config)
    assert request.story == (
        (Prompt("text", -1), Prompt("a pencil drawing of a fox", 2)),
        (Prompt("a pencil drawing of an owl"),),
    )
    page = painter(Sentence(""), config)
    assert page.text == "a pencil drawing of a fox"
    assert page.score == pytest.approx(
        painter.score(pixels(page), "a pencil drawing of an owl").item(), abs=0.02
    )


def test_nothing_to_paint() -> None:
    for words in ("", " | ", "^"):
        with pytest.raises(InvalidInput, match="Say in words"):
            PictureRequest(Sentence(" "), PictureConfig(prompts=words))
    PictureRequest(Sentence(""), PictureConfig(noise_prompts="3"))
    PictureRequest(Sentence(""), PictureConfig(), image_prompts=(ImagePrompt(a_picture()),))
    with pytest.raises(InvalidInput, match="8 pictures"):
        PictureRequest(WORDS, PictureConfig(), image_prompts=(ImagePrompt(a_picture()),) * 9)


def test_what_prompts_say_is_followed(painter: VQGANCLIPPipeline) -> None:
    """A pushing prompt ends farther away than a pulling one; noise and pictures pull, too."""
    config = replace(NOISE, steps=12, cutouts=1)
    pulled = painter(WORDS, replace(config, prompts="an owl:3"))
    pushed = painter(WORDS, replace(config, prompts="an owl:-3"))
    assert painter.score(pixels(pulled), "an owl") > painter.score(pixels(pushed), "an owl") + 0.05

    model = painter.clips[0].model
    goal = a_picture(9)
    image = painter(WORDS, config, image_prompts=[ImagePrompt(goal, 5.0)])
    plain = painter(WORDS, config)
    wanted = painter.embed(model, to_pixels(goal, 128, 128, CPU))
    near, far = (painter.embed(model, pixels(p)) @ wanted.T for p in (image, plain))
    assert near > far + 0.05

    noise = painter(WORDS, replace(config, noise_prompts="7:5"))
    drawn = torch.randn(1, 32, generator=torch.Generator().manual_seed(7))
    near, far = (painter.embed(model, pixels(p)) @ drawn.T / drawn.norm() for p in (noise, plain))
    assert near > far + 0.05


def test_stories_go_on_to_the_next_words(painter: VQGANCLIPPipeline) -> None:
    told = replace(NOISE, prompts="an owl ^ a boat at sea", steps=4)
    first = replace(told, prompts="an owl")
    nobody = Sentence("")
    story = [e for e in painter.stream(nobody, told) if isinstance(e, PictureProgress)]
    alone = [e for e in painter.stream(nobody, first) if isinstance(e, PictureProgress)]
    losses = [(a.loss, b.loss) for a, b in zip(story, alone, strict=True) if a.loss is not None]
    assert [a == b for a, b in losses] == [True, True, False, False]


def test_a_film_of_a_story_goes_through_its_phases_once(
    painter: VQGANCLIPPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = replace(NOISE, prompts="an owl ^ a boat at sea", steps=4)
    owl = painter.clips[0].model.embed_texts(["an owl"])
    seen: list[bool] = []
    descend = Guidance.descend

    def watched(guide: Guidance, canvases: Sequence[Canvas]) -> list[Step]:
        seen.append(torch.allclose(canvases[0].targets()[0].vectors, owl))
        return descend(guide, canvases)

    monkeypatch.setattr(Guidance, "descend", watched)
    request = PictureRequest(Sentence(""), told)
    *_, last = painter.animate(request, Camera(frames=5, steps=1))
    assert last.step == 5
    assert seen == [True] * 4 + [True, True, False, False]  # the first frame, then four more


def test_a_film_may_have_more_steps_than_a_picture(painter: VQGANCLIPPipeline) -> None:
    request = PictureRequest(WORDS, replace(NOISE, steps=1))
    film = painter.animate(request, Camera(frames=1000, steps=1))
    frames = (event.step for event in film if event.preview)
    assert list(itertools.islice(frames, 3)) == [1, 2, 3]


def test_a_film_without_a_seed_has_that_of_its_recipe(painter: VQGANCLIPPipeline) -> None:
    config = replace(NOISE, steps=0, seed=None)
    films = [
        painter.animate(PictureRequest(WORDS, given), Camera(frames=2, steps=0))
        for given in (config, replace(config, seed=0))
    ]
    one, other = (next(e.preview for e in film if e.preview) for film in films)
    assert one.tobytes() == other.tobytes()


# looks


# These random models cannot paint just anything; how much they can be moved was tried out.
STEERED = replace(NOISE, steps=12, cutouts=1)


def test_a_palette_is_kept_to(painter: VQGANCLIPPipeline) -> None:
    palette = palette_tensor(read_palette("black gray"), CPU)
    free = painter(WORDS, STEERED)
    held = painter(WORDS, replace(STEERED, palette="black gray", palette_weight=20.0))
    assert palette_distance(pixels(held), palette) < 0.9 * palette_distance(pixels(free), palette)


@pytest.mark.parametrize("field, measure", [("smoothness", smoothness), ("symmetry", asymmetry)])
def test_looks(painter: VQGANCLIPPipeline, field: str, measure: Any) -> None:
    free, held = painter(WORDS, STEERED), painter(WORDS, replace(STEERED, **{field: 20.0}))
    assert measure(pixels(held)) < 0.85 * measure(pixels(free))


# masks


def half_mask(side: int = 128) -> Image.Image:
    """The right half is to be painted."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, side // 2 :] = 255
    return Image.fromarray(mask)


@pytest.mark.parametrize("start", ["picture", "noise"])
@pytest.mark.parametrize("small_first", [0.0, 0.5])
def test_a_mask_leaves_the_rest(painter: VQGANCLIPPipeline, start: str, small_first: float) -> None:
    given = a_picture(3, (256, 256))
    config = replace(
        NOISE, start=start, width=256, height=256, small_first=small_first, optimiser="adamw"
    )
    page = painter(WORDS, config, picture=given, mask=half_mask(300))
    before, after = np.array(given), np.array(page.image())
    assert np.array_equal(before[:, :128], after[:, :128])  # bit for bit
    assert np.abs(before[:, 132:].astype(int) - after[:, 132:]).mean() > 5


def test_a_mask_without_a_picture_leaves_the_start(painter: VQGANCLIPPipeline) -> None:
    start = painter(WORDS, replace(NOISE, steps=0))
    page = painter(WORDS, NOISE, mask=half_mask())
    before, after = np.array(start.image()).astype(int), np.array(page.image()).astype(int)
    assert np.array_equal(before[:, :64], after[:, :64])
    assert np.abs(before - after)[:, 68:].mean() > 2


def test_a_start_that_stays_is_drawn_as_large_as_what_is_painted() -> None:
    torch.manual_seed(1)
    coder = VQGAN(replace(VQGAN_CONFIG, large_channels=8)).eval().requires_grad_(False)
    painter = VQGANCLIPPipeline(coder, clip(), name="large", low_precision=False)
    config = replace(NOISE, enlarge=True)
    start = painter(WORDS, replace(config, steps=0))
    page = painter(WORDS, config, mask=half_mask())
    before, after = np.array(start.image()), np.array(page.image())
    assert before.shape == after.shape == (256, 256, 3)
    assert np.array_equal(before[:, :128], after[:, :128])  # bit for bit
    assert not np.array_equal(before, after)


def test_an_empty_mask_changes_nothing(painter: VQGANCLIPPipeline) -> None:
    given = a_picture()
    config = replace(NOISE, start="picture")
    page = painter(WORDS, config, picture=given, mask=Image.new("L", (9, 9)))
    assert page.image().tobytes() == given.tobytes()


# sizes


@given(
    sizes=st.tuples(*[st.integers(128, 300)] * 2),
    stride=st.sampled_from([2, 8, 16]),
    scale=st.sampled_from([1, 2]),
    mode=st.sampled_from(["L", "RGB"]),
)
@settings(max_examples=25, deadline=None)
def test_a_canvas_shows_the_picture_it_was_made_around(
    sizes: tuple[int, int], stride: int, scale: int, mode: str
) -> None:
    frame = Frame.around(*sizes, stride)
    canvas = scale * frame.canvas_width, scale * frame.canvas_height
    assert canvas[0] % stride == canvas[1] % stride == 0
    given = a_picture(1).convert(mode).resize((scale * sizes[0], scale * sizes[1]))
    around = frame.extended(given, *canvas)
    assert around.size == canvas
    assert frame.cut(around).tobytes() == given.tobytes()


@pytest.mark.parametrize("start", ["noise", "sketch", "transformer", "picture"])
def test_sides_of_any_number_of_pixels(painter: VQGANCLIPPipeline, start: str) -> None:
    config = replace(QUICK, start=start, width=131, height=142, preview_every=1)
    *steps, page = painter.stream(FOX, config, picture=a_picture(3, (300, 200)))
    assert isinstance(page, Page)
    assert page.image().size == (131, 142)
    shown = [s.preview.size for s in steps if isinstance(s, PictureProgress) and s.preview]
    assert shown[-1] == (131, 142)
    assert all(abs(w / h - 131 / 142) < 0.02 for w, h in shown)
    assert page.recipe is not None
    assert page.recipe.settings["width"] == 131
    assert painter(FOX, config, picture=a_picture(3, (300, 200))) == page


def test_sides_of_any_number_of_pixels_where_some_stay(painter: VQGANCLIPPipeline) -> None:
    given = a_picture(3, (257, 259))  # 257 high
    config = replace(NOISE, start="picture", width=259, height=257, small_first=0.5)
    page = painter(WORDS, config, picture=given, mask=half_mask(300))
    before, after = np.array(given), np.array(page.image())
    assert np.array_equal(before[:, :129], after[:, :129])  # bit for bit
    assert np.abs(before[:, 134:].astype(int) - after[:, 134:]).mean() > 5


def test_a_picture_of_any_size_moves(painter: VQGANCLIPPipeline) -> None:
    request = PictureRequest(WORDS, replace(NOISE, width=131, height=142, steps=1))
    frames = [e.preview for e in painter.animate(request, Camera(frames=3, steps=1)) if e.preview]
    assert [f.size for f in frames] == [(131, 142)] * 3


# steps


def test_painting_ends_early_when_nothing_improves(painter: VQGANCLIPPipeline) -> None:
    config = replace(NOISE, steps=400, patience=3, step_size=0.3)
    *steps, page = painter.stream(WORDS, config)
    assert isinstance(page, Page)
    taken = [s for s in steps if isinstance(s, PictureProgress) and s.loss is not None]
    assert 3 < len(taken) < 350
    last = steps[-1]
    assert isinstance(last, PictureProgress)
    assert last.step == last.of
    assert f"finished after {len(taken)} steps" in last.note
    assert not any(s.note for s in taken)


@pytest.mark.parametrize("start", ["noise", "picture"])
def test_small_first(painter: VQGANCLIPPipeline, start: str) -> None:
    config = replace(
        NOISE, start=start, width=272, height=256, steps=4, small_first=0.5, preview_every=1
    )
    *steps, page = painter.stream(WORDS, config, picture=a_picture(3, (300, 200)))
    assert isinstance(page, Page)
    shown = [s.preview.size for s in steps if isinstance(s, PictureProgress) and s.preview]
    assert shown == [(128, 128)] * 3 + [(272, 256)] * 2
    assert page.image().size == (272, 256)
    assert painter(WORDS, config, picture=a_picture(3, (300, 200))) == page


def test_small_pictures_are_not_made_smaller(painter: VQGANCLIPPipeline) -> None:
    assert painter(WORDS, replace(NOISE, small_first=0.5)).image().size == (128, 128)


def test_short_memory_is_told_and_the_size_stays(
    painter: VQGANCLIPPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = painter.vqgan.decode

    def small(latents: torch.Tensor) -> torch.Tensor:
        if latents.requires_grad and latents.shape[-1] > 10:
            raise torch.OutOfMemoryError("8 GiB")
        return original(latents)

    monkeypatch.setattr(painter.vqgan, "decode", small)
    *steps, page = painter.stream(WORDS, replace(NOISE, width=192, height=192, steps=2))
    assert isinstance(page, Page)
    notes = [s.note for s in steps if isinstance(s, PictureProgress) and s.note]
    assert len(notes) == 1
    assert "going on at 144x144 pixels" in notes[0]
    assert page.image().size == (192, 192)


# several


def test_pictures_painted_together_are_as_each_alone(painter: VQGANCLIPPipeline) -> None:
    requests = [
        PictureRequest(FOX, replace(NOISE, seed=1)),
        PictureRequest(WORDS, replace(NOISE, seed=2, steps=3, prompts="red")),
        PictureRequest(WORDS, replace(NOISE, seed=3, width=160, start="picture"), a_picture()),
        PictureRequest(FOX, replace(QUICK, seed=4)),
    ]
    pages: dict[int, Page] = {}
    last: dict[int, int] = {}
    for index, event in painter.stream_many(requests):
        if isinstance(event, Page):
            pages[index] = event
        else:
            assert event.step >= last.get(index, 0)
            last[index] = event.step
    assert sorted(pages) == [0, 1, 2, 3]
    for n, request in enumerate(requests):
        alone = painter(request.sentence, request.config, picture=request.picture)
        assert difference(pages[n], alone) < 0.02
        assert pages[n].recipe == alone.recipe


def test_closing_keeps_the_pages_that_were_finished(painter: VQGANCLIPPipeline) -> None:
    requests = [PictureRequest(WORDS, replace(NOISE, seed=n, steps=2 + 4 * n)) for n in range(2)]
    stream = painter.stream_many(requests)
    found = next(event for _, event in stream if isinstance(event, Page))
    stream.close()  # type: ignore[attr-defined]
    assert difference(found, painter(WORDS, requests[0].config)) < 0.02
    assert not painter._lock.locked()


def test_without_code_transformer_a_sketch_is_the_start(painter: VQGANCLIPPipeline) -> None:
    full = VQGANCLIPPipeline(painter.vqgan, painter.clips, name="full", low_precision=False)
    page = full(FOX, replace(QUICK, start="transformer"))
    assert page.recipe is not None
    assert page.recipe.settings["start"] == "sketch"
    sketch = painter(FOX, replace(QUICK, start="sketch"))
    assert page.image().tobytes() == sketch.image().tobytes()


# recipes


@pytest.mark.parametrize("start", ["noise", "sketch", "transformer"])
def test_a_recipe_brings_the_picture_back(painter: VQGANCLIPPipeline, start: str) -> None:
    config = replace(
        QUICK, start=start, seed=None, prompts="red:0.5 | text:-1", noise_prompts="3:0.1",
        palette="navy", style="pencil", prefix="old", augment=("flip", "erase"),
    )  # fmt: skip
    page = painter(FOX, config)
    assert page.picture is not None
    recipe = read_recipe(page.picture)
    assert recipe is not None
    request = request_from(recipe)
    assert painter(request.sentence, request.config) == page


def test_a_recipe_of_before_a_setting_was_there_does_without_it(
    painter: VQGANCLIPPipeline,
) -> None:
    recipe = painter(FOX, QUICK).recipe
    assert recipe is not None
    older = {k: v for k, v in recipe.settings.items() if k not in ("code_temperature", "surprise")}
    config = request_from(replace(recipe, settings=older)).config
    assert (config.code_temperature, config.surprise) == (0.7, 0.0)
    assert request_from(recipe).config == QUICK


def test_a_recipe_asks_for_the_pictures_that_went_in(painter: VQGANCLIPPipeline) -> None:
    config = replace(QUICK, start="picture")
    shown = [ImagePrompt(a_picture(7), 0.5, 0.1), ImagePrompt(a_picture(8), -1.0)]
    page = painter(FOX, config, picture=a_picture(), mask=half_mask(), image_prompts=shown)
    assert page.picture is not None
    recipe = read_recipe(page.picture)
    assert recipe is not None
    pictures = [p.picture for p in shown]
    request = request_from(recipe, picture=a_picture(), mask=half_mask(), image_prompts=pictures)
    again = painter(
        request.sentence, request.config, picture=request.picture, mask=request.mask,
        image_prompts=request.image_prompts,
    )  # fmt: skip
    assert again == page
    with pytest.raises(InvalidInput, match="picture it began from"):
        request_from(recipe, mask=half_mask(), image_prompts=pictures)
    with pytest.raises(InvalidInput, match="mask"):
        request_from(recipe, picture=a_picture(), image_prompts=pictures)
    with pytest.raises(InvalidInput, match="prompts"):
        request_from(recipe, picture=a_picture(), mask=half_mask(), image_prompts=pictures[:1])
    with pytest.raises(InvalidInput, match="other pictures"):
        request_from(recipe, picture=a_picture(5), mask=half_mask(), image_prompts=pictures)


def test_a_recipe_says_that_memory_made_the_picture_smaller(
    painter: VQGANCLIPPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(NOISE, width=256, height=256, steps=1)
    whole = painter(FOX, config).recipe
    monkeypatch.setattr(guidance, "free_memory", lambda: 2000)
    monkeypatch.setattr(Guidance, "_wanted", lambda _, batch, costs: batch[0].latents.numel())
    page = painter(FOX, config)
    assert page.image().size == (256, 256)
    assert page.recipe is not None
    assert whole is not None
    assert page.recipe.settings == {**whole.settings, "painted_at": "192x192"}
    assert request_from(page.recipe).config == request_from(whole).config


def test_recipes_of_others() -> None:
    plain = PictureRequest(FOX, QUICK).recipe({"pictures": "tiny"}, 5)
    with pytest.raises(InvalidInput, match="which sentence"):
        request_from(Recipe("a fox", 5, {}, QUICK.to_settings()))
    with pytest.raises(InvalidInput, match="Another version"):
        request_from(replace(plain, prompt="something else"))
    with pytest.raises(InvalidInput, match="damaged"):
        request_from(replace(plain, settings={**plain.settings, "given": {"image_prompts": [3]}}))
    with pytest.raises(InvalidInput, match="cannot be read"):
        request_from(replace(plain, settings={**plain.settings, "steps": "many"}))
