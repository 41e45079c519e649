"""A visitor's easel: strokes, masks, rounds, variations, files, and the job that follows them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.book import Book, Page, encode_png, read_recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import read_drawing
from pipelines.colorize.settings import StablePaintConfig
from pipelines.errors import InvalidInput
from storage.memory import MemoryLibrary
from tests.ui.colour_stand_in import BARE, quick_colourists
from ui import colour, colour_markup
from ui import colour_work as work
from ui.colour_work import Easel, Place
from ui.desk import Desk
from ui.jobs import Job
from ui.workshop import Workshop

SIZE = (96, 64)


def a_drawing() -> Image.Image:
    drawing = Image.new("L", SIZE, 255)
    draw = ImageDraw.Draw(drawing)
    draw.rectangle((8, 8, 40, 56), outline=0, width=2)
    draw.rectangle((52, 8, 88, 56), outline=0, width=2)
    return drawing


def address(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def strokes(colour: str = "#d94f3d", at: tuple[int, int] = (24, 32)) -> str:
    layer = Image.new("RGBA", SIZE)
    ImageDraw.Draw(layer).line((at[0] - 8, at[1], at[0] + 8, at[1]), fill=colour, width=6)
    return address(layer)


def right_half() -> str:
    layer = Image.new("RGBA", SIZE)
    layer.paste((228, 86, 42, 255), (48, 0, 96, 64))
    return address(layer)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def nothing() -> Any:
        raise AssertionError("no story and no painter is needed here")

    shop = Workshop(nothing, nothing, MemoryLibrary(), colourists=quick_colourists())
    yield shop
    shop.jobs.close()


@pytest.fixture
def easel(shop: Workshop) -> Easel:
    return work.new_easel(read_drawing(a_drawing()))


def a_desk(easel: Easel) -> Desk:
    return Desk("ada", "tab", easel=easel)


def paint(shop: Workshop, easel: Easel) -> Image.Image:
    """Let the live job see everything."""
    easel.live = True
    job = Job("colour", lambda job: iter(()))
    assert list(work.paint_live(shop, a_desk(easel), easel, job))
    assert not easel.live
    assert easel.document.colours is not None
    return easel.document.colours


def draw(easel: Easel, **layers: str) -> bool:
    return work.take_strokes(easel, {"name": easel.name, "round": easel.round, **layers})


def near(picture: Image.Image, at: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    return np.abs(np.asarray(picture)[at[1], at[0]].astype(int) - colour).max() < 25


def test_a_region_takes_the_stroke_s_colour_and_only_that_region(
    shop: Workshop, easel: Easel
) -> None:
    assert near(paint(shop, easel), (24, 32), BARE)
    assert draw(easel, hints=strokes())
    assert near(paint(shop, easel), (24, 16), (217, 79, 61))


def test_a_mask_keeps_what_stood_before_it(shop: Workshop, easel: Easel) -> None:
    draw(easel, hints=strokes())
    before = np.asarray(paint(shop, easel))
    draw(easel, mask=right_half())
    draw(easel, hints=strokes("#3d6fb6", (70, 32)))
    after = np.asarray(paint(shop, easel))
    np.testing.assert_array_equal(after[:, :48], before[:, :48])
    assert near(Image.fromarray(after), (70, 20), (61, 111, 182))
    draw(easel, mask="")  # without a mask all of it follows the strokes again
    assert easel.document.kept is None


def test_rounds_can_be_stepped_through(shop: Workshop, easel: Easel) -> None:
    draw(easel, hints=strokes())
    first = np.asarray(paint(shop, easel))
    work.keep_going(easel)
    assert easel.waits_for_mask
    assert easel.document.hints is None
    np.testing.assert_array_equal(np.asarray(easel.document.picture), first)
    work.step(easel, back=True)
    assert easel.document.hinted
    work.step(easel, back=False)
    assert not easel.document.hinted
    with pytest.raises(InvalidInput):
        work.step(easel, back=False)


def test_strokes_for_another_drawing_or_round_are_left_alone(shop: Workshop, easel: Easel) -> None:
    assert not work.take_strokes(easel, {"name": "other", "round": 0, "hints": strokes()})
    assert not work.take_strokes(easel, {"name": easel.name, "round": 7, "hints": strokes()})
    assert easel.document.hints is None


@pytest.mark.parametrize(
    "odd",
    [None, 5, "words", "data:image/png;base64,%%%", "data:image/png;base64,AAAA", ["x"]],
)
def test_strokes_that_cannot_be_read_change_nothing(easel: Easel, odd: Any) -> None:
    with pytest.raises(InvalidInput, match="strokes"):
        draw(easel, hints=odd)
    assert easel.document.hints is None


def test_far_too_large_strokes_are_refused(easel: Easel) -> None:
    with pytest.raises(InvalidInput):
        draw(easel, hints=address(Image.new("RGBA", (1000, 1000))))


def test_variations_are_painted_and_one_is_kept(shop: Workshop, easel: Easel) -> None:
    paint(shop, easel)
    config = StablePaintConfig(seed=5, steps=4)
    job = Job("vary", lambda job: iter(()))
    moments = list(work.paint_variations(shop, a_desk(easel), easel, job, config))
    assert moments[-1].step == 4
    assert len(moments[-1].urls) == 4
    assert easel.candidates.seeds == (5, 6, 7, 8)
    kept = np.asarray(easel.candidates.pictures[1])
    with pytest.raises(InvalidInput, match="gone"):
        work.keep_candidate(easel, 4)
    work.keep_candidate(easel, 1)
    np.testing.assert_array_equal(np.asarray(easel.document.picture), kept)
    recipe = read_recipe(work.coloured_png(easel))
    assert recipe is not None
    assert recipe.seed == 6
    assert recipe.models == {"colour": "stablepaint embedded"}


def test_stopped_variations_leave_those_of_before(shop: Workshop, easel: Easel) -> None:
    job = Job("vary", lambda job: iter(()))
    events = work.paint_variations(shop, a_desk(easel), easel, job, StablePaintConfig())
    next(events)
    job.stop()
    assert len(list(events)) == 1
    assert easel.candidates.pictures == ()


def test_files_are_made_and_layers_come_back(shop: Workshop, easel: Easel, tmp_path: Path) -> None:
    draw(easel, hints=strokes())
    picture = paint(shop, easel)
    work.save_files(easel)
    assert [name for _, name, _ in easel.saved] == ["coloured.png", "hints.png", "coloured.ora"]
    assert "coloured.ora" in colour_markup.saved(easel)
    (tmp_path / "again.ora").write_bytes(easel.document.to_openraster())
    again = colour.read(tmp_path / "again.ora")
    assert again.document.hinted
    np.testing.assert_array_equal(np.asarray(again.document.picture), np.asarray(picture))


def test_a_page_gets_its_picture_and_only_in_one_s_own_book(shop: Workshop, easel: Easel) -> None:
    png = encode_png(Image.new("RGB", SIZE))
    mine = Book("Pip", (Page("A fox slept.", picture=png),), owner="ada")
    theirs = Book("Theirs", mine.pages, owner="bob")
    for book in (mine, theirs):
        shop.library.save(book)
    picture = paint(shop, easel)
    easel.place = Place(mine.id, 0)
    work.put_on_page(shop, a_desk(easel), easel)
    kept = shop.library.get(mine.id).pages[0]
    np.testing.assert_array_equal(np.asarray(kept.image()), np.asarray(picture))
    assert kept.text == "A fox slept."
    for place in (None, Place(theirs.id, 0), Place(mine.id, 3)):
        easel.place = place
        with pytest.raises(InvalidInput):
            work.put_on_page(shop, a_desk(easel), easel)
    assert shop.library.get(theirs.id).pages[0].picture == png


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "", None, "a\0b", "gone.png"])
def test_only_handed_in_files_are_read(tmp_path: Path, path: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("not yours")
    with pytest.raises(InvalidInput, match="arrive"):
        work.uploaded(path, str(tmp_path / "in"))
    (tmp_path / "in" / "fine.png").write_text("")
    found = str(tmp_path / "in" / "fine.png")
    assert work.uploaded(found, str(tmp_path / "in")).name == "fine.png"


def test_other_lines_keep_the_strokes(shop: Workshop) -> None:
    photo = Image.effect_noise((96, 64), 60).convert("RGB")
    easel = work.new_easel(read_drawing(photo))
    draw(easel, hints=strokes())
    work.redraw(easel, work.lines_of(easel, 1.0))
    assert easel.document.hinted
    assert easel.document.size == SIZE


def test_a_document_without_lines_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "broken.ora").write_bytes(Document(a_drawing()).to_openraster()[:500])
    with pytest.raises(InvalidInput, match="OpenRaster"):
        colour.read(tmp_path / "broken.ora")
