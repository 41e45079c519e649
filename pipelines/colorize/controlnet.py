"""Variations at full size: any Stable Diffusion with a line art ControlNet, through diffusers.

Source: Zhang et al. 2023 (arXiv 2302.05543). Both models are named as on the hub, or by folder. The
hints become the start: every pixel takes the colour of its nearest stroke, and as much noise is
laid over that as the corruption says (img2img, Meng et al. 2022, arXiv 2108.01073).
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet_img2img import (
    StableDiffusionControlNetImg2ImgPipeline,
)
from PIL import Image
from torch import Tensor

from pipelines.colorize.denoiser import scheduler
from pipelines.colorize.hints import paste, read_mask
from pipelines.colorize.progress import ColourProgress, Variations
from pipelines.colorize.settings import StablePaintConfig, variation_seeds
from pipelines.colorize.stablepaint import timesteps_of
from pipelines.device import pick_device
from pipelines.errors import InvalidInput, OutOfMemory
from pipelines.events import Eta
from pipelines.hub import load_named
from pipelines.presets import MAX_SEED, draw_seed
from pipelines.vqgan_clip.pixels import to_picture

BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CONTROLNET = "lllyasviel/control_v11p_sd15_lineart"
WORK_PIXELS = 768 * 768
"""Larger drawings are painted at this size and enlarged."""
PROMPT = "colourful children's book illustration, clean flat colours"
NEGATIVE = "monochrome, greyscale, sketch, text, watermark"


def start_picture(lineart: Image.Image, hints: Image.Image | None) -> Image.Image:
    """Every pixel in the colour of its nearest hint, under the lines; white without hints. RGB."""
    colours = np.full((lineart.height, lineart.width, 3), 255, np.uint8)
    if hints is not None:
        layer = np.asarray(hints.convert("RGBA").crop((0, 0, *lineart.size)))
        hinted = layer[..., 3] > 127
        if hinted.any():
            _, found = cv2.distanceTransformWithLabels(
                (~hinted).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
            )
            labels = np.asarray(found, np.int64)
            table = np.zeros((int(labels.max()) + 1, 3), np.uint8)
            table[labels[hinted]] = layer[hinted][:, :3]
            colours = table[labels]
    lines = np.asarray(lineart.convert("L"), np.float32)[..., None] / 255
    return Image.fromarray(np.round(colours * lines).astype(np.uint8))


class ControlNetPipeline:
    """As StablePaintPipeline, on public checkpoints. Safe to share: calls take turns."""

    def __init__(
        self,
        models: StableDiffusionControlNetImg2ImgPipeline,
        *,
        name: str,
        white_lines: bool = True,
    ) -> None:
        """`white_lines`: the ControlNet was trained on white lines on black, as most were."""
        self.models, self.name, self.white_lines = models, name, white_lines
        self.device: torch.device = models.unet.device
        self.dtype: torch.dtype = models.unet.dtype
        levels = len(models.unet.config.block_out_channels)
        self.multiple: int = models.vae_scale_factor * 2 ** (levels - 1)
        """Sides that are painted are multiples of this."""
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        base: str = BASE,
        controlnet: str = CONTROLNET,
        *,
        device: torch.device | str | None = None,
        white_lines: bool = True,
    ) -> ControlNetPipeline:
        """Load by hub name or folder, from the hub's cache first; float16 on a graphics card.

        Raises: ModelUnavailable, at once where no hub is reached.
        """
        where = device if isinstance(device, torch.device) else pick_device(device or "auto")
        dtype = torch.float16 if where.type == "cuda" else torch.float32
        net = _load(controlnet, ControlNetModel, dtype)
        models = _load(base, StableDiffusionControlNetImg2ImgPipeline, dtype, controlnet=net)
        models.set_progress_bar_config(disable=True)
        return cls(models.to(where), name=f"{base} + {controlnet}", white_lines=white_lines)

    def __call__(
        self,
        lineart: Image.Image,
        hints: Image.Image | None = None,
        config: StablePaintConfig = StablePaintConfig(),
        *,
        prompt: str = PROMPT,
        mask: Image.Image | None = None,
        picture: Image.Image | None = None,
    ) -> Variations:
        """Paint to the end; arguments and errors as `stream`."""
        result: Variations | None = None
        for event in self.stream(lineart, hints, config, prompt=prompt, mask=mask, picture=picture):
            if isinstance(event, Variations):
                result = event
        assert result is not None
        return result

    def stream(
        self,
        lineart: Image.Image,
        hints: Image.Image | None,
        config: StablePaintConfig,
        *,
        prompt: str = PROMPT,
        mask: Image.Image | None = None,
        picture: Image.Image | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[ColourProgress | Variations]:
        """Arguments, events and errors as StablePaintPipeline.stream.

        `config.guidance` is that of the `prompt`: what the picture shows, and how.
        """
        if picture is not None and picture.size != lineart.size:
            raise InvalidInput("Give a picture of the same size as the line art.")
        seed = config.seed
        if generator is not None:
            seed = int(torch.randint(MAX_SEED + 1, (1,), generator=generator))
        seeds = variation_seeds(draw_seed() if seed is None else seed, config.variations)
        inside = read_mask(mask, *lineart.size)
        return self._guarded(lineart, hints, config, prompt, seeds, mask, inside, picture)

    def _guarded(
        self,
        lineart: Image.Image,
        hints: Image.Image | None,
        config: StablePaintConfig,
        prompt: str,
        seeds: tuple[int, ...],
        mask: Image.Image | None,
        inside: np.ndarray,
        picture: Image.Image | None,
    ) -> Iterator[ColourProgress | Variations]:
        try:
            outside = (picture or lineart).convert("RGB")
            start = start_picture(lineart, hints)
            if picture is not None:
                start = paste(start, outside, inside) if mask is not None else outside
            for event in self._paint(lineart, start, config, prompt, seeds):
                if mask is not None and isinstance(event, Variations):
                    kept = tuple(paste(p, outside, inside) for p in event.pictures)
                    event = Variations(kept, event.seeds)
                yield event
        except torch.OutOfMemoryError as e:
            raise OutOfMemory(
                "There is too little memory for these variations: ask for fewer, or for a "
                "smaller picture."
            ) from e

    def _paint(
        self,
        lineart: Image.Image,
        start: Image.Image,
        config: StablePaintConfig,
        prompt: str,
        seeds: tuple[int, ...],
    ) -> Iterator[ColourProgress | Variations]:
        scale = min(1.0, math.sqrt(WORK_PIXELS / (lineart.width * lineart.height)))
        size = max(1, round(lineart.width * scale)), max(1, round(lineart.height * scale))
        eta = Eta()
        with self._lock:
            words = self._words(prompt, config.guidance)
            control = self._padded(lineart.convert("RGB"), size) / 2 + 0.5
            control = 1 - control if self.white_lines else control
            clean = self._encode(self._padded(start, size))
        noise = torch.cat(
            [torch.randn(clean.shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        ).to(clean)
        timesteps = timesteps_of(config)
        schedule: Any = None
        latents = clean.expand_as(noise)
        if timesteps:
            schedule = scheduler(config.sampler, timesteps, self.models.scheduler.config)
            alpha = float(schedule.alphas_cumprod[timesteps[0]])
            latents = math.sqrt(alpha) * latents + math.sqrt(1 - alpha) * noise
        of = max(len(timesteps), 1)
        for step, t in enumerate(timesteps, start=1):
            with self._lock:
                guess = self._predict(latents, t, words, control, config.guidance)
                latents = schedule.step(guess, t, latents, return_dict=False)[0]
                due = step < of and step % config.preview_every == 0
                previews = self._decode(latents, size) if due else None
            if step < of:
                yield ColourProgress(step, of, previews, eta(step / of))
        with self._lock:
            pictures = self._decode(latents, size, checked=True)
        if size != lineart.size:
            pictures = tuple(p.resize(lineart.size, Image.Resampling.LANCZOS) for p in pictures)
        yield ColourProgress(of, of, pictures, 0.0)
        yield Variations(pictures, seeds)

    def _padded(self, picture: Image.Image, size: tuple[int, int]) -> Tensor:
        """(1, 3, H, W) in [-1, 1], filled up with white to what the networks take."""
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        right, bottom = (-side % self.multiple for side in size)
        return F.pad(pixels, (0, right, 0, bottom), value=1.0).to(self.device, self.dtype)

    @torch.no_grad()
    def _words(self, prompt: str, guidance: float) -> Tensor:
        """Embeddings (1, T, D), or (2, T, D) with those of what is not wanted first."""
        models: Any = self.models
        wanted, unwanted = models.encode_prompt(
            prompt, self.device, 1, guidance > 1, negative_prompt=NEGATIVE if guidance > 1 else None
        )
        return torch.cat([unwanted, wanted]) if guidance > 1 else wanted

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        vae = self.models.vae
        return vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor

    @torch.no_grad()
    def _predict(
        self, latents: Tensor, t: int, words: Tensor, control: Tensor, guidance: float
    ) -> Tensor:
        """One variation at a time: a card that holds one holds any number."""
        unet: Any = self.models.unet
        parts = list[Tensor]()
        for one in latents.split(1):
            several = one.expand(len(words), -1, -1, -1)
            drawn = control.expand(len(words), -1, -1, -1)
            down, middle = self.models.controlnet(
                several, t, encoder_hidden_states=words, controlnet_cond=drawn, return_dict=False
            )
            guess: Tensor = unet(
                several, t, encoder_hidden_states=words, down_block_additional_residuals=down,
                mid_block_additional_residual=middle, return_dict=False,
            )[0]  # fmt: skip
            if len(words) == 2:
                without, wanted = guess.chunk(2)
                guess = without + guidance * (wanted - without)
            parts.append(guess)  # (1, C, h, w)
        return torch.cat(parts)

    @torch.no_grad()
    def _decode(
        self, latents: Tensor, size: tuple[int, int], *, checked: bool = False
    ) -> tuple[Image.Image, ...]:
        """PIL RGB of `size`; `checked` by the checkpoint's safety checker, where it has one."""
        vae = self.models.vae
        pictures = list[Image.Image]()
        for one in latents.split(1):
            pixels = vae.decode(one / vae.config.scaling_factor, return_dict=False)[0]
            if checked:
                pixels, _ = self.models.run_safety_checker(pixels, self.device, self.dtype)
            pictures.append(to_picture(pixels[0, :, : size[1], : size[0]]))
        return tuple(pictures)


def _load(name: str, kind: Any, dtype: torch.dtype, **parts: ControlNetModel) -> Any:
    """A diffusers model by name or folder, the hub's cache first. Raises: ModelUnavailable."""

    def load(local: bool) -> Any:
        with warnings.catch_warnings():  # diffusers asks the hub's client with an old argument
            warnings.filterwarnings("ignore", ".*local_dir_use_symlinks", UserWarning)
            return kind.from_pretrained(name, dtype=dtype, local_files_only=local, **parts)

    return load_named(
        name,
        "line art ControlNet" if kind is ControlNetModel else "Stable Diffusion",
        load,
        needs="a folder as diffusers writes it, with config.json or model_index.json",
        instead="the embedded StablePaint, which needs no download",
    )
