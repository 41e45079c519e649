"""The CLIP of pages: whatever is asked of it, and the one that is shipped."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from finetune.evaluate import embed
from pipelines.errors import ModelUnavailable
from pipelines.painter import paint
from pipelines.scene import parse_brief
from pipelines.vqgan_clip.efficientnet import Convolution, EfficientNetLite
from pipelines.vqgan_clip.loading import load_clip, load_clips
from pipelines.vqgan_clip.pages_clip import TEXT_LENGTH, PagesCLIP
from pipelines.vqgan_clip.pixels import to_pixels
from pipelines.weights import EMBEDDED
from tests.tiny import CPU
from tests.tiny_pages import pages_clip

MODEL = pages_clip()


def pixels(count: int = 2) -> torch.Tensor:
    side = MODEL.image_size
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [8, 14])
def test_halving_pads_less_at_the_left_and_top(kernel: int, side: int) -> None:
    """As TensorFlow's "same" does it: the rest of what is missing is at the right and bottom."""
    layer = Convolution(2, 3, kernel, stride=2)
    x = torch.randn(1, 2, side, side)
    missing = (side // 2 - 1) * 2 + kernel - side
    left = missing // 2
    padded = F.pad(x, (left, missing - left, left, missing - left))
    expected = F.conv2d(padded, layer.weight, layer.bias, stride=2)
    assert layer(x).shape == (1, 3, side // 2, side // 2)
    assert torch.equal(layer(x), expected)


def test_the_shape_of_lite0() -> None:
    network = EfficientNetLite()
    assert sum(p.numel() for p in network.parameters()) == 3_350_000
    assert len(network.blocks) == 16
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 64, 32)).shape == (2, 1280)


def test_pictures_are_unit_vectors_that_differ_and_repeat() -> None:
    seen = MODEL.embed_images(pixels())
    assert seen.shape == (2, 16)
    assert torch.allclose(seen.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)
    assert torch.equal(seen, MODEL.embed_images(pixels()))


def test_gradients_reach_pixels() -> None:
    asked = pixels().requires_grad_()
    (MODEL.embed_images(asked) * MODEL.embed_texts(["a fox", "the sea"])).sum().backward()
    assert asked.grad is not None
    assert (asked.grad.abs().amax((1, 2, 3)) > 0).all()
    assert asked.grad.isfinite().all()


@given(st.lists(st.text(st.characters(exclude_categories=())), max_size=3))
def test_any_text_is_a_unit_vector(prompts: list[str]) -> None:
    read = MODEL.embed_texts(prompts)
    assert read.shape == (len(prompts), 16)
    assert torch.allclose(read.norm(dim=1), torch.ones(len(prompts)), atol=1e-5)


def test_what_says_nothing_is_one_and_the_same() -> None:
    read = MODEL.embed_texts(["", "  \n", "狐", "лиса", "\ud800", "🦊", "a" * 100_000])
    assert torch.equal(read, read[:1].expand_as(read))


def test_a_text_counts_up_to_its_limit() -> None:
    full = "fox " * TEXT_LENGTH
    cut, short = MODEL.embed_texts([full + "owl", full[:-4] + "owl"])
    assert torch.allclose(cut, MODEL.embed_texts([full])[0], atol=1e-6)
    assert not torch.allclose(short, cut, atol=1e-4)
    assert torch.allclose(MODEL.embed_texts([full * 10_000])[0], cut, atol=1e-6)


def test_case_and_accents_do_not_count() -> None:
    read = MODEL.embed_texts(["the owl", "The  ÔWL"])
    assert torch.equal(read[0], read[1])


def test_it_comes_back(tmp_path: Path) -> None:
    MODEL.save(tmp_path, int8=False)
    again = load_clip(str(tmp_path), CPU)
    assert isinstance(again, PagesCLIP)
    assert again.vocabulary == MODEL.vocabulary
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    for key, value in MODEL.state_dict().items():
        assert torch.equal(again.state_dict()[key], value.half().float()), key


@pytest.mark.parametrize("name", ["vocab.txt", "config.json", "model-01.safetensors"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    MODEL.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelUnavailable, match=name):
        PagesCLIP.from_pretrained(tmp_path, CPU)


@pytest.mark.parametrize(
    "words", [b"", b"fox\nfox\n[UNK]\n", b"fox\n", b"\xff\xfe", b"fox\n[UNK]\n"]
)
def test_another_vocabulary(tmp_path: Path, words: bytes) -> None:
    MODEL.save(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(words)
    with pytest.raises(ModelUnavailable):
        PagesCLIP.from_pretrained(tmp_path, CPU)


@pytest.mark.parametrize(
    "change", [{"image_size": 33}, {"image_size": "32"}, {"stages": 1}, {"features": 8}]
)
def test_another_config(tmp_path: Path, change: dict[str, object]) -> None:
    MODEL.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(MODEL.config | change))
    with pytest.raises(ModelUnavailable):
        PagesCLIP.from_pretrained(tmp_path, CPU)


# --- the shipped one -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> PagesCLIP:
    return PagesCLIP.from_pretrained(EMBEDDED / "clip_pages", CPU)


def test_by_name_beside_another() -> None:
    first, second = load_clips("embedded:1,pages:0.5", CPU)
    assert isinstance(second.model, PagesCLIP)
    assert (first.weight, second.weight) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


@torch.no_grad()
def test_drawn_pages_and_their_words(shipped: PagesCLIP) -> None:
    """Three that it can tell: of the painter's clip art it knows little (see its card)."""
    told = {
        "boy @school day": "A boy at school",
        "bird @sky": "A bird flies in the sky",
        "monkey @jungle": "A monkey in the trees",
    }
    drawn = [paint(parse_brief(brief), random.Random(1)).picture for brief in told]
    seen = embed(shipped, torch.cat([to_pixels(p, 256, 256, CPU) for p in drawn]))
    read = shipped.embed_texts(list(told.values()))
    assert (seen @ read.T).argmax(1).tolist() == [0, 1, 2]
    assert (seen @ read.T).argmax(0).tolist() == [0, 1, 2]


def test_words_that_mean_alike_are_near(shipped: PagesCLIP) -> None:
    read = shipped.text_features(["The puppy runs.", "A dog is running", "Rain falls at night"])
    assert read[0] @ read[1] > read[0] @ read[2] + 0.3
