"""A sentence becomes a picture: a start (code transformer, sketch, noise or a picture), then
VQGAN+CLIP."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from PIL.Image import Image as Picture
from torch import Tensor

from pipelines.book import Page, Recipe, encode_png
from pipelines.device import fast_bf16, pick_device
from pipelines.errors import InvalidInput, ModelUnavailable, OutOfMemory
from pipelines.events import Eta, PictureProgress, Sentence
from pipelines.painter import paint
from pipelines.presets import STYLES, PictureConfig, draw_seed
from pipelines.scene import brief_of, describe, parse_brief
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.code_transformer import CodeTransformer
from pipelines.vqgan_clip.guidance import Guidance
from pipelines.vqgan_clip.vqgan import STRIDE, VQGAN
from pipelines.weights import EMBEDDED

log = logging.getLogger(__name__)

PULL = 0.5
"""Weight of the distance from the start, for starts that are pictures already."""


def prompt_of(sentence: Sentence, config: PictureConfig) -> str:
    """What the models are asked for: style words, what the picture shows, the sentence."""
    style = STYLES[config.style]
    shows = f"{describe(sentence.brief)}. {sentence.text}" if sentence.brief else sentence.text
    parts = (config.prefix, style.prefix, shows, style.suffix, config.suffix)
    return " ".join(p.strip() for p in parts if p.strip())


def to_pixels(picture: Picture, width: int, height: int, device: torch.device) -> Tensor:
    """PIL picture -> (1, 3, height, width) in [-1, 1], the middle of it cut to the shape."""
    scale = max(width / picture.width, height / picture.height)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    full = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    x, y = (full.width - width) // 2, (full.height - height) // 2
    array = np.array(full.crop((x, y, x + width, y + height)))
    return torch.from_numpy(array).permute(2, 0, 1)[None].to(device).float() / 127.5 - 1


def to_picture(pixels: Tensor) -> Picture:
    """(3, H, W) in [-1, 1] -> PIL RGB."""
    array = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(array.cpu().numpy())


class VQGANCLIPPipeline:
    """VQGAN, CLIP and code transformer together. Safe to share: calls take turns."""

    def __init__(
        self,
        vqgan: VQGAN,
        clip: CLIP,
        transformer: CodeTransformer,
        *,
        name: str = "embedded",
        low_precision: bool | None = None,
    ) -> None:
        """`low_precision` runs guidance in bfloat16; by default where that is native."""
        self.vqgan, self.clip, self.transformer, self.name = vqgan, clip, transformer, name
        self.device = vqgan.quantizer.codebook.device
        self.low_precision = fast_bf16(self.device) if low_precision is None else low_precision
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls, preset_or_path: str = "embedded", *, device: torch.device | str | None = None
    ) -> VQGANCLIPPipeline:
        """Load "embedded" or a folder with `vqgan`, `clip` and `code_transformer` in it.

        Raises ModelUnavailable that names what is missing or damaged.
        """
        folder = EMBEDDED if preset_or_path == "embedded" else Path(preset_or_path)
        if not folder.is_dir():
            raise ModelUnavailable(
                f"There are no picture models at {folder}: use “embedded”, or a folder with "
                "vqgan, clip and code_transformer in it (see finetune/)."
            )
        where = device if isinstance(device, torch.device) else pick_device(device or "auto")
        return cls(
            VQGAN.from_pretrained(folder / "vqgan", where),
            CLIP.from_pretrained(folder / "clip", where),
            CodeTransformer.from_pretrained(folder / "code_transformer", where),
            name=preset_or_path,
        )

    def __call__(
        self,
        sentence: Sentence,
        config: PictureConfig,
        *,
        picture: Picture | None = None,
        generator: torch.Generator | None = None,
    ) -> Page:
        """Paint to the end; arguments and errors as `stream`."""
        page: Page | None = None
        for event in self.stream(sentence, config, picture=picture, generator=generator):
            if isinstance(event, Page):
                page = event
        assert page is not None
        return page

    def stream(
        self,
        sentence: Sentence,
        config: PictureConfig,
        *,
        picture: Picture | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[PictureProgress | Page]:
        """Paint one page: progress events, then the finished page. `close()` stops.

        `picture` is where start="picture" begins (PIL, any size; the middle is cut to the shape).
        `generator` (on the CPU) overrides the seed. Raises InvalidInput, OutOfMemory.
        """
        if config.start == "picture" and picture is None:
            raise InvalidInput("Give a picture to start from, or choose another start.")
        seed = draw_seed() if config.seed is None else config.seed
        generator = generator or torch.Generator().manual_seed(seed)
        prompt = prompt_of(sentence, config)
        try:
            yield from self._paint(sentence, config, prompt, seed, picture, generator)
        except torch.OutOfMemoryError as e:
            raise OutOfMemory(
                "There is too little memory for this picture: choose a smaller size, fewer "
                "cutouts or fewer candidates."
            ) from e

    def _paint(
        self,
        sentence: Sentence,
        config: PictureConfig,
        prompt: str,
        seed: int,
        picture: Picture | None,
        generator: torch.Generator,
    ) -> Iterator[PictureProgress | Page]:
        rows = self.transformer.config.grid if config.start == "transformer" else 1
        of = rows + config.steps
        eta = Eta()
        # 1. The start.
        latents = torch.empty(0)
        step = 0
        if config.start == "transformer":
            for event in self._imagine(prompt, config, generator):
                if isinstance(event, Tensor):
                    latents = event
                else:
                    step += 1
                    yield PictureProgress(step, of, "start", preview=event, eta=eta(step / of))
        else:
            latents = self._begin(sentence, config, seed, picture, generator)
            step = 1
        # 2. Guidance.
        pull = 0.0 if config.start == "noise" else PULL
        with self._lock:
            guide = Guidance(
                self.vqgan, self.clip, prompt, latents, step_size=config.step_size,
                cutouts=config.cutouts, pull=pull, generator=generator,
                low_precision=self.low_precision,
            )  # fmt: skip
            preview = to_picture(guide.decode())
        yield PictureProgress(step, of, "start", preview=preview, eta=eta(step / of))
        for n in range(1, config.steps + 1):
            with self._lock:
                loss, score = guide.descend()
                due = n % config.preview_every == 0 and n < config.steps
                preview = to_picture(guide.decode()) if due else None
            step += 1
            yield PictureProgress(step, of, "refine", loss, score, preview, eta(step / of))
        # 3. The finished page.
        with self._lock:
            pixels = guide.decode()
            score = self.score(pixels[None], prompt)[0].item()
            large = config.enlarge and self.vqgan.config.large
            final = to_picture(guide.decode(large=True) if large else pixels)
        yield PictureProgress(of, of, "refine", None, score, final, 0.0)
        recipe = self.recipe(prompt, seed, config)
        yield Page(sentence.text, sentence.brief, encode_png(final, recipe, sentence.text), score,
                   recipe)  # fmt: skip

    def recipe(self, prompt: str, seed: int, config: PictureConfig) -> Recipe:
        """What a page made with these settings is made again from."""
        settings = asdict(config)
        settings["seed"] = seed
        models: Mapping[str, str] = {"pictures": self.name}
        return Recipe(prompt, seed, models, settings)

    @torch.no_grad()
    def score(self, pixels: Tensor, prompt: str) -> Tensor:
        """CLIP's cosine similarity of whole pictures (B, 3, H, W) with a prompt: (B,)."""
        size = self.clip.image_size
        seen = self.clip.embed_images(F.interpolate(pixels, size=(size, size), mode="area"))
        return (seen @ self.clip.embed_texts([prompt]).T)[:, 0]

    def _imagine(
        self, prompt: str, config: PictureConfig, generator: torch.Generator
    ) -> Iterator[Picture | Tensor]:
        """Pictures while the code transformer draws, row after row; at last the best latents."""
        grid = self.transformer.config.grid
        codes: Tensor | None = None
        sampler = self.transformer.sample(
            prompt, config.candidates, guidance=config.guidance, generator=generator
        )
        for row in range(1, grid + 1):
            with self._lock:
                codes = next(sampler).codes
                preview = self._unfinished(codes[:1], row)
            yield preview
        assert codes is not None
        with self._lock, torch.no_grad():
            codes = codes.to(self.device)
            pixels = self.vqgan.decode_indices(codes)
            best = int(self.score(pixels, prompt).argmax())
            latents = self.vqgan.quantizer.lookup(codes[best : best + 1], grid, grid)
            if (config.height, config.width) != (grid * STRIDE, grid * STRIDE):
                shape = (config.height, config.width)
                larger = F.interpolate(pixels[best : best + 1], size=shape, mode="bicubic")
                latents = self.vqgan.encode(larger.clamp(-1, 1))
        yield latents

    @torch.no_grad()
    def _unfinished(self, codes: Tensor, rows: int) -> Picture:
        """A picture of which only the upper `rows` rows of codes are drawn; paper below."""
        grid = self.transformer.config.grid
        pixels = self.vqgan.decode_indices(codes.to(self.device), rows)[0]
        page = torch.full((3, grid * STRIDE, grid * STRIDE), 0.93, device=self.device)
        page[:, : rows * STRIDE] = pixels
        return to_picture(page)

    @torch.no_grad()
    def _begin(
        self,
        sentence: Sentence,
        config: PictureConfig,
        seed: int,
        picture: Picture | None,
        generator: torch.Generator,
    ) -> Tensor:
        """The latents of the starts that need no sampling."""
        if config.start == "noise":
            c = self.vqgan.config
            shape = (1, (config.height // STRIDE) * (config.width // STRIDE), c.groups)
            codes = torch.randint(c.codebook_size, shape, generator=generator).to(self.device)
            return self.vqgan.quantizer.lookup(
                codes, config.height // STRIDE, config.width // STRIDE
            )
        if config.start == "sketch":
            scene = parse_brief(sentence.brief or brief_of(sentence.text))
            picture = paint(scene, random.Random(seed), style=config.style).picture
        assert picture is not None
        return self.vqgan.encode(to_pixels(picture, config.width, config.height, self.device))
