"""Pages of real picture books: a folder with `pages.jsonl` and the pictures that it names.

The pages come from openly licensed books (African Storybook and Book Dash, CC BY 4.0) and stay
outside the repository. Each line: {"image", "text", "caption", "split", "gray", "weak_picture",
"sensitive", ...}; of these only `image` must be there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipelines.errors import InvalidInput
from pipelines.painter import SIZE


@dataclass(frozen=True)
class StoryPage:
    """A picture of a book and the words that stand beside it; `caption` says what it shows."""

    picture: Path
    text: str
    caption: str


def read_pages(folder: Path, split: str, *, coloured: bool = True) -> Iterator[StoryPage]:
    """Pages of a split whose picture is whole, without those that are marked as sensitive.

    Raises InvalidInput when the folder holds no `pages.jsonl`.
    """
    index = folder / "pages.jsonl"
    if not index.is_file():
        raise InvalidInput(f"{folder} has no pages.jsonl: name a folder of story pages.")
    with index.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("split", "train") != split or row.get("weak_picture"):
                continue
            if row.get("sensitive") or (coloured and row.get("gray")):
                continue
            picture = folder / row["image"]
            if picture.is_file():
                yield StoryPage(picture, row.get("text") or "", row.get("caption") or "")


class PageSet:
    """Story pages in memory: `pictures` (N, side, side, 3) uint8, the middle of each page."""

    def __init__(self, pages: Sequence[StoryPage], side: int = SIZE) -> None:
        """Raises InvalidInput when there is no page."""
        if not pages:
            raise InvalidInput("There are no usable story pages in the folder.")
        self.pages = list(pages)
        files = list(dict.fromkeys(p.picture for p in pages))
        with ThreadPoolExecutor(4) as pool:
            squares = dict(zip(files, pool.map(lambda f: _square(f, side), files), strict=True))
        self.pictures: NDArray[np.uint8] = np.stack([squares[p.picture] for p in pages])

    def __len__(self) -> int:
        return len(self.pages)


def _square(path: Path, side: int) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        whole = picture.convert("RGB")
    return np.asarray(ImageOps.fit(whole, (side, side), Image.Resampling.LANCZOS))
