"""The looks that a painted page can take: watercolour, pencil, an old print, cut paper, crayon.

A look takes the page, its foreground mask (PIL RGB and L, of the same square size) and how strong
its texture is (1: hatching, halftone dots, grain; 0: flat colour within its lines), and gives the
page again. Textures are the same on every page and keep to a small period, so that a codebook can
hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Pixels = NDArray[np.floating]
Look = Callable[["Picture", "Picture", float], "Picture"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _pixels(image: Picture) -> Pixels:
    return np.asarray(image, np.float32)


def _image(pixels: Pixels) -> Picture:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@cache
def _grain(side: int, period: int, blur: float, seed: int) -> Pixels:
    """Noise of mean 0 and deviation 1 that repeats every `period` pixels, (side, side, 1)."""
    noise = np.random.default_rng(seed).normal(size=(period, period)).astype(np.float32)
    wide = np.tile(noise, (3, 3))
    scaled = Image.fromarray(np.clip(wide * 40 + 128, 0, 255).astype(np.uint8))
    soft = _pixels(scaled.filter(ImageFilter.GaussianBlur(blur)))
    tile = soft[period : 2 * period, period : 2 * period]
    tile = (tile - tile.mean()) / max(float(tile.std()), 1e-6)
    n = -(-side // period)
    return np.tile(tile, (n, n))[:side, :side, None].astype(np.float32)


@cache
def _strokes(side: int, period: int, slope: int, strength: float) -> Pixels:
    """Diagonal strokes in [0, 1], 1 where the pencil presses, (side, side, 1); at a `strength` of 0
    their mean everywhere."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * (x + slope * y) / period)
    strokes = wave[..., None] ** 0.8
    return (strokes.mean() + (strokes - strokes.mean()) * strength).astype(np.float32)


@cache
def _border(side: int, width: float, ragged: float) -> Pixels:
    """1 on the white border of a painted sheet, 0 within, (side, side, 1)."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    inside = 0.5 - np.maximum(np.abs(x), np.abs(y))
    rough = _grain(side, 64 * side // 256, 5.0 * side / 256, 3)[..., 0] * ragged
    edge = np.clip((width + rough - inside) / 0.012, 0, 1)
    return edge[..., None].astype(np.float32)


def _outline(image: Picture, thick: float) -> Pixels:
    """Contours in [0, 1] where brightness or colour changes sharply, (side, side, 1)."""
    unit = image.width / 256
    fine = image.filter(ImageFilter.GaussianBlur(0.6 * unit))
    wide = image.filter(ImageFilter.GaussianBlur(thick * unit))
    edge = _pixels(ImageChops.difference(fine, wide)).max(axis=-1, keepdims=True)
    return np.clip((edge - 12) / 36, 0, 1)


def _watercolour(image: Picture, mask: Picture, texture: float) -> Picture:
    """Thin washes on white paper: colours run into each other, pigment gathers at their edges."""
    side, unit = image.width, image.width / 256
    light = image.convert("YCbCr").split()
    soft = [
        c.filter(ImageFilter.GaussianBlur(r * unit))
        for c, r in zip(light, (0.7, 3, 3), strict=True)
    ]
    wash = _pixels(Image.merge("YCbCr", soft).convert("RGB"))
    grey = wash @ _LUMA[:, None]
    fresh = grey + (wash - grey) * 1.22  # thin pigment stays clear
    pale = 255 - (255 - fresh) * 0.72
    bloom = _grain(side, 64 * side // 256, 7.0 * unit, 1) * 5.0 * texture  # uneven water
    paper = _grain(side, 32, 0.8, 2) * 3.2 * texture
    wet = _outline(image, 2.6) * (255 - pale) * 0.22  # darker rims
    painted = pale - wet + (bloom + paper) * np.clip((262 - pale) / 110, 0.25, 1)
    sheet = np.array([253, 251, 245], np.float32) + paper * 0.5
    edge = _border(side, 0.045, 0.008)
    return _image(painted * (1 - edge) + sheet * edge)


def _pencil(image: Picture, mask: Picture, texture: float) -> Picture:
    """Coloured pencils: hatching that is denser where it is darker, thin dark contours."""
    side, unit = image.width, image.width / 256
    flat = _pixels(image.filter(ImageFilter.GaussianBlur(0.8 * unit)))
    grey = flat @ _LUMA[:, None]
    vivid = np.clip(grey + (flat - grey) * 1.25, 0, 255)
    period = round(8 * unit)
    dark = 1 - grey / 255
    one, two = _strokes(side, period, 1, texture), _strokes(side, period, -1, texture)
    press = 0.56 + 0.26 * one + np.clip(dark - 0.3, 0, 0.5) * (0.22 + 0.30 * two)
    press += _grain(side, 32, 0.7, 4) * 0.035 * texture
    paper = np.array([252, 249, 241], np.float32)
    drawn = paper - (paper - vivid) * np.clip(press, 0, 1)
    line = _outline(image, 1.8)
    lead = np.array([70, 64, 74], np.float32)
    drawn = drawn + (lead - drawn) * line * 0.55
    edge = _border(side, 0.03, 0.010)
    return _image(drawn * (1 - edge) + paper * edge)


_INKS = np.array([[54, 50, 66], [214, 106, 72], [238, 190, 104], [84, 140, 142], [250, 236, 206]],
                 np.float32)  # fmt: skip
"""The old printer's: night, brick, straw, sea, and his paper."""


