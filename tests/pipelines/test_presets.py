"""Settings: every bound holds, and whatever is beyond it is refused by name."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pipelines.errors import InvalidInput
from pipelines.presets import (
    MAX_SEED,
    PRESETS,
    STARTS,
    STYLES,
    PictureConfig,
    StoryConfig,
    draw_seed,
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
    ("width", "Width", 128, 512),
    ("height", "Height", 128, 512),
    ("preview_every", "Preview every", 1, 500),
    ("seed", "Seed", 0, MAX_SEED),
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


@pytest.mark.parametrize("side", [129, 136, 250, 511])
@pytest.mark.parametrize("field", ["width", "height"])
def test_sides_are_multiples_of_16(field: str, side: int) -> None:
    with pytest.raises(InvalidInput, match=rf"{field.title()} must be a multiple of 16.*{side}"):
        picture(**{field: side})


@pytest.mark.parametrize("field", ["style", "start"])
def test_unknown_names_are_answered_with_the_known(field: str) -> None:
    known = {"style": STYLES, "start": STARTS}[field]
    with pytest.raises(InvalidInput, match="cubism.*" + ", ".join(known)):
        picture(**{field: "cubism"})
    for name in known:
        picture(**{field: name})


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
