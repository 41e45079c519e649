"""Whatever is handed in becomes clean line art, or a word on what to do instead."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.colorize.drawing import WORKING_MEGAPIXELS, Drawing, clean, read_drawing
from pipelines.errors import InvalidInput


def sketch(width: int = 240, height: int = 180) -> Image.Image:
    """Black lines on white, PIL L."""
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 30, 160, 130), outline=0, width=3)
    draw.line((20, 160, 220, 150), fill=0, width=3)
    draw.arc((85, 60, 135, 110), 20, 160, fill=0, width=3)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def agreement(drawing: Drawing, truth: Image.Image) -> tuple[float, float]:
    """Share of the true lines that were found (within 2 pixels), and of those found that are true.

    Both pictures of one size.
    """
    found, true = (np.asarray(i) < 128 for i in (drawing.lineart, truth))
    reach = np.ones((5, 5), np.uint8)
    near_true, near_found = (cv2.dilate(a.astype(np.uint8), reach) > 0 for a in (true, found))
    return float(near_found[true].mean()), float(near_true[found].mean())


def assert_read(drawing: Drawing, truth: Image.Image) -> None:
    assert drawing.lineart.mode == "L"
    assert drawing.original.mode == "RGB"
    assert drawing.lineart.size == drawing.original.size == truth.size
    found, true = agreement(drawing, truth)
    assert found > 0.97
    assert true > 0.97
    lines = np.asarray(drawing.lineart)
    assert np.median(lines) == 255
    assert lines.min() < 30


def test_line_art_stays_as_it_is() -> None:
    drawing = read_drawing(sketch())
    assert drawing.kind == "lineart"
    assert drawing.notes == ()
    assert_read(drawing, sketch())


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(sketch()).astype(np.uint16) * 257)


def transparent() -> Image.Image:
    ink = Image.new("RGBA", sketch().size, (0, 0, 0, 0))
    ink.putalpha(Image.eval(sketch(), lambda v: 255 - v))
    return ink


@pytest.mark.parametrize(
    "image",
    [
        sketch().convert("1"),
        sketch().convert("P"),
        sketch().convert("CMYK"),
        sketch().convert("LA"),
        sketch().convert("I"),
        sketch().convert("F"),
        sixteen_bits(),
        transparent(),
    ],
    ids=lambda i: i.mode,
)
def test_any_mode(image: Image.Image) -> None:
    assert_read(read_drawing(image), sketch())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_any_format(kind: str, tmp_path: Path) -> None:
    data = encoded(sketch(), kind)
    assert_read(read_drawing(data), sketch())
    (tmp_path / "drawing").write_bytes(data)
    assert_read(read_drawing(tmp_path / "drawing"), sketch())


def test_cmyk_and_sixteen_bits_as_files() -> None:
    assert_read(read_drawing(encoded(sketch().convert("CMYK"), "JPEG")), sketch())
    assert_read(read_drawing(encoded(sixteen_bits(), "PNG")), sketch())


def test_turned_upright() -> None:
    lying = sketch().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    drawing = read_drawing(encoded(lying, "JPEG", exif=exif))
    assert_read(drawing, sketch())
    assert "upright" in drawing.notes[0]


@pytest.mark.parametrize("exif", [b"Exif\0\0no such thing", b"II*\0\xff\xff", b"\0" * 9])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_what_a_camera_noted_may_be_damaged(kind: str, exif: bytes) -> None:
    drawing = read_drawing(encoded(sketch(), kind, exif=exif))
    assert drawing.notes == ()
    assert drawing.lineart.size == sketch().size


@pytest.mark.parametrize("odd", [0, 9])
def test_orientations_that_are_none_turn_nothing(odd: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = odd
    assert read_drawing(encoded(sketch(), "JPEG", exif=exif)).notes == ()


def test_light_lines_on_a_dark_ground_are_inverted() -> None:
    drawing = read_drawing(Image.eval(sketch(), lambda v: 235 - v * 200 // 255))
    assert drawing.kind == "inverted"
    assert_read(drawing, sketch())
    assert any("inverted" in n for n in drawing.notes)


def test_white_lines_on_nothing() -> None:
    image = Image.new("RGBA", sketch().size, (255, 255, 255, 0))
    image.putalpha(Image.eval(sketch(), lambda v: 255 - v))
    drawing = read_drawing(image)
    assert drawing.kind == "inverted"
    assert_read(drawing, sketch())


def test_a_pencil_drawing_photographed() -> None:
    rng = np.random.default_rng(0)
    lines = np.asarray(sketch().resize((960, 720), Image.Resampling.LANCZOS), np.float32)
    grain = 1 + 0.3 * rng.standard_normal(lines.shape, np.float32)
    y, x = np.mgrid[0:720, 0:960].astype(np.float32) / 960
    light = 0.9 - 0.45 * x - 0.15 * y
    light[:, 300:] *= 1 - 0.3 / (1 + np.exp(-(x[:, 300:] - 0.4) * 40))  # a shadow
    grey = (235 - (255 - lines) * 0.5 * grain.clip(0, 1.5)) * light
    rgb = np.stack([grey, grey * 0.95, grey * 0.86], axis=2)  # under a lamp
    rgb = cv2.GaussianBlur(rgb + rng.normal(0, 5, rgb.shape), (0, 0), 1.2).clip(0, 255)
    drawing = read_drawing(encoded(Image.fromarray(rgb.astype(np.uint8)), "JPEG", quality=70))
    assert drawing.kind == "lineart"
    assert_read(drawing, sketch().resize((960, 720), Image.Resampling.LANCZOS))


def test_large_black_parts_stay_black() -> None:
    image = sketch()
    ImageDraw.Draw(image).ellipse((70, 40, 150, 120), fill=0)
    drawing = read_drawing(image)
    assert drawing.kind == "lineart"
    assert np.asarray(drawing.lineart)[60:100, 90:130].max() < 30


def test_a_picture_is_told_from_line_art() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    picture = coarse.resize((320, 240), Image.Resampling.NEAREST)
    drawing = read_drawing(picture)
    assert drawing.kind == "picture"
    assert "lines were drawn from it" in drawing.notes[0]
    assert (np.asarray(drawing.lineart) < 128).mean() > 0.01
    assert np.array_equal(np.asarray(drawing.original), np.asarray(picture))
    assert read_drawing(picture.convert("L")).kind == "picture"


def test_empty_paper_is_said_to_be_empty() -> None:
    drawing = read_drawing(Image.new("RGB", (200, 100), "white"))
    assert np.asarray(drawing.lineart).min() == 255
    assert "No lines" in drawing.notes[-1]


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "no picture"),
        (b"hello, this is text" * 20, "no picture"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
        (encoded(sketch(), "PNG")[:300], "damaged"),
        (encoded(sketch(), "JPEG")[:900], "damaged"),
        (encoded(Image.new("L", (1, 1))), "1 × 1"),
        (encoded(Image.new("L", (400, 3))), "at least"),
    ],
)
def test_what_cannot_be_read(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_drawing(data)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no file"):
        read_drawing(tmp_path / "none.png")


def test_bombs_are_not_decoded() -> None:
    bomb = encoded(Image.new("1", (9000, 9000)))
    assert len(bomb) < 20_000
    with pytest.raises(InvalidInput, match=r"81 megapixels.*limit is 40 megapixels"):
        read_drawing(bomb)
    with pytest.raises(InvalidInput, match="limit is 2 megapixels"):
        read_drawing(Image.new("1", (2000, 1001)), max_megapixels=2)
    with pytest.raises(InvalidInput, match="limit is 40 megapixels"):
        read_drawing(encoded(Image.new("1", (30_000, 10_000))))


def test_long_and_narrow() -> None:
    drawing = read_drawing(Image.new("L", (10_000, 50), 255))
    assert drawing.lineart.size == (10_000, 50)
    assert any("narrow" in n for n in drawing.notes)


@pytest.mark.parametrize("turned", [False, True])
def test_lines_of_a_long_strip_stay(turned: bool) -> None:
    strip, thin = Image.new("L", (2400, 180), 255), Image.new("L", (10_000, 50), 255)
    for left in range(0, 2400, 240):
        strip.paste(sketch(), (left, 0))
    pen = ImageDraw.Draw(thin)
    for left in range(50, 9_900, 100):
        pen.ellipse((left, 5, left + 40, 45), outline=0, width=2)
    for drawn in (strip, thin):
        truth = drawn.transpose(Image.Transpose.ROTATE_90) if turned else drawn
        drawing = read_drawing(truth)
        assert drawing.kind == "lineart"
        assert_read(drawing, truth)


def test_large_drawings_are_scaled_down() -> None:
    drawing = read_drawing(sketch().resize((3000, 2250)))
    assert drawing.lineart.width * drawing.lineart.height < WORKING_MEGAPIXELS * 1.01e6
    assert drawing.lineart.width / drawing.lineart.height == pytest.approx(4 / 3, abs=0.01)
    assert "Scaled from 3000 × 2250" in drawing.notes[0]


def test_cleaning_twice_changes_little() -> None:
    once = clean(np.asarray(sketch()))
    assert ((clean(once) < 128) != (once < 128)).mean() < 0.01
