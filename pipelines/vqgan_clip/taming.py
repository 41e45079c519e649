"""VQGAN checkpoints of taming-transformers (and latent diffusion's VQ models), made VQModels.

The architecture is that of Esser et al. 2021 (arXiv 2012.09841), which diffusers' `VQModel` has,
too, under other names and with linear layers where attention has 1x1 convolutions. The shape of
the network is read off the weights themselves; a .yaml beside the checkpoint is only compared.
The converted copy is kept, so that a checkpoint is unpacked once.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.utils.import_utils import is_accelerate_available
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.errors import ModelUnavailable
from pipelines.vqgan_clip.checkpoints import read_state_dict
from pipelines.weights import sha256

log = logging.getLogger(__name__)

WHAT = "a VQGAN checkpoint of taming-transformers"
SOURCE = "https://github.com/CompVis/taming-transformers#overview-of-pretrained-models"
PROJECTION = "gumbel.safetensors"
"""Beside a converted Gumbel VQGAN: the layer that chooses its codes."""

_PREFIXES = ("", "first_stage_model.", "module.")
"""Where a VQGAN stands in a checkpoint: alone, or inside a transformer that draws its codes."""


@dataclass(frozen=True)
class Architecture:
    """The shape of a VQGAN as Esser et al. publish it."""

    channels: tuple[int, ...]
    """Width at each level, the finest first; every level after it has half the side."""
    layers: int
    """Residual blocks a level (the decoder has one more)."""
    attention: tuple[bool, ...]
    """At which levels every residual block is followed by attention."""
    middle_attention: bool
    latent_channels: int
    code_channels: int
    codebook_size: int
    gumbel: bool
    """Codes are chosen by a layer of their own (Jang et al. 2017), not by distance; a converted
    copy does not say."""

    @classmethod
    def of(cls, model: VQModel) -> Architecture:
        """Of a converted copy."""
        c: Any = model.config
        return cls(
            channels=tuple(c.block_out_channels),
            layers=c.layers_per_block,
            attention=tuple(kind.startswith("Attn") for kind in c.down_block_types),
            middle_attention=c.mid_block_add_attention,
            latent_channels=c.latent_channels,
            code_channels=c.vq_embed_dim,
            codebook_size=c.num_vq_embeddings,
            gumbel=False,
        )

    def vq_model(self) -> dict[str, Any]:
        """The config of diffusers' VQModel."""
        down = ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in self.attention]
        up = ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in self.attention]
        return {
            "block_out_channels": self.channels, "layers_per_block": self.layers,
            "down_block_types": tuple(down), "up_block_types": tuple(reversed(up)),
            "latent_channels": self.latent_channels, "vq_embed_dim": self.code_channels,
            "num_vq_embeddings": self.codebook_size,
            "mid_block_add_attention": self.middle_attention,
        }  # fmt: skip


def load_taming(path: Path) -> tuple[VQModel, nn.Conv2d | None]:
    """A checkpoint as a VQModel on the CPU and, of a Gumbel VQGAN, the layer (C, h, w) ->
    (K, h, w) that chooses its codes.

    Reads the converted copy where there is one, and makes it where there is none.
    Raises: ModelUnavailable that names the file, what was expected, and where to get it.
    """
    if path.is_file():
        kept = cache_folder() / sha256(path)[:32]
        if kept.is_dir():
            found = None
            try:
                found = read_converted(kept)
            except Exception as e:  # a disk that lost something: the original is still there
                log.warning("The converted copy %s is damaged (%r) and made again.", kept, e)
                shutil.rmtree(kept, ignore_errors=True)
            if found is not None:
                compare_with_yaml(Architecture.of(found[0]), path)  # it may have come since
                return found
        model, projection = convert(path)
        try:
            save_converted(model, projection, kept)
        except OSError as e:
            log.warning("The converted copy of %s cannot be kept in %s: %s.", path, kept.parent, e)
        return model, projection
    return convert(path)


