"""Painted scenes on disk: the same each time, labelled as they are laid out, nothing held out."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from finetune.data.scenes import (
    CELLS,
    SIMPLE,
    SceneRecord,
    SceneSet,
    label_map,
    sample_record,
    tag_vector,
    tags,
)
from finetune.data.storyworld import Captioned, held_out, skeletons, split_of
from pipelines.painter import GRID, SIMPLE_SIZES, SIZE, STYLE_FILTERS, Placed, sprite
from pipelines.plan import FIELDS, PIECES, plan_of
from pipelines.scene import PLACES, SKIES, TIMES, Item, Scene, parse_brief, vocabulary

COUNT = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def scenes(folder: Path) -> SceneSet:
    return SceneSet(folder / "one", COUNT)


def test_a_set_of_scenes(scenes: SceneSet) -> None:
    assert len(scenes) == len(scenes.records) == COUNT
    assert scenes.pictures.shape == (COUNT, SIZE, SIZE, 3)
    assert scenes.pictures.dtype == np.uint8
    assert scenes.labels.shape == (COUNT, CELLS, CELLS)
    assert len({p.tobytes() for p in scenes.pictures}) == COUNT


def test_same_seed_same_scenes(scenes: SceneSet, folder: Path) -> None:
    again = SceneSet(folder / "two", COUNT)
    assert np.array_equal(again.pictures, scenes.pictures)
    assert np.array_equal(again.labels, scenes.labels)
    assert again.records == scenes.records
    longer = SceneSet(folder / "longer", COUNT + 1)
    assert longer.records[:COUNT] == scenes.records  # a larger set begins with the smaller


def test_larger_pages_come_with_what_they_are_smaller(scenes: SceneSet, folder: Path) -> None:
    large = SceneSet(folder / "large", 3, scale=2)
    assert large.pictures.shape == (3, 2 * SIZE, 2 * SIZE, 3)
    assert np.array_equal(large.small, scenes.pictures[:3])
    (folder / "large" / "small.npy").unlink()  # as of an earlier version
    assert np.array_equal(SceneSet(folder / "large", 3, scale=2).small, large.small)


def test_other_seed_or_split_other_scenes(scenes: SceneSet, folder: Path) -> None:
    for other in (SceneSet(folder / "seed", 2, seed=1), SceneSet(folder / "test", 2, split="test")):
        assert other.records != scenes.records[:2]
        assert not np.array_equal(other.pictures, scenes.pictures[:2])


def test_scenes_are_painted_once(
    scenes: SceneSet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SceneSet, "_make", lambda *_: pytest.fail("painted again"))
    again = SceneSet(folder / "one", COUNT)
    assert again.records == scenes.records


def test_a_set_cut_off_is_painted_again(scenes: SceneSet, folder: Path) -> None:
    """`scenes.jsonl` is written last; without it the folder is not taken for whole."""
    half = folder / "half"
    half.mkdir()
    (half / "pictures.npy").write_bytes(b"half a file")
    assert SceneSet(half, 1).records == scenes.records[:1]


def test_records_say_what_was_painted(scenes: SceneSet) -> None:
    """What is on disk is what the painter makes of the record with the seed of its number."""
    for n, record in enumerate(scenes.records):
        rng = random.Random(f"0 train {n}")
        assert sample_record(rng, "train") == record
        simple = rng.random() < SIMPLE
        page = record.paint(rng, simple=simple)
        assert np.array_equal(np.asarray(page.picture), scenes.pictures[n])
        assert np.array_equal(label_map(page), scenes.labels[n])
        expected = plan_of(page.layout) if simple else [-1] * (PIECES * FIELDS)
        assert scenes.plans[n].tolist() == expected


def test_many_processes_paint_the_same(
    scenes: SceneSet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.data.scenes._CHUNK", 3)
    again = SceneSet(folder / "shared", COUNT, workers=2)
    assert np.array_equal(again.pictures, scenes.pictures)
    assert np.array_equal(again.labels, scenes.labels)
    assert np.array_equal(again.plans, scenes.plans)
    assert again.records == scenes.records


def test_sets_of_simple_layouts_have_plans_alone(folder: Path) -> None:
    assert (SceneSet(folder / "simple", 4, simple=1.0).plans[:, 0] > 0).all()
    assert (SceneSet(folder / "free", 4, simple=0.0).plans == -1).all()


def test_plans_are_the_painters() -> None:
    names = {i + 1: name for name, i in tags().items()}
    for seed in range(4):
        rng = random.Random(seed)
        page = sample_record(rng, "train").paint(rng, simple=True)
        pieces = np.reshape(plan_of(page.layout), (PIECES, FIELDS)).tolist()
        for (word, x, y, kind), piece in zip(pieces, page.layout, strict=False):
            size, flip = SIMPLE_SIZES[kind % 3], kind >= 3
            assert Placed(names[word], GRID * x, GRID * y, size, flip) == piece


def test_a_plan_keeps_the_nearest_pieces() -> None:
    layout = [Placed("owl", 16 * n, 0, (64, 96)[n % 2], n % 2 == 1) for n in range(PIECES + 2)]
    plan = np.reshape(plan_of(layout), (PIECES, FIELDS))
    assert plan[:, 1].tolist() == list(range(2, PIECES + 2))
    assert plan[:, 3].tolist() == [0, 4] * (PIECES // 2)
    assert plan_of([]) == [0] * (PIECES * FIELDS)


# labels


@pytest.mark.parametrize("seed", range(12))
def test_labels_agree_with_the_layout(seed: int) -> None:
    rng = random.Random(seed)
    page = sample_record(rng, "train").paint(rng)
    labels = label_map(page)
    mask = np.asarray(page.foreground)
    names = {index: name for name, index in tags().items()}
    for y in range(CELLS):
        for x in range(CELLS):
            middle = (y * GRID + GRID // 2, x * GRID + GRID // 2)
            # What covers the middle of the cell, far to near.
            over = [
                p.word
                for p in page.layout
                if p.x <= middle[1] < p.x + p.size and p.y <= middle[0] < p.y + p.size
            ]
            if mask[middle] > 127:
                assert names[int(labels[y, x])] in over
            else:
                assert labels[y, x] == -1


def test_the_nearest_word_gives_the_label() -> None:
    """Clip art whose corner is empty does not hide the name of what is seen there."""
    for seed in range(40):
        rng = random.Random(seed)
        page = sample_record(rng, "train").paint(rng)
        expected = np.full((CELLS, CELLS), -1)
        for p in page.layout:
            alpha = np.asarray(sprite(p.word, p.size, p.flip).getchannel("A"))
            seen = alpha[GRID // 2 :: GRID, GRID // 2 :: GRID] > 127
            y, x, n = p.y // GRID, p.x // GRID, p.size // GRID
            expected[y : y + n, x : x + n][seen] = tags()[p.word]
        labels = label_map(page)
        both = (labels >= 0) & (expected >= 0)
        assert np.array_equal(labels[both], expected[both])
        # Edges half covered by two pieces may count as covered and belong to neither.
        assert ((labels >= 0) != (expected >= 0)).mean() < 0.02


# tags and prompts


def test_tags_number_everything_a_scene_can_show() -> None:
    assert len(tags()) == len(vocabulary()) + len(PLACES) + len(TIMES) + len(SKIES)
    assert sorted(tags().values()) == list(range(len(tags())))


def test_tag_vectors() -> None:
    names = list(tags())
    scene = parse_brief("3*fox near owl + fox @snow night snow moon")
    vector = tag_vector(SceneRecord(Captioned(scene), "storybook"))
    assert {names[i] for i in vector.nonzero()[0]} == {
        "fox", "owl", "@snow", "night", "~snow", "~moon",
    }  # fmt: skip
    assert set(vector.tolist()) == {0.0, 1.0}


def test_prompts_name_the_style() -> None:
    captioned = Captioned(Scene((Item("fox", 1, ""),), "forest"))
    prompts = {
        style: SceneRecord(captioned, style).prompt(random.Random(1))
        for style in ("storybook", *STYLE_FILTERS)
    }
    assert prompts["storybook"] == "a fox, in the forest, by day"
    assert prompts["pencil"] == "a pencil drawing of a fox, in the forest, by day"
    assert len(set(prompts.values())) == 1 + len(STYLE_FILTERS)


# splits


def test_nothing_held_out_is_trained_on() -> None:
    rng = random.Random(1)
    test_sentences = {
        sentence for s in skeletons() if split_of(s) == "test" for sentence, _ in s.lines
    }
    assert test_sentences
    styles = set()
    for _ in range(3000):
        record = sample_record(rng, "train")
        assert not held_out(record.captioned.scene), str(record.captioned.scene)
        # A sentence without slots shows plainly which story it comes from.
        assert record.captioned.sentence not in test_sentences
        styles.add(record.style)
    assert styles == {"storybook", *STYLE_FILTERS}


def test_the_test_split_is_held_out() -> None:
    rng = random.Random(3)
    story, held = 0, 0
    for _ in range(400):
        captioned = sample_record(rng, "test").captioned
        if captioned.sentence:
            story += 1
        else:
            assert held_out(captioned.scene)
            held += 1
    assert story > 100
    assert held > 15
