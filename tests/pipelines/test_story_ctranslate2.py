"""A language model converted to CTranslate2 writes as the model itself would, on a tiny GPT-2."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import pipelines.convert as command
from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.events import StoryProgress
from pipelines.presets import StoryConfig
from pipelines.story import StoryPipeline
from pipelines.story_ctranslate2 import ConvertedModel, convert_story
from pipelines.story_plain import Continuation, continue_text, load_plain
from pipelines.tokenizer import load_tokenizer
from tests.tiny import CPU

pytest.importorskip("ctranslate2", reason="the optional package ctranslate2 is not installed")

WORDS = "a fox who wanted to fly"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers saves it; what comes next depends on what was there."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("plain") / "tiny-gpt2"
    size = load_tokenizer().get_vocab_size()
    config = GPT2Config(vocab_size=size, n_positions=96, n_embd=64, n_layer=2, n_head=2,
                        initializer_range=0.3, bos_token_id=None, eos_token_id=1)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=load_tokenizer(), eos_token="<end>").save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def converted(original: Path) -> Path:
    folder = original.parent / "tiny-int8"
    convert_story(str(original), folder)
    return folder


def write(
    folder: Path, config: StoryConfig, *, seed: int = 1, count: int = 3
) -> list[Continuation]:
    model, tokenizer = load_plain(str(folder), CPU)
    generator = torch.Generator().manual_seed(seed)
    *_, last = continue_text(model, tokenizer, WORDS, config, (), count, generator)
    return last


def test_the_likeliest_text_is_that_of_the_model_itself(original: Path, tmp_path: Path) -> None:
    convert_story(str(original), tmp_path / "float", "float32")
    greedy = StoryConfig(WORDS, top_k=1, repetition_penalty=1.0, sentences=4)
    (wanted,), (found,) = (
        write(f, greedy, count=1) for f in (original, tmp_path / "float")
    )  # fmt: skip
    assert wanted.tokens > 20
    assert found.text == wanted.text
    assert found.likelihood == pytest.approx(wanted.likelihood, abs=1e-3)


def test_a_seed_gives_the_same_texts(converted: Path) -> None:
    config = StoryConfig(WORDS, sentences=4)
    first = write(converted, config)
    assert len({t.text for t in first}) == 3
    assert write(converted, config) == first
    assert write(converted, config, seed=2) != first
    for text in first:
        assert text.text.startswith("A fox who wanted to fly")
        assert text.likelihood < -1
        assert 0 < text.tokens <= 96


def test_a_converted_model_writes_stories(converted: Path) -> None:
    pipeline = StoryPipeline.from_pretrained(str(converted), device="cpu")
    assert isinstance(pipeline.model, ConvertedModel)
    config = StoryConfig(WORDS, sentences=4, drafts=2, seed=1)
    *live, one, two = pipeline.stream(config)
    assert any(isinstance(e, StoryProgress) for e in live)
    assert pipeline(config) == [one, two]
    stopped: Any = pipeline.stream(config)
    next(stopped)
    stopped.close()  # ends CTranslate2's thread, too


def test_banned_words_do_not_come(converted: Path) -> None:
    model, tokenizer = load_plain(str(converted), CPU)
    config = StoryConfig(WORDS, sentences=4, temperature=0.5, top_k=3, repetition_penalty=1.0)

    def text(banned: tuple[str, ...]) -> str:
        generator = torch.Generator().manual_seed(3)
        *_, last = continue_text(model, tokenizer, WORDS, config, banned, 1, generator)
        return last[0].text[len(WORDS) :]

    free = text(())
    words = [w for w in free.split() if w.isalpha() and len(w) > 3]
    assert words
    word = words[0].lower()
    assert word not in text((word,)).lower().split()


def test_converting_by_command(
    original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["convert", *arguments])
        return command.main()

    folder = tmp_path / "converted"
    assert run("story", str(original), str(folder)) == 0
    assert "is ready" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["converted"]
    assert run("story", str(original), str(folder)) == 1
    assert "is there already" in capsys.readouterr().err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run("story", "nobody/writer", str(tmp_path / "other")) == 1
    assert "hf download nobody/writer " in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_damaged_and_missing(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(converted, broken)
    (broken / "model.bin").write_bytes((broken / "model.bin").read_bytes()[:500])
    with pytest.raises(ModelUnavailable, match=r"broken holds no converted.*Convert it again"):
        load_plain(str(broken), CPU)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ModelUnavailable, match="pip install ctranslate2"):
        load_plain(str(converted), CPU)


def test_models_that_cannot_be_converted(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast, RwkvConfig, RwkvForCausalLM

    size = load_tokenizer().get_vocab_size()
    RwkvForCausalLM(
        RwkvConfig(vocab_size=size, hidden_size=8, num_hidden_layers=2, attention_hidden_size=8)
    ).save_pretrained(tmp_path / "odd")
    PreTrainedTokenizerFast(tokenizer_object=load_tokenizer()).save_pretrained(tmp_path / "odd")
    with pytest.raises(InvalidInput, match=r"odd” cannot be converted .*--story"):
        convert_story(str(tmp_path / "odd"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
