"""The CLIP of pages: made from public weights, and taught by pictures with words."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from finetune import clip as pairs_command
from finetune import clip_heads, clip_pages, clip_pairs
from finetune.training import TrainStep
from pipelines.errors import InvalidInput
from pipelines.painter import SIZE
from pipelines.vqgan_clip.efficientnet import Convolution
from pipelines.vqgan_clip.pages_clip import PagesCLIP
from tests.tiny import CPU
from tests.tiny_pages import PAGES_CONFIG, VOCABULARY, pages_clip
from tests.tiny_pictures import folder, picture

WORDS = ["the fox", "two owls at night", "the sea", "night"]


def pictures(count: int = 4) -> np.ndarray:
    return np.stack([np.asarray(picture(n, SIZE)) for n in range(count)])


def learn(steps: int = 60, **changed: Any) -> list[Any]:
    model = pages_clip()
    features = clip_heads.picture_features(model, pictures(), 0)
    clip_pages.standardise(model, features)
    return list(clip_heads.train(model, features, range(4), WORDS, steps=steps, peak=0.02,
                                 report_every=1, **changed))  # fmt: skip


class Normed(nn.Module):
    """A convolution without a bias, and the batch norm behind it."""

    def __init__(self, like: Convolution) -> None:
        super().__init__()
        self.conv = copy.deepcopy(like)
        self.conv.bias = None
        self.norm = nn.BatchNorm2d(like.out_channels, eps=clip_pages.EPSILON)
        for values in (self.norm.running_mean, self.norm.weight, self.norm.bias):
            assert values is not None
            nn.init.normal_(values)
        assert self.norm.running_var is not None
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


def public_weights() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The tiny trunk with batch norms, as public weights have them."""
    trunk = pages_clip().trunk
    for name, module in list(trunk.named_modules()):
        if isinstance(module, Convolution):
            parent, _, own = name.rpartition(".")
            setattr(trunk.get_submodule(parent), own, Normed(module))
    return trunk.eval(), trunk.state_dict()


def test_batch_norms_are_folded_away() -> None:
    torch.manual_seed(0)
    theirs, weights = public_weights()
    ours = pages_clip(5).trunk
    clip_pages.fold(ours, weights)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(ours(pixels), theirs(pixels), atol=1e-5)
    del weights["head.conv.weight"]
    with pytest.raises(InvalidInput, match="EfficientNet-Lite0"):
        clip_pages.fold(ours, weights)


def test_the_table_keeps_directions_and_makes_frequent_words_small() -> None:
    torch.manual_seed(0)
    meanings = torch.randn(6, 2) @ torch.randn(2, 12)
    names = ["the", "fox", "owl", "sea", "night", "two"]
    rows = clip_pages.table(names, meanings, ["the the the the fox"], 2)
    plain = clip_pages.table(names, meanings, [], 2)
    middle = meanings - meanings.mean(0)
    assert torch.allclose(plain @ plain.T, middle @ middle.T, atol=1e-4)  # of rank 2
    shares = rows.norm(dim=1) / plain.norm(dim=1)
    assert shares.tolist() == pytest.approx([1e-3 / 0.801, 1e-3 / 0.201, 1, 1, 1, 1], rel=1e-4)


def test_latin_tokens() -> None:
    tokens = ("fox", "##ing", "[", "!", "7", "ß", "[UNK]", "[unused5]", "лиса", "狐", "##の")
    kept = [t for t in tokens if clip_pages.is_latin(t)]
    assert kept == ["fox", "##ing", "[", "!", "7", "ß"]


def test_one_batch_can_be_overfitted() -> None:
    *steps, model = learn()
    metrics = [e.metrics for e in steps if isinstance(e, TrainStep)]
    assert metrics[-1]["contrast"] < 0.3 * metrics[0]["contrast"]
    found = clip_pairs.figures(model, pictures(), WORDS)
    assert found["picture to words recall@1"] == found["words to picture recall@1"] == 1


