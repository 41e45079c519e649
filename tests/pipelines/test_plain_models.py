"""The plain GPT-2 and CLIP are transformers' models: same files, same function, same beginnings."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from pipelines.errors import InvalidInput
from pipelines.gpt2 import ACTIVATIONS, GPT2, GPT2Config, GPT2Writer
from pipelines.tokenizer import END_ID, PAD_ID
from pipelines.vqgan_clip.checkpointing import checkpoint_blocks
from pipelines.vqgan_clip.clip import embedded_config
from pipelines.vqgan_clip.clip_model import CLIPModel

SHAPE: dict[str, Any] = {
    "vocab_size": 60,
    "n_positions": 24,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
}


def theirs(**changed: Any) -> transformers.GPT2LMHeadModel:
    torch.manual_seed(0)
    plain = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SHAPE, **plain, **changed))
    for p in model.parameters():  # norms and biases that do nothing would hide a mistake
        nn.init.normal_(p, std=0.2)
    return model.eval()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_gpt2_is_that_of_transformers(activation: str) -> None:
    known = theirs(activation_function=activation)
    ours = GPT2Writer(GPT2Config(**SHAPE, activation_function=activation))
    ours.transformer.load_state_dict(known.transformer.state_dict())
    ids = torch.randint(60, (3, 11), generator=torch.Generator().manual_seed(1))
    found, expected = ours(ids), known(ids).logits
    assert torch.allclose(found, expected, atol=1e-4)
    (a,) = torch.autograd.grad(found.square().mean(), ours.transformer.wte.weight)
    (b,) = torch.autograd.grad(expected.square().mean(), known.transformer.wte.weight)
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_padding_changes_nothing_that_is_read() -> None:
    known = theirs().transformer
    ours = GPT2(GPT2Config(**SHAPE))
    ours.load_state_dict(known.state_dict())
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 3:6] = 0
    where = torch.arange(9)
    found = ours(x, where, mask)
    expected = known(inputs_embeds=x, position_ids=where[None], attention_mask=mask)
    seen = mask == 1
    assert torch.allclose(found[seen], expected.last_hidden_state[seen], atol=1e-4)
    x[1, 3:6] = 100.0
    assert torch.equal(ours(x, where, mask)[seen], found[seen])


def test_a_config_may_say_more_but_nothing_that_is_not_done() -> None:
    told = {**SHAPE, "bos_token_id": None, "resid_pdrop": 0.1}
    assert GPT2Config.from_values(told) == GPT2Config(**SHAPE)
    with pytest.raises(InvalidInput, match="relu"):
        GPT2Config.from_values({**SHAPE, "activation_function": "relu"})
    with pytest.raises(ValueError, match="5 heads"):
        GPT2Config.from_values({**SHAPE, "n_head": 5})
    with pytest.raises(TypeError, match="n_embd"):
        GPT2Config.from_values({k: v for k, v in SHAPE.items() if k != "n_embd"})


def test_remembering_less_gives_the_same_gradient() -> None:
    torch.manual_seed(0)
    model = GPT2Writer(GPT2Config(**SHAPE))
    found: list[Tensor] = []
    for again in (False, True):
        if again:
            checkpoint_blocks(model)
        loss = model(torch.arange(10)[None]).square().mean()
        first = model.get_parameter("transformer.h.0.attn.c_attn.weight")
        found += torch.autograd.grad(loss, first)
    assert torch.allclose(found[0], found[1], rtol=1e-4)
    assert found[0].abs().max() > 0


CLIP_SHAPE = embedded_config(
    image_size=32, patch=8, width=64, image_layers=2, text_layers=2, projection=32
)


def test_clip_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    known = transformers.CLIPModel(transformers.CLIPConfig(**CLIP_SHAPE)).eval()
    for p in known.parameters():
        nn.init.normal_(p, std=0.1)
    ours = CLIPModel(CLIP_SHAPE)
    ours.load_state_dict(known.state_dict())
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    ids = torch.tensor([[7, 8, 9, END_ID, PAD_ID], [5, 6, 7, 8, END_ID]])
    mask = (torch.arange(5) < torch.tensor([4, 5])[:, None]).long()
    pairs: list[tuple[Tensor, Tensor]] = []
    seen, there = ours.vision_model(pixels), known.vision_model(pixel_values=pixels)
    pairs += [(seen.last_hidden_state, there.last_hidden_state),
              (seen.pooler_output, there.pooler_output),
              (ours.visual_projection(seen.pooler_output),
               known.visual_projection(there.pooler_output))]  # fmt: skip
    read = ours.text_model(ids, mask)
    told = known.text_model(input_ids=ids, attention_mask=mask)
    pairs += [(read.last_hidden_state[mask == 1], told.last_hidden_state[mask == 1]),
              (read.pooler_output, told.pooler_output)]  # fmt: skip
    for a, b in pairs:
        assert torch.allclose(a, b, atol=1e-4), (a - b).abs().max()


@pytest.mark.parametrize("which", ["gpt2", "clip"])
def test_training_begins_from_the_same_spread(which: str) -> None:
    """A weight's standard deviation is that with which transformers begins."""
    torch.manual_seed(0)
    if which == "gpt2":
        known: nn.Module = transformers.GPT2Model(transformers.GPT2Config(**SHAPE))
        ours: nn.Module = GPT2(GPT2Config(**SHAPE))
    else:
        known = transformers.CLIPModel(transformers.CLIPConfig(**CLIP_SHAPE))
        ours = CLIPModel(CLIP_SHAPE)
    mine = ours.state_dict()
    assert set(mine) == set(known.state_dict())
    for name, weight in known.state_dict().items():
        if weight.numel() < 2:
            assert mine[name].item() == pytest.approx(weight.item(), abs=1e-3), name
            continue
        spread, expected = mine[name].std().item(), weight.std().item()
        assert spread == pytest.approx(expected, rel=0.35, abs=1e-6), name


def test_the_embedded_models_do_without_transformers() -> None:
    """Its import would double the time until the app can write."""
    code = """
import sys
from pipelines.presets import PictureConfig, StoryConfig
from pipelines.story import StoryPipeline
from pipelines.vqgan_clip import VQGANCLIPPipeline
writer, painter = StoryPipeline.from_pretrained(), VQGANCLIPPipeline.from_pretrained(device="cpu")
draft = writer(StoryConfig("a fox", sentences=4, drafts=1, ban=("wolf",), seed=1))[0]
painter(draft.sentences[0], PictureConfig(start="noise", steps=1, cutouts=1, seed=1))
assert "transformers" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
