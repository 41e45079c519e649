"""Teaching a writer texts of one's own: it learns, it resumes, and what can go wrong is said."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from finetune import checkpoints, language_model
from finetune.checkpoints import Needs, check_needs, last_checkpoint, needs, same_run, whole
from finetune.data.documents import Document
from finetune.data.packing import SKIPPED
from finetune.data.recipes import sources
from finetune.gpt2 import build, save
from finetune.gpt2_command import main
from finetune.language_model import (
    SampleStory,
    Taught,
    Tuning,
    teach,
)
from finetune.texts import Lesson, LessonPlan, lesson
from finetune.training import TrainStep
from finetune.writers import Writer, blocks_of, collate, train_top, with_lora
from pipelines.errors import InvalidInput, OutOfMemory, StorageError
from pipelines.events import StoryProgress
from pipelines.presets import StoryConfig
from pipelines.story import StoryPipeline
from pipelines.tokenizer import load_tokenizer
from tests.finetune.test_texts import prose

CPU = torch.device("cpu")
SHAPE: dict[str, Any] = {
    "vocab_size": load_tokenizer().get_vocab_size(), "n_embd": 32, "n_layer": 3, "n_head": 2,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal language model with its tokenizer, as the hub has them."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**SHAPE, n_positions=128)).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=load_tokenizer(), eos_token="<end>", pad_token="<pad>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny writer in the form of the embedded one."""
    folder = tmp_path_factory.mktemp("embedded")
    torch.manual_seed(0)
    config = {**SHAPE, "n_positions": 512, "bos_token_id": None}
    save(build(config), config, folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for n in range(14):
        (folder / f"story_{n}.txt").write_text(prose(n, 120))
    return folder


def lesson_of(base: Path, texts: Path, **more: Any) -> Lesson:
    return lesson(Writer.load(str(base)), sources([str(texts)]), LessonPlan(**more))


QUICK = Tuning(steps=4, batch=2, evaluations=2, patience=9, rate=1e-3)


def taught(
    base: Path, texts: Path, folder: Path, tuning: Tuning = QUICK, **more: Any
) -> tuple[list[Any], Any]:
    """All events, and the weights that were written."""
    found = lesson_of(base, texts, **more)
    events = list(teach(found, tuning, folder / "out", folder / "runs", CPU))
    return events, StoryPipeline.from_pretrained(str(folder / "out"), device="cpu").model


@pytest.fixture(scope="module")
def whole_run(
    plain: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Any], Any, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return *taught(plain, texts, folder, block=64), folder


# Learning


def test_one_batch_can_be_overfitted(plain: Path) -> None:
    writer = Writer.load(str(plain))
    found = writer.read([Document(prose(1, 30))], 64)
    inputs = collate(found, writer.pad_id)
    optimizer = torch.optim.AdamW(writer.model.parameters(), lr=2e-2)
    first = writer.model(**inputs).loss.item()
    for _ in range(25):
        optimizer.zero_grad()
        writer.model(**inputs).loss.backward()
        optimizer.step()
    assert writer.model(**inputs).loss.item() < 0.3 * first


def test_a_run_says_what_happens_and_writes_a_writer(
    whole_run: tuple[list[Any], Any, Path],
) -> None:
    events, _, folder = whole_run
    steps = [e for e in events if isinstance(e, TrainStep)]
    losses = [e.metrics["loss"] for e in steps if "loss" in e.metrics]
    held_out = [e.metrics["validation"] for e in steps if "validation" in e.metrics]
    assert losses[-1] < losses[0]
    assert len(held_out) == 3  # as it was before, and twice on the way
    assert all(e.metrics["perplexity"] > 1 and e.of == 4 for e in steps)
    assert [e.text != "" for e in events if isinstance(e, SampleStory)] == [True] * 3
    assert isinstance(events[-1], Taught)
    assert events[-1].metrics["validation"] == pytest.approx(min(held_out[1:]))
    facts = json.loads((folder / "out" / "training.json").read_text())
    assert facts["before"]["validation"] == pytest.approx(held_out[0])
    assert facts["texts"][0]["kept"] == 14
    assert len(list((folder / "runs").glob("checkpoint-*"))) == 2
    told = StoryPipeline.from_pretrained(str(folder / "out")).stream(StoryConfig("a fox", seed=1))
    assert isinstance(next(told), StoryProgress)


def test_a_run_that_was_stopped_ends_the_same(
    plain: Path, texts: Path, tmp_path: Path, whole_run: tuple[list[Any], Any, Path]
) -> None:
    _, model, _ = whole_run
    found = lesson_of(plain, texts, block=64)
    events = teach(found, QUICK, tmp_path / "out", tmp_path / "runs", CPU)
    for e in events:
        if isinstance(e, TrainStep) and e.step >= 2:
            break
    events.close()  # type: ignore[attr-defined]
    stopped = last_checkpoint(tmp_path / "runs")
    assert stopped is not None
    assert (tmp_path / "out" / "training.json").is_file()  # the best so far can be used at once
    # What a kill in the middle of a checkpoint leaves behind is thrown away, and what is damaged.
    broken = tmp_path / "runs" / "checkpoint-99"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half")
    damaged = shutil.copytree(stopped, tmp_path / "runs" / "checkpoint-98")
    os.truncate(damaged / "optimizer.pt", 1000)
    assert last_checkpoint(tmp_path / "runs") == stopped
    resumed, again = taught(plain, texts, tmp_path, block=64)
    assert not broken.exists()
    assert not damaged.exists()
    assert min(e.step for e in resumed if isinstance(e, TrainStep)) > checkpoints.step_of(stopped)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_resumed_run_has_the_patience_and_the_minutes_that_are_left(
    plain: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, slope = [0.0], [1.0]

    def look(self: Any, *_: Any, **more: Any) -> dict[str, float]:
        now[0] += 10.0
        metrics = {"eval_loss": 50 + slope[0] * now[0] / 10}
        self.log(metrics)
        on_evaluate = self.callback_handler.on_evaluate
        self.control = on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    monkeypatch.setattr(language_model, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(checkpoints.SafeTrainer, "evaluate", look)
    monkeypatch.setattr(Writer, "tell", lambda *_, **more: ("", [""]))
    tuning = replace(QUICK, steps=40, evaluations=40, patience=2, minutes=1.0)

    def last_step() -> int:
        events = teach(lesson_of(plain, texts, block=64), tuning, tmp_path / "out",
                       tmp_path / "runs", CPU)  # fmt: skip
        return max(e.step for e in events if isinstance(e, TrainStep))

    assert last_step() == 3  # the first look is the best, two are worse
    assert last_step() == 4  # not two more
    slope[0] = -1.0
    assert 5 <= last_step() <= 7  # six looks fit into the minute, most of which are over


def test_the_embedded_writer_keeps_its_grammar_and_learns_words(
    embedded: Path, texts: Path, tmp_path: Path
) -> None:
    before = Writer.load(str(embedded))
    told = tmp_path / "told"
    shutil.copytree(texts, told)
    for file in told.iterdir():
        file.write_text(f"{file.read_text()} Then a zeppelin came, and the zeppelin stayed.")
    found = lesson_of(embedded, told, keep=0.5)
    assert found.shares["story world"] == found.shares[told.name]
    assert found.writer.lexicon is not None
    assert before.lexicon is not None
    assert {"zeppelin"} <= found.writer.lexicon - before.lexicon
    tuning = replace(QUICK, steps=2, evaluations=1)
    *_, sample, last = teach(found, tuning, tmp_path / "out", tmp_path / "runs", CPU)
    assert isinstance(sample, SampleStory)
    assert isinstance(last, Taught)
    pipeline = StoryPipeline.from_pretrained(str(tmp_path / "out"), device="cpu")
    assert pipeline.lexicon == found.writer.lexicon


def test_a_lesson_has_what_there_are_steps_for(plain: Path, embedded: Path, texts: Path) -> None:
    assert len(lesson_of(plain, texts, block=64).train) > 20
    assert len(lesson_of(plain, texts, block=64, most=20).train) == 20  # it has nothing to keep
    found = lesson_of(embedded, texts, block=64, most=20, keep=0.4)
    assert (len(found.train), found.shares["story world"]) == (20, 8)


# What learns


def test_frozen_blocks_stay_as_they_are(plain: Path, texts: Path, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in Writer.load(str(plain)).model.state_dict().items()}
    tuning = replace(QUICK, steps=2, train_top=1, evaluations=1)
    _, model = taught(plain, texts, tmp_path, tuning, block=64)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith(("transformer.h.2.", "transformer.ln_f.")) for k in changed)
    with pytest.raises(InvalidInput, match="1 to 3"):
        train_top(model, 4)


def test_lora_is_merged_and_leaves_the_rest(plain: Path, texts: Path, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in Writer.load(str(plain)).model.state_dict().items()}
    tuning = replace(QUICK, steps=2, lora=2, evaluations=1, rate=1e-1)
    _, model = taught(plain, texts, tmp_path, tuning, block=64)
    after = model.state_dict()
    assert set(after) == set(before)
    changed = {k for k, v in after.items() if not torch.equal(v, before[k])}
    _, blocks = blocks_of(model)
    assert len(changed) == 4 * len(blocks)  # the four matrices of each
    assert all(k.endswith(".weight") and ".h." in k for k in changed)
    few = with_lora(Writer.load(str(plain)).model, 2)
    assert sum(p.numel() for p in few.parameters() if p.requires_grad) < 0.2 * sum(
        v.numel() for v in before.values()
    )


def test_what_is_read_but_not_learned() -> None:
    batch = collate([([5, 6, 7], 2), ([5], 0)], 0)
    assert batch["labels"].tolist() == [[SKIPPED, SKIPPED, 7], [5, SKIPPED, SKIPPED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


# Before it starts


def test_a_dry_run_says_what_it_takes(
    plain: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*arguments(plain, texts, tmp_path), "--dry-run", "--steps", "0", "--epochs", "2"])
    told = capsys.readouterr().out
    for part in ("14 of 14 texts kept", "sequences: ", "of at most 64 tokens", "2.", "epochs",
                 "values learn", "memory: about", "disk: about"):  # fmt: skip
        assert part in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "the file is empty"),
        (b"A fox.", "too short"),
        (b"\x7fELF\0\0\1\2" * 99, "binary"),
        (b"x" * 100_000, "without spaces"),
        (prose(1, 30).encode(), "too little text"),
    ],
)
def test_bad_texts_are_told_before_it_starts(
    plain: Path, tmp_path: Path, data: bytes, why: str
) -> None:
    (tmp_path / "texts").mkdir()
    for n in range(2):
        (tmp_path / "texts" / f"{n}.txt").write_bytes(data)
    with pytest.raises(SystemExit, match=why):
        main(["--base", str(plain), "--data", str(tmp_path / "texts"), "--out",
              str(tmp_path / "out"), "--runs", str(tmp_path / "runs")])  # fmt: skip
    assert not (tmp_path / "runs").exists()


