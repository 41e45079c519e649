"""Painted scenes kept on disk, so that a picture is painted once and trained on many times.

A folder holds `pictures.npy` (N, 256, 256, 3) uint8; of pages of twice the side also `small.npy`,
what they are at 256x256; `labels.npy` (N, 16, 16) int16 (which vocabulary word covers each 16-pixel
cell, -1 = background), `plans.npy` (N, PIECES * FIELDS) int16 (the layout as the code transformer
plans it, -1 where it cannot) and `scenes.jsonl`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from finetune.data.storyworld import Captioned, prompt_of, sample_scene
from pipelines.durable import write_whole
from pipelines.painter import (
    GRID,
    SIZE,
    STYLE_FILTERS,
    Painting,
    paint,
    sprite,
)
from pipelines.plan import FIELDS, PIECES, plan_of
from pipelines.presets import STYLES
from pipelines.scene import PLACES, SKIES, TIMES, parse_brief, vocabulary

CELLS = SIZE // GRID
"""Label cells along a side of a picture."""

STYLED = 0.3
"""Share of scenes painted in one of the taught styles."""

SIMPLE = 0.7
"""Share of scenes in a simple layout, which the code transformer can plan."""


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

    def paint(self, rng: random.Random, *, simple: bool = False, scale: int = 1) -> Painting:
        """A larger page has no texture, which a decoder cannot draw crisply, and needs none."""
        texture = 1.0 if scale == 1 else 0.0
        return paint(self.captioned.scene, rng, style=self.style, simple=simple, scale=scale,
                     texture=texture)  # fmt: skip


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
    step = page.foreground.width // CELLS
    middle = np.asarray(page.foreground)[step // 2 :: step, step // 2 :: step] > 127
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


def solid(art: Image.Image) -> Image.Image:
    """PIL RGBA -> L: 255 where one does not see through it, else 0."""
    return art.getchannel("A").point([255 * (alpha > 127) for alpha in range(256)])


def shown_by(page: Painting, place: str) -> NDArray[np.int16]:
    """(H, W) index of the tag that each pixel shows: the word of the clip art on top of it, the
    place where there is none."""
    scale = page.picture.width // SIZE
    shown = Image.new("I", page.picture.size, tags()["@" + place])
    for p in page.layout:
        art = sprite(p.word, p.size * scale, p.flip)
        shown.paste(tags()[p.word], (p.x * scale, p.y * scale), solid(art))
    return np.asarray(shown, np.int16)


@dataclass(frozen=True)
class PaintedScene:
    """A scene of a set, and how it was painted."""

    record: SceneRecord
    page: Painting
    simple: bool


def painted_scene(
    number: int, split: str, seed: int, simple: float = SIMPLE, scale: int = 1
) -> PaintedScene:
    """Scene `number` of a set: the same for the same arguments."""
    rng = random.Random(f"{seed} {split} {number}")
    record = sample_record(rng, split)
    plain = rng.random() < simple
    return PaintedScene(record, record.paint(rng, simple=plain, scale=scale), plain)


class SceneSet:
    """Painted scenes in a folder, made on first use; the same for the same seed and split."""

    def __init__(
        self,
        folder: Path,
        count: int,
        *,
        split: str = "train",
        seed: int = 0,
        simple: float = SIMPLE,
        scale: int = 1,
        workers: int | None = None,
    ) -> None:
        """`simple`: share of simple layouts; `scale` 2: pictures of twice the side; `workers`:
        processes (None: one for every core)."""
        self.folder = folder
        if not (folder / "scenes.jsonl").exists() or (
            scale > 1 and not (folder / SMALL).exists()  # painted by an earlier version
        ):
            job = _Job(folder, split, seed, simple, scale)
            self._make(count, job, workers or os.cpu_count() or 1)
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self.small = np.load(folder / SMALL, mmap_mode="r") if scale > 1 else self.pictures
        """(N, 256, 256, 3) uint8: the pages as codes are made of them."""
        self.labels = np.load(folder / "labels.npy")
        self.plans = np.load(folder / "plans.npy")
        with (folder / "scenes.jsonl").open(encoding="utf-8") as lines:
            self.records = [_record(json.loads(line)) for line in lines]

    def __len__(self) -> int:
        return len(self.records)

    def _make(self, count: int, job: _Job, workers: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "scenes.jsonl").unlink(missing_ok=True)
        for name, side in (("pictures.npy", SIZE * job.scale), *job.small):
            pictures = np.lib.format.open_memmap(
                self.folder / name, mode="w+", dtype=np.uint8, shape=(count, side, side, 3)
            )
            pictures.flush()
        labels = np.empty((count, CELLS, CELLS), np.int16)
        plans = np.empty((count, PIECES * FIELDS), np.int16)
        rows = [""] * count
        bar = tqdm(total=count, desc=f"painting {job.split} scenes", unit="scene", mininterval=5)

        def keep(begin: int, made: _Chunk) -> None:
            end = begin + len(made.rows)
            labels[begin:end], plans[begin:end], rows[begin:end] = (
                made.labels,
                made.plans,
                made.rows,
            )
            bar.update(len(made.rows))

        spans = [(n, min(n + _CHUNK, count)) for n in range(0, count, _CHUNK)]
        if min(workers, len(spans)) > 1:
            # Fresh processes: forking one whose libraries run threads may hang.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(min(workers, len(spans)), mp_context=context) as pool:
                begun = {pool.submit(_paint_chunk, job, *span): span[0] for span in spans}
                for done in as_completed(begun):
                    keep(begun[done], done.result())
        else:
            for span in spans:
                keep(span[0], _paint_chunk(job, *span))
        bar.close()
        np.save(self.folder / "labels.npy", labels)
        np.save(self.folder / "plans.npy", plans)
        # Written last: its presence says that the folder is whole.
        write_whole(self.folder / "scenes.jsonl", ("\n".join(rows) + "\n").encode())


def unpainted(folder: Path, count: int, scale: int = 1) -> int:
    """Bytes that the pictures of a SceneSet will add to the disk; 0 where they lie there."""
    if (folder / "scenes.jsonl").exists():
        return 0
    return count * 3 * SIZE**2 * (1 if scale == 1 else scale**2 + 1)


SMALL = "small.npy"
_CHUNK = 100
"""Scenes that a process paints at a time."""


@dataclass(frozen=True)
class _Chunk:
    labels: NDArray[np.int16]
    plans: NDArray[np.int16]
    rows: list[str]


@dataclass(frozen=True)
class _Job:
    """What every scene of a set has in common."""

    folder: Path
    split: str
    seed: int
    simple: float
    scale: int

    @property
    def small(self) -> tuple[tuple[str, int], ...]:
        """Name and side of the small pictures, where they are others."""
        return ((SMALL, SIZE),) if self.scale > 1 else ()


def _paint_chunk(job: _Job, begin: int, end: int) -> _Chunk:
    """Paint scenes begin..end into the set's pictures; the rest is returned."""
    pictures = np.load(job.folder / "pictures.npy", mmap_mode="r+")
    small = [np.load(job.folder / name, mmap_mode="r+") for name, _ in job.small]
    labels, plans, rows = [], [], list[str]()
    for n in range(begin, end):
        scene = painted_scene(n, job.split, job.seed, job.simple, job.scale)
        pictures[n] = np.asarray(scene.page.picture)
        for into in small:
            same = painted_scene(n, job.split, job.seed, job.simple)
            into[n] = np.asarray(same.page.picture)
        labels.append(label_map(scene.page))
        plans.append(plan_of(scene.page.layout) if scene.simple else [-1] * (PIECES * FIELDS))
        record = scene.record
        rows.append(json.dumps({"brief": str(record.captioned.scene), "style": record.style,
                                "sentence": record.captioned.sentence}))  # fmt: skip
    for written in (pictures, *small):
        written.flush()
    return _Chunk(np.stack(labels), np.array(plans, np.int16), rows)


def _record(row: dict[str, str]) -> SceneRecord:
    return SceneRecord(Captioned(parse_brief(row["brief"]), row["sentence"]), row["style"])