def _vintage(image: Picture, mask: Picture, texture: float) -> Picture:
    """An old print: four inks on yellowed paper, halftone dots in the middle tones."""
    side, unit = image.width, image.width / 256
    flat = _pixels(image.filter(ImageFilter.GaussianBlur(0.6 * unit)))
    grey = flat @ _LUMA[:, None] / 255  # (S, S, 1)
    warm = np.clip((flat[..., :1] - flat[..., 2:]) / 160, -1, 1)
    straw = np.clip((np.minimum(flat[..., :1], flat[..., 1:2]) - flat[..., 2:]) / 120, 0, 1)
    brick, sea = np.clip(warm, 0, 1), np.clip(-warm * 1.2 + 0.15, 0, 1)
    ink = _INKS[3] * sea + (_INKS[1] * (1 - straw) + _INKS[2] * straw) * (1 - sea)
    strength = np.clip(np.abs(warm) * 1.5 + 0.08, 0, 1) * np.clip(1.7 - grey, 0, 1)
    colour = _INKS[4] + (ink - _INKS[4]) * strength
    tone = np.clip((grey - 0.06) / 0.62, 0, 1) ** 0.72
    period = round(8 * unit)
    dots = _strokes(side, period, 1, texture) + _strokes(side, period, -1, texture) - 1  # [-1, 1]
    middle = 4 * tone * (1 - tone)
    tone = np.clip(tone + 0.11 * dots * middle, 0, 1)
    printed = _INKS[0] + (colour - _INKS[0]) * tone
    grain = _grain(side, 32, 0.8, 5) * texture
    printed += grain * 2.2 + brick * 2
    edge = _border(side, 0.035, 0.002)
    return _image(printed * (1 - edge) + (_INKS[4] + grain * 1.5) * edge)


def _papercut(image: Picture, mask: Picture, texture: float) -> Picture:
    """Cut paper: flat sheets one above the other with their shadows, figures with a white rim."""
    side, unit = image.width, image.width / 256
    stepped = _pixels(image.filter(ImageFilter.BoxBlur(0.8 * unit)))
    grey = stepped @ _LUMA[:, None]
    levels = np.round(grey / 26) * 26
    flat = stepped + (levels - grey) * 0.8
    lift = round(3 * unit)
    light = Image.fromarray(np.clip(levels[..., 0], 0, 255).astype(np.uint8))
    below = ImageChops.offset(light, lift, lift).filter(ImageFilter.GaussianBlur(1.6 * unit))
    cast = np.abs(_pixels(below) - levels[..., 0])[..., None]
    flat -= np.clip(cast - 14, 0, 60) * 0.32
    figures = _pixels(image)
    rim = mask.filter(ImageFilter.GaussianBlur(1.6 * unit)).point(
        [min(6 * v, 255) for v in range(256)]
    )
    shade = ImageChops.offset(rim, lift, round(1.5 * lift)).filter(
        ImageFilter.GaussianBlur(2.2 * unit)
    )
    dark = _pixels(shade)[..., None] / 255 * 0.38
    page = flat * (1 - dark) + np.array([40, 30, 60], np.float32) * dark
    white = _pixels(rim)[..., None] / 255
    page = page * (1 - white) + np.array([254, 252, 246], np.float32) * white
    inner = _pixels(mask)[..., None] / 255
    page = page * (1 - inner) + figures * inner
    return _image(page + _grain(side, 32, 0.8, 6) * 2.6 * texture)


def _crayon(image: Picture, mask: Picture, texture: float) -> Picture:
    """Wax crayons: strong colours that leave specks of the paper, thick soft contours."""
    side, unit = image.width, image.width / 256
    flat = _pixels(image.filter(ImageFilter.GaussianBlur(1.0 * unit)))
    grey = flat @ _LUMA[:, None]
    vivid = np.clip(grey + (flat - grey) * 1.4 + 8, 0, 255)
    wax = 0.80 + 0.18 * _strokes(side, round(16 * unit), 2, texture)
    wax += _grain(side, 64, 1.6, 7) * 0.075 * texture
    paper = np.array([254, 252, 246], np.float32)
    drawn = paper - (paper - vivid) * np.clip(wax, 0.35, 1)
    line = _outline(image, 3.0)
    drawn = drawn + (vivid * 0.4 - drawn) * line * 0.8
    edge = _border(side, 0.02, 0.012)
    return _image(drawn * (1 - edge) + paper * edge)


STYLE_FILTERS: dict[str, Look] = {
    "watercolour": _watercolour,
    "pencil": _pencil,
    "vintage": _vintage,
    "papercut": _papercut,
    "crayon": _crayon,
}
"""Looks the models were taught; any other style word is left to CLIP."""
