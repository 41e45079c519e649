"""`python -m pipelines` without a story: prompts, files of prompts, recipes, moving pictures."""

from __future__ import annotations

import re
import sys
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

import pipelines.__main__ as command
from pipelines import film
from pipelines.book import Book, Recipe, read_recipe
from pipelines.camera import Camera
from pipelines.errors import InvalidInput, OutOfMemory
from pipelines.events import PictureProgress, Sentence
from pipelines.picture_command import check_models, open_picture
from pipelines.picture_options import picture_config
from pipelines.picture_request import PictureRequest
from pipelines.picture_request import fingerprint as fingerprint_of
from pipelines.presets import (
    FULL_PICTURE,
    PRESETS,
    PictureConfig,
    Preset,
    picture_defaults,
)
from pipelines.video import write_video
from pipelines.vqgan_clip import VQGANCLIPPipeline, guidance
from pipelines.vqgan_clip.animation import move
from pipelines.vqgan_clip.models import fingerprint
from pipelines.vqgan_clip.pixels import to_pixels
from tests import tiny
from tests.pipelines.test_command_line import read

Run = Callable[..., int]
QUICK = "--start noise --steps 2 --cutouts 2 --size 128 --preset tiny".split()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models"))


@pytest.fixture
def run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process, in an empty folder."""
    monkeypatch.setitem(PRESETS, "tiny", Preset("tiny", "Tiny", "nowhere", str(models)))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["pipelines", *arguments])
        return command.main()

    return run


def picture(path: Path, colour: str = "red") -> Path:
    Image.new("RGB", (150, 130), colour).save(path)
    return path


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image).astype(int)


def test_every_setting_has_an_option() -> None:
    """What is not given are the defaults of the models; what is given stands above them."""
    parse = command.parser().parse_args
    assert picture_config(parse(["a fox"])) == PictureConfig()
    assert picture_config(parse(["a fox", "--preset", "full"])) == FULL_PICTURE
    assert picture_config(parse(["a fox", "--vqgan", "some.ckpt"])) == FULL_PICTURE
    for preset in ("embedded", "full"):  # the VQGAN decides, whatever CLIP guides it
        assert picture_defaults(preset, "embedded") == PictureConfig()
    given = (
        "--style pencil --prefix old --suffix softly --size 144 --height 160 --no-enlarge "
        "--start sketch --candidates 3 --guidance 2 --steps 9 --step-size 0.2 --optimiser radam "
        "--schedule cosine --cutouts 5 --cutout-method pooled --cutout-min 0.2 --cutout-power 2 "
        "--augment flip,erase --init-weight 3 --init-weight-end 0.5 --smoothness 0.1 "
        "--palette red,navy --palette-weight 2 --symmetry 4 --patience 7 --small-first 0.4 "
        "--code-temperature 0.6 --surprise 5 --preview-every 2 --prompt a:2|b:-1 "
        "--noise-prompt 7:0.1 --scenery 4 --preset full --seed 3"
    ).split()  # fmt: skip
    assert picture_config(parse(given)) == PictureConfig(
        style="pencil", prefix="old", suffix="softly", width=144, height=160, enlarge=False,
        start="sketch", candidates=3, guidance=2.0, steps=9, step_size=0.2, optimiser="radam",
        schedule="cosine", cutouts=5, cutout_method="pooled", cutout_min=0.2, cutout_power=2.0,
        augment=("flip", "erase"), pull=3.0, pull_end=0.5, smoothness=0.1, palette="red,navy",
        palette_weight=2.0, symmetry=4.0, patience=7, small_first=0.4, preview_every=2,
        code_temperature=0.6, surprise=5.0,
        prompts="a:2|b:-1", noise_prompts="7:0.1", seed=3, scenery=4,
    )  # fmt: skip
    assert picture_config(parse(["a", "--augment", "none"])).augment == ()


def test_a_prompt_becomes_a_picture_and_its_recipe_the_same_again(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "a fox:1 | text:-0.5 ^ an owl"
    assert run("--prompt", prompt, "--out", "one", *QUICK) == 0
    book = read(tmp_path / "one")
    assert [p.text for p in book.pages] == ["a fox"]
    png = tmp_path / "one" / "page-01.png"
    recipe = read_recipe(png.read_bytes())
    assert recipe is not None
    assert recipe.settings["prompts"] == prompt
    assert run("--recipe", str(png), "--out", "two", "--preset", "tiny") == 0
    assert (tmp_path / "two" / "page-01.png").read_bytes() == png.read_bytes()
    capsys.readouterr()
    assert run("--recipe", str(png), "--out", "three") == 1
    assert "name its models" in capsys.readouterr().err


def test_a_recipe_is_told_from_one_of_other_weights_by_the_same_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = tiny.pipeline()
    page = pipeline(tiny.FOX, replace(tiny.QUICK, start="noise"))
    assert page.recipe is not None
    made = page.recipe
    assert made.models["pictures"] == "tiny"
    check_models(pipeline, made)

    def by(models: Mapping[str, str], **settings: Any) -> Recipe:
        return replace(made, models=models, settings={**made.settings, **settings})

    other = {**made.models, "clip": fingerprint(tiny.clip(seed=9))}
    with pytest.raises(InvalidInput, match="the CLIP of “tiny” has other weights"):
        check_models(pipeline, by(other))
    check_models(pipeline, by({**made.models, "pictures": "renamed"}))  # the same all the same
    drawn = {**made.models, "code_transformer": "0" * 12}
    check_models(pipeline, by(drawn))  # it had no part in it
    with pytest.raises(InvalidInput, match="the code transformer of"):
        check_models(pipeline, by(drawn, start="transformer"))
    check_models(pipeline, by({"pictures": "tiny:1"}))  # as older versions wrote it
    with pytest.raises(InvalidInput, match="with “another”, not with “tiny”"):
        check_models(pipeline, by({"pictures": "another"}))
    assert caplog.text == ""
    check_models(pipeline, by(made.models, painted_at="144x144"))
    assert "painted at 144x144 pixels" in caplog.text
    check_models(pipeline, by(made.models, start="transformer"))
    assert "Another version" not in caplog.text
    check_models(pipeline, by(made.models, start="transformer", drawn=1))
    assert "Another version made this picture" in caplog.text


def test_a_page_of_a_story_comes_back_from_its_recipe(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tale.txt").write_text("A fox slept. At 12:30 | it woke: 3.", encoding="utf-8")
    made = ["a fox", "--text", "tale.txt", "--out", "one", "--seed", "3", *QUICK]
    assert run(*made, "--start", "sketch") == 0
    for name in ("page-01.png", "page-02.png"):
        page = tmp_path / "one" / name
        assert run("--recipe", str(page), "--out", name[:-4], "--preset", "tiny") == 0
        assert (tmp_path / name[:-4] / "page-01.png").read_bytes() == page.read_bytes()
    assert read(tmp_path / "one").pages[1].text == "At 12:30 | it woke: 3."


def test_a_file_of_prompts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# mine\n\na fox | red:0.5\n  an owl:2 \n", encoding="utf-8")
    for together in ("1", "2"):
        made = ("--prompt-file", "list.txt", "--seed", "5", "--together", together)
        assert run(*made, "--out", together, *QUICK) == 0
    one = read(tmp_path / "1")
    assert [p.text for p in one.pages] == ["a fox", "an owl"]
    assert [p.recipe.seed for p in one.pages if p.recipe] == [5, 6]
    for name in ("page-01.png", "page-02.png"):
        assert np.abs(pixels(tmp_path / "1" / name) - pixels(tmp_path / "2" / name)).mean() < 2


def test_pictures_without_a_story_are_exported_as_they_were_painted(
    run: Run, tmp_path: Path
) -> None:
    assert run("--prompt", "a fox", "--out", "one", "--export", "zip", *QUICK) == 0
    with zipfile.ZipFile(tmp_path / "one" / "book.zip") as archive:
        found = [archive.read(name) for name in archive.namelist() if name.endswith(".png")]
    assert found == [(tmp_path / "one" / "page-01.png").read_bytes()]


def test_pages_of_a_story_painted_together(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tale.txt").write_text("A fox slept. An owl flew. It was late.", encoding="utf-8")
    found: list[Book] = []
    for together in ("1", "2"):
        made = ["a fox", "--text", "tale.txt", "--seed", "5", "--together", together]
        assert run(*made, "--out", together, *QUICK) == 0
        found.append(read(tmp_path / together))
    for a, b in zip(found[0].pages, found[1].pages, strict=True):
        assert a.recipe == b.recipe
        difference = np.array(a.image()).astype(int) - np.array(b.image())
        assert np.abs(difference).mean() < 2


def test_pictures_that_go_in(run: Run, models: Path, tmp_path: Path) -> None:
    start = picture(tmp_path / "start.png", "navy")
    goal, mask = picture(tmp_path / "goal.png"), tmp_path / "mask.png"
    half = np.full((128, 128), 0x4000, np.uint16)  # greys of 16 bits: dark above, bright below
    half[64:] = 0xC000
    Image.fromarray(half).save(mask)
    given = ["--init", str(start), "--mask", str(mask), "--image-prompt", f"{goal}:0.5"]
    assert run("--prompt", "a fox", *given, "--out", "one", *QUICK) == 0
    png = tmp_path / "one" / "page-01.png"
    recipe = read_recipe(png.read_bytes())
    assert recipe is not None
    assert recipe.settings["start"] == "noise"  # where the mask is bright; the rest is the picture
    assert (pixels(png)[:64] == [0, 0, 128]).all()
    assert (pixels(png)[64:] != [0, 0, 128]).any()
    again = ["--recipe", str(png), "--preset", "tiny"]
    assert run(*again, *given, "--out", "two") == 0
    assert (tmp_path / "two" / "page-01.png").read_bytes() == png.read_bytes()
    assert run(*again, *given[:2], "--out", "three") == 1
    assert run("--image-prompt", str(goal), "--out", "four", *QUICK) == 0  # no words at all
    # A folder of models that belong together has a CLIP to be named by, too.
    assert run("--noise-prompt", "7:0.2", "--clip", str(models), "--out", "five", *QUICK) == 0


def test_transparent_pictures_lie_on_white_and_masks_on_black(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    clear = Image.new("RGBA", (130, 130), (0, 0, 0, 0))
    clear.paste("red", (0, 0, 130, 65))
    clear.save(path)
    for paper, colour in (("white", (255, 255, 255)), ("black", (0, 0, 0))):
        laid = open_picture(path, paper)
        assert [laid.getpixel((5, y)) for y in (5, 120)] == [(255, 0, 0), colour]
        assert fingerprint_of(laid) == fingerprint_of(clear, paper)
    assert (
        to_pixels(clear, 130, 130, tiny.CPU) == to_pixels(open_picture(path), 130, 130, tiny.CPU)
    ).all()
    painter = tiny.pipeline()
    request = PictureRequest(tiny.FOX, tiny.QUICK, clear, Image.new("LA", (130, 130), (255, 0)))
    assert painter.on_canvas(clear, request.config)[0, :, -1, 0].tolist() == [1.0, 1.0, 1.0]
    assert not painter._mask(request, 128, 128).any()


@pytest.mark.parametrize("ending", ["mp4", "webp"])
def test_films_of_painting(
    run: Run, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all pages and written once, however many there are."""
    written: list[Path] = []
    monkeypatch.setattr(film, "write_video", lambda *a: written.append(a[1]) or write_video(*a))
    (tmp_path / "list.txt").write_text("a fox\nan owl\n", encoding="utf-8")
    made = ("--prompt-file", "list.txt", "--out", "one", "--video", ending, "--preview-every", "1")
    assert run(*made, *QUICK) == 0
    assert (tmp_path / "one" / f"painting.{ending}").stat().st_size > 1000
    assert len(written) == 1


