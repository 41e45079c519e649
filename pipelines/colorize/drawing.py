"""Whatever a person hands in, read as clean line art: scans, phone photos, files of any mode."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipelines.colorize.lineart import extent, extract, remove_specks
from pipelines.errors import InvalidInput
from pipelines.paper import eight_bits, flat

Kind = Literal["lineart", "inverted", "picture"]

LEAST_SIDE = 16
"""Pixels; there is nothing to colour in less."""

WORKING_MEGAPIXELS = 2.4
"""Larger drawings are scaled down to this: colouring would take long and look no better."""


SHADOW = 0.35
"""The darkest that paper gets under a shadow, against the brightest of it."""


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a photo upright, by EXIF's orientation."""


@dataclass(frozen=True)
class Drawing:
    """What was read. `lineart` and `original` are of one size, upright."""

    lineart: Image.Image
    """PIL L, 255 = paper, 0 = line."""
    original: Image.Image
    """PIL RGB, on white where it was transparent."""
    kind: Kind
    """What was handed in: lines on paper; light lines on a dark ground, which were inverted; or a
    picture, whose lines were extracted."""
    notes: tuple[str, ...]
    """What was done to it, for the person to read."""


def read_drawing(source: bytes | Path | Image.Image, *, max_megapixels: float = 40) -> Drawing:
    """Read a drawing from a file, its bytes, or an opened picture of any mode.

    Raises: InvalidInput for what is no picture, is damaged, or is too small or too large.
    """
    image = opened(source, max_megapixels)
    notes: list[str] = []
    image, upright = _upright(image)
    if upright:
        notes.append("Turned upright, as the camera noted.")
    original = _to_rgb(image, notes)
    original = _to_working_size(original, notes)
    kind = classify(original)
    if kind == "picture":
        notes.append(
            "This is a picture rather than a line drawing, so lines were drawn from it: "
            "choose how strong they are, or upload line art."
        )
        lineart = extract(original)
    else:
        grey = np.asarray(original.convert("L"))
        if kind == "inverted":
            notes.append("Light lines on a dark ground: inverted to dark lines on paper.")
            grey = 255 - grey
        lineart = Image.fromarray(clean(grey))
    if max(original.size) > 8 * min(original.size):
        notes.append("The picture is very long and narrow: colours may not fit together in it.")
    if np.asarray(lineart).min() > 127:
        notes.append("No lines were found on this paper: draw darker, or choose another picture.")
    return Drawing(lineart, original, kind, tuple(notes))


def refuse_too_small(size: tuple[int, int]) -> None:
    """Raises: InvalidInput."""
    if min(size) < LEAST_SIDE:
        raise InvalidInput(
            f"This picture has only {size[0]} × {size[1]} pixels: "
            f"give one of at least {LEAST_SIDE} × {LEAST_SIDE}."
        )


# --- files --------------------------------------------------------------------------------


def opened(source: bytes | Path | Image.Image, max_megapixels: float = 40) -> Image.Image:
    """The picture, decoded; nothing is decoded that is too large.

    Raises: InvalidInput.
    """
    too_large = f"The limit is {max_megapixels:g} megapixels: make it smaller and hand it in again."
    try:
        if isinstance(source, Image.Image):
            image = source
        elif isinstance(source, bytes):
            image = Image.open(io.BytesIO(source))
        else:
            image = Image.open(io.BytesIO(source.read_bytes()))
        megapixels = image.width * image.height / 1e6
        if megapixels > max_megapixels:
            raise InvalidInput(
                f"This picture has {image.width} × {image.height} pixels, which is "
                f"{megapixels:.0f} megapixels. {too_large}"
            )
        refuse_too_small(image.size)
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInput(f"This picture is far too large. {too_large}") from error
    except UnidentifiedImageError as error:
        raise InvalidInput(_no_picture(source)) from error
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file {source}.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InvalidInput(
            "This picture is damaged or incomplete: save it once more and hand it in again."
        ) from error
    return image