def test_the_same_seed_learns_the_same_and_only_the_top() -> None:
    *_, one = learn(3)
    torch.manual_seed(99)
    *_, two = learn(3)
    *_, other = learn(3, seed=1)
    before = pages_clip().state_dict()
    moved = {k for k, v in one.state_dict().items() if not torch.equal(v, before[k])}
    top = {f"{n}_projection.{p}" for n in ("visual", "text") for p in ("weight", "bias")}
    assert moved == top | {"logit_scale", "mean", "deviation"}
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())
    assert not torch.equal(one.visual_projection.weight, other.visual_projection.weight)
    assert not any(p.requires_grad for p in one.parameters())


def test_words_of_the_same_picture_are_no_rivals() -> None:
    model = pages_clip()
    features = clip_heads.picture_features(model, pictures(1), 0)
    steps = list(clip_heads.train(model, features, [0, 0], WORDS[:2], steps=1))
    assert isinstance(steps[0], TrainStep)
    assert steps[0].metrics == {"contrast": 0.0, "recall@1": 1.0}  # nothing to be told from


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)
    monkeypatch.setattr(clip_pages, "pages_config", lambda: PAGES_CONFIG)
    pages = folder(tmp_path / "pages", 6)
    rows = [{"image": f"{n:02d}.png", "text": f"The fox {n}.", "caption": "Night" if n == 1 else "",
             "split": "test" if n > 3 else "train"} for n in range(6)]  # fmt: skip
    (pages / "pages.jsonl").write_text("\n".join(map(json.dumps, rows)))
    torch.save(public_weights()[1], tmp_path / "image.pth")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[unused0]", "狐", *VOCABULARY[:-1]]
    config = BertConfig(vocab_size=len(tokens), hidden_size=32, num_hidden_layers=1,
                        num_attention_heads=2, intermediate_size=32)  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "text")
    (tmp_path / "text" / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    where = {"pages": pages, "image-weights": tmp_path / "image.pth",
             "text-model": tmp_path / "text"}  # fmt: skip
    arguments = [f"--{name}={path}" for name, path in where.items()] + ["--device=cpu"]

    def call(out: str, *more: str) -> None:
        chosen = ["--steps=2", f"--out={tmp_path / out}", f"--runs={tmp_path / 'runs'}", *more]
        monkeypatch.setattr(sys, "argv", ["clip", *arguments, *chosen])
        clip_pages.main()

    call("one")
    model = PagesCLIP.from_pretrained(tmp_path / "one", CPU)
    assert model.vocabulary == VOCABULARY
    assert not model.words.weight[-1].any()
    monkeypatch.setattr(clip_heads, "picture_features", None)  # they are kept
    call("two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    with pytest.raises(SystemExit, match="--image-weights"):
        call("three", f"--image-weights={pages / 'pages.jsonl'}")
    with pytest.raises(SystemExit, match="--text-model"):
        call("three", f"--text-model={pages}")


def test_own_pairs_teach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.own.signal.signal", lambda *_: None)
    pages_clip().save(tmp_path / "base")
    home = folder(tmp_path / "pictures", 5)
    where = {"pairs": home, "out": tmp_path / "models", "runs": tmp_path / "runs",
             "base": tmp_path / "base"}  # fmt: skip
    arguments = [f"--{name}={path}" for name, path in where.items()]
    arguments += ["--steps=2", "--batch=2", "--device=cpu"]

    def call(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["clip", *arguments, *more])
        pairs_command.main()

    with pytest.raises(SystemExit, match="Leave out --top"):
        call("--top=1")
    call()
    model = PagesCLIP.from_pretrained(tmp_path / "models" / "clip", CPU)
    base = PagesCLIP.from_pretrained(tmp_path / "base", CPU)
    assert torch.equal(model.trunk.head.weight, base.trunk.head.weight)
    assert not torch.equal(model.visual_projection.weight, base.visual_projection.weight)
    told = json.loads((tmp_path / "models" / "clip" / "training.json").read_text())
    assert (told["pairs"], told["figures"]["held out"]) == (4, 1)
    assert "before" in told
