"""OpenRaster: pictures in layers, as Krita, GIMP and MyPaint open and write them.

Source: https://www.openraster.org, version 0.0.3. A zip with `mimetype` first and uncompressed,
`stack.xml` that lists the layers from top to bottom, their PNG files, and the whole flattened.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import quoteattr

from PIL import Image

from pipelines.errors import InvalidInput

MIME = "image/openraster"
THUMBNAIL = 256
"""Longest side in pixels."""
BLENDS: dict[str, str] = {"normal": "svg:src-over", "multiply": "svg:multiply"}
MAX_STACK = 100_000
"""Bytes of a stack.xml that is read."""
MAX_PIXELS = 40_000_000
"""Of one layer that is read."""
MAX_LAYERS = 100
"""That a file may list."""
MAX_ALL_PIXELS = 6 * MAX_PIXELS
"""Of all layers that are read."""
_DAMAGED = (
    OSError, KeyError, ValueError, SyntaxError, OverflowError, EOFError, RuntimeError,
    zipfile.BadZipFile, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What reading a file that is broken, encrypted or packed in another way may raise."""
_UNREADABLE = "This OpenRaster file cannot be read: save it once more, or hand in a PNG."


@dataclass(frozen=True)
class Layer:
    """One layer, as large as the picture."""

    name: str
    picture: Image.Image
    """PIL RGBA, or any mode without alpha, which covers everything."""
    blend: str = "normal"
    """A key of BLENDS."""
    visible: bool = True
    opacity: float = 1.0


def write(layers: Sequence[Layer], merged: Image.Image, *, note: str = "") -> bytes:
    """The file; `layers` from top to bottom, `merged` as it looks, all of one size.

    `note` is text that only `read_note` looks at.
    """
    rows = list[str]()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.writestr("mimetype", MIME)
        for n, layer in enumerate(layers):
            source = f"data/layer{n}.png"
            file.writestr(source, _png(layer.picture.convert("RGBA")))
            visibility = "visible" if layer.visible else "hidden"
            rows.append(
                f"  <layer name={quoteattr(layer.name)} src={quoteattr(source)} x='0' y='0' "
                f"opacity='{layer.opacity:g}' visibility='{visibility}' "
                f"composite-op='{BLENDS[layer.blend]}'/>"
            )
        width, height = merged.size
        stack = "\n".join(
            [
                "<?xml version='1.0' encoding='UTF-8'?>",
                f"<image version='0.0.3' w='{width}' h='{height}'>",
                " <stack>",
                *rows,
                " </stack>",
                "</image>",
            ]
        )
        file.writestr("stack.xml", stack)
        file.writestr("mergedimage.png", _png(merged))
        small = merged.copy()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        file.writestr("Thumbnails/thumbnail.png", _png(small))
        if note:
            file.writestr("storybrush.json", note)
    return out.getvalue()


def is_openraster(data: bytes) -> bool:
    """Whether these bytes say that they are an OpenRaster file."""
    return data.startswith(b"PK") and MIME.encode() in data[:100]


def read(
    data: bytes, names: Collection[str] | None = None, *, most: float = MAX_PIXELS
) -> tuple[Layer, ...]:
    """The layers from top to bottom, each filled up to the picture's size, PIL RGBA.

    With `names` only those, of several of a name the lowest. A picture of more than `most` pixels
    is scaled down to as many. Groups are read as their layers. Raises InvalidInput for anything
    else than OpenRaster.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            stack = _member(file, "stack.xml", MAX_STACK).decode()
            if "<!" in stack:  # no entities, so no bombs of them
                raise InvalidInput(_UNREADABLE)
            listed = [_attributes(text) for text in re.findall(r"<layer\b([^>]*)>", stack)]
            if len(listed) > MAX_LAYERS:
                raise InvalidInput(f"This OpenRaster file has {len(listed)} layers: merge some.")
            if names is not None:
                named = {found.get("name", ""): found for found in listed}
                listed = [f for f in listed if f.get("name") in names and named[f["name"]] is f]
            return tuple(_read_layers(file, listed, _size(stack), most))
    except _DAMAGED as e:
        raise InvalidInput(_UNREADABLE) from e


def read_note(data: bytes) -> str:
    """The note that `write` was given; "" without one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return _member(file, "storybrush.json", MAX_STACK).decode()
    except _DAMAGED:
        return ""


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height as the file says. Raises: InvalidInput."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return _size(_member(file, "stack.xml", MAX_STACK).decode())
    except _DAMAGED as e:
        raise InvalidInput(_UNREADABLE) from e


def _read_layers(
    file: zipfile.ZipFile, listed: Sequence[dict[str, str]], size: tuple[int, int], most: float
) -> Iterator[Layer]:
    """One after another, so that no two are in memory at their full size."""
    scale = min(1.0, math.sqrt(most / (size[0] * size[1])))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    pixels = 0
    for attributes in listed:
        part = Image.open(io.BytesIO(_member(file, attributes["src"], 4 * MAX_PIXELS)))
        pixels += max(part.width * part.height, size[0] * size[1])
        if part.width * part.height > MAX_PIXELS or pixels > MAX_ALL_PIXELS:
            raise InvalidInput("This OpenRaster file is far too large: make it smaller.")
        layer = _read_layer(part, attributes, size)
        if scale < 1:
            picture = layer.picture.resize(small, Image.Resampling.BOX)
            layer = replace(layer, picture=picture)
        yield layer


def _read_layer(part: Image.Image, attributes: dict[str, str], size: tuple[int, int]) -> Layer:
    whole = Image.new("RGBA", size)
    at = int(float(attributes.get("x", 0))), int(float(attributes.get("y", 0)))
    whole.paste(part.convert("RGBA"), at)
    blend = "multiply" if attributes.get("composite-op") == BLENDS["multiply"] else "normal"
    return Layer(
        attributes.get("name", ""),
        whole,
        blend,
        attributes.get("visibility", "visible") == "visible",
        float(attributes.get("opacity", 1)),
    )


def _member(file: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if file.getinfo(name).file_size > limit:
        raise InvalidInput(_UNREADABLE)
    return file.read(name)


def _attributes(text: str) -> dict[str, str]:
    pairs = re.findall(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", text)
    marks = {"&quot;": '"', "&apos;": "'", "&lt;": "<", "&gt;": ">", "&amp;": "&"}

    def plain(value: str) -> str:
        return re.sub(r"&\w+;", lambda m: marks.get(m[0], m[0]), value)

    return {name: plain(double or single) for name, double, single in pairs}


def _size(stack: str) -> tuple[int, int]:
    found = re.search(r"<image\b([^>]*)>", stack)
    attributes = _attributes(found[1] if found else "")
    width, height = int(attributes["w"]), int(attributes["h"])
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise InvalidInput(_UNREADABLE)
    return width, height


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=4)
    return out.getvalue()
