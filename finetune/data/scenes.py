"""Painted scenes kept on disk, so that a picture is painted once and trained on many times.

A folder holds `pictures.npy` (N, 256, 256, 3) uint8, `labels.npy` (N, 16, 16) int16 (which
vocabulary word covers each 16-pixel cell, -1 = background) and `scenes.jsonl`.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from finetune.data.storyworld import Captioned, prompt_of, sample_scene
from pipelines.painter import GRID, SIZE, STYLE_FILTERS, Painting, paint, sprite
from pipelines.presets import STYLES
from pipelines.scene import PLACES, SKIES, TIMES, parse_brief, vocabulary

CELLS = SIZE // GRID
"""Label cells along a side of a picture."""

STYLED = 0.2
"""Share of scenes painted in one of the taught styles."""


@dataclass(frozen=True)
class SceneRecord:
    """What one painted picture shows, and how."""

    captioned: Captioned
    style: str

    def prompt(self, rng: random.Random) -> str:
        """One of the ways to ask for this picture, style words in front."""
        style = STYLES[self.style]
        text = prompt_of(self.captioned, rng)
        return f"{style.prefix} {text}" if style.prefix else text

    def paint(self, rng: random.Random, *, simple: bool = False) -> Painting:
        return paint(self.captioned.scene, rng, style=self.style, simple=simple)


def sample_record(rng: random.Random, split: str) -> SceneRecord:
    style = rng.choice(tuple(STYLE_FILTERS)) if rng.random() < STYLED else "storybook"
    return SceneRecord(sample_scene(rng, split), style)


@cache
def tags() -> dict[str, int]:
    """Everything a scene can be said to show -> its index: words, then places, times, skies."""
    names = [*vocabulary(), *("@" + p for p in PLACES), *TIMES, *("~" + s for s in SKIES)]
    return {n: i for i, n in enumerate(names)}


def tag_vector(record: SceneRecord) -> NDArray[np.float32]:
    """(T,) 1 where the scene shows the tag, else 0."""
    scene = record.captioned.scene
    shown = [i.word for i in scene.items]
    shown += ["@" + scene.place, scene.time, *("~" + s for s in scene.skies)]
    vector = np.zeros(len(tags()), np.float32)
    vector[[tags()[s] for s in shown]] = 1
    return vector


def label_map(page: Painting) -> NDArray[np.int16]:
    """(16, 16) index of the vocabulary word on top in each cell, -1 = background.

    A cell counts as covered where the clip art's mask covers its middle.
    """
    middle = np.asarray(page.foreground)[GRID // 2 :: GRID, GRID // 2 :: GRID] > 127
    labels = np.full((CELLS, CELLS), -1, np.int16)
    boxes = [
        (slice(p.y // GRID, (p.y + p.size) // GRID), slice(p.x // GRID, (p.x + p.size) // GRID))
        for p in page.layout
    ]
    for p, box in zip(page.layout, boxes, strict=True):
        labels[box] = tags()[p.word]
    for p, box in zip(page.layout, boxes, strict=True):  # what is not hidden has the last word
        art = np.asarray(sprite(p.word, p.size, p.flip).getchannel("A"))
        labels[box][art[GRID // 2 :: GRID, GRID // 2 :: GRID] > 127] = tags()[p.word]
    labels[~middle] = -1
    return labels


class SceneSet:
    """Painted scenes in a folder, made on first use; the same for the same seed and split."""

    def __init__(self, folder: Path, count: int, *, split: str = "train", seed: int = 0) -> None:
        self.folder = folder
        if not (folder / "scenes.jsonl").exists():
            self._make(count, split, seed)
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self.labels = np.load(folder / "labels.npy")
        with (folder / "scenes.jsonl").open(encoding="utf-8") as lines:
            self.records = [_record(json.loads(line)) for line in lines]

    def __len__(self) -> int:
        return len(self.records)

    def _make(self, count: int, split: str, seed: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        pictures = np.lib.format.open_memmap(
            self.folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3)
        )
        labels = np.empty((count, CELLS, CELLS), np.int16)
        rows: list[str] = []
        for n in tqdm(range(count), desc=f"painting {split} scenes", unit="scene", mininterval=5):
            rng = random.Random(f"{seed} {split} {n}")
            record = sample_record(rng, split)
            page = record.paint(rng)
            pictures[n] = np.asarray(page.picture)
            labels[n] = label_map(page)
            rows.append(json.dumps({"brief": str(record.captioned.scene), "style": record.style,
                                    "sentence": record.captioned.sentence}))  # fmt: skip
        pictures.flush()
        np.save(self.folder / "labels.npy", labels)
        # Written last: its presence says that the folder is whole.
        (self.folder / "scenes.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _record(row: dict[str, str]) -> SceneRecord:
    return SceneRecord(Captioned(parse_brief(row["brief"]), row["sentence"]), row["style"])