def test_settings_are_checked() -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"batch": 0}, {"epochs": 0}, {"epochs": math.nan}, {"epochs": math.inf}, {"minutes": 0},
        {"rate": math.nan}, {"seed": 2**64}, {"lora": 2, "train_top": 1}, {"patience": 0},
    )  # fmt: skip
    for bad in wrong:
        with pytest.raises(InvalidInput, match=f"--{next(iter(bad))}"):
            Tuning(**bad)
    for share in (1.0, math.nan):
        with pytest.raises(InvalidInput, match="--keep"):
            LessonPlan(keep=share)
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidInput, match="--mix"):
            LessonPlan(mix=(1.0, weight))


def test_too_little_memory_or_disk_is_told(plain: Path, tmp_path: Path) -> None:
    model = Writer.load(str(plain)).model
    small = needs(model, model.config, 1, 64, checkpointing=False, half=False)
    check_needs(small, CPU, tmp_path)
    huge = needs(model, model.config, 10**7, 128, checkpointing=False, half=False)
    assert huge.memory > 10**6 * small.activations / 64
    with pytest.raises(OutOfMemory, match="lower --batch"):
        check_needs(huge, CPU, tmp_path)
    with pytest.raises(StorageError, match="name another disk"):
        check_needs(replace(small, disk=10**18), CPU, tmp_path)
    less = needs(model, model.config, 10**7, 128, checkpointing=True, half=True)
    assert less.memory < huge.memory


