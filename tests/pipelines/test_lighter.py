"""Networks that cost less on the way back give the same pictures, gradients and weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor, nn

from pipelines.vqgan_clip import clip_checkpoints, loading, vq_model
from pipelines.vqgan_clip.checkpointing import bytes_kept, checkpointed
from pipelines.vqgan_clip.clip_checkpoints import TransformersCLIP
from pipelines.vqgan_clip.lighter import NormSilu, PatchConv, attend, quick_gelu
from pipelines.vqgan_clip.loading import load_clip
from pipelines.vqgan_clip.models import fingerprint
from tests.pipelines.test_clip_checkpoints import plain, write_archive, write_vocabulary
from tests.tiny import CPU

LAST, FIRST = torch.channels_last, torch.contiguous_format


def back(compute: Callable[[Tensor], Tensor], x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """What is computed, and the gradient in `x` of its product with `slope`."""
    x = x.detach().requires_grad_(True)
    made = compute(x)
    return made.detach(), torch.autograd.grad(made, [x], slope)[0]


def apart(found: Tensor, exact: Tensor) -> float:
    """Length of the difference, as a share of the length of `exact`."""
    return ((found.double() - exact.double()).norm() / exact.double().norm()).item()


def group_norm() -> nn.GroupNorm:
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 16, eps=1e-6)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


@pytest.mark.parametrize("layout", [LAST, FIRST], ids=["channels last", "channels first"])
def test_a_norm_with_silu_is_both_one_after_the_other(layout: torch.memory_format) -> None:
    norm = group_norm()
    ours = NormSilu.of(norm)
    assert [*ours.state_dict()] == [*norm.state_dict()]
    torch.manual_seed(1)
    x = (torch.randn(2, 16, 12, 9) + 3 * torch.randn(1, 16, 1, 1)).contiguous(memory_format=layout)
    slope = torch.randn(2, 16, 12, 9)
    exact = back(lambda t: F.silu(norm.double()(t)), x.double(), slope.double())
    for dtype, enough in ((torch.float32, 1e-5), (torch.bfloat16, 8e-3)):
        norm.float()
        given = x.to(dtype)
        made, gradient = back(ours, given, slope.to(dtype))
        assert torch.equal(made, F.silu(norm(given)))
        # of bfloat16 the input is rounded, too
        wanted = back(lambda t: F.silu(norm(t)), given.float(), slope.to(dtype).float())[1]
        assert apart(gradient, wanted) < enough
        assert gradient.is_contiguous(memory_format=layout)
    assert apart(wanted, exact[1]) < 0.02
    # a batch of one may have any stride, and so may a part of a picture
    for part in (x[:1].as_strided((1, 16, 12, 9), (1, *x.stride()[1:])), x[..., 1:, 2:]):
        some = slope[: len(part), :, : part.shape[2], : part.shape[3]]
        ours_back = back(ours, part, some)[1]
        assert apart(ours_back, back(lambda t: F.silu(norm(t)), part, some)[1]) < 1e-5


def test_a_norm_that_learns_is_left_to_autograd() -> None:
    ours = NormSilu.of(group_norm()).requires_grad_(True)
    ours(torch.randn(1, 16, 4, 4)).sum().backward()
    assert ours.weight.grad is not None
    assert ours.weight.grad.abs().max() > 0


def test_quick_gelu_has_its_gradient_and_keeps_its_input_alone() -> None:
    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(quick_gelu(x), x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(quick_gelu, [x])
    assert bytes_kept(lambda: quick_gelu(x), None) == x.nbytes


@pytest.mark.parametrize("side", [12, 14])
def test_patches_side_by_side_are_a_matrix_product(side: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 4, 4).requires_grad_(False)
    ours = PatchConv.of(conv)
    x = torch.randn(2, 3, side, side)
    slope = torch.randn(2, 5, 3, 3)
    for found, exact in zip(back(ours, x, slope), back(conv, x, slope), strict=True):
        assert torch.allclose(found, exact, atol=1e-6)
    assert PatchConv.fits(conv)
    for other in (nn.Conv2d(3, 5, 3, 1), nn.Conv2d(3, 5, 4, 4, 1), nn.Conv2d(3, 3, 4, 4, groups=3)):
        assert not PatchConv.fits(other)


@pytest.mark.parametrize("scale", [None, 0.5])
def test_attention_written_out_is_the_same(scale: float | None) -> None:
    torch.manual_seed(0)
    given = [torch.randn(2, 3, 20, 8) for _ in range(3)]
    slope = torch.randn(2, 3, 20, 8)

    def gradients(compute: Any, dtype: torch.dtype) -> list[Tensor]:
        of = [t.to(torch.bfloat16).to(dtype).requires_grad_(True) for t in given]
        made = compute(*of)
        return [made, *torch.autograd.grad(made, of, slope.to(dtype))]

    def usual(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, scale=scale)

    exact = gradients(usual, torch.float64)
    for dtype, enough in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        found = gradients(lambda *of: attend(*of, scale=scale), dtype)
        assert max(apart(f, e) for f, e in zip(found, exact, strict=True)) < enough


def test_a_lightened_vqgan_draws_the_same_and_keeps_less() -> None:
    torch.manual_seed(1)
    usual = VQModel(
        block_out_channels=(32, 32), num_vq_embeddings=12, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval().requires_grad_(False)  # fmt: skip
    lighter = copy.deepcopy(usual)
    vq_model.lighten(lighter)
    for (name, weight), (same, other) in zip(
        usual.state_dict().items(), lighter.state_dict().items(), strict=True
    ):
        assert name == same
        assert torch.equal(weight, other)
    latents = torch.randn(1, 4, 8, 8)

    def kept(model: VQModel) -> int:
        given = latents.clone().requires_grad_(True)
        return bytes_kept(lambda: model.decoder(given), model)

    def drawn(model: VQModel) -> tuple[Tensor, Tensor]:
        return back(model.decoder, latents, torch.ones(1, 3, 16, 16))

    for found, exact in zip(drawn(lighter), drawn(usual), strict=True):
        assert apart(found, exact) < 1e-4
    gradient = drawn(lighter)[1]
    with checkpointed(lighter.decoder):
        assert torch.equal(drawn(lighter)[1], gradient)
    with torch.autocast("cpu", torch.bfloat16):
        for found, exact in zip(drawn(lighter), drawn(usual), strict=True):
            assert apart(found, exact) < 0.02
    assert torch.equal(lighter.encoder(drawn(usual)[0]), usual.encoder(drawn(usual)[0]))
    assert kept(lighter) < 0.5 * kept(usual)


def test_a_clip_that_guides_is_halved_and_says_so_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_archive(plain(), tmp_path / "archive.pt")
    write_vocabulary(tmp_path)
    whole = load_clip(str(path), CPU)
    monkeypatch.setattr(loading, "fast_bf16", lambda _: True)
    half = load_clip(str(path), CPU, guides=True)
    assert isinstance(whole, TransformersCLIP)
    assert isinstance(half, TransformersCLIP)
    tower = half.model.vision_model
    assert tower.encoder.layers[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert fingerprint(half) == fingerprint(whole) != ""
    pixels = torch.rand(2, 3, whole.image_size, whole.image_size)
    with torch.autocast("cpu", torch.bfloat16):
        low = whole.embed_images(pixels)
    assert torch.equal(half.embed_images(pixels), low)
    assert apart(low, whole.embed_images(pixels)) < 0.05
    assert torch.equal(half.embed_texts(["a fox"]), whole.embed_texts(["a fox"]))
    monkeypatch.setattr(loading, "fast_bf16", lambda _: False)
    full = load_clip(str(path), CPU, guides=True)
    assert torch.equal(full.embed_images(pixels), whole.embed_images(pixels))


def test_a_tower_learns_after_it_was_lightened() -> None:
    """Fine-tuning takes the same models (`finetune/clip_pairs.py`)."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=16, projection_dim=16,
    )  # fmt: skip
    usual: Any = CLIPVisionModelWithProjection(config).eval()
    lighter = copy.deepcopy(usual)
    clip_checkpoints.lighten(lighter)
    assert [*lighter.state_dict()] == [*usual.state_dict()]
    pixels = torch.rand(2, 3, 32, 32)
    for model in (usual, lighter):
        model(pixel_values=pixels).image_embeds.pow(3).sum().backward()
    theirs = dict(usual.named_parameters())
    for name, weight in lighter.named_parameters():
        wanted = theirs[name].grad
        assert torch.allclose(weight.grad, wanted, atol=1e-5 * float(wanted.abs().max() + 1)), name
