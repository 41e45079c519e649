"""Picture models by name: which reader a name, a folder or a file wants."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from pipelines.device import fast_bf16
from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.hub import bare, is_home, is_path, located
from pipelines.presets import PRESETS
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.code_transformer import CodeTransformer
from pipelines.vqgan_clip.models import ImageCodec, PictureTextModel, WeightedModel
from pipelines.vqgan_clip.vqgan import VQGAN
from pipelines.weights import EMBEDDED

if TYPE_CHECKING:
    from pipelines.vqgan_clip.clip_checkpoints import TransformersCLIP

OPENAI_NAMES = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
}
"""OpenAI's own names of its CLIPs, as other VQGAN+CLIP tools take them, and those on the hub."""


class PictureModels(NamedTuple):
    """What a VQGANCLIPPipeline is made of; `name` goes into the recipes."""

    codec: ImageCodec
    clips: tuple[WeightedModel, ...]
    transformer: CodeTransformer | None
    name: str


def load_models(preset: str, vqgan: str, clip: str, device: torch.device) -> PictureModels:
    """The models of a preset or of a folder with `vqgan`, `clip` and `code_transformer` in it.

    In a folder of one's own only `vqgan` must be there: the CLIP is then the embedded one. Such a
    folder may be given as `vqgan`, too. `vqgan` and `clip`, where they are not empty, take the
    place of those of the preset. A VQGAN that is named has no code transformer, which reads the
    codes of its own VQGAN alone; “embedded” brings its own.
    Raises: InvalidInput, ModelUnavailable that names what is missing or damaged.
    """
    folder = ""
    if is_home(vqgan):
        preset, vqgan = vqgan, ""
    if preset in PRESETS:
        chosen = PRESETS[preset]
        folder, vqgan, clip = chosen.pictures, vqgan or chosen.vqgan, clip or chosen.clip
    else:
        folder = preset
    home = EMBEDDED if folder == "embedded" else Path(located(folder))
    if not (vqgan and clip) and not home.is_dir():
        raise ModelUnavailable(
            f"There are no picture models at {home}: use “embedded”, or a folder with vqgan, clip "
            "and code_transformer in it (see finetune/), or name a VQGAN and a CLIP."
        )
    # The VQGAN first: a file that is missing is told before a CLIP is downloaded.
    codec = load_codec(vqgan, device) if vqgan not in ("", "embedded") else None
    if clip:
        clips = load_clips(clip, device)
    else:
        beside = home / "clip"
        read = beside if beside.is_dir() or home == EMBEDDED else EMBEDDED / "clip"
        # As transformers names its files, or a CLIP of pages.
        other = (read / "model.safetensors").is_file() or _has(read, "word_width")
        clips = (
            WeightedModel(
                load_clip(str(read), device, guides=True)
                if other
                else CLIP.from_pretrained(read, device)
            ),
        )
    transformer = None
    if codec is None:
        own = EMBEDDED if vqgan == "embedded" else home
        codec = VQGAN.from_pretrained(own / "vqgan", device)
        if own == EMBEDDED or (own / "code_transformer").is_dir():
            transformer = CodeTransformer.from_pretrained(own / "code_transformer", device)
    # Recipes travel: they name files, not the folders of the machine that they were made on.
    weights = parse_weights(clip) if clip else {}
    named = [bare(vqgan)] if vqgan else []
    for n, weight in weights.items():  # which says nothing of one alone
        named.append(bare(n) if weight == 1 or len(weights) == 1 else f"{bare(n)}:{weight:g}")
    kept = [] if vqgan and clip else [bare(folder)]
    return PictureModels(codec, clips, transformer, " + ".join([*kept, *named]))


