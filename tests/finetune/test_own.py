"""Where a model of one's own may be written, and what is said when a run cannot go on."""

import argparse
import errno
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import (
    clip,
    clip_pairs,
    code_transformer,
    gpt2,
    gpt2_command,
    paintstorch,
    planner,
    stablepaint,
    stenciltorch,
    vqgan,
)
from finetune.own import guarded, home_of, how_to_try, own_place
from pipelines.errors import InvalidInput
from pipelines.weights import EMBEDDED
from tests.finetune.test_texts import prose
from tests.tiny_colorizer import config as tiny_shape
from tests.tiny_colorizer import illustrations
from tests.tiny_pictures import folder


@pytest.fixture(autouse=True)
def unsignalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands take SIGTERM for themselves; tests leave it as it is."""
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)


def test_a_model_is_written_where_nothing_else_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, mine = tmp_path / "texts", tmp_path / "mine"
    (texts / "more").mkdir(parents=True)
    assert own_place(mine, texts, "owner/name", None) == mine
    mine.mkdir()
    monkeypatch.chdir(mine)
    assert own_place(Path("."), texts) == mine
    (mine / "diary.txt").write_text("Dear diary")
    with pytest.raises(InvalidInput, match="other files"):
        own_place(Path("."), texts)
    for file in ("training.json", "config.json", "model-01.safetensors"):
        (mine / file).touch()
        (mine / "training.json").unlink(missing_ok=file != "training.json")
        if file == "config.json":
            with pytest.raises(InvalidInput, match="other files"):
                own_place(mine)  # a model of others
    assert own_place(mine, texts) == mine
    for out in (texts, texts / "more", texts / "new", tmp_path, Path("../texts")):
        with pytest.raises(InvalidInput, match="lie in each other"):
            own_place(out, texts)
    for out in (EMBEDDED, EMBEDDED / "mine", EMBEDDED.parent):
        with pytest.raises(InvalidInput, match="come with Storybrush"):
            own_place(out)
    with pytest.raises(InvalidInput, match="is a file"):
        own_place(mine / "diary.txt")


def test_picture_models_stand_beside_each_other(tmp_path: Path) -> None:
    args = argparse.Namespace(out=tmp_path / "m", runs=Path("runs"), base=None, pictures=tmp_path)
    with pytest.raises(InvalidInput, match="lie in each other"):
        home_of(args, "vqgan", vqgan.OUT)
    args.pictures = tmp_path / "pictures"
    (args.out / "clip").mkdir(parents=True)
    (args.out / "clip" / "training.json").touch()
    home = home_of(args, "vqgan", vqgan.OUT)
    assert (home.model, home.runs) == (args.out / "vqgan", Path("runs/m"))
    args.base = str(args.out)
    with pytest.raises(InvalidInput, match="lie in each other"):
        home_of(args, "clip", clip.OUT)


def test_how_a_model_is_tried_hangs_on_what_lies_beside_it(tmp_path: Path) -> None:
    clip, transformer = tmp_path / "clip", tmp_path / "code_transformer"
    assert how_to_try(clip).endswith(f"app.py --clip {clip}")
    assert "put the VQGAN" in how_to_try(transformer)
    (tmp_path / "vqgan").mkdir()
    (tmp_path / "vqgan" / "config.json").write_text("{}")
    assert {how_to_try(m) for m in (clip, transformer, tmp_path / "vqgan")} == {
        f"try it: python app.py --vqgan {tmp_path}"
    }


def test_a_writer_is_refused_before_it_is_taught(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "fox.txt").write_text("A fox ran.")
    for out in (tmp_path / "texts", tmp_path):
        with pytest.raises(SystemExit, match="lie in each other"):
            gpt2_command.main(["--base", "embedded", "--data", str(tmp_path / "texts"),
                                 "--out", str(out), "--runs", "runs"])  # fmt: skip
    assert (tmp_path / "texts" / "fox.txt").is_file()


@pytest.mark.parametrize("dry", [True, False])
def test_where_nothing_can_be_written_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry: bool
) -> None:
    pictures = folder(tmp_path / "pictures", 3)
    (tmp_path / "texts").mkdir()
    for n in range(14):
        (tmp_path / "texts" / f"{n}.txt").write_text(prose(n, 120))
    (tmp_path / "file").touch()
    mine = [f"--runs={tmp_path / 'runs'}", "--device=cpu", *(["--dry-run"] if dry else [])]
    monkeypatch.setattr(clip_pairs, "train", lambda *_, **more: pytest.fail("trains"))
    monkeypatch.setattr(gpt2_command, "teach", lambda *_: pytest.fail("trains"))

    def said(out: Path, why: str) -> None:
        monkeypatch.setattr(sys, "argv", ["clip", f"--pairs={pictures}", f"--out={out}", *mine])
        with pytest.raises(SystemExit, match=why):
            clip.main()
        with pytest.raises(SystemExit, match=why):
            gpt2_command.main(["--base=embedded", f"--data={tmp_path / 'texts'}", f"--out={out}",
                                 *mine])  # fmt: skip

    said(tmp_path / "file" / "mine", "file is a file")
    if Path("/proc/self").exists():  # a folder in which nobody makes a file
        said(Path("/proc/mine/new"), "Nothing can be written to /proc")
    monkeypatch.setattr("finetune.checkpoints.free_disk", lambda _: 1000)
    said(tmp_path / "mine", "name another disk with --out")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    "command, option",
    [
        (vqgan, "--base=embedded"), (vqgan, "--lpips=x"), (clip, "--base=embedded"),
        (clip, "--top=1"), (code_transformer, "--peak=1e-3"), (code_transformer, "--classes"),
    ],
)  # fmt: skip
def test_options_for_own_data_train_no_shipped_model(
    monkeypatch: pytest.MonkeyPatch, command: object, option: str
) -> None:
    monkeypatch.setattr(command, "_embedded", lambda *_: pytest.fail("trains"))
    monkeypatch.setattr(sys, "argv", ["x", option, "--device=cpu"])
    with pytest.raises(SystemExit, match="only with --p"):
        command.main()  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [vqgan, clip, code_transformer])
def test_a_dry_run_of_a_shipped_model_says_what_it_takes(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "SceneSet", lambda *_, **__: pytest.fail("paints"))
    kept = list[int]()
    for more in ([], ["--gradient-checkpointing"]):
        monkeypatch.setattr(sys, "argv", ["x", "--dry-run", "--scenes=1000", "--device=cpu",
                                          f"--runs={tmp_path / 'runs'}", *more])  # fmt: skip
        command.main()
        told = capsys.readouterr().out
        assert "1,000 scenes" in told
        kept.append(int(re.findall(r"activations ([\d,]+) MB", told)[0].replace(",", "")))
    assert kept[1] < 0.8 * kept[0]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_trains_no_shipped_writer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpt2", "--dry-run"])
    with pytest.raises(SystemExit):
        gpt2.main()
    assert "--base, --data" in capsys.readouterr().err


@pytest.mark.parametrize("command", [planner, paintstorch, stenciltorch, stablepaint])
def test_a_run_on_illustrations_says_what_it_takes_and_is_no_other_run(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(paintstorch, "GeneratorConfig", tiny_shape)
    data = illustrations(tmp_path / "set", 2)
    where = [f"--data={data.folder}", f"--out={tmp_path / 'out'}", f"--runs={tmp_path / 'runs'}"]

    def call(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["x", *where, "--batch=1", "--device=cpu", *more])
        command.main()

    call("--dry-run", "--steps=10")
    told = capsys.readouterr().out
    assert "2 illustrations to learn from\n10 steps of 1: each about 5 times" in told
    assert "memory: about" in told
    call("--dry-run", "--steps=10", "--batch=50", "--gradient-checkpointing")
    less = capsys.readouterr().out
    call("--dry-run", "--steps=10", "--batch=50")
    plain = capsys.readouterr().out
    a, b = (int(re.findall(r"activations ([\d,]+)", t)[0].replace(",", "")) for t in (less, plain))
    assert a < b
    assert not any((tmp_path / n).exists() for n in ("out", "runs"))
    name = command.__name__.rpartition(".")[2]
    (tmp_path / "runs").mkdir()
    torch.save({"step": 1, "extra": {"facts": {"data": "another"}}}, tmp_path / f"runs/{name}.pt")
    with pytest.raises(SystemExit, match="another run"):
        call("--steps=1")
    monkeypatch.setattr("finetune.checkpoints.free_memory", lambda _: 1000)
    with pytest.raises(SystemExit, match="lower --batch"):
        call("--steps=1")


def test_what_the_machine_lacks_is_said_in_words() -> None:
    def fails(error: Exception) -> None:
        raise error

    for error, said in (
        (MemoryError(), "lower --batch"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "runs/x: No space left"),
        (InvalidInput("Name it."), "Name it."),
    ):
        with pytest.raises(SystemExit, match=said):
            guarded(lambda error=error: fails(error))
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: fails(ZeroDivisionError()))