def test_processes_of_one_machine_share_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = Needs(checkpoints.free_memory(CPU) // 2, 0, 0, 0, 0)
    check_needs(half, CPU, tmp_path)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(OutOfMemory, match="lower --batch"):
        check_needs(half, CPU, tmp_path)


def test_checkpoints_of_another_run_are_not_mixed_in(
    whole_run: tuple[list[Any], Any, Path], plain: Path, texts: Path
) -> None:
    *_, folder = whole_run
    found = lesson_of(plain, texts, block=64)
    with pytest.raises(InvalidInput, match=r"another run \(different: seed\)"):
        next(teach(found, replace(QUICK, seed=7), folder / "o", folder / "runs", CPU))
    with pytest.raises(InvalidInput, match="base"):
        same_run(folder / "runs", {"base": "other"})


def test_checkpoints_of_other_programs_stay(tmp_path: Path) -> None:
    theirs = tmp_path / "checkpoint-500" / "pytorch_model.bin"
    theirs.parent.mkdir()
    theirs.write_bytes(b"of value")
    for _ in range(2):
        with pytest.raises(InvalidInput, match="not written here"):
            same_run(tmp_path, {"base": "mine"})
    (tmp_path / "run.json").write_text("[1]")  # of another program, too
    with pytest.raises(InvalidInput, match="another run"):
        same_run(tmp_path, {"base": "mine"})
    assert last_checkpoint(tmp_path) is None
    assert theirs.read_bytes() == b"of value"


# While it runs


@pytest.fixture
def small_disk() -> Iterator[Any]:
    """After `small_disk()` no file can grow beyond 100 kB: every write fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_good_checkpoint(
    plain: Path, texts: Path, tmp_path: Path, small_disk: Any
) -> None:
    found = lesson_of(plain, texts, block=64)
    events = teach(found, replace(QUICK, steps=40, evaluations=20),
                   tmp_path / "out", tmp_path / "runs", CPU)  # fmt: skip
    while last_checkpoint(tmp_path / "runs") is None:
        next(events)
    small_disk()
    with pytest.raises(StorageError, match=r"step \d+ is kept: free some disk space"):
        list(events)
    kept = list((tmp_path / "runs").glob("checkpoint-*"))
    assert kept
    assert all(whole(k) for k in kept)


def test_weights_that_are_no_numbers_end_the_run_with_the_best(
    plain: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    are_numbers = checkpoints.are_numbers

    def tell(_: Writer, model: Any, *asked: Any, **how: Any) -> tuple[str, list[str]]:
        assert are_numbers(model)  # nothing could be drawn from others
        return "", [""]

    monkeypatch.setattr(Writer, "tell", tell)
    found = lesson_of(plain, texts, block=64)
    events = teach(found, replace(QUICK, steps=40, evaluations=20, patience=99),
                   tmp_path / "out", tmp_path / "runs", CPU)  # fmt: skip
    while last_checkpoint(tmp_path / "runs") is None:
        next(events)
    with torch.no_grad():
        next(found.writer.model.parameters()).fill_(math.nan)
    last = list(events)[-1]
    assert isinstance(last, Taught)
    assert math.isfinite(last.metrics["perplexity"])
    model = StoryPipeline.from_pretrained(str(tmp_path / "out"), device="cpu").model
    assert are_numbers(model)
    monkeypatch.setattr(checkpoints, "are_numbers", lambda _: False)
    with pytest.raises(InvalidInput, match=r"There is none yet: train with a lower"):
        list(teach(found, QUICK, tmp_path / "out", tmp_path / "other", CPU))


def test_a_stop_whose_end_fails_is_no_success(
    plain: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "out")

    monkeypatch.setattr(Writer, "save", full)
    found = lesson_of(plain, texts, block=64)
    events = teach(found, QUICK, tmp_path / "out", tmp_path / "runs", CPU)
    next(e for e in events if isinstance(e, TrainStep))
    with pytest.raises(StorageError, match="out: No space left"):
        events.close()  # type: ignore[attr-defined]


def test_a_base_that_is_gone_meanwhile_is_not_missed(
    embedded: Path, texts: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(embedded, tmp_path / "base")
    writer = Writer.load(str(base)).taught([Document(prose(1))])
    shutil.rmtree(base)
    os.replace(shutil.copytree(embedded, tmp_path / "b"), tmp_path / ".out.old")  # killed before
    writer.save(writer.model, tmp_path / "out", {})
    assert StoryPipeline.from_pretrained(str(tmp_path / "out")).lexicon == writer.lexicon
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def start(arguments: list[str], ranks: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "finetune.gpt2", *arguments]
    if ranks > 1:
        command[1:3] = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node",
                        str(ranks), "-m", "finetune.gpt2"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, text=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def losses_of(log: str) -> list[float]:
    return [float(line.split("validation ")[1].split()[0])
            for line in log.splitlines() if "validation " in line]  # fmt: skip


def arguments(plain: Path, texts: Path, folder: Path, *more: str) -> list[str]:
    return ["--base", str(plain), "--data", str(texts), "--out", str(folder / "out"), "--runs",
            str(folder / "runs"), "--block", "64", "--steps", "4", "--evaluations", "2", "--rate",
            "1e-3", "--device", "cpu", *more]  # fmt: skip


@pytest.mark.slow  # two processes, each with its own imports
def test_two_ranks_learn_what_one_learns(plain: Path, texts: Path, tmp_path: Path) -> None:
    two = start(arguments(plain, texts, tmp_path / "two", "--batch", "2"), ranks=2)
    told, _ = two.communicate(timeout=280)
    assert two.returncode == 0, told
    one = start(arguments(plain, texts, tmp_path / "one", "--batch", "4"))
    alone, _ = one.communicate(timeout=280)
    assert one.returncode == 0, alone
    assert len(losses_of(told)) == 3  # the first rank alone reports
    assert losses_of(told) == pytest.approx(losses_of(alone), abs=2e-3)
    models = [StoryPipeline.from_pretrained(str(tmp_path / n / "out")).model
              for n in ("one", "two")]  # fmt: skip
    for a, b in zip(*(m.parameters() for m in models), strict=True):
        assert torch.allclose(a, b, atol=2e-3)


@pytest.mark.slow  # a process of its own, killed twice
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on(plain: Path, texts: Path, tmp_path: Path, how: int) -> None:
    mine = arguments(plain, texts, tmp_path)
    mine[mine.index("--steps") + 1] = "400"
    mine[mine.index("--evaluations") + 1] = "200"
    first = start(mine)
    assert first.stdout is not None
    for line in first.stdout:
        if "step 6/" in line:
            break
    first.send_signal(how)
    first.communicate(timeout=120)
    assert (tmp_path / "out").exists() == (how == signal.SIGTERM)
    second = start([*mine, "--minutes", "0.05"])
    told, _ = second.communicate(timeout=280)
    assert second.returncode == 0, told
    assert "goes on from" in told
    assert (tmp_path / "out" / "training.json").is_file()
