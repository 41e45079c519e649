"""StablePaint: variations of a coloured drawing, by latent diffusion from line art and hints."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pipelines.colorize.autoencoder import MULTIPLE, REACH, STRIDE
from pipelines.colorize.denoiser import TRAIN_STEPS, Condition, StablePaint, scheduler
from pipelines.colorize.hints import hint_map, paste, read_mask
from pipelines.colorize.progress import ColourProgress, Variations
from pipelines.colorize.settings import StablePaintConfig, variation_seeds
from pipelines.device import fast_bf16, pick_device
from pipelines.errors import InvalidInput, ModelUnavailable, OutOfMemory
from pipelines.events import Eta
from pipelines.presets import MAX_SEED, draw_seed
from pipelines.vqgan_clip.pixels import to_picture
from pipelines.weights import EMBEDDED

WORK_PIXELS = 512 * 512
"""Larger drawings are painted at this size; their latents are then decoded at full size."""
BAND = 512
"""Rows that are decoded at once, so that a large picture does not need much memory."""
PREVIEW_SIDE = 384
"""Pictures with a longer side are previewed at half their size."""
RESCALE = 0.7
"""How far guidance is kept from raising the contrast (Lin et al. 2023, phi)."""


@dataclass(frozen=True)
class _Drawing:
    """A drawing made ready. Sides of tensors are multiples of MULTIPLE."""

    size: tuple[int, int]
    """Width and height of the drawing."""
    lineart: Tensor
    """(1, 1, H, W) at full size."""
    work_size: tuple[int, int]
    work_lineart: Tensor
    """(1, 1, h, w) at the size that is painted."""
    condition: Condition
    """Of all variations alike, or one for each."""
    free: Condition | None
    """The condition without hints; None where it would be the same."""


@dataclass(frozen=True)
class _Kept:
    """In-painting: where latents are free (1, 1, h, w) in {0, 1}, and what stays elsewhere."""

    free: Tensor
    latents: Tensor


Hints = Image.Image | Sequence[Image.Image] | None
"""PIL RGBA, for all variations or one for each; None is none."""


def timesteps_of(config: StablePaintConfig) -> list[int]:
    """Falling timesteps, evenly from where the noise is as strong as the corruption says; fewer
    than `config.steps` only where there are no more, none at all at 0."""
    top = config.corruption * TRAIN_STEPS
    places = (round(top * (1 - k / config.steps)) - 1 for k in range(config.steps))
    return sorted({t for t in places if t >= 0}, reverse=True)


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Between two noises of the same shape, on the sphere: a at 0, b at 1.

    Source: Shoemake 1985. A straight line would pass through noise that is too weak.
    """
    cosine = F.cosine_similarity(a.flatten(), b.flatten(), dim=0).clamp(-1, 1)
    angle = torch.acos(cosine)
    if float(angle) < 1e-4:
        return a.clone()
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def guided(hinted: Tensor, free: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022), its deviation pulled back to that of
    `hinted` (Lin et al. 2023, section 3.4); (B, C, h, w) each."""
    v = free + guidance * (hinted - free)
    dims = (1, 2, 3)
    ratio = hinted.std(dim=dims, keepdim=True) / v.std(dim=dims, keepdim=True).clamp_min(1e-6)
    return v * (RESCALE * ratio + 1 - RESCALE)


class StablePaintPipeline:
    """Safe to share: calls take turns, step by step."""

    def __init__(
        self, model: StablePaint, *, name: str = "embedded", low_precision: bool | None = None
    ) -> None:
        """`low_precision` works in bfloat16; by default where that is native."""
        self.model, self.name = model, name
        self.device = model.alphas.device
        self.low_precision = fast_bf16(self.device) if low_precision is None else low_precision
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls, preset_or_path: str = "embedded", *, device: torch.device | str | None = None
    ) -> StablePaintPipeline:
        """Load "embedded" or a folder that finetune/stablepaint.py wrote.

        Raises: ModelUnavailable that names what is missing or damaged.
        """
        embedded = preset_or_path == "embedded"
        folder = EMBEDDED / "stablepaint" if embedded else Path(preset_or_path)
        if not folder.is_dir():
            raise ModelUnavailable(
                f"There is no StablePaint at {folder}: use “embedded”, or a folder that "
                "python -m finetune.stablepaint wrote."
            )
        where = device if isinstance(device, torch.device) else pick_device(device or "auto")
        model = StablePaint.from_pretrained(folder, where)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(model, name=preset_or_path)

    def __call__(
        self,
        lineart: Image.Image,
        hints: Hints = None,
        config: StablePaintConfig = StablePaintConfig(),
        *,
        mask: Image.Image | None = None,
        picture: Image.Image | None = None,
        generator: torch.Generator | None = None,
    ) -> Variations:
        """Paint to the end; arguments and errors as `stream`."""
        return _drain(
            self.stream(lineart, hints, config, mask=mask, picture=picture, generator=generator)
        )

    def stream(
        self,
        lineart: Image.Image,
        hints: Hints,
        config: StablePaintConfig,
        *,
        mask: Image.Image | None = None,
        picture: Image.Image | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[ColourProgress | Variations]:
        """Paint `config.variations` pictures together, at last all of them. `close()` stops.

        lineart: PIL L, 255 = paper, any size. hints: RGBA of its size, or one for each variation.
        mask: L of its size, 255 = colour here. With a mask, `picture` (RGB of the same size, else
        the line art) is kept outside it bit for bit; without one, `picture` is what the variations
        stray from. Every variation has its own seed, and is the same whatever is painted beside
        it; `generator` (on the CPU) overrides the seed.

        Raises: InvalidInput, OutOfMemory.
        """
        seed = config.seed
        if generator is not None:
            seed = int(torch.randint(MAX_SEED + 1, (1,), generator=generator))
        seeds = variation_seeds(draw_seed() if seed is None else seed, config.variations)
        mixes = [((s, s), 0.0) for s in seeds]
        return self._guarded(lineart, hints, config, seeds, mixes, mask, picture)

    def interpolate(
        self,
        lineart: Image.Image,
        hints: Hints,
        config: StablePaintConfig,
        seeds: tuple[int, int],
        *,
        count: int = 5,
        ends: bool = True,
        mask: Image.Image | None = None,
        picture: Image.Image | None = None,
    ) -> Iterator[ColourProgress | Variations]:
        """From the variation of one seed to that of another in `count` pictures, both included;
        without `ends` those two are left out, for whoever has them already.

        Events, other arguments and errors as `stream`; `Variations.seeds` has the nearer end's
        seed for each picture.
        """
        least = 2 if ends else 3
        if not least <= count <= 16:
            raise InvalidInput(f"Choose from {least} to 16 pictures to go through, not {count}.")
        shares = [k / (count - 1) for k in range(count)]
        if not ends:
            shares = shares[1:-1]
        nearer = tuple(seeds[round(t)] for t in shares)
        return self._guarded(lineart, hints, config, nearer, [(seeds, t) for t in shares], mask,
                             picture)  # fmt: skip

    def _guarded(
        self,
        lineart: Image.Image,
        hints: Hints,
        config: StablePaintConfig,
        seeds: tuple[int, ...],
        mixes: Sequence[tuple[tuple[int, int], float]],
        mask: Image.Image | None,
        picture: Image.Image | None,
    ) -> Iterator[ColourProgress | Variations]:
        try:
            yield from self._paint(lineart, hints, config, seeds, mixes, mask, picture)
        except torch.OutOfMemoryError as e:
            raise OutOfMemory(
                "There is too little memory for these variations: ask for fewer, or for a "
                "smaller picture."
            ) from e

    def _paint(
        self,
        lineart: Image.Image,
        hints: Hints,
        config: StablePaintConfig,
        seeds: tuple[int, ...],
        mixes: Sequence[tuple[tuple[int, int], float]],
        mask: Image.Image | None,
        picture: Image.Image | None,
    ) -> Iterator[ColourProgress | Variations]:
        told = (hints,) if isinstance(hints, Image.Image) or hints is None else tuple(hints)
        if len(told) not in (1, len(seeds)):
            raise InvalidInput(f"Give hints for {len(seeds)} variations, not for {len(told)}.")
        if picture is not None and picture.size != lineart.size:
            raise InvalidInput(
                f"The picture is {picture.width}x{picture.height} and the line art "
                f"{lineart.width}x{lineart.height}: give them the same size."
            )
        inside = read_mask(mask, *lineart.size)
        eta = Eta()
        # 1. What is known.
        with self._lock:
            drawing = self._prepare(lineart, told, config.guidance)
            start, kept = self._start(drawing, inside, mask, picture)
        # 2. The start: known latents, as noisy as the corruption says.
        noise = self._noise(mixes, start[:1])
        latents = start.expand_as(noise)
        timesteps = timesteps_of(config)
        schedule = scheduler(config.sampler, timesteps) if timesteps else None
        of = max(len(timesteps), 1)
        if timesteps:
            latents = self._noised(latents, noise, timesteps[0])
        # 3. Noise is taken away.
        for step, t in enumerate(timesteps, start=1):
            following = timesteps[step] if step < of else None
            with self._lock:
                velocity = self._velocity(latents, t, drawing, config.guidance)
                clean = self._clean(latents, velocity, t)
                assert schedule is not None
                latents = schedule.step(velocity, t, latents, return_dict=False)[0]
                if kept is not None:
                    known = self._noised(kept.latents, noise, following)
                    latents = torch.where(kept.free > 0, latents, known)
                due = step < of and step % config.preview_every == 0
                previews = self._previews(clean, drawing) if due else None
            if step < of:
                yield ColourProgress(step, of, previews, eta(step / of))
        # 4. The pictures.
        with self._lock:
            pictures = tuple(self._decode(one, drawing) for one in latents.split(1))
        if mask is not None:
            outside = (picture or lineart).convert("RGB")
            pictures = tuple(paste(p, outside, inside) for p in pictures)
        yield ColourProgress(of, of, pictures, 0.0)
        yield Variations(pictures, seeds)

    # --- what is known --------------------------------------------------------------------

    @torch.no_grad()
    def _prepare(
        self, lineart: Image.Image, told: Sequence[Image.Image | None], guidance: float
    ) -> _Drawing:
        lineart = lineart.convert("L")
        scale = min(1.0, math.sqrt(WORK_PIXELS / (lineart.width * lineart.height)))
        work_size = max(1, round(lineart.width * scale)), max(1, round(lineart.height * scale))
        full = work = self._padded(_signed(lineart), 1.0)
        if work_size != lineart.size:
            work = self._padded(_signed(lineart.resize(work_size, Image.Resampling.LANCZOS)), 1.0)
            told = [h and h.resize(work_size, Image.Resampling.NEAREST) for h in told]
        height, width = work.shape[2:]
        # The hints end where the drawing does, what only fills it up is paper.
        fitted = [h and h.crop((0, 0, width, height)) for h in told]
        maps = np.stack([hint_map(h, width, height) for h in fitted])
        cells = torch.from_numpy(maps).to(self.device)
        with self._autocast():
            # One after the other: a variation is the same, whatever is painted beside it.
            each = [self.model.condition(work, one) for one in cells.split(1)]
            condition = Condition(*(torch.cat(parts) for parts in zip(*each, strict=True)))
            free = None
            if guidance != 1 and bool(cells.any()):
                free = self.model.condition(work, torch.zeros_like(cells[:1]))
        return _Drawing(lineart.size, full, work_size, work, condition, free)

    @torch.no_grad()
    def _start(
        self,
        drawing: _Drawing,
        inside: np.ndarray,
        mask: Image.Image | None,
        picture: Image.Image | None,
    ) -> tuple[Tensor, _Kept | None]:
        """Latents that the variations stray from, (1 or N, C, h, w); and what has to stay."""
        if picture is None:
            return drawing.condition.latents, None
        shown = picture.convert("RGB")
        if drawing.work_size != shown.size:
            shown = shown.resize(drawing.work_size, Image.Resampling.LANCZOS)
        with self._autocast():
            latents = self.model.autoencoder.encode(self._padded(_signed(shown), 1.0))
        if mask is None:
            return latents, None
        # A position is free where any of its pixels is.
        touched = Image.fromarray(inside.astype(np.uint8) * 255)
        if drawing.work_size != touched.size:
            touched = touched.resize(drawing.work_size, Image.Resampling.BOX)
        pixels = torch.from_numpy((np.asarray(touched) > 0).astype(np.float32))[None, None]
        free = F.max_pool2d(self._padded(pixels, 0.0), STRIDE)
        return torch.where(free > 0, drawing.condition.latents, latents), _Kept(free, latents)

    def _padded(self, pixels: Tensor, value: float) -> Tensor:
        """Filled up to multiples of MULTIPLE at the right and the bottom, on the device."""
        height, width = pixels.shape[2:]
        right, bottom = (-side % MULTIPLE for side in (width, height))
        return F.pad(pixels, (0, right, 0, bottom), value=value).to(self.device)

    def _noise(self, mixes: Sequence[tuple[tuple[int, int], float]], like: Tensor) -> Tensor:
        """(N, C, h, w): from generators on the CPU, so that a seed means the same everywhere."""

        def of(seed: int) -> Tensor:
            return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))

        noises = [of(a) if t == 0 else slerp(of(a), of(b), t) for (a, b), t in mixes]
        return torch.cat(noises).to(self.device)

    # --- sampling -------------------------------------------------------------------------

    def _shares(self, t: int | None) -> tuple[float, float]:
        """Roots of the shares of signal and noise; None is after the last step."""
        alpha = 1.0 if t is None else float(self.model.alphas[t])
        return math.sqrt(alpha), math.sqrt(1 - alpha)

    def _noised(self, latents: Tensor, noise: Tensor, t: int | None) -> Tensor:
        signal, share = self._shares(t)
        return signal * latents + share * noise

    def _clean(self, latents: Tensor, velocity: Tensor, t: int) -> Tensor:
        """What the latents would be without their noise, as far as is known at `t`."""
        signal, share = self._shares(t)
        return signal * latents - share * velocity

    @torch.no_grad()
    def _velocity(self, latents: Tensor, t: int, drawing: _Drawing, guidance: float) -> Tensor:
        """(N, C, h, w) -> the same.

        On a CPU one variation at a time, which is as fast there and makes a variation the same to
        the bit, however many stand beside it.
        """
        size = 1 if self.device.type == "cpu" else len(latents)
        parts = list[Tensor]()
        for n, some in enumerate(latents.split(size)):
            condition = drawing.condition.part(n * size, len(some))
            if drawing.free is not None:
                both = zip(condition, drawing.free.expand(len(some)), strict=True)
                condition = Condition(*(torch.cat(pair) for pair in both))
                some = torch.cat([some, some])
            with self._autocast():
                at = torch.full((len(some),), t, device=self.device)
                velocity = self.model.denoiser(some, at, condition)
            if drawing.free is not None:
                velocity = guided(*velocity.chunk(2), guidance)
            parts.append(velocity)
        return torch.cat(parts)

    # --- pictures -------------------------------------------------------------------------

    @torch.no_grad()
    def _previews(self, latents: Tensor, drawing: _Drawing) -> tuple[Image.Image, ...]:
        """Quick pictures, larger ones at half the size that is painted."""
        lineart = drawing.work_lineart
        width, height = drawing.work_size
        if max(width, height) > PREVIEW_SIDE:
            latents, lineart = F.avg_pool2d(latents, 2), F.avg_pool2d(lineart, 2)
            width, height = -(-width // 2), -(-height // 2)
        shown = list[Image.Image]()
        for one in latents.split(1):
            with self._autocast():
                pixels = self.model.autoencoder.decode(one, lineart)[0]
            shown.append(to_picture(pixels[:, :height, :width]))
        return tuple(shown)

    @torch.no_grad()
    def _decode(self, latents: Tensor, drawing: _Drawing) -> Image.Image:
        """(1, C, h, w) -> PIL RGB of the drawing's size.

        Band after band: the decoder does not look farther than REACH, so no seams can be seen.
        """
        lineart = drawing.lineart
        if drawing.size != drawing.work_size:
            latents = self._enlarged(latents, drawing)
        height = lineart.shape[2]
        bands = list[Tensor]()
        for top in range(0, height, BAND):
            bottom = min(top + BAND, height)
            a, b = max(top - REACH, 0), min(bottom + REACH, height)
            with self._autocast():
                pixels = self.model.autoencoder.decode(
                    latents[:, :, a // STRIDE : b // STRIDE], lineart[:, :, a:b]
                )
            bands.append(pixels[0, :, top - a : bottom - a])
        width, height = drawing.size
        return to_picture(torch.cat(bands, dim=1)[:, :height, :width])

    def _enlarged(self, latents: Tensor, drawing: _Drawing) -> Tensor:
        """Latents of the size that was painted, read off at the positions of the full size."""
        _, _, height, width = drawing.lineart.shape
        axes = list[Tensor]()
        for pixels, full, work, cells in (
            (height, drawing.size[1], drawing.work_size[1], latents.shape[2]),
            (width, drawing.size[0], drawing.work_size[0], latents.shape[3]),
        ):
            middle = torch.arange(pixels // STRIDE, device=self.device) * STRIDE + STRIDE / 2
            axes.append(2 * middle * (work / full) / (cells * STRIDE) - 1)
        y, x = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack([x, y], dim=-1)[None]
        return F.grid_sample(latents, grid, padding_mode="border", align_corners=False)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision)


def _signed(picture: Image.Image) -> Tensor:
    """PIL L or RGB -> (1, C, H, W) in [-1, 1]."""
    array = np.array(picture, np.float32) / 127.5 - 1
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))[None]


def _drain(events: Iterator[ColourProgress | Variations]) -> Variations:
    result: Variations | None = None
    for event in events:
        if isinstance(event, Variations):
            result = event
    assert result is not None
    return result
