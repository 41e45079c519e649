"""Settings: every bound holds, and whatever is beyond it is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pipelines.errors import InvalidInput
from pipelines.presets import (
    AUGMENTATIONS,
    CUTOUT_METHODS,
    MAX_SEED,
    OPTIMISERS,
    PRESETS,
    SCHEDULES,
    STARTS,
    STYLES,
    PictureConfig,
    StoryConfig,
    draw_seed,
    read_palette,
)


def story(**changed: Any) -> StoryConfig:
    return StoryConfig(**{"words": "a fox who wanted to fly", **changed})


def picture(**changed: Any) -> PictureConfig:
    return PictureConfig(**changed)


STORY_BOUNDS = [
    # field, its name in the message, lowest, highest
    ("sentences", "Sentences", 4, 12),
    ("min_words", "Minimum length", 0, 200),
    ("max_words", "Maximum length", 20, 400),
    ("drafts", "Drafts", 1, 4),
    ("temperature", "Liveliness", 0.1, 2.0),
    ("top_k", "Top-k", 0, 1000),
    ("top_p", "Top-p", 0.05, 1.0),
    ("repetition_penalty", "Repetition penalty", 1.0, 2.0),
    ("length_penalty", "Length penalty", -2.0, 2.0),
    ("seed", "Seed", 0, MAX_SEED),
]
PICTURE_BOUNDS = [
    ("steps", "Steps", 0, 500),
    ("step_size", "Step size", 0.001, 1.0),
    ("cutouts", "Cutouts", 1, 128),
    ("candidates", "Candidates", 1, 16),
    ("guidance", "Guidance", 1.0, 10.0),
    ("code_temperature", "Code temperature", 0.05, 2.0),
    ("surprise", "Surprise", 0.0, 1000.0),
    ("width", "Width", 128, 1024),
    ("height", "Height", 128, 1024),
    ("preview_every", "Preview every", 1, 500),
    ("cutout_min", "Smallest cutout", 0.1, 1.0),
    ("cutout_power", "Cutout power", 0.1, 10.0),
    ("pull", "Pull", 0.0, 1000.0),
    ("pull_end", "Pull at the end", 0.0, 1.0),
    ("smoothness", "Smoothness", 0.0, 1000.0),
    ("palette_weight", "Palette weight", 0.0, 1000.0),
    ("symmetry", "Symmetry", 0.0, 1000.0),
    ("patience", "Patience", 0, 500),
    ("small_first", "Small first", 0.0, 0.9),
    ("seed", "Seed", 0, MAX_SEED),
    ("scenery", "Scenery", 0, MAX_SEED),
]


def beyond(low: float, high: float) -> list[float]:
    step = 1 if isinstance(low, int) else 1e-4
    return [low - step, high + step, -(10**400), 10**400, math.nan, math.inf]


@pytest.mark.parametrize("field, name, low, high", STORY_BOUNDS)
def test_bounds_of_a_story(field: str, name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(story(**{field: value}), field) == value
    for value in beyond(low, high):
        with pytest.raises(InvalidInput, match=f"^{name} must be from {low} to {high}, not"):
            story(**{field: value})


@pytest.mark.parametrize("field, name, low, high", PICTURE_BOUNDS)
def test_bounds_of_a_picture(field: str, name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(picture(**{field: value}), field) == value
    for value in beyond(low, high):
        with pytest.raises(InvalidInput, match=f"^{name} must be from {low} to {high}, not"):
            picture(**{field: value})


def test_the_minimum_length_stays_below_the_maximum() -> None:
    assert story(min_words=60, max_words=60).min_words == 60
    with pytest.raises(InvalidInput, match=r"minimum length \(61 words\).*maximum \(60\)"):
        story(min_words=61, max_words=60)


@pytest.mark.parametrize("words", ["", "   ", "\n\t", "🦊🦊", "12 !?", "a" * 10_000, "\x00\x07"])
def test_words_that_tell_no_story(words: str) -> None:
    with pytest.raises(InvalidInput):
        StoryConfig(words)


def test_words_are_cleaned() -> None:
    assert StoryConfig("  a\x00 fox\n\nflies ").words == "a fox flies"


def test_too_many_banned_words() -> None:
    assert len(story(ban=("owl",) * 200).ban) == 200
    with pytest.raises(InvalidInput, match="banned words"):
        story(ban=("owl",) * 201)


@pytest.mark.parametrize("field", ["width", "height"])
def test_sides_are_whole_pixels_of_any_number(field: str) -> None:
    for side in (128, 129, 250, 1024):
        assert getattr(picture(**{field: side}), field) == side
    with pytest.raises(InvalidInput, match=rf"{field.title()} must be a whole number, not 250.5"):
        picture(**{field: 250.5})


@pytest.mark.parametrize(
    "made, field",
    [
        (picture, "steps"),
        (picture, "seed"),
        (picture, "cutouts"),
        (story, "drafts"),
        (story, "seed"),
    ],
)
def test_what_is_counted_is_whole(made: Callable[..., Any], field: str) -> None:
    config = made(**{field: 2.0})  # as JSON may write it
    assert type(getattr(config, field)) is int
    with pytest.raises(InvalidInput, match=rf"{field.title()} must be a whole number, not 2.5"):
        made(**{field: 2.5})


NAMES = {
    "style": STYLES,
    "start": STARTS,
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
    "cutout_method": CUTOUT_METHODS,
}


@pytest.mark.parametrize("field", NAMES)
def test_unknown_names_are_answered_with_the_known(field: str) -> None:
    known = NAMES[field]
    with pytest.raises(InvalidInput, match="cubism.*" + ", ".join(known)):
        picture(**{field: "cubism"})
    for name in known:
        picture(**{field: name})


def test_augmentations_are_named() -> None:
    assert picture(augment=()).augment == ()
    with pytest.raises(InvalidInput, match="blur.*" + ", ".join(AUGMENTATIONS)):
        picture(augment=("flip", "blur"))


def test_palettes_are_read() -> None:
    assert read_palette("") == ()
    assert read_palette("#fb7447, navy #FFF") == ((251, 116, 71), (0, 0, 128), (255, 255, 255))
    with pytest.raises(InvalidInput, match="“reddish” is no colour"):
        picture(palette="red reddish")
    with pytest.raises(InvalidInput, match="Number of colours"):
        picture(palette="red " * 33)


def test_prompts_are_read_when_they_are_set() -> None:
    assert picture(prompts="a fox:2 | text:-1").prompts == "a fox:2 | text:-1"
    for wrong in (":0.5", "a:101", "a | " * 40 + "a"):
        with pytest.raises(InvalidInput):
            picture(prompts=wrong)
    assert picture(noise_prompts="7:0.2 | 8:-1:-0.5").noise_targets() == (
        (7, 0.2, -math.inf),
        (8, -1.0, -0.5),
    )
    for wrong in ("fox", "-3", "7.5", "99999999999"):
        with pytest.raises(InvalidInput):
            picture(noise_prompts=wrong)
    with pytest.raises(InvalidInput, match="4000"):
        picture(prompts="a" * 4001)


def test_settings_are_plain_values_and_come_back() -> None:
    config = picture(prompts="a | b:-1", augment=("erase",), seed=3, palette="red", steps=4)
    plain = json.loads(json.dumps(config.to_settings()))
    assert plain == config.to_settings()
    assert PictureConfig.from_settings({**plain, "of a later version": 1}) == config
    for wrong in ({"steps": "many"}, {"augment": 5}, {"prompts": 3}, {"steps": None}):
        with pytest.raises(InvalidInput):
            PictureConfig.from_settings(wrong)


@pytest.mark.parametrize("field", ["prefix", "suffix"])
def test_style_words_have_a_length(field: str) -> None:
    picture(**{field: "a" * 200})
    with pytest.raises(InvalidInput, match=field):
        picture(**{field: "a" * 201})


def test_configs_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        story().seed = 5  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        PictureConfig().steps = 5  # type: ignore[misc]


def test_drawn_seeds_are_seeds_and_differ() -> None:
    seeds = {draw_seed() for _ in range(50)}
    assert len(seeds) > 45
    for seed in seeds:
        assert PictureConfig(seed=seed).seed == seed


def test_names_match_keys() -> None:
    assert all(key == style.name for key, style in STYLES.items())
    assert all(key == preset.name for key, preset in PRESETS.items())
    assert "embedded" in PRESETS
