"""Films of painting: kept when asked for, bound to their picture, and never in the way."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pipelines.book import Book, Page, encode_png
from pipelines.camera import Camera
from pipelines.errors import InvalidInput
from pipelines.film import Reel, write_painting
from pipelines.picture_request import PictureRequest
from pipelines.presets import PictureConfig
from storage.memory import MemoryLibrary
from tests import tiny
from tests.ui.stand_in import QuickPainter
from ui import film, moving
from ui.desk import Desk
from ui.film import PaintingFilms
from ui.jobs import Job
from ui.pictures import paint_pages
from ui.rules import Rules
from ui.workshop import Workshop

CONFIG = PictureConfig(steps=4, width=128, height=128, seed=1, preview_every=1)
BOOK = Book("Pip", (Page("A fox slept.", "fox @forest day"), Page("An owl flew.", "owl @sky")))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(QuickPainter, "pause", 0.0)
    return tmp_path


def workshop(painter: Any, **more: Any) -> Workshop:
    return Workshop(lambda: painter, lambda: painter, MemoryLibrary(), **more)


def a_job(kind: str = "paint") -> Job:
    return Job(kind, lambda job: iter(()))


def frames_of(path: Path) -> tuple[list[Image.Image], dict[str, str]]:
    import av

    with av.open(str(path), "r") as container:
        return [f.to_image() for f in container.decode(video=0)], dict(container.metadata)


def painted(desk: Desk, shop: Workshop) -> Book:
    with PaintingFilms(desk) as films:
        *_, last = paint_pages(shop, a_job(), BOOK, CONFIG, (0, 1), films)
    return last.book


def test_every_page_has_its_film_when_films_are_kept() -> None:
    shop, desk = workshop(QuickPainter()), Desk("ada", "tab", keeps_films=True)
    book = painted(desk, shop)
    shown = film.of_pages(desk, book)
    assert list(shown) == [0, 1]
    assert "How it was painted: page 2" in shown[1]
    path = desk.films[film.key_of(book.pages[1])]
    assert path.name == "page-02-painting.mp4"
    frames, tags = frames_of(path)
    assert frames[0].size == book.pages[1].image().size
    assert len(frames) > CONFIG.steps + 1  # the last one stays for a while
    assert tags["title"] == "An owl flew."
    assert json.loads(tags["description"])["seed"] == CONFIG.seed + 1  # type: ignore[operator]
    # A page with another picture has no film, wherever it stands.
    assert film.of_pages(desk, replace(book, pages=book.pages[::-1])).keys() == {0, 1}
    png = encode_png(Image.new("RGB", (16, 16), "red"))
    other = book.with_page(0, replace(book.pages[0], picture=png))
    assert list(film.of_pages(desk, other)) == [1]
    path.unlink()
    assert list(film.of_pages(desk, book)) == [0]


def test_no_film_is_kept_unasked() -> None:
    desk = Desk("ada", "tab")
    book = painted(desk, workshop(QuickPainter()))
    assert desk.films == {}
    assert film.of_pages(desk, book) == {}


def test_a_full_disk_costs_the_film_and_not_the_page(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Reel, "add", full)
    desk = Desk("ada", "tab", keeps_films=True)
    book = painted(desk, workshop(QuickPainter()))
    assert all(p.picture for p in book.pages)
    assert desk.films == {}
    assert len(caplog.records) == 2  # one for each page, not for each frame


def grey(shade: int, side: int = 16) -> Image.Image:
    return Image.new("RGB", (side, side), (shade,) * 3)


def test_a_reel_holds_few_frames_of_many_from_the_first_on() -> None:
    reel = Reel(most=8)
    for n in range(200):
        reel.add(grey(n))
        assert len(reel) < 16
    shades = [frame.getpixel((8, 8))[0] for frame in reel.frames()]  # type: ignore[index]
    steps = {b - a for a, b in itertools.pairwise(shades)}
    assert shades[0] < 3
    assert shades[-1] > 150
    assert max(steps) - min(steps) <= 4  # evenly, but for what JPEG changes
    folder = Path(reel._folder.name)
    reel.close()
    assert not folder.exists()
    every = Reel(most=None)
    for n in range(40):
        every.add(grey(n))
    assert len(every) == 40
    every.close()


def test_a_film_of_painting_ends_with_the_finished_picture(tmp_path: Path) -> None:
    reel = Reel()
    for n in range(3):
        reel.add(grey(40 * n, 32))
    out = io.BytesIO()
    grey(250, 64).save(out, "PNG")
    write_painting(reel, Page("A fog.", picture=out.getvalue()), tmp_path / "fog.mp4")
    reel.close()
    frames, _ = frames_of(tmp_path / "fog.mp4")
    assert {f.size for f in frames} == {(64, 64)}
    shades = [f.getpixel((30, 30))[0] for f in frames]  # type: ignore[index]
    assert shades == sorted(shades)
    assert shades[0] < 10
    assert shades.count(shades[-1]) == 6  # a second and a half
    assert shades[-1] > 240


# --- moving through a picture ---------------------------------------------------------------

CAMERA = Camera(frames=4, steps=1, zoom=1.1)
STILL = Page(tiny.FOX.text, tiny.FOX.brief, encode_png(Image.new("RGB", (128, 128), "green")))


def moved(desk: Desk, shop: Workshop, camera: Camera, stop_at: int = -1) -> list[moving.Moving]:
    job, told = a_job("move"), list[moving.Moving]()
    wanted = moving.request(shop, STILL, replace(tiny.QUICK, cutouts=4), camera)
    for now in moving.move_through(shop, desk, job, STILL, wanted, camera):
        told.append(now)
        if now.frames == stop_at:
            job.stop()
    return told


@pytest.fixture(scope="module")
def painter() -> Any:
    return tiny.pipeline()


def test_a_picture_moves_and_a_stopped_film_keeps_its_frames(painter: Any) -> None:
    shop, desk = workshop(painter), Desk("ada", "tab")
    assert moving.shown(desk, STILL, None) == ""
    told = moved(desk, shop, CAMERA)
    assert [m.frames for m in told] == [0, 1, 2, 3, 4]
    assert told[-1].preview is not None
    path = desk.films[film.moving_key(STILL)]
    frames, tags = frames_of(path)
    assert len(frames) == 4
    assert frames[0].size == (512, 512)  # four times what was painted
    assert json.loads(tags["description"])["settings"]["start"] == "picture"
    assert "<video" in moving.shown(desk, STILL, None)
    assert "Moving: page 1" in film.of_pages(desk, Book("Pip", (STILL,)))[0]
    told = moved(desk, shop, CAMERA, stop_at=2)
    assert told[-1].frames == 2
    assert len(frames_of(desk.films[film.moving_key(STILL)])[0]) == 2


def test_short_memory_is_told_while_a_picture_moves(
    painter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = painter.clips[0].model.embed_images

    def small(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 2:  # with fewer it is measured what a view takes
            raise torch.OutOfMemoryError("8 GiB")
        return embed(pixels)

    monkeypatch.setattr(painter.clips[0].model, "embed_images", small)
    told = moved(Desk("ada", "tab"), workshop(painter), CAMERA)
    assert [bool(m.note) for m in told] == [False, False, True, True, True]
    assert "CLIP sees 2 cutouts" in told[-1].note


def test_one_frame_is_no_film(painter: Any) -> None:
    desk = Desk("ada", "tab")
    moved(desk, workshop(painter), CAMERA, stop_at=1)
    assert desk.films == {}


def test_a_film_that_is_painted_says_how_far_it_is() -> None:
    job = a_job("move")
    job.moment = moving.Moving(3, 12, grey(90), "About 40 s left", "Memory is short: so it is.")
    html = moving.shown(Desk("ada", "tab"), STILL, job)
    assert "Frame 3 of 12. Memory is short: so it is." in html
    assert 'aria-valuenow="25"' in html
    assert "About 40 s left" in html


@pytest.mark.parametrize(
    "change, told",
    [({"frames": 240, "steps": 3}, "717: lower the frames"), ({"prompts": "zombie"}, "zombie")],
)
def test_house_rules_hold_for_films(change: dict[str, Any], told: str) -> None:
    shop = workshop(None, rules=Rules(banned=("zombie",)))
    config = replace(CONFIG, prompts=change.pop("prompts", ""))
    with pytest.raises(InvalidInput, match=told):
        moving.request(shop, STILL, config, replace(CAMERA, **change))


def test_the_film_begins_with_the_picture_as_it_is() -> None:
    wanted = moving.request(workshop(None), STILL, CONFIG, CAMERA)
    assert isinstance(wanted, PictureRequest)
    assert (wanted.config.start, wanted.config.steps) == ("picture", 0)
    assert wanted.picture is not None
    assert wanted.picture.getpixel((0, 0)) == (0, 128, 0)
