"""Full-size VQGANs behind `ImageCodec`: diffusers' VQModel, wherever its weights come from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.vae import Decoder, Encoder
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils.import_utils import is_accelerate_available
from torch import Tensor, nn

from pipelines.errors import ModelUnavailable
from pipelines.hub import complete, is_path, load_named
from pipelines.vqgan_clip.lighter import FrozenConv, NormSilu
from pipelines.vqgan_clip.taming import PROJECTION, SOURCE, load_taming, read_converted
from pipelines.vqgan_clip.vqgan import ProductQuantizer, grid_of

_CHECKPOINTS = (".ckpt", ".pt", ".pth", ".safetensors")
_PLACES = ("", "vqvae", "movq", "vae")
"""Where in its folder a VQModel of diffusers lies: alone, or within a pipeline."""


class VQModelCodec(nn.Module):
    """A VQModel as an `ImageCodec`: float32 weights, frozen. Source: Esser et al. 2021."""

    def __init__(self, model: VQModel, projection: nn.Conv2d | None = None) -> None:
        """`projection` (C, h, w) -> (K, h, w) chooses the codes of a Gumbel VQGAN; codes of the
        others are the nearest. Raises ModelUnavailable when it does not code RGB pictures."""
        super().__init__()
        config: Any = model.config
        if (config.in_channels, config.out_channels) != (3, 3):
            raise ModelUnavailable(
                f"This VQModel turns {config.in_channels} channels into {config.out_channels}; "
                "one for pictures has 3 and 3 (red, green and blue)."
            )
        self.model, self.projection = model, projection
        self._stride: int = 2 ** (len(config.block_out_channels) - 1)
        self._spatial: bool = config.norm_type == "spatial"
        entries = model.quantize.embedding.weight
        self.quantizer = ProductQuantizer(1, *entries.shape)
        self.quantizer.codebook = entries.data[None]  # shared, not copied
        self.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, name: str, device: torch.device) -> VQModelCodec:
        """A taming-transformers checkpoint (its path, or a folder with one), a folder of diffusers,
        or a name on the hub; of a whole pipeline its VQModel.

        Raises: ModelUnavailable that says what is missing or wrong, and where to get it.
        """
        path = Path(name)
        if path.is_dir() and not any((path / s / "config.json").is_file() for s in _PLACES):
            path = _checkpoint_in(path)
        if path.suffix in _CHECKPOINTS and not path.is_dir():  # such a name is never the hub's
            codec = cls(*load_taming(path))
        else:
            codec = cls(*_load_diffusers(name))
        lighten(codec.model)
        return codec.to(device)

    @property
    def device(self) -> torch.device:
        return self.quantizer.codebook.device

    @property
    def stride(self) -> int:
        return self._stride

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture. Raises InvalidInput when a side is no multiple of the stride."""
        return self.quantizer.channels, *grid_of(width, height, self._stride)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents (B, C, h, w); of a Gumbel VQGAN quantised ones."""
        hidden = self.model.quant_conv(self.model.encoder(pixels))
        if self.projection is None:
            return hidden
        indices = self.projection(hidden).argmax(1).flatten(1)[..., None]  # (B, h*w, 1)
        return self.quantizer.lookup(indices, *hidden.shape[2:])

    def quantise(self, latents: Tensor) -> Tensor:
        """The nearest entries, (B, C, h, w) -> the same; gradients pass straight through."""
        return self.quantizer(latents)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) -> pixels (B, 3, H, W), about [-1, 1], not clamped."""
        hidden = self.model.post_quant_conv(latents)
        return self.model.decoder(hidden, latents if self._spatial else None)

    def finish(self, latents: Tensor, style: str = "") -> Tensor:
        """As `decode`."""
        return self.decode(latents)

    def random_latents(
        self, width: int, height: int, count: int, generator: torch.Generator
    ) -> Tensor:
        """`count` grids of random codebook entries, (count, C, h, w); `generator` on the CPU."""
        return self.quantizer.random(grid_of(width, height, self._stride), count, generator)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Least and greatest value of each channel over the codebook, (1, C, 1, 1) each."""
        return self.quantizer.bounds()


def lighten(model: VQModel) -> None:
    """Let convolutions keep nothing for a gradient in their weights, and where a group norm and
    SiLU follow each other, one module be both."""
    ends = ("conv_act", "conv_norm_out")
    pairs = {ResnetBlock2D: ("nonlinearity", "norm1", "norm2"), Encoder: ends, Decoder: ends}
    for part in [*model.modules()]:
        for name, child in part.named_children():
            if type(child) is nn.Conv2d and FrozenConv.fits(child):
                setattr(part, name, FrozenConv.of(child))
        if type(part) not in pairs:
            continue
        after, *names = pairs[type(part)]
        norms = [getattr(part, name) for name in names]
        if type(getattr(part, after)) is nn.SiLU and all(type(n) is nn.GroupNorm for n in norms):
            for name, norm in zip(names, norms, strict=True):
                setattr(part, name, NormSilu.of(norm))
            setattr(part, after, nn.Identity())


def _checkpoint_in(folder: Path) -> Path:
    """The one VQGAN checkpoint of a folder. Raises ModelUnavailable that tells what is there."""
    there = sorted(folder.iterdir())
    found = [p for p in there if p.suffix in _CHECKPOINTS]
    if len(found) == 1:
        return found[0]
    names = [p.name + "/" * p.is_dir() for p in found or there]
    told = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise ModelUnavailable(
        f"The folder {folder} should hold one VQGAN: a checkpoint (.ckpt), a VQModel as diffusers "
        "writes it, with config.json, or a folder vqgan as finetune.vqgan writes it, with "
        f"config.json in that; it holds {told or 'nothing'}. Name the VQGAN itself, or get one: "
        f"{SOURCE}."
    )


def _load_diffusers(name: str) -> tuple[VQModel, nn.Conv2d | None]:
    """A VQModel by folder or hub name, on its own or as a part of a pipeline; as `load_taming`."""
    places = [*_PLACES]
    if is_path(name):
        places = [s for s in places if Path(name, s, "config.json").is_file()] or [""]

    def load(local: bool) -> tuple[VQModel, nn.Conv2d | None]:
        if Path(name, PROJECTION).is_file():
            return read_converted(Path(name))
        errors: list[Exception] = []
        for subfolder in places:
            try:
                return _read_folder(name, subfolder, local), None
            except (OSError, ValueError) as e:
                errors.append(e)
        raise errors[0]

    return load_named(
        name, "VQGAN", load,
        needs="config.json and diffusion_pytorch_model.safetensors as diffusers writes them",
        instead=f"a checkpoint of taming-transformers ({SOURCE})",
    )  # fmt: skip


def _read_folder(name: str, place: str, local: bool) -> VQModel:
    """Raises OSError, ValueError, or what the readers of weights raise."""
    subfolder = place or None
    with warnings.catch_warnings():  # diffusers asks the hub's client with an old argument
        warnings.filterwarnings("ignore", ".*local_dir_use_symlinks", UserWarning)
        config: Any = VQModel.load_config(name, subfolder=subfolder, local_files_only=local)
        if config.get("_class_name") != "VQModel":
            raise ValueError(f"its config.json is of {config.get('_class_name', 'something else')}")
        loaded: Any = VQModel.from_pretrained(
            name,
            subfolder=subfolder,
            local_files_only=local,
            low_cpu_mem_usage=is_accelerate_available(),
            output_loading_info=True,
        )
        return complete(loaded).eval()
