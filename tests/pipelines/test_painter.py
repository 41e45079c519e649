"""The scene painter: every scene can be painted, on the page, on the grid, the same each time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from pipelines.painter import (
    GRID,
    SIMPLE_SIZES,
    SIZE,
    STYLE_FILTERS,
    lay_out,
    paint,
    simplify,
    sprite,
)
from pipelines.presets import STYLES
from pipelines.scene import PLACES, RELATIONS, SKIES, TIMES, Item, Scene, parse_brief, vocabulary

words = st.sampled_from(sorted(vocabulary()))
relations = st.sampled_from(("+", *RELATIONS))
scenes = st.builds(
    lambda first, rest, place, time, skies: Scene((first, *rest), place, time, tuple(skies)),
    st.builds(Item, words, st.integers(1, 5), st.just("")),
    st.lists(st.builds(Item, words, st.integers(1, 5), relations), max_size=5),
    st.sampled_from(sorted(PLACES)),
    st.sampled_from(TIMES),
    st.lists(st.sampled_from(SKIES), unique=True, max_size=4),
)
seeds = st.integers(0, 2**31)

FOX = parse_brief("fox near owl @forest day")


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference of two pictures, in levels of 255."""
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


# backgrounds


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("place", PLACES)
def test_every_place_at_every_time(place: str, time: str) -> None:
    page = paint(Scene((Item("fox", 1, ""),), place, time), random.Random(1))
    assert page.picture.mode == "RGB"
    assert page.picture.size == (SIZE, SIZE)
    assert page.foreground.mode == "L"
    assert page.foreground.size == (SIZE, SIZE)
    colours = page.picture.quantize(64).getcolors()
    assert colours is not None
    assert len(colours) > 20  # something is drawn


def test_places_and_times_look_different() -> None:
    seen: dict[str, Image.Image] = {}
    for place in PLACES:
        seen[place] = paint(Scene(FOX.items, place), random.Random(1)).picture
    names = list(seen)
    for n, a in enumerate(names):
        for b in names[n + 1 :]:
            assert difference(seen[a], seen[b]) > 5, (a, b)
    for place in sorted(set(PLACES) - {"space"}):  # no hour in space
        day, night = (
            paint(Scene(FOX.items, place, time), random.Random(1)).picture
            for time in ("day", "night")
        )
        assert difference(day, night) > 3, place


@pytest.mark.parametrize("sky", SKIES)
def test_weather_is_seen_outdoors_and_not_indoors(sky: str) -> None:
    def painted(place: str, *skies: str) -> Image.Image:
        return paint(Scene(FOX.items, place, "day", skies), random.Random(1)).picture

    indoors = ImageChops.difference(painted("room"), painted("room", sky))
    assert indoors.getbbox() is None
    if sky != "sun":  # on a day without other weather the sun shines anyway
        assert ImageChops.difference(painted("farm"), painted("farm", sky)).getbbox() is not None


# clip art


@pytest.mark.parametrize("word", vocabulary())
def test_every_word_has_clip_art(word: str) -> None:
    art = sprite(word, 64, False)
    assert (art.mode, art.size) == ("RGBA", (64, 64))
    alpha = np.asarray(art)[..., 3]
    assert 0.03 < (alpha > 127).mean() < 0.97  # neither empty nor a whole square
    assert (
        sprite(word, 64, True).tobytes() == art.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    )


@given(scenes, seeds)
@settings(max_examples=300, deadline=None)
def test_clip_art_lies_on_the_page_and_on_the_grid(scene: Scene, seed: int) -> None:
    layout = lay_out(scene, random.Random(seed))
    for p in layout:
        assert p.x >= 0
        assert p.y >= 0
        assert p.size >= 3 * GRID
        assert p.x + p.size <= SIZE
        assert p.y + p.size <= SIZE
        assert p.x % GRID == p.y % GRID == p.size % GRID == 0


@given(scenes, seeds)
@settings(max_examples=300, deadline=None)
def test_every_word_of_a_scene_is_laid_out(scene: Scene, seed: int) -> None:
    """Whoever stands alone comes as often as asked, and nothing comes that was not asked for."""
    layout = [p.word for p in lay_out(scene, random.Random(seed))]
    assert set(layout) == {i.word for i in scene.items}
    for item in scene.items:
        if item.relation in ("", "+", "near", "beside"):
            assert layout.count(item.word) >= item.count


@given(seeds, st.sampled_from(["fox on rock @farm day", "rabbit on turtle @road day"]))
@settings(deadline=None)
def test_on_means_above_its_foot(seed: int, brief: str) -> None:
    scene = parse_brief(brief)
    upper, lower = scene.items
    place = {p.word: p for p in lay_out(scene, random.Random(seed))}
    above, below = place[upper.word], place[lower.word]
    assert above.y + above.size < below.y + below.size
    assert above.x < below.x + below.size
    assert below.x < above.x + above.size


