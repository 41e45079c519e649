"""OpenRaster: what is written is read again, and what is no such file is refused in words."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
import pytest
from PIL import Image

from pipelines.colorize import openraster
from pipelines.colorize.openraster import Layer
from pipelines.errors import InvalidInput


def noise(seed: int, mode: str = "RGBA") -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (30, 50, len(mode)), dtype=np.uint8))


def test_layers_come_back_as_they_were() -> None:
    layers = [
        Layer('Lines & "more" <ink>', noise(1), "multiply"),
        Layer("Straße", noise(2), visible=False, opacity=0.5),
    ]
    data = openraster.write(layers, noise(3, "RGB"), note='{"seed": 3}')
    assert openraster.is_openraster(data)
    assert openraster.read_note(data) == '{"seed": 3}'
    for before, after in zip(layers, openraster.read(data), strict=True):
        assert (before.name, before.blend, before.visible, before.opacity) == (
            after.name, after.blend, after.visible, after.opacity
        )  # fmt: skip
        np.testing.assert_array_equal(np.asarray(before.picture), np.asarray(after.picture))


def test_the_file_is_as_the_standard_asks() -> None:
    data = openraster.write([Layer("One", noise(1))], noise(3, "RGB"))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        first = file.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert file.read("mimetype") == b"image/openraster"
        stack = ET.fromstring(file.read("stack.xml"))
        assert (stack.tag, stack.attrib["w"], stack.attrib["h"]) == ("image", "50", "30")
        for layer in stack.iter("layer"):
            assert Image.open(io.BytesIO(file.read(layer.attrib["src"]))).size == (50, 30)
        assert Image.open(io.BytesIO(file.read("mergedimage.png"))).size == (50, 30)
        assert max(Image.open(io.BytesIO(file.read("Thumbnails/thumbnail.png"))).size) <= 256


def test_a_layer_of_another_program_may_be_smaller_than_the_picture() -> None:
    dot = Image.new("RGBA", (4, 3), (255, 0, 0, 255))
    out, stack = io.BytesIO(), io.BytesIO()
    dot.save(out, "PNG")
    xml = (
        '<image h="30" w="50"><stack><stack name="group">'
        '<layer src="a.png" x="10" y="5" name="Lines"></layer></stack></stack></image>'
    )
    with zipfile.ZipFile(stack, "w") as file:
        file.writestr("stack.xml", xml)
        file.writestr("a.png", out.getvalue())
    (layer,) = openraster.read(stack.getvalue())
    assert layer.picture.getbbox() == (10, 5, 14, 8)


def archive(stack: str, picture: Image.Image | None = None) -> bytes:
    out, png = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("stack.xml", stack)
        if picture is not None:
            picture.save(png, "PNG")
            file.writestr("a.png", png.getvalue())
    return out.getvalue()


def encrypted() -> bytes:
    """As a reader sees it that has no password."""
    data = bytearray(openraster.write([Layer("One", noise(1))], noise(2, "RGB")))
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(head)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(head, at + 4)
    return bytes(data)


def packed(method: int) -> bytes:
    """With a packing that nobody knows."""
    data = bytearray(archive("<image w='5' h='5'><stack/></image>"))
    for head, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.find(head)
        data[at + place] = method
    return bytes(data)


DOT = Image.new("RGBA", (4, 3), (255, 0, 0, 255))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 broken",
        archive("no xml"),
        archive("<image w='5' h='5'><stack><layer src='gone.png'/></stack></image>"),
        archive("<image w='500000' h='500000'><stack/></image>"),
        archive("<!DOCTYPE x [<!ENTITY a 'b'>]><image w='5' h='5'/>"),
        openraster.write([Layer("One", noise(1))], noise(2))[:-400],
        encrypted(),
        packed(77),
        archive("<image w='5' h='5'><layer src='a.png' x='1e999'/></image>", DOT),
        archive("<image w='5' h='5'><layer src='a.png' x='1e300'/></image>", DOT),
        archive("<image w='5' h='5'>" + 101 * "<layer src='a.png'/>" + "</image>", DOT),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="OpenRaster"):
        openraster.read(data)
    assert openraster.read_note(data) == ""


@pytest.mark.parametrize("size", [(20_000, 10_000), (7000, 7000)])
def test_layers_that_are_far_too_large_are_not_decoded(size: tuple[int, int]) -> None:
    bomb = archive("<image w='5' h='5'><layer src='a.png'/></image>", Image.new("1", size))
    with pytest.raises(InvalidInput, match="OpenRaster"):
        openraster.read(bomb)


def test_many_layers_of_a_large_picture_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openraster, "MAX_ALL_PIXELS", 3000)
    layer = "<layer src='a.png' name='Lines'/>"
    assert len(openraster.read(archive(f"<image w='50' h='30'>{2 * layer}</image>", DOT))) == 2
    three = archive(f"<image w='50' h='30'>{3 * layer}</image>", DOT)
    with pytest.raises(InvalidInput, match="far too large"):
        openraster.read(three)
    assert len(openraster.read(three, ["Lines"])) == 1
    assert openraster.read(three, ["Hints"]) == ()


def test_a_large_picture_is_scaled_down_as_it_is_read() -> None:
    data = openraster.write([Layer("Lines", noise(1))], noise(3, "RGB"))
    (layer,) = openraster.read(data, most=500)
    assert layer.picture.size == (29, 17)
    assert openraster.size_of(data) == (50, 30)
