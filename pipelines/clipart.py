"""Clip art: the picture of every word, where it looks, how large it is drawn, its shadow.

Noto Emoji (Apache-2.0); the treasure chest, lighthouse, windmill, hot-air balloon, starfish, pillow
and pumpkin are drawn for this project, and king, queen, knight and pirate put together from Noto's
faces. Art that is a face or a bust alone gets a drawn body (`bodies.py`).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipelines.bodies import BODIES, with_body
from pipelines.errors import ModelUnavailable
from pipelines.scene import ASSETS, CHARACTERS, vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_FRONTAL = frozenset(
    """dog monkey orangutan lion bear fox wolf panda koala raccoon frog polar_bear hamster sloth
    gorilla lizard ladybug spider chick owl butterfly bat peacock octopus crab jellyfish lobster
    starfish scorpion fairy ghost robot snowman phoenix alien vampire zombie beetle""".split()
)  # fmt: skip
_LOOKING_RIGHT = frozenset({"rocket", "airplane", "speedboat"})
_VEHICLES = frozenset(
    """boat ship car bus tractor helicopter truck fire_engine bicycle motorcycle scooter ambulance
    police_car taxi race_car jeep van ferry toy_train sled wheelchair carousel""".split()
)


def looks(word: str) -> int:
    """Which way the art of a word looks as it comes: -1 left, 1 right, 0 neither."""
    if word in _LOOKING_RIGHT:
        return 1
    kind = vocabulary()[word]["class"]
    if word in _VEHICLES or word in ("cyclist", "unicorn", "dragon", "dinosaur", "tyrannosaurus"):
        return -1
    return -1 if kind in ("land", "small", "flying", "sea") and word not in _FRONTAL else 0


_UNITS: dict[str, float] = {
    **dict.fromkeys(
        """elephant whale giraffe dinosaur tyrannosaurus mammoth dragon hippo rhino moose camel
        bison""".split(), 1.15),
    **dict.fromkeys("island parasol statue haunted_house cactus".split(), 1.2),
    **dict.fromkeys("tree pine_tree palm_tree ferris_wheel lighthouse windmill tower".split(), 1.3),
    **dict.fromkeys("traffic_light wheelchair treasure_chest piano harp planet".split(), 0.8),
    **dict.fromkeys("ladder scooter rock spiderweb coral television mailbox sled".split(), 0.72),
    **dict.fromkeys("chair fire nest".split(), 0.85),
    **dict.fromkeys("tyrannosaurus horse unicorn ox polar_bear".split(), 1.1),
}  # fmt: skip


def unit_of(word: str) -> float:
    """How large a word is drawn, in units of one ordinary character."""
    if word in _UNITS:
        return _UNITS[word]
    kind = vocabulary()[word]["class"]
    if kind == "small":
        return 0.85
    if kind in CHARACTERS:
        return 1.0
    return 1.2 if kind == "big" else 0.75


@cache
def _files() -> dict[str, bytes]:
    """The art of every word, WebP. Raises ModelUnavailable."""
    path = ASSETS / "clipart.zip"
    try:
        with zipfile.ZipFile(path) as z:
            return {name.removesuffix(".webp"): z.read(name) for name in z.namelist()}
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as e:
        raise ModelUnavailable(
            f"The clip art {path} is missing or damaged ({e}). It comes with the source: get it "
            "again (git checkout -- pipelines/assets)."
        ) from e


@cache
def _art(word: str) -> Picture:
    """The whole figure, RGBA, as large as it comes."""
    art = Image.open(io.BytesIO(_files()[word])).convert("RGBA")
    return with_body(word, art) if word in BODIES else art


@lru_cache(maxsize=4096)
def sprite(word: str, size: int, flip: bool) -> Picture:
    """Clip art of a vocabulary word, PIL RGBA, size x size."""
    art = _art(word).resize((size, size), Image.Resampling.LANCZOS)
    return art.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else art


@cache
def extent(word: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what can be seen of a word's art, as parts of its side."""
    art = _art(word)
    box = art.getchannel("A").point([255 * (v > 127) for v in range(256)]).getbbox()
    left, top, right, bottom = box or (0, 0, art.width, art.height)
    return left / art.width, top / art.height, right / art.width, bottom / art.height


@lru_cache(maxsize=4096)
def shadow(word: str, size: int, flip: bool) -> tuple[Picture, int, int]:
    """The soft shadow where a piece of clip art touches the ground.

    PIL L (255 = darkest) and its offset in pixels from the art's top left corner.
    """
    alpha = np.asarray(sprite(word, size, flip).getchannel("A")) > 127
    bottom = round(extent(word)[3] * size)
    columns = np.flatnonzero(alpha[max(bottom - max(size // 8, 1), 0) : bottom].any(axis=0))
    left, right = (int(columns[0]), int(columns[-1])) if columns.size else (0, size)
    rx, ry = (right - left) * 0.5 + size * 0.07, size * 0.05
    pad = max(round(size * 0.05), 2)
    page = Image.new("L", (round(2 * (rx + pad)), round(2 * (ry + pad))), 0)
    w, h = page.size
    ImageDraw.Draw(page).ellipse((pad, pad, w - pad, h - pad), fill=132)
    page = page.filter(ImageFilter.GaussianBlur(pad * 0.55))
    return page, round((left + right) / 2 - w / 2), round(bottom - size * 0.025 - h / 2)
