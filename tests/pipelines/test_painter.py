"""The scene painter: every scene can be painted, on the page, on the grid, the same each time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops

from pipelines import clipart
from pipelines.bodies import BODIES
from pipelines.clipart import extent, looks, shadow
from pipelines.errors import ModelUnavailable
from pipelines.painter import (
    GRID,
    SIMPLE_SIZES,
    SIZE,
    STYLE_FILTERS,
    Painting,
    Placed,
    lay_out,
    paint,
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


def middle(p: Placed) -> float:
    return p.x + p.size / 2


def foot(p: Placed) -> int:
    return p.y + p.size


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


def test_words_do_not_look_alike() -> None:
    names = list(vocabulary())
    seen = np.stack([np.asarray(sprite(w, 16, False), np.float32).ravel() for w in names])
    for n in range(len(names) - 1):
        apart = np.abs(seen[n + 1 :] - seen[n]).mean(axis=1)
        assert apart.min() > 1.5, (names[n], names[n + 1 + int(apart.argmin())])


@pytest.mark.parametrize("word", BODIES)
def test_whole_figures_stand_on_their_feet(word: str) -> None:
    _, top, _, bottom = extent(word)
    assert top < 0.15
    assert 0.93 < bottom <= 1.0
    assert looks(word) in (-1, 0, 1)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("word", ["fox", "horse", "balloon", "rock"])
def test_a_shadow_lies_at_the_foot(word: str, flip: bool) -> None:
    dark, dx, dy = shadow(word, 96, flip)
    assert dark.mode == "L"
    assert np.asarray(dark).max() > 80
    assert abs(dy + dark.height / 2 - extent(word)[3] * 96) < 8
    assert -20 < dx < 96


@given(scenes, seeds, st.booleans())
@settings(max_examples=200, deadline=None)
def test_clip_art_lies_on_the_page_and_on_the_grid(scene: Scene, seed: int, simple: bool) -> None:
    layout = lay_out(scene, random.Random(seed), simple=simple)
    assert len({(p.x, p.y) for p in layout}) == len(layout)  # never two on one spot
    for p in layout:
        if simple:
            assert p.size in SIMPLE_SIZES
        assert p.x >= 0
        assert p.y >= 0
        assert p.size >= 3 * GRID
        assert p.x + p.size <= SIZE
        assert p.y + p.size <= SIZE
        assert p.x % GRID == p.y % GRID == p.size % GRID == 0


def test_a_page_that_is_full_takes_more() -> None:
    crowd = Scene((Item("fox", 1, ""), *[Item("fox")] * 150))
    assert len(lay_out(crowd, random.Random(1))) == 151


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


RELATED = st.sampled_from(sorted(w for w, v in vocabulary().items() if v["class"] == "land"))


def pair(brief: str, seed: int, simple: bool) -> tuple[Placed, Placed, list[Placed]]:
    """Subject, object, and the painting order."""
    scene = parse_brief(brief)
    layout = lay_out(scene, random.Random(seed), simple=simple)
    place = {p.word: p for p in layout}
    return place[scene.items[0].word], place[scene.items[1].word], layout


@given(RELATED, seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_relations_can_be_seen(word: str, seed: int, simple: bool) -> None:
    who, what, order = pair(f"{word} under tree @forest day", seed, simple)
    assert what.size > who.size
    assert order.index(what) < order.index(who)
    assert what.y < who.y
    who, what, order = pair(f"{word} behind rock @forest day", seed, simple)
    assert order.index(who) < order.index(what)
    assert foot(who) <= foot(what)
    who, what, order = pair(f"{word} in basket @forest day", seed, simple)
    assert order.index(who) < order.index(what)
    assert foot(who) < foot(what)
    who, what, _ = pair(f"{word} above flower @forest day", seed, simple)
    assert foot(who) <= foot(what) - what.size / 2
    who, what, order = pair(f"{word} holding key @forest day", seed, simple)
    assert order.index(who) < order.index(what)
    assert what.size <= 0.75 * who.size
    assert abs(middle(what) - middle(who)) < who.size


@given(st.sampled_from(["horse", "cow", "rabbit", "duck"]), seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_those_who_meet_look_at_each_other(word: str, seed: int, simple: bool) -> None:
    a, b, _ = pair(f"{word} near pig @farm day", seed, simple)
    left, right = sorted((a, b), key=middle)
    assert left.flip  # all of these look left as they come
    assert not right.flip


def test_who_is_alone_looks_both_ways() -> None:
    scene = parse_brief("horse @farm day")
    flips = {lay_out(scene, random.Random(s), simple=True)[0].flip for s in range(20)}
    assert flips == {False, True}
    for s in range(20):  # a face that looks at the reader is never mirrored
        assert not lay_out(FOX, random.Random(s))[0].flip


@given(seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_company_does_not_hide_company(seed: int, simple: bool) -> None:
    scene = parse_brief("bear + fox near 2*apple @forest day")
    place = {p.word: p for p in lay_out(scene, random.Random(seed), simple=simple)}
    a, b = place["bear"], place["fox"]
    assert abs(middle(a) - middle(b)) > 0.6 * (a.size + b.size) / 2


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_figures_are_as_large_as_a_page_holds(seed: int) -> None:
    """What is drawn small can hardly be told (a figure of 64 pixels has eyes of two)."""
    for brief in (
        "fox + swan @castle_hall day",
        "knight + princess + dragon @road day",
        "3*mouse @room day",
        "5*duck @lake day",
    ):
        layout = lay_out(parse_brief(brief), random.Random(seed), simple=True)
        assert min(p.size for p in layout) >= 96, brief


@given(RELATED, seeds)
@settings(max_examples=40, deadline=None)
def test_a_thing_is_smaller_than_who_is_next_to_it(word: str, seed: int) -> None:
    who, what, _ = pair(f"{word} beside book @room day", seed, simple=True)
    assert what.size < who.size
    who, what, _ = pair(f"{word} in boat @lake day", seed, simple=True)
    assert who.size < what.size


@given(st.sampled_from(["tree", "pine_tree", "palm_tree"]), seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_who_is_in_a_tree_sits_in_its_crown(tree: str, seed: int, simple: bool) -> None:
    who, what, _ = pair(f"owl in {tree} @garden day", seed, simple)
    assert foot(who) < what.y + 0.6 * what.size
    assert abs(middle(who) - middle(what)) < 0.3 * what.size


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_many_stand_in_two_rows(seed: int) -> None:
    scene = parse_brief("pig + cow + hen + horse @farm day")
    layout = lay_out(scene, random.Random(seed), simple=True)
    rows = [foot(p) for p in layout]
    assert len(set(rows)) == 2
    assert rows == sorted(rows)  # those further away are painted first


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


def near_the_foot(page: Painting) -> np.ndarray:
    """Where shadows may fall: around each piece's lower edge."""
    around = np.zeros((SIZE, SIZE), bool)
    for p in page.layout:
        around[foot(p) - p.size // 3 : foot(p) + 16, max(p.x - 24, 0) : p.x + p.size + 24] = True
    return around


def test_clip_art_is_painted_where_the_foreground_says() -> None:
    """Behind the mask the page is that of another character at the same place."""
    fox, owl = (
        paint(parse_brief(f"{word} @farm day"), random.Random(3)) for word in ("fox", "owl")
    )
    outside = (np.asarray(fox.foreground) == 0) & (np.asarray(owl.foreground) == 0)
    outside &= ~near_the_foot(fox) & ~near_the_foot(owl)
    a, b = np.asarray(fox.picture), np.asarray(owl.picture)
    assert (a[outside] == b[outside]).all()
    inside = np.asarray(fox.foreground) == 255
    assert (a[inside] != b[inside]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize("style", STYLE_FILTERS)
def test_styles_change_the_picture_and_nothing_else(style: str) -> None:
    plain = paint(FOX, random.Random(2))
    styled = paint(FOX, random.Random(2), style=style)
    assert difference(plain.picture, styled.picture) > 5
    assert plain.foreground.tobytes() == styled.foreground.tobytes()
    assert plain.layout == styled.layout


@pytest.mark.parametrize("style", STYLE_FILTERS)
def test_without_texture_a_style_has_flat_colour_and_its_lines(style: str) -> None:
    def steps(**options: Any) -> NDArray[np.floating]:
        """How much pixels differ from those above them, within the border."""
        page = paint(FOX, random.Random(2), **options).picture
        return np.abs(np.diff(np.asarray(page, float)[20:-20, 20:-20], axis=0)).max(axis=-1)

    flat = steps() <= 1
    rough = [steps(style=style, texture=t)[flat].mean() for t in (0.0, 0.5, 1.0)]
    assert rough[0] < rough[1] < rough[2]
    assert rough[0] < 0.7 * rough[2]
    lines = ~flat
    assert steps(style=style, texture=0.0)[lines].mean() > 4 * rough[0]


def test_styles_differ_from_each_other_and_are_offered() -> None:
    assert set(STYLE_FILTERS) == set(STYLES) - {"storybook"}
    drawn = {s: paint(FOX, random.Random(2), style=s).picture for s in STYLE_FILTERS}
    names = sorted(drawn)
    for n, a in enumerate(names):
        for b in names[n + 1 :]:
            assert difference(drawn[a], drawn[b]) > 5, (a, b)


@pytest.mark.parametrize("style", STYLES)
def test_a_larger_page_shows_the_same(style: str) -> None:
    scene = parse_brief("fox near owl @farm sunset snow")
    small = paint(scene, random.Random(4), style=style)
    large = paint(scene, random.Random(4), style=style, scale=2)
    assert large.picture.size == large.foreground.size == (2 * SIZE, 2 * SIZE)
    assert large.layout == small.layout
    assert difference(large.picture.reduce(2), small.picture) < 9
    assert difference(large.foreground.reduce(2), small.foreground) < 2


def test_a_simple_page_has_the_same_background() -> None:
    scene = parse_brief("fox @farm day")
    for seed in range(10):
        usual = paint(scene, random.Random(seed))
        plain = paint(scene, random.Random(seed), simple=True)
        away = (np.asarray(usual.foreground) == 0) & (np.asarray(plain.foreground) == 0)
        away &= ~near_the_foot(usual) & ~near_the_foot(plain)
        a, b = np.asarray(usual.picture), np.asarray(plain.picture)
        assert (a[away] == b[away]).all()


# the clip art itself


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other bytes"])
def test_clip_art_that_cannot_be_read_is_named(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clipart.zip"
    data = bytearray((clipart.ASSETS / "clipart.zip").read_bytes())
    if damage == "cut":
        del data[-1000:]
    middle = len(data) // 2
    data[middle : middle + 100] = bytes(100)
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else data)
    monkeypatch.setattr(clipart, "ASSETS", tmp_path)
    monkeypatch.setattr(clipart, "_files", clipart._files.__wrapped__)  # as if nothing was read yet
    monkeypatch.setattr(clipart, "_art", clipart._art.__wrapped__)
    with pytest.raises(ModelUnavailable, match="git checkout -- pipelines/assets") as caught:
        clipart.sprite("fox", 17, flip=False)
    assert str(path) in str(caught.value)
