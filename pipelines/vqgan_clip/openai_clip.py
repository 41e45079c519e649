"""OpenAI's own CLIP archives (ViT-B-32.pt, RN50.pt, ...), without running the code in them.

Source: Radford et al. 2021 (arXiv 2103.00020), section 2.4 and appendix F. Text tower and vision
transformer become those of transformers' CLIPModel; the modified ResNet, which transformers does
not have, stands here: a stem of three convolutions, blur before every stride, and attention in
place of the last pooling.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection

from pipelines.errors import ModelUnavailable
from pipelines.hub import hub_reached, short
from pipelines.vqgan_clip.checkpoints import read_state_dict
from pipelines.vqgan_clip.clip_checkpoints import CLIP_MEAN, CLIP_STD, TransformersCLIP, lighten

WHAT = "a CLIP archive of OpenAI"
SOURCE = "https://github.com/openai/CLIP/blob/main/clip/clip.py lists the addresses"
BPE = "bpe_simple_vocab_16e6.txt.gz"
SHARED = "openai/clip-vit-base-patch32"
"""All of OpenAI's CLIPs share its vocabulary."""


def load_openai(path: Path, device: torch.device) -> TransformersCLIP:
    """A CLIP from an archive (or its state dict), with the vocabulary that lies beside it.

    Raises: ModelUnavailable that names what is missing or wrong, and where to get it.
    """
    state = {name: t.float() if t.is_floating_point() else t
             for name, t in read_state_dict(path, WHAT, SOURCE).items()}  # fmt: skip
    for name in ("text_projection", "token_embedding.weight", "visual.conv1.weight"):
        if name not in state:
            raise ModelUnavailable(f"{path} is not {WHAT}: it has no {name}. {SOURCE}.")
    tokenizer = read_vocabulary(path.parent, len(state["token_embedding.weight"]))
    try:
        model = vision_transformer(state) if "visual.proj" in state else ResNetCLIP(state)
    except (KeyError, RuntimeError, ValueError, ZeroDivisionError) as e:
        raise ModelUnavailable(
            f"{path} is a CLIP of another shape than OpenAI's ({short(e)}). {SOURCE}."
        ) from e
    lighten(model)
    return TransformersCLIP(model, tokenizer, CLIP_MEAN, CLIP_STD).to(device)


def read_vocabulary(folder: Path, size: int) -> CLIPTokenizer:
    """The byte-pair vocabulary of OpenAI's CLIPs, from the files of transformers' tokenizer or
    from OpenAI's own; where there are none, that of SHARED. Raises: ModelUnavailable."""
    advice = (
        f"Put vocab.json and merges.txt there (“hf download {SHARED} vocab.json "
        f"merges.txt --local-dir {folder}”; all of OpenAI's CLIPs share them), or {BPE} of "
        "https://github.com/openai/CLIP."
    )
    try:
        tokenizer = _vocabulary_in(folder, size)
    except Exception as e:  # gzip and tokenizers raise whatever they stumble over
        raise ModelUnavailable(
            f"The vocabulary of CLIP in {folder} is damaged ({short(e)}). {advice}"
        ) from e
    if tokenizer is None and (tokenizer := _shared_vocabulary(size)) is None:
        raise ModelUnavailable(f"The vocabulary of CLIP is missing in {folder}. {advice}")
    if len(tokenizer) != size:
        raise ModelUnavailable(
            f"The vocabulary in {folder} has {len(tokenizer)} tokens, and the CLIP beside it "
            f"{size}: they do not belong together. {advice}"
        )
    return tokenizer


def _vocabulary_in(folder: Path, size: int) -> CLIPTokenizer | None:
    """What the files of a folder hold; None where there are none. Raises whatever is wrong."""
    if (folder / BPE).is_file():
        return _openai_vocabulary(folder / BPE, size)
    whole = (folder / "tokenizer.json").is_file()
    if whole or all((folder / n).is_file() for n in ("vocab.json", "merges.txt")):
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return None


def _shared_vocabulary(size: int) -> CLIPTokenizer | None:
    """From an earlier download, or else from the hub; None where neither has one of that size."""
    for local in (True, False):
        if local or hub_reached():
            with suppress(Exception):  # whatever the hub's client raises
                tokenizer = CLIPTokenizer.from_pretrained(SHARED, local_files_only=local)
                if len(tokenizer) == size:  # where there are no files, it is an empty one
                    return tokenizer
    return None


def _openai_vocabulary(path: Path, size: int) -> CLIPTokenizer:
    """Tokens in OpenAI's order: bytes, bytes that end a word, merges, start, end."""
    letters = list(bytes_to_unicode().values())
    with gzip.open(path, "rt", encoding="utf-8") as f:
        lines = f.read().split("\n")[1 : 1 + size - 2 * len(letters) - 2]
    merges = [(a, b) for a, _, b in (line.partition(" ") for line in lines) if a and b]
    tokens = [*letters, *(x + "</w>" for x in letters), *("".join(m) for m in merges),
              "<|startoftext|>", "<|endoftext|>"]  # fmt: skip
    return CLIPTokenizer(vocab={t: n for n, t in enumerate(tokens)}, merges=merges)  # pyright: ignore[reportArgumentType]


def _blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    found = {int(m[1]) for n in state if (m := re.match(rf"{prefix}resblocks\.(\d+)\.", n))}
    return len(found)