def convert(path: Path) -> tuple[VQModel, nn.Conv2d | None]:
    """As `load_taming`, from the checkpoint itself."""
    state = vqgan_weights(read_state_dict(path, WHAT, SOURCE), path)
    shape = read_architecture(state, path)
    compare_with_yaml(shape, path)
    names = dict(renamed(state, len(shape.channels)))
    with torch.device("meta"):
        model = VQModel(**shape.vq_model())
    wanted = model.state_dict()
    converted: dict[str, Tensor] = {}
    for name, goal in wanted.items():
        tensor = state.get(names.get(name, ""))
        if tensor is None or tensor.numel() != goal.numel():
            raise ModelUnavailable(
                f"{path} is not a VQGAN as taming-transformers makes them: "
                f"{'there is no' if tensor is None else 'another shape than expected has'} "
                f"{names.get(name, name)}. See {SOURCE}."
            )
        converted[name] = tensor.float().reshape(goal.shape).contiguous()
    model.load_state_dict(converted, assign=True)
    projection = None
    if shape.gumbel:
        projection = _projection({n: state[f"quantize.proj.{n}"] for n in ("weight", "bias")})
    return model.eval(), projection


def _projection(weights: dict[str, Tensor]) -> nn.Conv2d:
    codes, channels = weights["weight"].shape[:2]
    with torch.device("meta"):
        layer = nn.Conv2d(channels, codes, 1)
    layer.load_state_dict({n: w.float() for n, w in weights.items()}, assign=True)
    return layer


