"""`python -m pipelines`: what it writes, what it refuses, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import pipelines.__main__ as command
from pipelines.book import Book, read_recipe
from pipelines.presets import PRESETS, Preset
from pipelines.vqgan_clip import VQGANCLIPPipeline
from tests import tiny

ROOT = Path(__file__).parents[2]
TEXT = "A fox named Pip lived in the forest. One night he met an owl. They flew past the moon.\n"
QUICK = "--start noise --steps 1 --cutouts 2 --size 128 --seed 3 --preset tiny".split()

Run = Callable[..., int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models"))


@pytest.fixture
def run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process, with the preset `tiny`, beside a file `tale.txt`."""
    monkeypatch.setitem(PRESETS, "tiny", Preset("tiny", "Tiny", "nowhere", str(models)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tale.txt").write_text(TEXT, encoding="utf-8")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["pipelines", *arguments])
        return command.main()

    return run


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts even where pytest runs in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def read(folder: Path) -> Book:
    """The book in a folder, read back."""
    pictures = {p.name: p.read_bytes() for p in folder.glob("page-*.png")}
    return Book.from_json(json.loads((folder / "book.json").read_text("utf-8")), pictures)


def test_a_text_becomes_a_book(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tale.txt").write_text(TEXT, encoding="utf-8-sig")  # as Windows' Notepad saves it
    assert run("the fox who flew", "--text", "tale.txt", "--out", "fox", *QUICK) == 0
    folder = tmp_path / "fox"
    names = ["book.json", "index.html", "page-01.png", "page-02.png", "page-03.png"]
    assert sorted(p.name for p in folder.iterdir()) == names
    book = read(folder)
    assert book.title == "The fox who flew"
    assert [p.text for p in book.pages] == [s + "." for s in TEXT.strip(".\n").split(". ")]
    for n, page in enumerate(book.pages):
        assert page.image().size == (128, 128)
        assert page.picture is not None
        recipe = read_recipe(page.picture)
        assert recipe == page.recipe
        assert recipe is not None
        assert recipe.seed == 3 + n
    html = (folder / "index.html").read_text("utf-8")
    for part in ("The fox who flew", *names[2:], *(p.text for p in book.pages)):
        assert part in html
    assert str(Path("fox") / "index.html") in capsys.readouterr().out


def test_same_seed_same_pictures(run: Run, tmp_path: Path) -> None:
    prompt = ["--prompt", "red:0.5"]  # beside a story, also without words: it is called as its file
    for out, words in (("one", ["Tale", *prompt]), ("two", prompt)):
        assert run(*words, "--text", "tale.txt", "--out", out, *QUICK) == 0
        assert read(tmp_path / out).title == "Tale"
    for n in (1, 2, 3):
        one, two = (tmp_path / out / f"page-{n:02d}.png" for out in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_folder_that_is_not_empty(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fox").mkdir()
    precious = tmp_path / "fox" / "precious.txt"
    precious.write_text("mine")
    assert run("a fox", "--text", "tale.txt", "--out", "fox", *QUICK) == 1
    assert "fox is not empty: name another, or add --force" in capsys.readouterr().err
    assert [*precious.parent.iterdir()] == [precious]
    assert run("a fox", "--text", "tale.txt", "--out", "fox", "--force", *QUICK) == 0
    assert precious.read_text() == "mine"
    assert len(read(precious.parent).pages) == 3


@pytest.mark.usefixtures("ctrl_c")
def test_a_shorter_book_over_a_longer_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text("A fox sat. An owl flew.", encoding="utf-8")
    (tmp_path / "fox").mkdir()
    mine = tmp_path / "fox" / "page-mine.png"
    mine.write_bytes(b"mine")
    force = ("--out", "fox", "--force", *QUICK)
    assert run("a fox", "--text", "tale.txt", *force) == 0

    def stopped(*arguments: Any, **named: Any) -> Iterator[Any]:
        signal.raise_signal(signal.SIGINT)
        yield

    with monkeypatch.context() as here:
        here.setattr(VQGANCLIPPipeline, "stream_many", stopped)
        assert run("a fox", "--text", "short.txt", *force) == 130
    assert "No page was finished" in capsys.readouterr().err
    assert len(read(tmp_path / "fox").pages) == 3  # the older one is whole
    assert run("a fox", "--text", "short.txt", *force) == 0
    names = {"page-01.png", "page-02.png", mine.name, "book.json", "index.html"}
    assert {path.name for path in (tmp_path / "fox").iterdir()} == names


def test_what_is_wrong_with_a_model_is_said_before_a_story_is_written(
    run: Run, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "half", Preset("half", "Half", str(models), "nowhere"))

    def written(*arguments: Any) -> Any:
        raise AssertionError("written in vain")

    monkeypatch.setattr("pipelines.storybook.load_story", written)
    assert run("a fox", "--out", "fox", "--preset", "half") == 1
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([""], "Type a few words"),
        (["   "], "Type a few words"),
        (["🦊🦊"], "use words"),
        (["a" * 10_000], "500 characters"),
        (["a fox", "--pages", "3"], "Sentences must be from 4 to 12, not 3"),
        (["a fox", "--size", "100"], "Width must be from 128 to 1024"),
        (["a fox", "--size", "1040"], "Width must be from 128 to 1024"),
        (["a fox", "--steps", "501"], "Steps must be"),
        (["a fox", "--seed", "-1"], "Seed must be"),
        (["a fox", "--ban", "owl, fox"], "take yours off the ban list"),
        (["a fox", "--text", "missing.txt"], "missing.txt cannot be read"),
        (["a fox", "--text", "latin.txt"], "latin.txt cannot be read as UTF-8"),
        (["a fox", "--text", "empty.txt"], "empty.txt: There are no sentences"),
        (["a fox", "--text", "long.txt"], "long.txt: Sentence 2 has 601 characters; 600 fit"),
        (["a fox", "--out", "f" * 300], "cannot be made or read .File name too long"),
        (["a fox", "--author", "F\udcf6x"], "--author is no text in UTF-8"),
        (["a fox", "--author", "f" * 201], "--author may have 200 characters, not 201"),
        (["a fox", "--zoom", "1.1"], "--zoom moves one picture, not the pages of a story"),
        (["a fox", "--out", "tale.txt"], "tale.txt is a file"),
        (["a fox", "--out", "tale.txt/fox"], "cannot be made"),
        (["a fox", "--out", "new"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_told(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "latin.txt").write_bytes("Der Bär schläft.".encode("latin-1"))
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "long.txt").write_text(f"A fox ran. A{'h' * 599}.")
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(*arguments, "--preset", "tiny") == 1
    told = capsys.readouterr().err
    assert told.startswith("storybrush: ")
    assert re.search(message, told)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_folder_that_nobody_may_write_to(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "shut").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert run("a fox", "--out", "shut") == 1
    assert "Nothing may be written to shut" in capsys.readouterr().err


def test_a_disk_that_is_full(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name.startswith("page-02"):
            raise OSError(28, "No space left on device")
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run("a fox", "--text", "tale.txt", "--out", "fox", *QUICK) == 1
    assert "cannot be written to fox: No space left on device" in capsys.readouterr().err
    assert [p.picture is not None for p in read(tmp_path / "fox").pages] == [True, False, False]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("finished", [0, 1, 2])
def test_ctrl_c_keeps_the_finished_pages(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    finished: int,
) -> None:
    original = VQGANCLIPPipeline.stream_many

    def stream_many(*arguments: Any, **named: Any) -> Iterator[Any]:
        for index, event in original(*arguments, **named):
            if index == finished and getattr(event, "stage", "") == "refine":
                signal.raise_signal(signal.SIGINT)
            yield index, event

    monkeypatch.setattr(VQGANCLIPPipeline, "stream_many", stream_many)
    assert run("a fox", "--text", "tale.txt", "--out", "fox", *QUICK) == 130
    told, folder = capsys.readouterr().err, tmp_path / "fox"
    if not finished:
        assert "No page was finished" in told
        assert not folder.exists()
        return
    assert "finished pages are in fox" in told
    book = read(folder)
    assert [p.picture is not None for p in book.pages] == [n < finished for n in range(3)]
    html = (folder / "index.html").read_text("utf-8")
    for n in range(3):
        assert (folder / f"page-{n + 1:02d}.png").exists() == (n < finished)
        assert (f"page-{n + 1:02d}.png" in html) == (n < finished)
    assert not [*folder.glob("*.tmp")]


@pytest.mark.parametrize(
    "arguments, message", [(["🦊"], "use words"), (["a fox", "--ban", "fox"], "off the ban list")]
)
def test_bad_words_need_no_torch(arguments: list[str], message: str) -> None:
    code = (
        f"import sys\nfrom pipelines.__main__ import main\nsys.argv[1:] = {arguments}\n"
        "status = main()\nassert 'torch' not in sys.modules\nsys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("ctrl_c")
def test_the_command_itself_interrupted(tmp_path: Path) -> None:
    """A process of its own, with the embedded models, stopped while it paints."""
    (tmp_path / "tale.txt").write_text(TEXT, encoding="utf-8")
    words = ["a fox", "--text", str(tmp_path / "tale.txt"), "--out", str(tmp_path / "fox")]
    quick = ["--start", "sketch", "--steps", "30", "--size", "128", "--seed", "3"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines", *words, *quick], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONWARNINGS": ""},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 240
        while not (tmp_path / "fox" / "index.html").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "finished pages are in" in told
    assert "Traceback" not in told
    book = read(tmp_path / "fox")
    painted = [p for p in book.pages if p.picture is not None]
    assert 1 <= len(painted) < 3
    assert (tmp_path / "fox" / "index.html").exists()
    with Image.open(tmp_path / "fox" / "page-01.png") as picture:
        assert picture.size == (256, 256)  # finished at twice the size
