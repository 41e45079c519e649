"""Which pictures of a folder are fit to learn colouring from, and why the others are not."""

from __future__ import annotations

import multiprocessing
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from pipelines.paper import flat

LEAST_SIDE = 128
"""Pixels of the shorter side."""
LEAST_SATURATION = 12.0
"""Mean, of 255, over the most colourful tenth of the picture: a small red ball is enough."""
LEAST_SHARPNESS = 12.0
"""Variance of the Laplacian at 256 pixels (Pech-Pacheco et al. 2000)."""
MOST_TEXT = 0.2
"""Share of the picture that lines of letters cover."""
SAME = 6
"""Of 64 bits of the hashes of two pictures that look the same, at most this many differ."""


@dataclass(frozen=True)
class Examined:
    """One picture file. `fault` is "" where the picture alone is fit to learn from."""

    file: str
    fault: str
    hash: int = 0
    """Difference hash, 64 bits."""


@dataclass(frozen=True)
class Curation:
    """Files to learn from, and (file, reason) of those that were refused."""

    kept: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]

    def report(self) -> str:
        """How many were refused for which reason, with the first few names."""
        reasons: dict[str, list[str]] = {}
        for file, why in self.refused:
            reasons.setdefault(why.split(":")[0], []).append(Path(file).name)
        lines = [f"{len(self.kept)} pictures kept, {len(self.refused)} refused"]
        for why, files in sorted(reasons.items(), key=lambda r: -len(r[1])):
            shown = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
            lines.append(f"  {len(files):5d}  {why} ({shown})")
        return "\n".join(lines)


def curate(files: Sequence[str], *, workers: int = 1) -> Curation:
    """Look at every file; of near-duplicates the first is kept."""

    def told(examined: Iterable[Examined]) -> Curation:
        return _choose(tqdm(examined, "looking", len(files), unit="picture", mininterval=2))

    if workers > 1:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            return told(pool.imap(examine, files, chunksize=16))
    return told(map(examine, files))


def _choose(examined: Iterable[Examined]) -> Curation:
    kept: list[str] = []
    refused: list[tuple[str, str]] = []
    hashes = np.zeros(0, np.uint64)
    for one in examined:
        fault = one.fault
        if not fault and len(hashes):
            apart = np.bitwise_count(hashes ^ np.uint64(one.hash))
            nearest = int(apart.argmin())
            if apart[nearest] <= SAME:
                fault = f"looks like another picture: {Path(kept[nearest]).name}"
        if fault:
            refused.append((one.file, fault))
        else:
            kept.append(one.file)
            hashes = np.append(hashes, np.uint64(one.hash))
    return Curation(tuple(kept), tuple(refused))


def upright(image: Image.Image) -> Image.Image:
    """Turned as the camera noted; EXIF data that cannot be read turn nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return image


def examine(file: str) -> Examined:
    """Open a picture and look at it; never raises for what is in the file."""
    cv2.setNumThreads(1)
    try:
        with Image.open(file) as image:
            size = image.size
            if min(size) < LEAST_SIDE:
                return Examined(file, f"too small: {size[0]} × {size[1]} pixels")
            if max(size) > 4 * min(size):
                return Examined(file, f"too narrow: {size[0]} × {size[1]} pixels")
            image.draft("RGB", (512, 512))
            picture = flat(upright(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Examined(file, f"cannot be read: {error}")
    picture.thumbnail((512, 512), Image.Resampling.BOX)
    rgb = np.asarray(picture)
    return Examined(file, _fault(rgb), _hash(rgb))


def _fault(rgb: NDArray[np.uint8]) -> str:
    """Why a picture (H, W, 3) is not fit, or ""."""
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    if float(grey.std()) < 6:  # before all else: for who learns from grey pictures, too
        return "nearly empty"
    chroma = (rgb.max(axis=2) - rgb.min(axis=2)).astype(np.float32)
    if float(np.sort(chroma, axis=None)[-chroma.size // 10 :].mean()) < LEAST_SATURATION:
        return "grey"
    scale = 256 / max(grey.shape)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if float(cv2.Laplacian(small, cv2.CV_32F).var()) < LEAST_SHARPNESS:
        return "blurred"
    if text_share(grey) > MOST_TEXT:
        return "mostly text"
    return ""


def text_share(grey: NDArray[np.uint8]) -> float:
    """Share of the picture (H, W) covered by lines of letters: small dark (or light) islands of
    about one height, many side by side."""
    best = 0.0
    for image in (grey, 255 - grey):
        dark = cv2.adaptiveThreshold(
            image, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 25, 15
        )
        _, _, stats, _ = cv2.connectedComponentsWithStats(dark)
        x, y, w, h, area = stats[1:].T.astype(np.float64)
        letter = (h >= 5) & (h <= grey.shape[0] / 10) & (w < 2.5 * h) & (area > 0.12 * w * h)
        ink = max(float(area.sum()), 1.0)
        x, y, w, h, area = x[letter], y[letter], w[letter], h[letter], area[letter]
        covered = written = 0.0
        for k in range(len(x)):
            beside = (
                (np.abs(y + h - y[k] - h[k]) < 0.35 * h[k])
                & (np.abs(np.log(h / h[k])) < 0.5)
                & (np.abs(x + w / 2 - x[k] - w[k] / 2) < 5 * h[k])
            )
            if beside.sum() >= 6:
                covered += 1.6 * h[k] * (w[k] + 0.4 * h[k])
                written += area[k]
        if written > 0.6 * ink:  # grass and crowds have such islands too, among much else
            best = max(best, covered / grey.size)
    return best


def _hash(rgb: NDArray[np.uint8]) -> int:
    """Difference hash: which of two neighbours of a 9 x 8 copy is brighter. Source: N. Krawetz."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    tiny = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = (tiny[:, 1:] > tiny[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