def vqgan_weights(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights of the VQGAN alone, without those of losses, averages and transformers.

    Raises: ModelUnavailable when there is none.
    """
    for prefix in _PREFIXES:
        if prefix + "decoder.conv_in.weight" in state:
            parts = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
            found = {
                name.removeprefix(prefix): tensor
                for name, tensor in state.items()
                if name.startswith(tuple(prefix + part for part in parts))
            }
            if not any(n.startswith("quantize.emb") for n in found):
                raise ModelUnavailable(
                    f"{path} is an autoencoder without a codebook, and a VQGAN has one. VQGANs "
                    f"are to be had at {SOURCE}."
                )
            return found
    some = ", ".join(sorted(state)[:3])
    raise ModelUnavailable(
        f"{path} is not {WHAT}: it holds other weights ({some}, ...). See {SOURCE}."
    )


def read_architecture(state: Mapping[str, Tensor], path: Path) -> Architecture:
    """The shape of the network, from the shapes of its weights. Raises: ModelUnavailable."""

    def count(pattern: str) -> int:
        found = {int(m[1]) for name in state if (m := re.match(pattern, name))}
        return max(found, default=-1) + 1

    levels = count(r"encoder\.down\.(\d+)\.")
    gumbel = "quantize.embed.weight" in state
    try:
        codebook = state["quantize.embed.weight" if gumbel else "quantize.embedding.weight"]
        outer = (state["encoder.conv_in.weight"].shape[1],
                 state["decoder.conv_out.weight"].shape[0])  # fmt: skip
        if outer != (3, 3):
            raise ModelUnavailable(
                f"{path} codes pictures of {outer[0]} channels, not of red, green and blue: it is "
                f"made for something else. VQGANs for pictures: {SOURCE}."
            )
        if gumbel and state["quantize.proj.weight"].shape[0] != len(codebook):
            raise ValueError("quantize.proj and quantize.embed disagree")
        return Architecture(
            channels=tuple(
                len(state[f"encoder.down.{n}.block.0.conv1.weight"]) for n in range(levels)
            ),
            layers=count(r"encoder\.down\.0\.block\.(\d+)\."),
            attention=tuple(f"encoder.down.{n}.attn.0.q.weight" in state for n in range(levels)),
            middle_attention="encoder.mid.attn_1.q.weight" in state,
            latent_channels=len(state["encoder.conv_out.weight"]),
            code_channels=codebook.shape[1],
            codebook_size=len(codebook),
            gumbel=gumbel,
        )
    except (KeyError, ValueError) as e:
        raise ModelUnavailable(
            f"{path} is not a VQGAN as taming-transformers makes them: {e} is missing or odd. "
            f"See {SOURCE}."
        ) from e


_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_BLOCK = {"nin_shortcut": "conv_shortcut"}


def renamed(state: Mapping[str, Tensor], levels: int) -> Iterator[tuple[str, str]]:
    """(name in diffusers, name in taming-transformers) of every weight; levels of the decoder are
    counted from the finest there and from the coarsest here."""
    for name in state:
        part, _, rest = name.partition(".")
        if part not in ("encoder", "decoder"):
            new = name.replace("quantize.embed.weight", "quantize.embedding.weight")
            yield new, name
            continue
        rest = rest.replace("norm_out.", "conv_norm_out.")
        rest = re.sub(r"^mid\.block_(\d)\.",
                      lambda m: f"mid_block.resnets.{int(m[1]) - 1}.", rest)  # fmt: skip
        rest = rest.replace("mid.attn_1.", "mid_block.attentions.0.")
        rest = re.sub(r"^down\.(\d+)\.", r"down_blocks.\1.", rest)
        rest = re.sub(r"^up\.(\d+)\.",
                      lambda m: f"up_blocks.{levels - 1 - int(m[1])}.", rest)  # fmt: skip
        rest = rest.replace(".block.", ".resnets.").replace(".attn.", ".attentions.")
        rest = rest.replace(".downsample.", ".downsamplers.0.")
        rest = rest.replace(".upsample.", ".upsamplers.0.")
        *stem, layer, kind = rest.split(".")
        table = _ATTENTION if "attentions" in stem else _BLOCK
        yield ".".join([part, *stem, table.get(layer, layer), kind]), name


def yaml_beside(path: Path) -> Path | None:
    """The configuration that was downloaded with a checkpoint, under the usual names."""
    names = (path.with_suffix(".yaml"), path.with_suffix(".yml"), path.with_name("model.yaml"))
    return next((n for n in names if n.is_file()), None)


def compare_with_yaml(shape: Architecture, path: Path) -> None:
    """Raises ModelUnavailable when the .yaml beside a checkpoint belongs to another one."""
    beside = yaml_beside(path)
    if beside is None:
        return
    try:
        said = yaml.safe_load(beside.read_text(encoding="utf-8"))
        params = said["model"]["params"]
        params = params.get("first_stage_config", {}).get("params", params)
        network = params["ddconfig"]
        claims = {
            "n_embed": (int(params["n_embed"]), shape.codebook_size),
            "embed_dim": (int(params["embed_dim"]), shape.code_channels),
            "z_channels": (int(network["z_channels"]), shape.latent_channels),
            "num_res_blocks": (int(network["num_res_blocks"]), shape.layers),
            "ch times ch_mult": (
                tuple(int(network["ch"]) * int(m) for m in network["ch_mult"]), shape.channels
            ),
        }  # fmt: skip
    except (OSError, yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError, ValueError,
            AttributeError) as e:  # fmt: skip
        raise ModelUnavailable(
            f"{beside} is not the configuration of a VQGAN ({type(e).__name__}: {e}). Get the one "
            f"that belongs to {path.name} ({SOURCE}), or take it away: the checkpoint alone is "
            "enough."
        ) from e
    for name, (told, found) in claims.items():
        if told != found:
            raise ModelUnavailable(
                f"{beside} says {name} {told}, but {path.name} has {found}: one of the two files "
                f"is not what its name says. Get the pair again ({SOURCE}), or take the .yaml "
                "away to use the checkpoint as it is."
            )


def cache_folder() -> Path:
    """Where converted checkpoints are kept; any of them may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "storybrush" / "vqgan"


def save_converted(model: VQModel, projection: nn.Conv2d | None, folder: Path) -> None:
    """Write a folder as diffusers does, all of it or nothing. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        model.save_pretrained(fresh)
        if projection is not None:
            save_file(projection.state_dict(), fresh / PROJECTION)
        fresh.chmod(0o755)
        if not folder.exists():  # another process may have been quicker: theirs is the same
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_converted(folder: Path) -> tuple[VQModel, nn.Conv2d | None]:
    """What `save_converted` wrote, or any folder of a VQModel."""
    model: VQModel = VQModel.from_pretrained(
        folder, local_files_only=True, low_cpu_mem_usage=is_accelerate_available()
    )
    beside = folder / PROJECTION
    projection = _projection(load_file(beside)) if beside.is_file() else None
    return model.eval(), projection
