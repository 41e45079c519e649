"""One document for the three colour models: line art, hints, a mask, and what is kept so far.

PaintsTorch, StencilTorch and StablePaint all read this; no model has a format of its own.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from pipelines.colorize import openraster
from pipelines.colorize.drawing import WORKING_MEGAPIXELS
from pipelines.colorize.hints import hint_layer, hint_map
from pipelines.colorize.openraster import MAX_PIXELS, Layer
from pipelines.errors import InvalidInput

LINES, HINTS, MASK, KEPT, COLOURS = "Lines", "Hints", "Mask", "Kept so far", "Colours"
PLANNED, EARLIER = "Chosen colours", "Strokes so far"
"""Names of layers in a saved document."""
_NAMES = frozenset({LINES, HINTS, MASK, KEPT, COLOURS, PLANNED, EARLIER})
CHUNK = "storybrush-layers"
"""Keyword of the text inside a PNG that holds what the picture was made from."""
MAX_CHUNK = round(20e6 * WORKING_MEGAPIXELS)
"""Characters of it that are read: every layer of the largest drawing, even where PNG makes none of
them smaller. That is less than the 64 MB of text that Pillow takes."""
_MODES = {"lines": "L", "hints": "RGBA", "mask": "L", "planned": "RGBA", "earlier": "RGBA"}
"""What is in there, and PIL's mode for each."""