def _text_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    positions, width = state["positional_embedding"].shape
    return {
        "vocab_size": len(state["token_embedding.weight"]), "hidden_size": width,
        "intermediate_size": 4 * width, "num_hidden_layers": _blocks(state, r"transformer\."),
        "num_attention_heads": width // 64, "max_position_embeddings": positions,
        "projection_dim": state["text_projection"].shape[1], "hidden_act": "quick_gelu",
        # The end is the token with the greatest id, as in OpenAI's code: what id 2 stands for.
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip


_LAYER = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
          "ln_1": "layer_norm1", "ln_2": "layer_norm2"}  # fmt: skip


def _tower(state: Mapping[str, Tensor], prefix: str, new: str) -> dict[str, Tensor]:
    """The layers of a transformer, named as in transformers; theirs keeps q, k and v apart."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = re.match(rf"{prefix}transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)$", name)
        if match is None:
            continue
        layer = f"{new}encoder.layers.{match[1]}."
        if match[2] == "attn.in_proj":
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{layer}self_attn.{part}_proj.{match[3]}"] = rows
        else:
            found[f"{layer}{_LAYER[match[2]]}.{match[3]}"] = tensor
    return found


def _text_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    new = "text_model."
    return {
        **_tower(state, "", new),
        new + "embeddings.token_embedding.weight": state["token_embedding.weight"],
        new + "embeddings.position_embedding.weight": state["positional_embedding"],
        new + "final_layer_norm.weight": state["ln_final.weight"],
        new + "final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T.contiguous(),
    }


def vision_transformer(state: Mapping[str, Tensor]) -> CLIPModel:
    """transformers' CLIPModel with the weights of an OpenAI ViT."""
    width, _, patch, _ = state["visual.conv1.weight"].shape
    side = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    vision = {
        "hidden_size": width, "intermediate_size": 4 * width, "patch_size": patch,
        "num_hidden_layers": _blocks(state, r"visual\.transformer\."),
        "num_attention_heads": width // 64, "image_size": side * patch,
        "projection_dim": state["visual.proj"].shape[1], "hidden_act": "quick_gelu",
    }  # fmt: skip
    text = _text_config(state)
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=text["projection_dim"])
    )
    new = "vision_model."
    weights = {
        **_text_weights(state),
        **_tower(state, r"visual\.", new),
        new + "embeddings.class_embedding": state["visual.class_embedding"],
        new + "embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        new + "embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
        "logit_scale": state["logit_scale"],
    }
    for old, name in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        for kind in ("weight", "bias"):
            weights[f"{new}{name}.{kind}"] = state[f"visual.{old}.{kind}"]
    model.load_state_dict(weights)
    return model


class Bottleneck(nn.Module):
    """Residual block; where the side is halved, average pooling does it, not a stride."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4W, H / stride, W / stride)."""
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        h = self.bn3(self.conv3(self.pool(h)))
        return F.relu(h + (x if self.downsample is None else self.downsample(self.pool(x))))


class AttentionPool(nn.Module):
    """The mean of all positions asks them what the picture is (QKV attention, one query)."""

    def __init__(self, side: int, channels: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(side**2 + 1, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, D)."""
        x = x.flatten(2).transpose(1, 2)  # (B, N, C)
        x = torch.cat([x.mean(1, keepdim=True), x], dim=1) + self.positional_embedding

        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, n, C/heads)

        q, k, v = split(self.q_proj(x[:, :1])), split(self.k_proj(x)), split(self.v_proj(x))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.c_proj(mixed)[:, 0]


class ModifiedResNet(nn.Module):
    """The ResNets of CLIP: RN50, RN101, and the wider RN50x4, x16 and x64."""

    def __init__(self, width: int, layers: tuple[int, ...], side: int, out: int) -> None:
        """`side`: of the grid that attention pools; pictures have 32 times that."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        channels = width
        for n, count in enumerate(layers):
            blocks = list[nn.Module]()
            for k in range(count):
                blocks.append(Bottleneck(channels, width * 2**n, 2 if n and not k else 1))
                channels = 4 * width * 2**n
            self.add_module(f"layer{n + 1}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(side, channels, channels // 64, out)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, S, S) -> (B, D)."""
        x = pixels
        for n in (1, 2, 3):
            conv, norm = self.get_submodule(f"conv{n}"), self.get_submodule(f"bn{n}")
            x = F.relu(norm(conv(x)))
        x = F.avg_pool2d(x, 2)
        for n in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{n}")(x)
        return self.attnpool(x)


class ResNetCLIP(nn.Module):
    """A CLIP with a ResNet, with the two methods of transformers' CLIPModel that matter here."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.text = CLIPTextModelWithProjection(CLIPTextConfig(**_text_config(state)))
        self.text.load_state_dict(_text_weights(state))
        layers = tuple(
            len({m[1] for k in state if (m := re.match(rf"visual\.layer{n}\.(\d+)\.", k))})
            for n in (1, 2, 3, 4)
        )
        side = round((len(state["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
        width, out = len(state["visual.layer1.0.conv1.weight"]), state["text_projection"].shape[1]
        self.visual = ModifiedResNet(width, layers, side, out)
        self.visual.load_state_dict(
            {n.removeprefix("visual."): t for n, t in state.items() if n.startswith("visual.")}
        )
        self.config = SimpleNamespace(
            model_type="clip",
            vision_config=SimpleNamespace(image_size=32 * side),
            text_config=self.text.config,
        )

    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=self.visual(pixel_values))  # pyright: ignore[reportArgumentType]

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor
    ) -> BaseModelOutputWithPooling:
        read = self.text(input_ids=input_ids, attention_mask=attention_mask)
        return BaseModelOutputWithPooling(pooler_output=read.text_embeds)
