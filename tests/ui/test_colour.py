"""A visitor's easel: strokes, masks, rounds, variations, files, and the job that follows them."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.book import Book, Page, encode_png, read_recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import read_drawing
from pipelines.colorize.lineart import STRENGTH
from pipelines.colorize.saving import coloured_png
from pipelines.colorize.settings import StablePaintConfig
from pipelines.errors import InvalidInput, ModelUnavailable
from storage.memory import MemoryLibrary
from tests.ui.colour_stand_in import (
    BARE,
    QuickPlanner,
    QuickVariations,
    quick_colourists,
    tint,
)
from ui import colour, colour_markup
from ui import colour_files as files
from ui import colour_kept as kept
from ui import colour_vary as vary
from ui import colour_work as work
from ui.colour_models import Colourists, _once, colourists
from ui.desk import Desk, Desks
from ui.easel import CRAYONS, Easel, Place, new_easel
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
    return new_easel(read_drawing(a_drawing()))


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


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


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


def test_colours_are_chosen_for_what_has_no_stroke(shop: Workshop, easel: Easel) -> None:
    draw(easel, hints=strokes(at=(70, 32)))
    easel.choice = 7
    easel.changed()
    assert near(paint(shop, easel), (12, 12), tint(7))
    assert near(easel.document.colours or a_drawing(), (70, 16), (217, 79, 61))
    assert easel.recipe is not None
    assert easel.recipe.seed == 7
    assert easel.recipe.settings["suggested"] is True
    easel.suggest = False
    easel.changed()
    assert not near(paint(shop, easel), (12, 12), tint(7))


def test_a_choice_holds_until_another_is_asked_for(
    shop: Workshop, easel: Easel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strokes change what they touch, and the planner is asked again for that alone."""
    order = list[str]()
    live = shop.colourists.live()

    def paints(*given: Any) -> Image.Image:
        order.append("paint")
        return live(*given)

    class Planner(QuickPlanner):
        def __call__(self, *given: Any, **more: Any) -> Image.Image:
            order.append("choose")
            return super().__call__(*given, **more)

        def after_strokes(self, *given: Any, **more: Any) -> Image.Image:
            order.append("again")
            return super().after_strokes(*given, **more)

    noted: Any = (lambda: paints, Planner)
    shop = replace(shop, colourists=Colourists(live=noted[0], planner=noted[1]))
    easel.choice = 3
    paint(shop, easel)
    draw(easel, hints=strokes(at=(70, 32)))
    picture = paint(shop, easel)
    assert near(picture, (70, 16), (217, 79, 61))
    assert near(picture, (2, 2), tint(3))  # the corner that the planner chose
    assert order == ["choose", "again", "paint", "again", "paint"]
    easel.choice = 4
    easel.changed()
    picture = paint(shop, easel)
    assert near(picture, (70, 16), (217, 79, 61))
    assert near(picture, (2, 2), tint(4))
    assert order[5:] == ["choose", "again", "paint"]
    draw(easel, hints=address(Image.new("RGBA", SIZE)))
    assert near(paint(shop, easel), (70, 16), tint(4))  # chosen without the stroke that is gone


def test_colours_that_are_asked_for_while_others_are_chosen_are_chosen_after_them(
    shop: Workshop, easel: Easel
) -> None:
    class Planner(QuickPlanner):
        def __call__(self, *given: Any, **more: Any) -> Image.Image:
            if easel.choice == 3:  # clicked meanwhile
                easel.choice = 4
                easel.changed()
            return super().__call__(*given, **more)

    impatient: Any = Planner
    easel.choice = 3
    shop = replace(shop, colourists=replace(shop.colourists, planner=impatient))
    assert near(paint(shop, easel), (2, 2), tint(4))
    assert easel.recipe is not None
    assert easel.recipe.seed == 4


def test_every_variation_has_colours_of_its_own(shop: Workshop, easel: Easel) -> None:
    draw(easel, hints=strokes(at=(70, 32)))
    job = Job("vary", lambda job: iter(()))
    config = StablePaintConfig(seed=3, steps=2)
    desk = a_desk(easel)
    list(vary.paint_variations(shop, desk, easel, job, config))
    given: Any = shop.colourists.variations()
    corners = [np.asarray(layer)[0, 0].tolist() for layer in given.hints]
    assert corners == [[*tint(seed), 255] for seed in (3, 4, 5, 6)]
    assert all(near(layer.convert("RGB"), (70, 32), (217, 79, 61)) for layer in given.hints)
    list(vary.paint_between(shop, desk, easel, job, (0, 2)))
    middle = np.asarray(given.hints[1])[0, 0, :3].astype(int)
    assert np.abs(2 * middle - np.add(tint(3), tint(5))).max() <= 2
    easel.suggest = False
    list(vary.paint_variations(shop, desk, easel, job, config))
    assert given.hints is easel.document.hints


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