@dataclass(frozen=True)
class Document:
    """Everything that a coloured drawing is made from. Parts are of the line art's size."""

    lineart: Image.Image
    """PIL L, 255 = paper."""
    hints: Image.Image | None = None
    """PIL RGBA, strokes where alpha is above 127; None = none."""
    mask: Image.Image | None = None
    """PIL L, 255 = colour here; None = everywhere."""
    kept: Image.Image | None = None
    """PIL RGB: the picture of the round before, which stays outside the mask."""
    colours: Image.Image | None = field(default=None, compare=False)
    """PIL RGB: what a model has made of all this; None = nothing yet."""
    planned: Image.Image | None = field(default=None, compare=False)
    """PIL RGBA: the strokes and the colours chosen around them that `colours` were made from; None
    = nobody chose any."""
    earlier: Image.Image | None = field(default=None, compare=False)
    """PIL RGBA: strokes of the rounds before, which `kept` was made from. They travel along and no
    model sees them."""

    @property
    def size(self) -> tuple[int, int]:
        return self.lineart.size

    @cached_property
    def hinted(self) -> bool:
        """Whether there is a stroke anywhere."""
        return self.hints is not None and _reaches(self.hints.getchannel("A"))

    @property
    def picture(self) -> Image.Image:
        """As it looks now, PIL RGB: coloured, else what was kept, else the drawing."""
        return self.colours or self.kept or self.lineart.convert("RGB")

    def with_strokes(self, hints: Image.Image | None, mask: Image.Image | None) -> Document:
        """The document with other hints and another mask, cut or filled up to its size.

        Hints and masks of nothing become None. `colours` stay until a model has seen these.
        """
        strokes = None if hints is None else _fitted(hints.convert("RGBA"), self.size)
        if strokes is not None and not _reaches(strokes.getchannel("A")):
            strokes = None
        inside = None if mask is None else _fitted(mask.convert("L"), self.size)
        if inside is not None:
            inside = Image.fromarray(np.where(np.asarray(inside) > 127, 255, 0).astype(np.uint8))
            if not _reaches(inside):
                inside = None
        return replace(self, hints=strokes, mask=inside)

    def keep(self, picture: Image.Image) -> Document:
        """The next round: `picture` stands, and hints and mask are empty again. Its strokes are
        `earlier` ones from now on.

        Raises: InvalidInput when it is of another size.
        """
        if picture.size != self.size:
            raise InvalidInput("This picture is not of the drawing's size and cannot be kept.")
        return Document(self.lineart, kept=picture.convert("RGB"), earlier=self.strokes)

    @property
    def strokes(self) -> Image.Image | None:
        """All of them, those of the rounds before under the hints; PIL RGBA."""
        if self.earlier is None or self.hints is None:
            return self.hints or self.earlier
        return Image.alpha_composite(self.earlier, self.hints)

    # --- files ----------------------------------------------------------------------------

    def hint_picture(self) -> Image.Image:
        """All strokes as a hint map, as models see them; PIL RGBA of the drawing's size."""
        return hint_layer(hint_map(self.strokes, *self.size), *self.size)

    def to_openraster(self, about: Mapping[str, Any] | None = None) -> bytes:
        """An .ora file: lines on top, strokes, mask and chosen colours (hidden), the colours, what
        was kept and the strokes behind it (hidden).

        The lines are black with the paper transparent, so that they can be drawn over anything.
        `about` holds JSON values that travel along.
        """
        layers = [Layer(LINES, _ink(self.lineart))]
        if self.hints is not None:
            layers.append(Layer(HINTS, self.hints, visible=False))
        if self.mask is not None:
            layers.append(Layer(MASK, _tint(self.mask), visible=False, opacity=0.5))
        if self.planned is not None:
            layers.append(Layer(PLANNED, self.planned, visible=False))
        if self.colours is not None:
            layers.append(Layer(COLOURS, self.colours))
        if self.kept is not None:
            layers.append(Layer(KEPT, self.kept, visible=self.colours is None))
        if self.earlier is not None:
            layers.append(Layer(EARLIER, self.earlier, visible=False))
        layers.append(Layer("Paper", Image.new("RGB", self.size, "white")))
        return openraster.write(layers, self.picture, note=json.dumps(dict(about or {})))

    @staticmethod
    def from_openraster(data: bytes) -> Document:
        """The inverse of `to_openraster`, also after other programs have changed the layers. Large
        ones are scaled down, as other drawings are.

        Raises: InvalidInput when there are no lines in it.
        """
        read = openraster.read(data, _NAMES, most=WORKING_MEGAPIXELS * 1e6)
        found = {layer.name: layer.picture for layer in read}
        if LINES not in found:
            raise InvalidInput(
                f"There is no layer called “{LINES}” in this OpenRaster file: give the layer with "
                "the line art that name, or hand in a PNG."
            )
        paper = Image.new("RGBA", found[LINES].size, "white")
        lineart = Image.alpha_composite(paper, found[LINES]).convert("L")
        kept, colours = found.get(KEPT), found.get(COLOURS)
        plain = Document(
            lineart,
            kept=None if kept is None else kept.convert("RGB"),
            colours=None if colours is None else colours.convert("RGB"),
            planned=found.get(PLANNED),
            earlier=found.get(EARLIER),
        )
        mask = found.get(MASK)
        return plain.with_strokes(found.get(HINTS), mask and mask.getchannel("A"))

    def write_into(self, png: bytes) -> bytes:
        """A PNG of `picture` that brings the lines, strokes, mask and chosen colours along.

        They are text behind the picture, which other programs show as it is.
        """
        parts = {
            "lines": self.lineart, "hints": self.hints, "mask": self.mask,
            "planned": self.planned, "earlier": self.earlier,
        }  # fmt: skip
        layers: dict[str, Any] = {
            name: base64.b64encode(_as_png(layer)).decode("ascii")
            for name, layer in parts.items()
            if layer is not None
        }
        layers["kept"] = self.kept is not None
        body = b"tEXt" + CHUNK.encode() + b"\0" + json.dumps(layers).encode("ascii")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        end = png.rindex(b"IEND") - 4
        return png[:end] + chunk + png[end:]

    @staticmethod
    def read_from(png: bytes) -> Document | None:
        """The inverse of `write_into`: `picture` is the PNG's own. None where nothing is inside,
        or where it does not belong to this picture."""
        try:
            with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                image.load()
                text = getattr(image, "text", {}).get(CHUNK, "")
                picture = image.convert("RGB")
            if not text or len(text) > MAX_CHUNK:
                return None
            inside = json.loads(text)
            layers = dict[str, Image.Image]()
            for name in _MODES.keys() & set(inside):
                data = base64.b64decode(inside[name], validate=True)
                with Image.open(io.BytesIO(data), formats=["PNG"]) as layer:
                    if layer.size != picture.size:
                        return None
                    layers[name] = layer.convert(_MODES[name])
            if "lines" not in layers:
                return None
        except (OSError, SyntaxError, ValueError, TypeError, AttributeError, RecursionError,
                binascii.Error, Image.DecompressionBombError,
                Image.DecompressionBombWarning):  # fmt: skip
            return None
        stood = bool(inside.get("kept"))
        plain = Document(
            layers["lines"],
            kept=picture if stood else None,
            colours=None if stood and "mask" not in layers else picture,
            planned=layers.get("planned"),
            earlier=layers.get("earlier"),
        )
        return plain.with_strokes(layers.get("hints"), layers.get("mask"))


def _as_png(layer: Image.Image) -> bytes:
    out = io.BytesIO()
    layer.save(out, "PNG", optimize=True)
    return out.getvalue()


def _reaches(channel: Image.Image) -> bool:
    """Whether anything in a PIL L picture is above 127."""
    highest = channel.getextrema()[1]
    return isinstance(highest, (int, float)) and highest > 127


def _fitted(layer: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cropped, or filled up with nothing, at the right and the bottom."""
    return layer if layer.size == size else layer.crop((0, 0, *size))


def _ink(lineart: Image.Image) -> Image.Image:
    """Black, as opaque as the lines are dark; PIL RGBA."""
    ink = Image.new("RGBA", lineart.size, "black")
    ink.putalpha(ImageChops.invert(lineart.convert("L")))
    return ink


def _tint(mask: Image.Image) -> Image.Image:
    """The mask in a colour that can be seen on pictures, PIL RGBA."""
    tint = np.zeros((mask.height, mask.width, 4), np.uint8)
    tint[...] = (228, 86, 42, 0)
    tint[..., 3] = np.asarray(mask)
    return Image.fromarray(tint)
