"""`python -m pipelines colour`: files in, coloured files out, bad ones said and left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.book import read_recipe
from pipelines.colorize.document import Document
from pipelines.colorize.saving import coloured_png
from pipelines.colour_command import main
from tests.tiny_colorizer import drawing, strokes
from ui.colour_files import read


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.png"
    drawing(128, 96).save(path)
    return path


def test_every_seed_gives_a_picture_with_its_lines_inside(page: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(page), "--out", str(out), "--count", "2", "--seed", "4"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["page-1.png", "page-2.png"]
    one, two = ((out / f"page-{n}.png").read_bytes() for n in (1, 2))
    recipes = [read_recipe(png) for png in (one, two)]
    assert [r and r.seed for r in recipes] == [4, 5]
    inside = Document.read_from(one)
    assert inside is not None
    assert inside.size == (128, 96)
    assert inside.planned is not None
    assert inside.planned.size == (128, 96)
    assert main([str(page), "--out", str(tmp_path / "again"), "--seed", "4"]) == 0
    assert (tmp_path / "again" / "page.png").read_bytes() == one


def test_strokes_are_obeyed_and_kept(page: Path, tmp_path: Path) -> None:
    layer = strokes(128, 96)
    layer.save(tmp_path / "strokes.png")
    command = [str(page), "--hints", str(tmp_path / "strokes.png"), "--out", str(tmp_path / "out")]
    assert main([*command, "--strokes-only"]) == 0
    png = (tmp_path / "out" / "page.png").read_bytes()
    y, x = np.argwhere(np.asarray(layer)[..., 3] > 127).mean(axis=0).astype(int)
    with Image.open(tmp_path / "out" / "page.png") as picture:
        found = np.asarray(picture.convert("RGB"))[y, x].astype(int)
    assert np.abs(found - (220, 30, 20)).max() < 40
    inside = Document.read_from(png)
    assert inside is not None
    assert inside.hinted
    assert inside.planned is None


def test_a_saved_picture_brings_its_lines_and_strokes(page: Path, tmp_path: Path) -> None:
    """Whatever it looks like: PNG and OpenRaster give what the drawing and its strokes give."""
    layer = strokes(128, 96)
    layer.save(tmp_path / "strokes.png")
    plain, hints = ["--strokes-only", "--out"], ["--hints", str(tmp_path / "strokes.png")]
    assert main([str(page), *hints, *plain, str(tmp_path / "a")]) == 0
    first = (tmp_path / "a" / "page.png").read_bytes()
    inside = Document.read_from(first)
    assert inside is not None
    stood = inside.keep(Image.new("RGB", (128, 96), "teal"))
    (tmp_path / "ora.ora").write_bytes(inside.to_openraster())
    (tmp_path / "kept.png").write_bytes(coloured_png(stood, None))
    saved = [str(tmp_path / name) for name in ("a/page.png", "ora.ora", "kept.png")]
    assert main([*saved, *plain, str(tmp_path / "b")]) == 0
    for name in ("page", "ora", "kept"):
        again = Document.read_from((tmp_path / "b" / f"{name}.png").read_bytes())
        assert again is not None
        assert again.picture == inside.picture
        assert again.lineart == inside.lineart
        assert again.hints == layer
    assert main([saved[0], "--lines", "0.2", *plain, str(tmp_path / "c")]) == 0
    drawn = Document.read_from((tmp_path / "c" / "page.png").read_bytes())
    assert drawn is not None
    assert drawn.lineart != inside.lineart
    assert drawn.hints == layer


@pytest.mark.parametrize("model", ["paintstorch", "stablepaint"])
def test_what_was_saved_with_a_mask_is_painted_within_it(
    page: Path, tmp_path: Path, model: str
) -> None:
    kept, mask = Image.new("RGB", (128, 96), "teal"), Image.new("L", (128, 96))
    mask.paste(255, (10, 10, 60, 70))
    document = Document(drawing(128, 96), kept=kept, colours=kept)
    document = document.with_strokes(strokes(128, 96), mask)
    (tmp_path / "masked.png").write_bytes(coloured_png(document, None))
    command = [str(tmp_path / "masked.png"), "--model", model, "--steps", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    png = (tmp_path / "out" / "masked.png").read_bytes()
    again = Document.read_from(png)
    assert again is not None
    assert again.mask == mask
    changed = (np.asarray(again.picture) != np.asarray(kept)).any(axis=2)
    assert not changed[np.asarray(mask) == 0].any()
    assert changed[np.asarray(mask) > 0].mean() > 0.9
    recipe = read_recipe(png)
    assert recipe is not None
    painter = "stenciltorch" if model == "paintstorch" else "stablepaint"
    assert recipe.models["colour"] == f"{painter} embedded"


def test_variations_of_the_diffusion_model(page: Path, tmp_path: Path) -> None:
    command = [str(page), "--model", "stablepaint", "--steps", "1", "--over-lines"]
    assert main([*command, "--out", str(tmp_path / "v")]) == 0
    recipe = read_recipe((tmp_path / "v" / "page.png").read_bytes())
    assert recipe is not None
    assert recipe.models["colour"] == "stablepaint embedded"
    assert recipe.settings == {"within_lines": False, "suggested": True, "steps": 1}


def test_a_file_that_is_no_picture_is_said_and_the_others_are_coloured(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "notes.txt"
    bad.write_text("no picture")
    assert main([str(bad), str(page), "--out", str(tmp_path / "o"), "--strokes-only"]) == 1
    assert str(bad) in capsys.readouterr().err
    assert (tmp_path / "o" / "page.png").exists()


def test_lines_of_a_picture_are_those_of_the_app_or_as_bold_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    picture = Image.new("RGB", (128, 96), (90, 140, 60))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((10, 10, 60, 60), fill=(220, 40, 30))
    pen.ellipse((70, 40, 120, 90), fill=(100, 146, 68))  # hardly to be seen
    picture.save(path)

    def ink(*more: str) -> Image.Image:
        assert main([str(path), "--out", str(tmp_path / "out"), "--strokes-only", *more]) == 0
        inside = Document.read_from((tmp_path / "out" / "picture.png").read_bytes())
        assert inside is not None
        return inside.lineart

    app = read(path).document.lineart
    assert ink() == app
    bold, faint = (int((np.asarray(ink("--lines", s)) < 128).sum()) for s in ("0", "1"))
    assert bold < (np.asarray(app) < 128).sum() <= faint


@pytest.mark.parametrize(
    "more,said",
    [
        (["--count", "9"], "--count"),
        (["--out", "."], "the drawing itself"),
        (["other/page.jpg"], "the same name"),
        (["--lines", "2"], "--lines"),
        (["--hints", "gone.png"], "gone.png"),
        (["--hints", "small.png"], "32x32"),
    ],
)
def test_what_cannot_be_done_is_said(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (32, 32)).save("small.png")
    assert main([str(page), *more]) == 1
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "coloured").glob("*"))