def _no_picture(source: bytes | Path | Image.Image) -> str:
    head = b""
    if isinstance(source, bytes):
        head = source[:64]
    elif isinstance(source, Path) and source.is_file():
        with source.open("rb") as file:
            head = file.read(64)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        return "This is a HEIC photo, which cannot be read here: export it as JPEG."
    return "This is no picture that can be read: give a PNG, JPEG, WebP, GIF, BMP or TIFF file."


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """Turned as its EXIF data says; and whether that changed it."""
    try:
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error):
        return image, False  # such notes are no part of the picture
    return (image, False) if turn is None else (image.transpose(turn), True)


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Any mode -> RGB, transparent parts as white paper."""
    image = eight_bits(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        alpha = np.asarray(layer.getchannel("A"))
        if alpha.min() < 255:
            shown = np.asarray(layer.convert("L"))[alpha > 127]
            if shown.size and np.percentile(shown, 10) > 200 and (alpha < 128).any():
                notes.append("Transparent parts were read as a dark ground under light lines.")
                return flat(image, "black")
            notes.append("Transparent parts were read as white paper.")
    return flat(image)


def _to_working_size(image: Image.Image, notes: list[str]) -> Image.Image:
    scale = math.sqrt(WORKING_MEGAPIXELS * 1e6 / (image.width * image.height))
    if scale >= 1:
        return image
    size = tuple(max(LEAST_SIDE, round(side * scale)) for side in image.size)
    notes.append(f"Scaled from {image.width} × {image.height} to {size[0]} × {size[1]} pixels.")
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=2.0)


# --- what it is ---------------------------------------------------------------------------


def classify(image: Image.Image) -> Kind:
    """Lines on paper, light lines on a dark ground, or a picture; PIL RGB.

    Thin lines are taken away. What is left of a drawing is its paper: of one hue, and changing
    slowly whatever the light and the shadows on it. What is left of a picture is not.
    """
    scale = min(1.0, 320 / extent(image.size))
    size = max(LEAST_SIDE, round(image.width * scale)), max(LEAST_SIDE, round(image.height * scale))
    rgb = np.asarray(image.resize(size, Image.Resampling.BOX))
    inverted = _has_light_lines(rgb)
    ground, hue = _ground(255 - rgb if inverted else rgb)
    if (hue > 14).mean() > 0.03:
        return "picture"
    bright = max(float(np.percentile(ground, 95)), 1.0)
    steps = [np.abs(np.diff(np.log(ground + 16.0), axis=a)) > 0.08 for a in (0, 1)]
    if max(s.mean() for s in steps) > 0.01:
        # Ink may fill large parts, as long as it is all black or white.
        between = (ground > 0.25 * bright) & (ground < 0.75 * bright)
        if between.mean() > 0.1 or (ground > 0.75 * bright).mean() < 0.3:
            return "picture"
    return "inverted" if inverted else "lineart"


def _has_light_lines(rgb: NDArray[np.uint8]) -> bool:
    """Whether the thin things in a dark picture (H, W, 3) are lighter than what is around them."""
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    if np.median(grey) > 127:
        return False
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    light, dark = (
        float((cv2.morphologyEx(grey, kind, disc) > 25).mean())
        for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)
    )
    return light > dark


def _ground(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Brightness (H, W) of what lies under the lines, and how far its hue is from the median's."""
    height, width = rgb.shape[:2]
    reach = max(3, round(extent((width, height)) / 28)) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    closed = cv2.medianBlur(cv2.morphologyEx(rgb, cv2.MORPH_CLOSE, disc), 5)
    lab = np.asarray(cv2.cvtColor(closed.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    hue = np.asarray(lab[..., 1:] - np.median(lab[..., 1:], axis=(0, 1)), np.float32)
    grey = np.asarray(cv2.cvtColor(closed, cv2.COLOR_RGB2GRAY), np.uint8)
    return grey, np.sqrt((hue**2).sum(2))


# --- paper becomes white, lines black -----------------------------------------------------


def clean(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W), dark lines on paper of any shade under any light -> white paper, black lines.

    The brightness is divided by that of the paper around, noise of the paper becomes white, and
    the strokes' own darkness becomes black: pencil as well as ink.
    """
    height, width = grey.shape
    paper = _paper(grey)
    level = np.minimum(grey / np.maximum(paper, 1.0), 1.0).astype(np.float32)
    scale = extent((width, height)) / 512
    if scale > 1.5:
        level = cv2.GaussianBlur(level, (0, 0), 0.3 * scale)
    depth = 1 - level  # 0 = paper
    noise = 1.4826 * float(np.median(np.abs(depth - np.median(depth))))
    floor = max(0.06, float(np.median(depth)) + 3.5 * noise)
    strokes = depth[depth > floor]
    if strokes.size < 8:
        return np.full_like(grey, 255)
    # As dark as most of the strokes are: the darkest would leave pencil grey.
    full = max(float(np.percentile(strokes, 70)), floor + 0.08)
    ink = ((depth - floor) / (full - floor)).clip(0, 1)
    ink = (255 * ink).astype(np.uint8)
    return 255 - remove_specks(ink, round(3 * max(1.0, scale) ** 2), sure=ink > 110)


def _paper(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) brightness of the paper under the lines, from a small copy with the lines closed."""
    height, width = grey.shape
    scale = min(1.0, 256 / extent((width, height)))
    size = max(8, round(width * scale)), max(8, round(height * scale))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    closed = cv2.medianBlur(cv2.morphologyEx(small, cv2.MORPH_CLOSE, disc), 9)
    # What is far darker than any shadow is ink that fills more than the lines' width.
    lit = np.maximum(closed, SHADOW * np.percentile(closed, 90)).astype(np.float32)
    smooth = cv2.GaussianBlur(lit, (0, 0), 3)
    full = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32)