# the whole page


@given(scenes, seeds, st.sampled_from(sorted(STYLES)))
@settings(max_examples=15, deadline=None)
def test_same_seed_same_pixels(scene: Scene, seed: int, style: str) -> None:
    a, b = (paint(scene, random.Random(seed), style=style) for _ in range(2))
    assert a.picture.tobytes() == b.picture.tobytes()
    assert a.foreground.tobytes() == b.foreground.tobytes()
    assert a.layout == b.layout


def test_other_seed_other_picture() -> None:
    pictures = {paint(FOX, random.Random(seed)).picture.tobytes() for seed in range(8)}
    assert len(pictures) == 8


@given(scenes, seeds)
@settings(max_examples=25, deadline=None)
def test_the_foreground_is_where_clip_art_is(scene: Scene, seed: int) -> None:
    page = paint(scene, random.Random(seed))
    expected = Image.new("L", (SIZE, SIZE), 0)
    for p in page.layout:
        alpha = Image.new("L", (SIZE, SIZE), 0)
        alpha.paste(sprite(p.word, p.size, p.flip).getchannel("A"), (p.x, p.y))
        expected = ImageChops.lighter(expected, alpha)
    mask, art = np.asarray(page.foreground), np.asarray(expected)
    assert ((mask > 0) <= (art > 0)).all()
    assert (mask[art == 255] == 255).all()
    assert (mask[art > 127] > 127).all()
    assert mask.any()


def test_clip_art_is_painted_where_the_foreground_says() -> None:
    """Behind the mask the page is that of another character at the same place."""
    fox, owl = (
        paint(parse_brief(f"{word} @farm day"), random.Random(3)) for word in ("fox", "owl")
    )
    outside = (np.asarray(fox.foreground) == 0) & (np.asarray(owl.foreground) == 0)
    a, b = np.asarray(fox.picture), np.asarray(owl.picture)
    assert (a[outside] == b[outside]).all()
    inside = np.asarray(fox.foreground) == 255
    assert (a[inside] != b[inside]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize("style", STYLE_FILTERS)
def test_styles_change_the_picture_and_nothing_else(style: str) -> None:
    plain = paint(FOX, random.Random(2))
    styled = paint(FOX, random.Random(2), style=style)
    assert difference(plain.picture, styled.picture) > 8
    assert plain.foreground.tobytes() == styled.foreground.tobytes()
    assert plain.layout == styled.layout


def test_styles_differ_from_each_other_and_are_offered() -> None:
    assert set(STYLE_FILTERS) == set(STYLES) - {"storybook"}
    looks = {s: paint(FOX, random.Random(2), style=s).picture for s in STYLE_FILTERS}
    names = sorted(looks)
    for n, a in enumerate(names):
        for b in names[n + 1 :]:
            assert difference(looks[a], looks[b]) > 8
    grey = np.asarray(looks["pencil"], np.float32)
    assert (grey.max(-1) - grey.min(-1)).max() < 30  # a pencil has no colours


# simple layouts


@given(scenes, seeds)
@settings(max_examples=200, deadline=None)
def test_simple_pieces_keep_to_the_sizes_and_stand_where_they_stood(
    scene: Scene, seed: int
) -> None:
    for p in lay_out(scene, random.Random(seed)):
        q = simplify(p)
        assert (q.word, q.flip) == (p.word, False)
        assert q.size in SIMPLE_SIZES
        assert abs(q.size - p.size) == min(abs(s - p.size) for s in SIMPLE_SIZES)
        assert 0 <= q.x <= SIZE - q.size
        assert q.y + q.size == max(p.y + p.size, q.size)  # on the same ground
        assert q.y + q.size <= SIZE
        assert q.x % GRID == q.y % GRID == 0
        assert abs((2 * q.x + q.size) - (2 * p.x + p.size)) <= abs(q.size - p.size) + GRID


def test_a_simple_page_differs_in_its_layout_alone() -> None:
    scene = parse_brief("fox @farm day")
    for seed in range(10):
        usual = paint(scene, random.Random(seed))
        plain = paint(scene, random.Random(seed), simple=True)
        assert plain.layout == tuple(simplify(p) for p in usual.layout)
        away = (np.asarray(usual.foreground) == 0) & (np.asarray(plain.foreground) == 0)
        a, b = np.asarray(usual.picture), np.asarray(plain.picture)
        assert (a[away] == b[away]).all()