def test_a_round_is_painted_again_as_it_was(shop: Workshop, easel: Easel) -> None:
    easel.choice = 7
    first = paint(shop, easel)
    work.keep_going(easel)
    draw(easel, mask=right_half())
    easel.choice, easel.tidy, easel.suggest = 8, False, False
    easel.changed()
    paint(shop, easel)
    work.step(easel, back=True)
    np.testing.assert_array_equal(np.asarray(paint(shop, easel)), np.asarray(first))
    assert easel.recipe is not None
    assert easel.recipe.seed == 7
    assert easel.recipe.settings == {"within_lines": True, "suggested": True}
    work.step(easel, back=False)
    assert (easel.choice, easel.tidy, easel.suggest) == (8, False, False)


def test_a_stroke_that_is_erased_in_a_round_stepped_back_to_leaves_nothing_behind(
    shop: Workshop, easel: Easel
) -> None:
    easel.choice = 7
    paint(shop, easel)
    bare = easel.document.planned
    draw(easel, hints=strokes(at=(24, 20)))
    paint(shop, easel)
    work.keep_going(easel)
    work.step(easel, back=True)
    draw(easel, hints="")
    paint(shop, easel)
    assert easel.document.planned == bare
    draw(easel, hints=strokes(at=(24, 20)))
    paint(shop, easel)
    draw(easel, hints="")  # not coloured yet when the lines change
    work.redraw(easel, work.swapped(easel))
    work.step(easel, back=True)
    paint(shop, easel)
    assert easel.document.planned == bare


def test_strokes_for_another_drawing_or_round_are_left_alone(shop: Workshop, easel: Easel) -> None:
    assert not work.take_strokes(easel, {"name": "other", "round": 0, "hints": strokes()})
    assert not work.take_strokes(easel, {"name": easel.name, "round": 7, "hints": strokes()})
    assert easel.document.hints is None


def test_strokes_that_were_overtaken_by_newer_ones_are_left_alone(easel: Easel) -> None:
    def arrives(number: int, page: str, **layers: str) -> bool:
        message = {"name": easel.name, "round": easel.round, "page": page, "number": number}
        return work.take_strokes(easel, {**message, **layers})

    assert arrives(2, "one", hints=strokes(), mask=right_half())
    newest = easel.document
    assert not arrives(1, "one", hints="")
    assert easel.document is newest
    assert json.loads(colour.describe(easel))["heard"] == ["one", 2]
    assert arrives(3, "one", mask="")
    assert easel.document.hinted
    assert arrives(1, "loaded anew", hints="")  # which counts from one again
    assert not easel.document.hinted


def test_a_stroke_that_is_drawn_while_other_lines_are_on_their_way_is_kept(
    shop: Workshop, easel: Easel
) -> None:
    drawn_on = easel.round
    work.redraw(easel, work.swapped(easel), 0.4)
    assert work.take_strokes(easel, {"name": easel.name, "round": drawn_on, "hints": strokes()})
    live: Any = shop.colourists.live()

    def slow(*given: Any) -> Image.Image:  # what was begun with these lines is not taken for
        if easel.strength == 0.4:  # a picture of those that come meanwhile
            work.redraw(easel, work.swapped(easel), 0.6)
            old.append(easel.document)
        return live(*given)

    old = list[Document]()
    slowly: Any = lambda: slow  # noqa: E731
    paint(replace(shop, colourists=replace(shop.colourists, live=slowly)), easel)
    assert live.calls == 2
    assert old[0].colours is None
    assert easel.document.hinted


def test_two_tabs_with_one_drawing_do_not_draw_over_each_other(easel: Easel) -> None:
    def arrives(page: str, number: int, over: object, **layers: str) -> bool:
        about = {"name": easel.name, "round": easel.round, "page": page, "number": number}
        return work.take_strokes(easel, {**about, "over": over, **layers})

    assert arrives("one", 1, ["", 0], hints=strokes())
    assert arrives("two", 1, ["one", 1], hints=strokes("#3d6fb6", (70, 32)))
    theirs = easel.document
    assert not arrives("one", 2, ["one", 1], hints="")  # it has not seen the other's stroke
    assert easel.document is theirs
    assert arrives("one", 3, ["two", 1], hints="")
    assert arrives("one", 4, ["two", 1], hints=strokes())  # nothing was drawn elsewhere since


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
    moments = list(vary.paint_variations(shop, a_desk(easel), easel, job, config))
    assert moments[-1].step == 4
    assert len(moments[-1].urls) == 4
    assert easel.candidates.seeds == (5, 6, 7, 8)
    kept = np.asarray(easel.candidates.pictures[1])
    with pytest.raises(InvalidInput, match="gone"):
        vary.keep_candidate(easel, 4)
    vary.keep_candidate(easel, 1)
    np.testing.assert_array_equal(np.asarray(easel.document.picture), kept)
    assert easel.coloured  # it can go onto a page
    recipe = read_recipe(coloured_png(easel.document, easel.recipe))
    assert recipe is not None
    assert recipe.seed == 6
    assert recipe.models == {"colour": "stablepaint quick"}