def test_previews_of_a_film_are_not_kept_in_memory(tmp_path: Path) -> None:
    seen: list[weakref.ref[Image.Image]] = []
    with film.Film(tmp_path, "mp4", 12.0) as made:
        for step in range(9):
            progress = PictureProgress(step, 9, "refine", preview=Image.new("RGB", (64, 64)))
            assert progress.preview is not None
            seen.append(weakref.ref(progress.preview))
            made.watch(step // 5, progress)
        assert sum(ref() is not None for ref in seen) == 2  # the last of each page
    with av.open(str(tmp_path / "painting.mp4")) as container:
        count = sum(1 for _ in container.decode(video=0))
    assert count == 9 + 2 * 12 + 18  # a second to look at each page, and the end is held


def test_a_picture_that_moves(run: Run, tmp_path: Path) -> None:
    made = ("--prompt", "a fox ^ an owl", "--frames", "3", "--frame-steps", "1", "--zoom", "1.1")
    assert run(*made, "--video", "gif", "--out", "one", *QUICK) == 0
    path = tmp_path / "one" / "moving.gif"
    assert b"a fox" in path.read_bytes()  # the recipe is inside
    with Image.open(path) as film:
        assert getattr(film, "n_frames", 1) == 3
        assert film.size == (128, 128)
        seen = []
        for n in range(3):
            film.seek(n)
            seen.append(np.array(film.convert("RGB")).astype(int))
    for a, b in pairwise(seen):
        assert np.abs(a - b).mean() > 1


def test_frames_of_a_picture_that_moves_are_not_kept_in_memory(tmp_path: Path) -> None:
    seen: list[weakref.ref[Image.Image]] = []

    def animate(request: PictureRequest, camera: Camera) -> Iterator[PictureProgress]:
        for n in range(1, camera.frames + 1):
            preview = Image.new("RGB", (64, 64), (20 * n, 0, 0))
            seen.append(weakref.ref(preview))
            yield PictureProgress(n, camera.frames, "refine", preview=preview)
            del preview
        assert sum(ref() is not None for ref in seen) <= 1

    painter: Any = SimpleNamespace(models={}, animate=animate)
    request = PictureRequest(Sentence("A fox ran."), PictureConfig())
    args = command.parser().parse_args(["--out", str(tmp_path)])
    path = film.film_of_camera(painter, request, Camera(frames=9), args, lambda event: None)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 9 + 18  # the end is held


@pytest.mark.parametrize("finished", [0, 2])
def test_ctrl_c_keeps_the_finished_frames(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    finished: int,
) -> None:
    original = VQGANCLIPPipeline.animate

    def animate(*arguments: Any) -> Iterator[PictureProgress]:
        frames = 0
        for event in original(*arguments):
            if frames == finished:
                raise KeyboardInterrupt
            yield event
            frames += event.preview is not None

    monkeypatch.setattr(VQGANCLIPPipeline, "animate", animate)
    made = ("--prompt", "a fox", "--frames", "4", "--frame-steps", "1", "--out", "one", *QUICK)
    assert run(*made, "--video", "webp") == 130
    told, path = capsys.readouterr().err, tmp_path / "one" / "moving.webp"
    assert path.exists() == bool(finished)
    if not finished:
        assert "No frame was finished" in told
        return
    assert "The finished frames are in one/moving.webp" in told
    with Image.open(path) as kept:
        assert getattr(kept, "n_frames", 1) == 2


def test_a_picture_that_moves_says_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny.pipeline()
    request = PictureRequest(tiny.FOX, replace(tiny.QUICK, start="noise"))
    moving = pipeline.animate(request, Camera(frames=3, steps=1))
    while next(moving).preview is None:
        pass

    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("8 GiB")

    monkeypatch.setattr(guidance, "draw_views", full)
    with pytest.raises(OutOfMemory, match="smaller size"):
        list(moving)


def test_how_a_picture_moves() -> None:
    """Coming closer enlarges the middle; panning to the right moves things to the right."""
    image = Image.new("RGB", (128, 128), "black")
    image.paste("white", (56, 56, 72, 72))
    flat = to_pixels(image, 128, 128, tiny.CPU)
    near = move(flat, Camera(zoom=1.25))[0, 0] > 0
    assert near.sum() == pytest.approx(16 * 16 * 1.25**2, rel=0.1)
    aside = move(flat, Camera(zoom=1.0, pan_x=10, pan_y=-20))[0, 0] > 0
    rows, columns = aside.nonzero(as_tuple=True)
    assert (columns.float().mean() - 63.5).item() == pytest.approx(10, abs=0.6)
    assert (rows.float().mean() - 63.5).item() == pytest.approx(-20, abs=0.6)
    image.paste("white", (100, 60, 108, 68))
    turned = move(to_pixels(image, 128, 128, tiny.CPU), Camera(zoom=1.0, turn=45))[0, 0] > 0
    assert turned[90, 90]  # clockwise, as y points down
    for wrong in ({"zoom": 2.0}, {"frames": 1}, {"turn": 90}, {"pan_x": 99}, {"steps": -1}):
        with pytest.raises(InvalidInput):
            Camera(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--prompt", ""], "Type a few words"),
        (["--prompt", ":2"], "no words before"),
        (["--prompt", "a:101"], "from -100 to 100"),
        (["--prompt", "a", "--palette", "reddish"], "no colour"),
        (["--prompt", "a", "--augment", "blur"], "no augmentation “blur”"),
        (["--prompt", "a", "--prompt-file", "list.txt"], "does not go with --prompt-file"),
        (["--prompt-file", "missing.txt"], "missing.txt cannot be read"),
        (["--prompt-file", "empty.txt"], "has 0 prompts"),
        (["--prompt-file", "list.txt"], "list.txt, prompt 2: There are no words"),
        (["--recipe", "missing.png"], "missing.png cannot be read"),
        (["--recipe", "plain.png"], "no recipe in plain.png"),
        (["--recipe", "plain.png", "--seed", "0"], "--seed does not go with --recipe"),
        (["--recipe", "plain.png", "--width", "128"], "--width does not go with --recipe"),
        (["--recipe", "plain.png", "--prompt", "a"], "--prompt does not go with --recipe"),
        (["--recipe", "plain.png", "--init-weight", "0"], "--init-weight does not go with"),
        (["--recipe", "plain.png", "--no-enlarge"], "--no-enlarge does not go with --recipe"),
        (["--recipe", "plain.png", "--size", "128"], "--size does not go with --recipe"),
        (["--recipe", "list.txt"], "not a PNG"),
        (["--prompt", "a", "--init", "list.txt"], "list.txt cannot be opened as a picture"),
        (["--recipe", "plain.png", "--text", "list.txt"], "leave words and --text out"),
        (["--prompt", "a", "--mask", "dark.png"], "--mask is dark all over"),
        (["--prompt", "a", "--init", "plain.png", "--mask", "wide.png"], "mask has 200×100 pixels"),
        (["--prompt", "a", "--frames", "1"], "Frames must be"),
        (["--prompt", "a", "--together", "0"], "--together must be"),
        (["--prompt", "a", "--fps", "0"], "--fps must be"),
        (["a fox", "--init", "plain.png"], "--init goes with --prompt"),
        (["a fox", "--recipe", "plain.png"], "--recipe goes without a story"),
        (["a fox", "--prompt-file", "list.txt"], "--prompt-file goes without a story"),
        (["--prompt", "a", "--frames", "3", "--export", "pdf"], "--export goes with a book"),
        (["--prompt", "a", "--zoom", "1.1"], "--zoom moves a picture"),
        (["--prompt", "a", "--pan-x", "0.5"], "--pan-x moves a picture"),
        (["--prompt", "a", "--init", "plain.png", "--start", "noise"], "--start does not go with"),
        (["a fox", "--frames", "5"], "--frames goes with one picture"),
        (["--prompt", "a", "--size", "100"], "Width must be from 128 to 1024"),
        (["--prompt", "a", "--start", "noise", "--init-weight", "1"], "--init-weight does not go"),
        (["--prompt", "a", "--vqgan", "v" * 300], "no model to be found by “v{80}…”"),
        (["--prompt", "a", "--clip", f"{'c' * 300}:2"], "no model to be found by “c{80}…”"),
    ],
)
def test_what_cannot_be_done_is_told(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "list.txt").write_text("a fox\n:1\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    picture(tmp_path / "plain.png")
    picture(tmp_path / "dark.png", "black")
    Image.new("L", (200, 100), 255).save(tmp_path / "wide.png")
    assert run(*arguments, "--preset", "tiny") == 1
    told = capsys.readouterr().err
    assert told.startswith("storybrush: ")
    assert re.search(message, told)
    assert not [*tmp_path.rglob("book.json")]