def load_codec(name: str, device: torch.device) -> ImageCodec:
    """A VQGAN: "embedded", a folder that `finetune.vqgan` wrote, or whatever
    `VQModelCodec.from_pretrained` takes. Raises: ModelUnavailable."""
    folder = EMBEDDED / "vqgan" if name == "embedded" else Path(located(name))
    if name == "embedded" or _has(folder, "coarse_channels"):
        return VQGAN.from_pretrained(folder, device)
    from pipelines.vqgan_clip.vq_model import VQModelCodec  # diffusers: only where it is needed

    return VQModelCodec.from_pretrained(located(name), device)


def load_clips(names: str, device: torch.device) -> tuple[WeightedModel, ...]:
    """One CLIP or several, with commas between and weights behind colons: "ViT-B/32:1,RN50.pt:0.5".

    Each is "embedded", "pages" (which knows real picture books), a CLIP or SigLIP by folder or hub
    name, one of OPENAI_NAMES, or an archive of OpenAI (.pt). Raises: InvalidInput,
    ModelUnavailable.
    """
    asked = parse_weights(names)
    total = sum(asked.values())
    return tuple(WeightedModel(load_clip(n, device, guides=True), w / total)
                 for n, w in asked.items())  # fmt: skip


def parse_weights(names: str) -> dict[str, float]:
    """ "a:1,b:0.5" -> the weight of each name, 1 where none is given. Raises: InvalidInput."""
    found: dict[str, float] = {}
    for part in filter(None, map(str.strip, names.split(","))):
        match = re.fullmatch(r"(.+?)(?::\s*([-+\w.]*))?", part)
        assert match is not None
        name, weight = match[1].strip(), match[2]
        try:
            found[name] = 1.0 if weight is None else float(weight)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float("inf"):
            raise InvalidInput(
                f"“{part}”: the weight of a CLIP is a number above 0, as in ViT-B/32:1,RN50.pt:0.5."
            )
    if not found:
        raise InvalidInput(
            "Name a CLIP: “embedded”, “pages”, ViT-B/32, a folder, or a name on the hub."
        )
    return found


def load_clip(name: str, device: torch.device, *, guides: bool = False) -> PictureTextModel:
    """One CLIP, by any of the names that `load_clips` takes. One that only `guides` is kept in
    less memory where that is done in bfloat16. Raises: ModelUnavailable."""
    name = located(OPENAI_NAMES.get(name, name))
    path = Path(name)
    if name == "embedded":
        return CLIP.from_pretrained(EMBEDDED / "clip", device)
    if name == "pages" or _has(path, "word_width"):
        from pipelines.vqgan_clip.pages_clip import PagesCLIP

        return PagesCLIP.from_pretrained(
            EMBEDDED / "clip_pages" if name == "pages" else path, device
        )
    if _has(path, "vision_config") and any(path.glob("model-[0-9][0-9].safetensors")):
        return CLIP.from_pretrained(path, device)  # as finetune.clip writes it
    if (path / "clip" / "config.json").is_file():  # a folder of models that belong together
        return load_clip(str(path / "clip"), device, guides=guides)
    archives = [path]
    if path.is_dir() and not (path / "config.json").is_file():
        archives = sorted(path.glob("*.pt"))
    if len(archives) == 1 and archives[0].suffix == ".pt":
        from pipelines.vqgan_clip.openai_clip import load_openai

        return _kept(load_openai(archives[0], device), guides)
    if re.fullmatch(r"RN\d+(x\d+)?", name) and not is_path(name):
        raise ModelUnavailable(
            f"{name} is not on the hub: give the path of {name}.pt, with CLIP's vocabulary beside "
            "it. https://github.com/openai/CLIP/blob/main/clip/clip.py lists the addresses."
        )
    from pipelines.vqgan_clip.clip_checkpoints import TransformersCLIP

    return _kept(TransformersCLIP.from_pretrained(name, device), guides)


def _kept(clip: TransformersCLIP, guides: bool) -> TransformersCLIP:
    if guides and fast_bf16(clip.norm.scale.device):
        clip.halve()
    return clip


def _has(folder: Path, key: str) -> bool:
    """Whether a folder's config.json has an entry `key`."""
    try:
        return key in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