def test_stopped_variations_leave_those_of_before(shop: Workshop, easel: Easel) -> None:
    job = Job("vary", lambda job: iter(()))
    events = vary.paint_variations(shop, a_desk(easel), easel, job, StablePaintConfig())
    next(events)
    job.stop()
    assert len(list(events)) == 1
    assert easel.candidates.pictures == ()


def test_files_are_made_and_layers_come_back(shop: Workshop, easel: Easel, tmp_path: Path) -> None:
    draw(easel, hints=strokes())
    picture = paint(shop, easel)
    files.save_files(easel)
    assert [name for _, name, _ in easel.saved] == ["coloured.png", "hints.png", "coloured.ora"]
    assert "coloured.ora" in colour_markup.saved(easel)
    (tmp_path / "again.ora").write_bytes(easel.document.to_openraster())
    again = files.read(tmp_path / "again.ora")
    assert again.document.hinted
    np.testing.assert_array_equal(np.asarray(again.document.picture), np.asarray(picture))


@pytest.mark.parametrize("kind", ["png", "ora"])
def test_a_saved_choice_of_colours_goes_on(
    shop: Workshop, easel: Easel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A planner asked anew would choose around all strokes at once, and otherwise."""
    easel.choice = 7
    paint(shop, easel)
    draw(easel, hints=strokes(at=(70, 32)))
    paint(shop, easel)
    files.save_files(easel)
    path = tmp_path / f"again.{kind}"
    recipe = easel.recipe
    assert recipe is not None
    if kind == "png":
        path.write_bytes(coloured_png(easel.document, recipe))
    else:
        path.write_bytes(easel.document.to_openraster(recipe.to_json()))
    again = files.read(path)
    monkeypatch.setattr(QuickPlanner, "__call__", lambda *given, **more: pytest.fail("chosen anew"))
    assert (again.choice, again.suggest, again.tidy) == (7, True, True)
    if kind == "ora":  # which another program may have drawn on
        np.testing.assert_array_equal(
            np.asarray(paint(shop, again)), np.asarray(easel.document.picture)
        )
    both = Image.alpha_composite(
        Image.open(io.BytesIO(base64.b64decode(strokes(at=(70, 32)).partition(",")[2]))),
        Image.open(io.BytesIO(base64.b64decode(strokes("#3d6fb6").partition(",")[2]))),
    )
    for one in (easel, again):
        draw(one, hints=address(both))
        paint(shop, one)
    np.testing.assert_array_equal(
        np.asarray(again.document.picture), np.asarray(easel.document.picture)
    )


@pytest.mark.parametrize("kind", ["png", "ora"])
def test_a_saved_mask_that_is_erased_gives_way_to_the_strokes_as_it_did(
    shop: Workshop, easel: Easel, tmp_path: Path, kind: str
) -> None:
    def again() -> Easel:
        paint(shop, easel)
        recipe = easel.recipe
        assert recipe is not None
        data = easel.document.to_openraster(recipe.to_json())
        path = tmp_path / f"again.{kind}"
        path.write_bytes(coloured_png(easel.document, recipe) if kind == "png" else data)
        return files.read(path)

    draw(easel, hints=strokes())
    paint(shop, easel)
    draw(easel, mask=right_half())
    begun = again()
    draw(begun, mask="")
    assert not begun.waits_for_mask
    assert near(paint(shop, begun), (70, 20), (217, 79, 61))
    draw(easel, mask="")
    paint(shop, easel)
    work.keep_going(easel)  # now it stands, with a mask and without one
    draw(easel, mask=right_half())
    kept = again()
    draw(kept, mask="")
    assert kept.waits_for_mask


def a_recipe(seed: str) -> str:
    return f'{{"prompt": "", "seed": {seed}, "models": {{}}, "settings": {{}}}}'


ODD_NOTES = ["", "[]", "{}", "[" * 50_000, *map(a_recipe, ("1e400", "-5", "1" + "0" * 30))]


@pytest.mark.parametrize("note", ODD_NOTES, ids=range(len(ODD_NOTES)))
def test_any_note_in_a_document_is_borne(
    shop: Workshop, easel: Easel, tmp_path: Path, note: str
) -> None:
    whole = easel.document.to_openraster()
    path = tmp_path / "odd.ora"
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name != "storybrush.json":
                new.writestr(name, old.read(name))
        new.writestr("storybrush.json", note)
    again = files.read(path)
    assert again.choice == 0
    paint(shop, again)


def test_strokes_of_another_program_are_new_to_a_choice(
    shop: Workshop, easel: Easel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    easel.choice = 7
    assert near(paint(shop, easel), (12, 12), tint(7))
    elsewhere = easel.document.with_strokes(work.read_layer(strokes(at=(24, 40)), SIZE), None)
    path = tmp_path / "elsewhere.ora"
    path.write_bytes(elsewhere.to_openraster(easel.recipe and easel.recipe.to_json()))
    again = files.read(path)
    monkeypatch.setattr(QuickPlanner, "__call__", lambda *given, **more: pytest.fail("chosen anew"))
    picture = np.asarray(paint(shop, again))
    draw(easel, hints=strokes(at=(24, 40)))
    np.testing.assert_array_equal(picture, np.asarray(paint(shop, easel)))


def test_what_is_not_coloured_yet_is_neither_kept_nor_saved_nor_put_on_a_page(
    shop: Workshop, easel: Easel
) -> None:
    book = Book("Pip", (Page("A fox slept."),), owner="ada")
    shop.library.save(book)
    easel.place, desk = Place.of(book, 0), a_desk(easel)
    with pytest.raises(InvalidInput, match="no picture yet"):
        files.put_on_page(shop, desk, easel)
    files.save_files(easel)  # lines and strokes
    paint(shop, easel)
    draw(easel, hints=strokes())
    assert easel.saved == ()
    for leave in (
        lambda: work.keep_going(easel),
        lambda: files.save_files(easel),
        lambda: files.put_on_page(shop, desk, easel),
    ):
        with pytest.raises(InvalidInput, match="not coloured yet"):
            leave()
    paint(shop, easel)
    files.save_files(easel)
    stopped = desk.begin(shop.jobs, "make", lambda job: iter(lambda: job.stopped, True))
    with pytest.raises(InvalidInput, match="One thing at a time"):  # its pages come later
        files.put_on_page(shop, desk, easel)
    stopped.stop()
    until(lambda: stopped.done)
    files.put_on_page(shop, desk, easel)
    work.keep_going(easel)
    files.put_on_page(shop, desk, easel)
    files.save_files(easel)


@pytest.mark.parametrize(
    "title, name",
    [
        ("My fox (2)", "My-fox-2-"),
        ("../../x", "x-"),
        ("🦊", ""),
        ("", ""),
        ("a" * 400, "a" * 50 + "-"),
    ],
)
def test_files_are_called_after_the_drawing(
    shop: Workshop, easel: Easel, title: str, name: str
) -> None:
    easel.title = title
    files.save_files(easel)
    ends = ("coloured.png", "hints.png", "coloured.ora")
    assert [n for _, n, _ in easel.saved] == [name + end for end in ends]


def test_a_drawing_is_called_as_its_file_or_its_book_and_page(easel: Easel, tmp_path: Path) -> None:
    for name, title in (("fox.png", "fox"), ("fox-coloured.png", "fox"), ("coloured.png", "")):
        (tmp_path / name).write_bytes(encode_png(a_drawing().convert("RGB")))
        assert files.read(tmp_path / name).title == title
    book = Book("Pip", (Page("A fox slept.", picture=encode_png(Image.new("RGB", SIZE))),))
    assert colour.page_of(book, 0, a_desk(easel)).title == "Pip-1"


def test_a_page_gets_its_picture_and_only_in_one_s_own_book(shop: Workshop, easel: Easel) -> None:
    png = encode_png(Image.new("RGB", SIZE))
    mine = Book("Pip", (Page("A fox slept.", picture=png),), owner="ada")
    theirs = Book("Theirs", mine.pages, owner="bob")
    for book in (mine, theirs):
        shop.library.save(book)
    picture = paint(shop, easel)
    easel.place = Place.of(mine, 0)
    files.put_on_page(shop, a_desk(easel), easel)
    kept = shop.library.get(mine.id).pages[0]
    np.testing.assert_array_equal(np.asarray(kept.image()), np.asarray(picture))
    assert kept.text == "A fox slept."
    for place in (None, Place.of(theirs, 0), replace(Place.of(mine, 0), text="Another.")):
        easel.place = place
        with pytest.raises(InvalidInput):
            files.put_on_page(shop, a_desk(easel), easel)
    assert shop.library.get(theirs.id).pages[0].picture == png


def test_a_page_that_has_moved_gets_its_picture_where_it_is_now(
    shop: Workshop, easel: Easel
) -> None:
    png = encode_png(Image.new("RGB", SIZE))
    fox, owl, spring = (Page(text, picture=png) for text in ("A fox.", "An owl.", "Spring."))
    book = Book("Pip", (fox, owl), owner="ada")
    paint(shop, easel)
    easel.place = Place.of(book, 0)
    shop.library.save(replace(book, pages=(spring, owl, fox)))
    pages = files.put_on_page(shop, a_desk(easel), easel).pages
    assert [page.picture == png for page in pages] == [True, True, False]
    for left, what in (((spring, owl), "gone"), ((spring, fox, fox), "others tell the same")):
        shop.library.save(replace(book, pages=left))
        with pytest.raises(InvalidInput, match=what):
            files.put_on_page(shop, a_desk(easel), easel)


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "", None, "a\0b", "gone.png"])
def test_only_handed_in_files_are_read(tmp_path: Path, path: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("not yours")
    with pytest.raises(InvalidInput, match="arrive"):
        files.uploaded(path, str(tmp_path / "in"))
    (tmp_path / "in" / "fine.png").write_text("")
    found = str(tmp_path / "in" / "fine.png")
    assert files.uploaded(found, str(tmp_path / "in")).name == "fine.png"


def test_other_lines_keep_the_strokes(shop: Workshop) -> None:
    photo = Image.effect_noise((96, 64), 60).convert("RGB")
    easel = new_easel(read_drawing(photo))
    draw(easel, hints=strokes())
    work.redraw(easel, work.lines_of(easel, 1.0))
    assert easel.document.hinted
    assert easel.document.size == SIZE


def test_one_can_step_back_to_the_lines_before_and_what_was_coloured_in_them(
    shop: Workshop, easel: Easel
) -> None:
    draw(easel, hints=strokes())
    paint(shop, easel)
    draw(easel, mask=right_half())
    lines, document = easel.urls["lines"], easel.document
    work.redraw(easel, work.swapped(easel), 0.4)
    assert easel.document.mask is None
    assert easel.document.kept is None
    assert easel.urls["lines"] != lines
    assert easel.strength == 0.4
    work.redraw(easel, work.swapped(easel), 0.6)  # nothing else was done: no step more
    assert len(easel.past) == 1
    paint(shop, easel)
    work.step(easel, back=True)
    assert easel.document is document
    assert (easel.urls["lines"], easel.strength) == (lines, STRENGTH)
    assert easel.regions is None
    paint(shop, easel)
    draw(easel, mask="")  # all of it follows the strokes again, as it did then
    assert easel.document.kept is None
    work.step(easel, back=False)
    assert easel.strength == 0.6


def test_what_stood_before_an_early_mask_is_painted_first(shop: Workshop, easel: Easel) -> None:
    draw(easel, hints=strokes())
    draw(easel, mask=right_half())
    draw(easel, hints=strokes("#3d6fb6", (70, 32)))
    assert easel.stale
    after = paint(shop, easel)
    assert near(after, (24, 16), (217, 79, 61))
    assert near(after, (70, 20), (61, 111, 182))
    assert easel.document.kept is not None
    assert near(easel.document.kept, (70, 20), (217, 79, 61))  # without the stroke in the mask
    draw(easel, mask="", hints=strokes())
    assert easel.document.kept is None
    draw(easel, mask=right_half())
    draw(easel, mask="")
    assert easel.unpainted is None


def test_a_picture_of_the_round_before_is_not_taken_for_one_of_this(
    shop: Workshop, easel: Easel
) -> None:
    """It was begun before a variation was kept."""
    varied(shop, easel)
    draw(easel, hints=strokes())
    live: Any = shop.colourists.live()

    def slow(*given: Any) -> Image.Image:
        vary.keep_candidate(easel, 1)
        return live(*given)

    slowly: Any = lambda: slow  # noqa: E731
    paint(replace(shop, colourists=replace(shop.colourists, live=slowly)), easel)
    assert easel.recipe is not None
    assert easel.recipe.models == {"colour": "stablepaint quick"}
    assert easel.document.planned is None
    assert easel.document.picture.getpixel((0, 0)) == tint(6)


def test_a_document_without_lines_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "broken.ora").write_bytes(Document(a_drawing()).to_openraster()[:500])
    with pytest.raises(InvalidInput, match="OpenRaster"):
        files.read(tmp_path / "broken.ora")


# --- from one variation to another ------------------------------------------------------------


def varied(shop: Workshop, easel: Easel) -> Easel:
    paint(shop, easel)
    job = Job("vary", lambda job: iter(()))
    config = StablePaintConfig(seed=5, steps=2)
    list(vary.paint_variations(shop, a_desk(easel), easel, job, config))
    return easel


def test_two_variations_are_mixed_and_a_mix_is_kept(shop: Workshop, easel: Easel) -> None:
    varied(shop, easel)
    assert "Mix with this" not in colour_markup.candidates(easel.candidates, easel.end)
    assert vary.pick_end(easel, 2) is None
    assert colour_markup.candidates(easel.candidates, easel.end).count(">Mix with this<") == 3
    assert vary.pick_end(easel, 2) is None  # let go again
    assert easel.end is None
    vary.pick_end(easel, 2)
    ends = vary.pick_end(easel, 0)
    assert ends is not None
    assert ends == (2, 0)
    job = Job("vary", lambda job: iter(()))
    moments = list(vary.paint_between(shop, a_desk(easel), easel, job, ends))
    assert all(m.between for m in moments)
    assert len(moments[-1].urls) == vary.STOPS - 2
    assert easel.mixed is not None
    assert len(easel.mixed.pictures) == vary.STOPS
    assert easel.mixed.pictures[0] is easel.candidates.pictures[2]
    html = colour_markup.mixed(easel.mixed)
    assert "50% of the way from variation 3 to variation 1" in html
    middle = np.asarray(easel.mixed.pictures[2])
    vary.keep_mixed(easel, 2)
    np.testing.assert_array_equal(np.asarray(easel.document.picture), middle)
    assert easel.recipe is not None
    assert easel.recipe.settings["between"] == [7, 5]
    assert easel.recipe.settings["share"] == 0.5
    for keep in (vary.keep_mixed, vary.pick_end):  # they belonged to the round before
        with pytest.raises(InvalidInput, match="gone"):
            keep(easel, 0)


def test_variations_at_full_size_know_no_way_between(shop: Workshop, easel: Easel) -> None:
    painter: Any = QuickVariations()
    shop = replace(shop, colourists=replace(shop.colourists, full=lambda: painter))
    paint(shop, easel)
    job = Job("vary", lambda job: iter(()))
    config = StablePaintConfig(seed=5, steps=2)
    list(vary.paint_variations(shop, a_desk(easel), easel, job, config, "a fox"))
    assert painter.asked["prompt"] == "a fox"
    assert "data-mix" not in colour_markup.candidates(easel.candidates, None)
    with pytest.raises(InvalidInput, match="gone"):
        vary.pick_end(easel, 0)
    assert easel.tidy
    assert easel.candidates.pictures[0].getpixel((30, 30)) == tint(5)
    vary.keep_candidate(easel, 0)
    assert easel.recipe is not None
    assert easel.recipe.models == {"colour": "controlnet quick"}
    assert easel.recipe.prompt == "a fox"
    assert easel.recipe.settings["within_lines"] is False
    assert b"Stable Diffusion" in coloured_png(easel.document, easel.recipe)


def test_full_size_models_are_named(tmp_path: Path) -> None:
    assert colourists().full is None
    assert colourists("public").full is not None
    assert colourists("some/sd,some/lineart").full is not None
    (tmp_path / "controlnet").mkdir()
    assert colourists(str(tmp_path)).full is not None
    for odd in ("nowhere", "one,", ",two"):
        with pytest.raises(InvalidInput, match="BASE,CONTROLNET"):
            colourists(odd)


# --- strokes come back ---------------------------------------------------------------------------


def test_a_page_brings_its_strokes_back(shop: Workshop, easel: Easel) -> None:
    book = Book("Pip", (Page("A fox slept.", picture=encode_png(Image.new("RGB", SIZE))),),
                owner="ada")  # fmt: skip
    shop.library.save(book)
    easel.choice = 5
    draw(easel, hints=strokes())
    paint(shop, easel)
    draw(easel, mask=right_half(), hints=strokes("#3d6fb6", (70, 32)))
    picture = paint(shop, easel)
    easel.place = Place.of(book, 0)
    page = files.put_on_page(shop, a_desk(easel), easel).pages[0]
    again = colour.page_of(shop.library.get(book.id), 0, a_desk(easel))
    assert again.place == Place.of(book, 0)
    assert again.painted == again.revision  # the picture stands until something is drawn
    assert again.document == easel.document or same_layers(again.document, easel.document)
    np.testing.assert_array_equal(np.asarray(again.document.picture), np.asarray(picture))
    assert again.recipe == page.recipe
    assert (again.choice, again.suggest) == (5, True)  # drawn on, it keeps its colours
    stranger = colour.page_of(shop.library.get(book.id), 0, Desk("bob", "tab"))
    assert stranger.place is None
    with pytest.raises(InvalidInput, match="gone"):
        colour.page_of(book, 1, a_desk(easel))


def same_layers(a: Document, b: Document) -> bool:
    pairs = ((a.lineart, b.lineart), (a.hints, b.hints), (a.mask, b.mask))
    return all(np.array_equal(np.asarray(one), np.asarray(two)) for one, two in pairs)


def test_a_saved_picture_that_is_handed_in_again_has_its_strokes(
    shop: Workshop, easel: Easel, tmp_path: Path
) -> None:
    draw(easel, hints=strokes())
    paint(shop, easel)
    (tmp_path / "coloured.png").write_bytes(coloured_png(easel.document, easel.recipe))
    again = files.read(tmp_path / "coloured.png")
    assert same_layers(again.document, easel.document)
    assert work.own_lines(again) == easel.document.lineart  # not what the picture looks like
    assert len(again.table) > len(CRAYONS)  # the picture's own colours


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8)])
def test_saved_work_too_small_to_colour_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    document = Document(Image.new("L", size, 255), colours=Image.new("RGB", size))
    for name, data in (
        ("a.ora", document.to_openraster()),
        ("a.png", coloured_png(document, None)),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidInput, match="at least 16"):
            files.read(tmp_path / name)


def test_strokes_behind_a_kept_variation_are_saved(
    shop: Workshop, easel: Easel, tmp_path: Path
) -> None:
    draw(easel, hints=strokes())
    varied(shop, easel)
    draw(easel, hints=strokes("#3d6fb6", (70, 32)))  # it was made without this one
    vary.keep_candidate(easel, 0)
    (tmp_path / "kept.png").write_bytes(coloured_png(easel.document, easel.recipe))
    drawn = files.read(tmp_path / "kept.png").document.hint_picture()
    assert drawn.getpixel((24, 32)) == (217, 79, 61, 255)
    assert drawn.getpixel((70, 32)) == (0, 0, 0, 0)


def test_a_large_document_is_scaled_down_and_says_so(
    easel: Easel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.ora").write_bytes(easel.document.to_openraster())
    monkeypatch.setattr("pipelines.colorize.document.WORKING_MEGAPIXELS", 0.001536)
    again = files.read(tmp_path / "large.ora")
    assert again.document.size == (48, 32)
    assert again.drawing.notes == ("Scaled from 96 × 64 to 48 × 32 pixels.",)


# --- one visitor's desk ---------------------------------------------------------------------


def test_what_was_drawn_during_other_work_is_coloured_after_it(
    shop: Workshop, easel: Easel
) -> None:
    desk, ended = a_desk(easel), threading.Event()
    desk.sessions.add("page")
    book = desk.begin(shop.jobs, "make", lambda job: iter(ended.is_set, True))
    draw(easel, hints=strokes())
    colour.follow(shop, desk, patience=0.02)
    assert colour_markup.status_line(easel, desk.job, 0)[0] == colour_markup.KEPT
    assert not colour.resume_live(shop, desk)
    ended.set()
    until(lambda: book.done)
    assert colour.resume_live(shop, desk)
    until(lambda: desk.job is None)
    assert near(easel.document.colours or a_drawing(), (24, 16), (217, 79, 61))
    assert not colour.resume_live(shop, desk)  # nothing is left to do


def test_what_cannot_be_coloured_is_tried_once(shop: Workshop, easel: Easel) -> None:
    def broken() -> Any:
        raise ModelUnavailable("Its file is missing.")

    desk = a_desk(easel)
    shop = replace(shop, colourists=replace(shop.colourists, live=broken))
    colour.follow(shop, desk)
    until(lambda: desk.job is None)
    desk.sessions.add("page")
    assert desk.bad_news() is not None
    assert not colour.resume_live(shop, desk)


def test_a_stroke_after_a_job_that_never_began_is_coloured(shop: Workshop, easel: Easel) -> None:
    """Its visitor was gone when its turn came."""
    desk = a_desk(easel)
    shop = replace(shop, desks=Desks(grace=-1))
    colour.follow(shop, desk)
    until(lambda: desk.job is None)
    desk.sessions.add("page")
    assert easel.document.colours is None
    colour.follow(shop, desk)
    until(lambda: desk.job is None)
    assert easel.document.colours is not None


def test_one_can_go_back_to_the_drawing_before(shop: Workshop, easel: Easel) -> None:
    desk, other = a_desk(easel), new_easel(read_drawing(a_drawing()))
    colour.put_up(shop, desk, other)
    assert desk.easel is other
    colour.replace_easel(desk, None)  # an empty table
    assert desk.easel_before is other
    colour.put_up(shop, desk, other)
    assert desk.easel_before is None
    colour.put_up(shop, desk, easel)
    colour.put_up(shop, desk, other)
    assert desk.easel_before is easel


# --- what is offered and said -----------------------------------------------------------------


def test_what_was_read_in_the_wrong_way_can_be_put_right() -> None:
    white = Image.fromarray(255 - np.asarray(a_drawing()))
    round_one, down = (
        g.resize(SIZE) for g in (Image.radial_gradient("L"), Image.linear_gradient("L"))
    )
    photo = Image.merge("RGB", (round_one, Image.new("L", SIZE, 90), down))
    assert colour_markup.offers(new_easel(read_drawing(a_drawing()))) == ()
    assert colour_markup.offers(new_easel(read_drawing(white))) == ("swap", "extract")
    assert colour_markup.offers(new_easel(read_drawing(photo))) == ("own",)
    empty = new_easel(read_drawing(Image.new("L", SIZE, 240)))
    assert colour_markup.offers(empty) == ("extract",)
    assert 'data-offer="extract"' in colour_markup.notes(empty)


def test_lines_are_swapped_or_taken_as_they_are() -> None:
    photo = Image.effect_noise((96, 64), 60).convert("RGB")
    easel = new_easel(read_drawing(photo))
    before = np.asarray(easel.document.lineart)
    np.testing.assert_array_equal(np.asarray(work.swapped(easel)), 255 - before)
    drawn = work.own_lines(new_easel(read_drawing(a_drawing())))
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(a_drawing())).mean() < 10


def test_masks_of_a_part_of_nothing_and_of_everything_are_told_apart(
    shop: Workshop, easel: Easel
) -> None:
    def said() -> str:
        paint(shop, easel)
        return colour_markup.status_line(easel, None, 0)[0]

    assert "Draw a stroke" in said()
    draw(easel, mask=right_half())
    assert "Only the masked part" in said()
    draw(easel, mask=address(Image.new("RGBA", SIZE, (228, 86, 42, 255))))
    assert "Everything is masked" in said()
    draw(easel, mask=address(Image.new("RGBA", SIZE)), hints=strokes())
    assert "Coloured." in said()


def test_what_the_first_drawing_needs_is_loaded_meanwhile() -> None:
    loaded = threading.Event()

    def planner() -> Any:
        loaded.set()

    Colourists(live=lambda: None, planner=planner).warm()  # type: ignore[arg-type,return-value]
    assert loaded.wait(10)

    def broken() -> Any:
        loaded.set()
        raise ModelUnavailable("Its file is missing.")

    loaded.clear()
    Colourists(live=broken, planner=planner).warm()
    assert loaded.wait(10)  # and nothing is raised, in whatever thread


def test_a_model_is_loaded_once_whoever_asks() -> None:
    loads: list[int] = []

    @_once
    def load() -> object:
        loads.append(1)
        time.sleep(0.05)
        return object()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load(), range(8)))
    assert loads == [1]
    assert len(set(found)) == 1


def put_together(easel: Easel, folder: Path, about: Any) -> Easel:
    """What a browser hands in that has kept this drawing."""
    found = {name: url for name, url in easel.urls.items() if url}
    paths = {name: unquote(url.split("file=")[1]) for name, url in found.items()}
    sent = {"layers": paths, "about": json.loads(json.dumps(about))}
    return kept.put_together(sent, str(folder))


def test_a_drawing_that_a_browser_has_kept_goes_on(
    shop: Workshop, easel: Easel, tmp_path: Path
) -> None:
    book = Book("Pip", (Page("A fox.", "fox @lake"),), owner="ada")
    easel.place, easel.title, easel.tidy, easel.strength = Place.of(book, 0), "fox", False, 0.4
    draw(easel, hints=strokes())
    paint(shop, easel)
    draw(easel, mask=right_half(), hints=strokes(at=(70, 32)))
    picture = paint(shop, easel)
    easel.choice = 7
    again = put_together(easel, tmp_path, kept.about(easel))
    assert kept.about(again) == kept.about(easel)
    assert same_layers(again.document, easel.document)
    assert again.drawing.kind == easel.drawing.kind
    assert again.behind  # the last strokes may not have been coloured
    again.choice = 0
    painted = paint(shop, again)
    assert np.abs(np.asarray(painted).astype(int) - np.asarray(picture)).mean() < 3
    again.frozen = easel.frozen
    draw(again, mask="")  # what stood before the mask is painted again
    assert again.document.kept is None


def test_what_a_browser_makes_up_is_no_drawing(
    shop: Workshop, easel: Easel, tmp_path: Path
) -> None:
    draw(easel, hints=strokes())
    odd: dict[str, Any] = {
        "title": 5, "kind": "cat", "place": {"book": "../x", "index": "0"}, "recipe": [],
        "frozen": "yes", "strength": float("nan"), "tidy": 3, "suggest": None, "choice": -1,
    }  # fmt: skip
    for about in (odd, [], None):
        again = put_together(easel, tmp_path, about)
        assert (again.place, again.recipe, again.choice, again.frozen) == (None, None, 0, False)
        assert again.strength == STRENGTH
    lines = unquote(easel.urls["lines"].split("file=")[1])
    Image.new("RGBA", (20, 20)).save(tmp_path / "small.png")
    for layers in (
        None, {}, {"hints": lines}, {"lines": "/etc/passwd"}, {"lines": [lines]},
        {"lines": lines, "hints": str(tmp_path / "small.png")},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            kept.put_together({"layers": layers}, str(tmp_path))
