"""OpenRaster: pictures in layers, as Krita, GIMP and MyPaint open and write them.

Source: https://www.openraster.org, version 0.0.3. A zip with `mimetype` first and uncompressed,
`stack.xml` that lists the layers from top to bottom, their PNG files, and the whole flattened.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
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


def read(data: bytes) -> tuple[Layer, ...]:
    """The layers from top to bottom, each filled up to the picture's size, PIL RGBA.

    Groups are read as their layers. Raises InvalidInput for anything else than OpenRaster.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            stack = _member(file, "stack.xml", MAX_STACK).decode()
            if "<!" in stack:  # no entities, so no bombs of them
                raise InvalidInput(_UNREADABLE)
            width, height = _size(stack)
            return tuple(
                _read_layer(file, attributes, width, height)
                for attributes in map(_attributes, re.findall(r"<layer\b([^>]*)>", stack))
            )
    except (OSError, KeyError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error) as e:
        raise InvalidInput(_UNREADABLE) from e


def read_note(data: bytes) -> str:
    """The note that `write` was given; "" without one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return _member(file, "storybrush.json", MAX_STACK).decode()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return ""


def _read_layer(
    file: zipfile.ZipFile, attributes: dict[str, str], width: int, height: int
) -> Layer:
    part = Image.open(io.BytesIO(_member(file, attributes["src"], 4 * MAX_PIXELS)))
    if part.width * part.height > MAX_PIXELS:
        raise InvalidInput(_UNREADABLE)
    whole = Image.new("RGBA", (width, height))
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
