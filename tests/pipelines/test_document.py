"""One document for three models: strokes, rounds, and a file with layers that brings it back."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFile, PngImagePlugin

from pipelines.book import Recipe, encode_png, read_recipe
from pipelines.colorize import document, openraster
from pipelines.colorize.document import CHUNK, HINTS, LINES, MAX_CHUNK, Document
from pipelines.colorize.drawing import WORKING_MEGAPIXELS
from pipelines.errors import InvalidInput

SIZE = (60, 40)


def drawing() -> Image.Image:
    lineart = Image.new("L", SIZE, 255)
    ImageDraw.Draw(lineart).ellipse((10, 5, 50, 35), outline=0, width=2)
    return lineart


def strokes(size: tuple[int, int] = SIZE) -> Image.Image:
    hints = Image.new("RGBA", size)
    ImageDraw.Draw(hints).line((20, 20, 40, 20), fill=(230, 60, 50, 255), width=5)
    return hints


def mask(size: tuple[int, int] = SIZE) -> Image.Image:
    inside = Image.new("L", size)
    ImageDraw.Draw(inside).rectangle((12, 8, 30, 30), fill=255)
    return inside


def same(a: Image.Image | None, b: Image.Image | None) -> bool:
    return a is not None and b is not None and np.array_equal(np.asarray(a), np.asarray(b))


def test_strokes_and_masks_of_nothing_are_none() -> None:
    document = Document(drawing()).with_strokes(Image.new("RGBA", SIZE), Image.new("L", SIZE))
    assert document.hints is None
    assert document.mask is None
    assert not document.hinted


@pytest.mark.parametrize("size", [(80, 50), (45, 30)])
def test_strokes_of_another_size_are_cut_or_filled_up(size: tuple[int, int]) -> None:
    document = Document(drawing()).with_strokes(strokes(size), mask(size))
    assert document.hints is not None
    assert document.mask is not None
    assert document.hints.size == document.mask.size == SIZE
    assert document.hinted
    outside = Document(drawing()).with_strokes(Image.new("RGBA", (5, 5)), None)
    assert not outside.hinted


def test_the_next_round_begins_with_what_was_kept() -> None:
    first = Document(drawing()).with_strokes(strokes(), mask())
    picture = Image.new("RGB", SIZE, (10, 200, 30))
    second = first.keep(picture)
    assert same(second.picture, picture)
    assert second.hints is None
    assert second.mask is None
    with pytest.raises(InvalidInput, match="size"):
        first.keep(Image.new("RGB", (5, 5)))


def test_a_saved_document_comes_back() -> None:
    colours, kept = Image.new("RGB", SIZE, (10, 200, 30)), Image.new("RGB", SIZE, (90, 20, 30))
    chosen = Image.new("RGBA", SIZE, (60, 90, 200, 255))
    before = Document(drawing(), kept=kept, colours=colours, planned=chosen)
    before = before.with_strokes(strokes(), mask())
    data = before.to_openraster({"seed": 5})
    after = Document.from_openraster(data)
    for name in ("lineart", "hints", "mask", "kept", "colours", "planned"):
        assert same(getattr(before, name), getattr(after, name)), name
    assert openraster.read_note(data) == '{"seed": 5}'
    plain = Document.from_openraster(Document(drawing()).to_openraster())
    assert (plain.hints, plain.mask, plain.kept, plain.colours, plain.planned) == (None,) * 5


def test_strokes_behind_a_kept_picture_travel_along() -> None:
    picture = Image.new("RGB", SIZE, (10, 200, 30))
    one = Document(drawing()).with_strokes(strokes(), None).keep(picture)
    dot = Image.new("RGBA", SIZE)
    dot.paste((20, 30, 200, 255), (22, 18, 26, 22))
    two = one.with_strokes(dot, None).keep(picture)
    assert two.hints is None
    assert two.earlier is not None
    assert two.earlier.getpixel((24, 20)) == (20, 30, 200, 255)
    assert two.earlier.getpixel((35, 20)) == (230, 60, 50, 255)
    assert two.hint_picture().getpixel((35, 20)) == (230, 60, 50, 255)
    png = Document.read_from(two.write_into(encode_png(picture)))
    for again in (Document.from_openraster(two.to_openraster()), png):
        assert again is not None
        assert same(again.earlier, two.earlier)
        assert not again.hinted  # no model sees them


def test_a_large_document_is_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "WORKING_MEGAPIXELS", 0.0006)
    whole = Document(drawing()).with_strokes(strokes(), mask())
    after = Document.from_openraster(whole.to_openraster())
    assert after.size == (30, 20)
    assert after.hinted
    assert after.mask is not None


def test_layers_without_lines_are_refused() -> None:
    layers = [openraster.Layer(HINTS, strokes())]
    with pytest.raises(InvalidInput, match=LINES):
        Document.from_openraster(openraster.write(layers, Image.new("RGB", SIZE)))


def test_the_hint_map_is_what_models_see() -> None:
    document = Document(drawing()).with_strokes(strokes(), None)
    shown = document.hint_picture()
    assert shown.size == SIZE
    assert shown.getpixel((30, 20)) == (230, 60, 50, 255)
    assert shown.getpixel((5, 5)) == (0, 0, 0, 0)


def test_a_png_brings_its_strokes_along() -> None:
    picture = Image.new("RGB", SIZE, (10, 200, 30))
    chosen = Image.new("RGBA", SIZE, (60, 90, 200, 255))
    before = Document(drawing(), kept=picture, colours=picture, planned=chosen)
    before = before.with_strokes(strokes(), mask())
    png = before.write_into(encode_png(picture, Recipe("", 5), "A fox."))
    after = Document.read_from(png)
    assert after is not None
    for name in ("lineart", "hints", "mask", "kept", "colours", "planned"):
        assert same(getattr(before, name), getattr(after, name)), name
    with Image.open(io.BytesIO(png)) as whole:  # it is still a picture like any other
        whole.load()
        assert same(whole, picture)
        assert whole.info["Description"] == "A fox."
    recipe = read_recipe(png)
    assert recipe is not None
    assert recipe.seed == 5


def test_the_largest_document_comes_back_from_its_png_even_where_png_makes_nothing_smaller() -> (
    None
):
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 4), dtype=np.uint8)
    layer = Image.fromarray(noise)
    full = Document(
        layer.getchannel("R"), layer, layer.getchannel("G"), planned=layer, earlier=layer
    )
    png = full.write_into(encode_png(layer.convert("RGB")))
    assert Document.read_from(png) is not None
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        text = getattr(picture, "text", {})[CHUNK]
    most = len(text) / noise[..., 0].size * WORKING_MEGAPIXELS * 1e6
    assert most < MAX_CHUNK < PngImagePlugin.MAX_TEXT_MEMORY


def test_rounds_without_a_mask_come_back_too() -> None:
    picture = Image.new("RGB", SIZE, (10, 200, 30))
    kept = Document(drawing()).with_strokes(strokes(), None).keep(picture)
    after = Document.read_from(kept.write_into(encode_png(picture)))
    assert after is not None
    assert same(after.kept, picture)
    assert after.colours is None
    live = replace(Document(drawing()), colours=picture)
    after = Document.read_from(live.write_into(encode_png(picture)))
    assert after is not None
    assert after.kept is None
    assert same(after.colours, picture)


def test_a_bomb_is_not_decoded_to_look_for_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
    bombs = [encode_png(Image.new("1", size)) for size in ((9000, 9000), (20_000, 10_000))]
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    assert [Document.read_from(bomb) for bomb in bombs] == [None, None]


def test_what_is_not_ours_is_not_read() -> None:
    plain = encode_png(Image.new("RGB", SIZE))
    assert Document.read_from(plain) is None
    assert Document.read_from(b"no picture") is None
    whole = Document(drawing()).write_into(plain)
    assert Document.read_from(whole[:-60]) is None
    other = Document(drawing()).write_into(encode_png(Image.new("RGB", (5, 5))))
    assert Document.read_from(other) is None  # lines of another size
    for odd in (b"[]", b"{}", b'{"lines": 5}', b'{"lines": "AAAA"}', b"\xff"):
        body = b"tEXt" + CHUNK.encode() + b"\0" + odd
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        assert Document.read_from(plain[:-12] + chunk + plain[-12:]) is None
