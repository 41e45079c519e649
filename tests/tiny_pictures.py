"""Folders of small pictures, whole and broken, to train picture models on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, side: int = 160) -> Image.Image:
    """A soft pattern of coloured blobs, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def folder(home: Path, count: int = 6) -> Path:
    """`count` different pictures, 00.png and on, each with its words in a .txt beside it."""
    home.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        picture(n).save(home / f"{n:02d}.png")
        (home / f"{n:02d}.txt").write_text(f"blob number {n}\n", encoding="utf-8")
    return home
