"""VQGAN+CLIP: latents are moved until CLIP finds their pictures close to the prompts.

Source: Crowson et al. 2022, arXiv 2204.08583. As there: straight-through quantisation, latents kept
inside the codebook's bounds, squared great-circle distance, random cutouts. We differ in a pull
towards the start, which keeps a good first picture orderly, and in how a step is computed: pictures
of one size are a batch; a picture's gradient is added up over a few views at a time, so that memory
does not grow with their number; and where memory runs short, a step is taken again with less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import grad

from pipelines.device import free_memory, is_out_of_memory
from pipelines.vqgan_clip.canvas import SMALLEST, Canvas, Step
from pipelines.vqgan_clip.checkpointing import bytes_checkpointed, bytes_kept, checkpointed
from pipelines.vqgan_clip.cutouts import Views, draw_views, take
from pipelines.vqgan_clip.losses import asymmetry, hold, palette_distance, smoothness
from pipelines.vqgan_clip.models import ImageCodec, PictureTextModel, WeightedModel

SPARE = 1.5
"""How much more memory than what is kept for its backward pass a step takes, about."""


def usual_views(device: torch.device) -> int:
    """How many views a CLIP sees at a time, with the memory such a device is likely to have."""
    return 64 if device.type == "cuda" else 16


@dataclass(frozen=True)
class Costs:
    """Bytes that a step keeps for its backward passes."""

    fixed: float
    """However much is painted: weights in bfloat16, above all."""
    latent: float
    view: float
    again: float
    """Share of `latent` where the decoder computes its blocks again."""


@dataclass
class Guidance:
    """The engine: takes steps of many canvases together, with the memory there is."""

    codec: ImageCodec
    clips: Sequence[WeightedModel]
    low_precision: bool = False
    """bfloat16 in decoder and CLIP."""
    views: int = 16
    """Views that a CLIP sees at a time."""
    together: int = 64
    """Pictures that are decoded at a time."""
    checkpoints: bool = False
    """Whether the decoder computes its blocks again backwards instead of keeping them."""
    notes: list[str] = field(default_factory=list[str])
    """What was given up for want of memory, in words; whoever tells it clears it."""
    _foreseen: set[object] = field(default_factory=set[object])
    _costs: Costs | None = None

    def descend(self, canvases: Sequence[Canvas]) -> list[Step]:
        """One step of each canvas. Raises torch.OutOfMemoryError when no less memory will do."""
        found: dict[int, Step] = {}
        groups: dict[object, list[int]] = {}
        for n, canvas in enumerate(canvases):
            groups.setdefault(canvas.group, []).append(n)
        for members in groups.values():
            while members:
                self._foresee([canvases[n] for n in members[: self.together]])
                now = members[: self.together]
                batch = [canvases[n] for n in now]
                states = [c.generator.get_state() for c in batch]
                try:
                    gradient, steps = self.gradients(batch)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    # The same numbers are drawn again, so that a seed keeps its picture.
                    for canvas, state in zip(batch, states, strict=True):
                        canvas.generator.set_state(state)
                    problem = error.with_traceback(None)  # frames hold the tensors that were made
                else:
                    for canvas, part, step in zip(batch, gradient.split(1), steps, strict=True):
                        canvas.apply(part, step)
                    found |= dict(zip(now, steps, strict=True))
                    members = members[len(now) :]
                    continue
                self._economise(batch, problem)
        return [found[n] for n in range(len(canvases))]

    def _economise(self, batch: Sequence[Canvas], problem: BaseException) -> None:
        """Give up something, the cheapest first. Raises `problem` when nothing is left."""
        if batch[0].latents.device.type == "cuda":
            torch.cuda.empty_cache()
        if not self._give_up(batch) and not self._shrink(batch[0]):
            raise problem

    def _shrink(self, canvas: Canvas) -> bool:
        """Go on with a picture at three quarters of its sides; False when that is too small."""
        unit = max(16, self.codec.stride)
        height, width = (side * 3 // 4 // unit * unit for side in canvas.pixels_wide)
        if min(height, width) < SMALLEST:
            return False
        canvas.resize(height, width)
        canvas.shrunk = True
        self.notes.append(f"Memory is short: going on at {width}x{height} pixels.")
        return True

    def _give_up(self, batch: Sequence[Canvas]) -> bool:
        """Something that costs time and changes no picture; False when none of that is left."""
        if self.views > 1:
            self.views = min(self.views, batch[0].config.cutouts * len(batch)) // 2 or 1
            self.notes.append(f"Memory is short: CLIP sees {self.views} cutouts at a time.")
        elif len(batch) > 1:
            self.together = len(batch) // 2
            self.notes.append(f"Memory is short: {self.together} pictures at a time.")
        elif not self.checkpoints:
            self.checkpoints = True
            self.notes.append("Memory is short: the decoder computes some things twice.")
        else:
            return False
        return True

    def _foresee(self, batch: Sequence[Canvas]) -> None:
        """Give up beforehand what the free memory would not hold, as `_economise` does.

        On a processor nothing raises when it runs out: Linux lends more than there is, and ends
        the process when that is used. Raises torch.OutOfMemoryError when nothing is left.
        """
        if batch[0].latents.device.type != "cpu" or (batch[0].group, len(batch)) in self._foreseen:
            return
        free = free_memory()
        if free is None:
            return
        costs, count = self._measured(batch[0]), len(batch)
        while SPARE * self._wanted(batch[:count], costs) > free:
            if not self._give_up(batch[:count]) and not self._shrink(batch[0]):
                raise torch.OutOfMemoryError(f"{free} bytes are free, too few for a step.")
            count = min(count, self.together)
        self._foreseen.add((batch[0].group, count))

    def _wanted(self, batch: Sequence[Canvas], costs: Costs) -> float:
        """Bytes that a step keeps for its backward passes, about."""
        views = min(self.views, batch[0].config.cutouts * len(batch))
        share = costs.again if self.checkpoints else 1.0
        latents = len(batch) * batch[0].latents[0, 0].numel()
        return costs.fixed + share * latents * costs.latent + views * costs.view

    def _measured(self, canvas: Canvas) -> Costs:
        """What decoder and CLIPs keep, as a small picture and few views tell."""
        if self._costs is not None:
            return self._costs
        latents = canvas.latents.detach()

        def of_latents(side: int, again: Sequence[nn.Module] = ()) -> float:
            part = latents[..., :side, :side].clone().requires_grad_(True)
            return bytes_checkpointed(
                lambda: self.codec.decode(self.codec.quantise(part)), self.codec, again
            )

        def of_views(count: int, model: PictureTextModel) -> float:
            seen = latents.new_zeros(count, 3, model.image_size, model.image_size)
            look = partial(model.embed_images, seen.requires_grad_(True))
            return bytes_kept(look, model)

        side = SMALLEST // self.codec.stride
        with self._autocast(latents.device):
            more, fewer = of_latents(side), of_latents(side // 2)
            codec = [self.codec] if isinstance(self.codec, nn.Module) else []
            again = of_latents(side, codec)
            looks = [(of_views(2, model), of_views(1, model)) for model, _ in self.clips]
        latent = (more - fewer) / (side**2 - (side // 2) ** 2)
        view = max(two - one for two, one in looks)
        growing = latent * side**2
        weights = more - growing
        fixed = max(0.0, weights + max(2 * one - two for two, one in looks))
        share = max(0.0, again - weights) / growing if growing else 1.0
        self._costs = Costs(fixed, latent, view, share)
        return self._costs

    def gradients(self, canvases: Sequence[Canvas]) -> tuple[Tensor, list[Step]]:
        """The gradient of every canvas's loss in its latents, (B, C, h, w); of one group."""
        device = canvases[0].latents.device
        latents = torch.cat([c.latents.detach() for c in canvases]).requires_grad_(True)
        start = torch.cat([c.start for c in canvases])
        strengths = [c.pull_now() for c in canvases]
        pulls = torch.tensor(strengths, device=device)
        with torch.enable_grad():
            pixels = self._decode(latents)
            pixels = torch.cat([
                p if c.kept is None else c.kept.over(p)
                for p, c in zip(pixels.split(1), canvases, strict=True)
            ])  # fmt: skip
            seen = pixels.detach().requires_grad_(True)
            losses, scores, slope = self._judge(seen, canvases)
            held = pulls * hold(latents, start)
            roots, slopes = [pixels], [slope]
            if any(strengths):
                roots.append(held)
                slopes.append(torch.ones_like(held))
            (gradient,) = grad(roots, [latents], slopes)
        losses = losses + held.detach()
        steps = [Step(*pair) for pair in zip(losses.tolist(), scores.tolist(), strict=True)]
        return gradient, steps

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.low_precision)

    def _decode(self, latents: Tensor) -> Tensor:
        with self._autocast(latents.device):
            quantised = self.codec.quantise(latents)
            if self.checkpoints and isinstance(self.codec, nn.Module):
                with checkpointed(self.codec):
                    pixels = self.codec.decode(quantised)
            else:
                pixels = self.codec.decode(quantised)
        return pixels.float().clamp(-1, 1)

    def _judge(self, pixels: Tensor, canvases: Sequence[Canvas]) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (B,) and scores (B,) of pictures (B, 3, H, W), and the losses' gradient in them.

        `pixels` is a leaf that asks for its gradient.
        """
        losses, slope = self._looks(pixels, canvases)
        scores = torch.zeros(len(canvases), device=pixels.device)
        for k, (model, weight) in enumerate(self.clips):
            shape = pixels.shape[-2], pixels.shape[-1]
            views = [
                draw_views(c.config, model.image_size, shape, c.generator, pixels.device)
                for c in canvases
            ]
            wanted = [(b, v) for b in range(len(canvases)) for v in range(len(views[b]))]
            for begin in range(0, len(wanted), self.views):
                now = wanted[begin : begin + self.views]
                loss, score = self._look(pixels, canvases, k, views, now)
                (part,) = grad(weight * loss.sum(), [pixels])
                slope = slope + part
                losses = losses + weight * loss.detach()
                scores = scores + weight * score
        return losses, scores, slope

    def _look(
        self,
        pixels: Tensor,
        canvases: Sequence[Canvas],
        k: int,
        views: Sequence[Views],
        wanted: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """What some views add to losses and scores, (B,) each."""
        taken = take(pixels, views, wanted)
        with self._autocast(pixels.device):
            seen = self.clips[k].model.embed_images(taken)
        seen = seen.float()
        losses = seen.new_zeros(len(canvases))
        scores = seen.new_zeros(len(canvases))
        for b in dict.fromkeys(b for b, _ in wanted):
            # Places instead of a mask, whose size a graphics card would have to be asked for.
            places = [n for n, (owner, _) in enumerate(wanted) if owner == b]
            mine = seen[torch.tensor(places, device=seen.device)]
            target = canvases[b].targets()[k]
            count = len(views[b])
            losses[b] = target.loss(mine).sum() / count
            scores[b] = target.similarity(mine.detach()).sum() / count
        return losses, scores

    def _looks(self, pixels: Tensor, canvases: Sequence[Canvas]) -> tuple[Tensor, Tensor]:
        """Losses of the pictures themselves, weighted: (B,), and their gradient in them."""
        terms: list[tuple[float, Callable[[Tensor], Tensor], int]] = []
        for b, canvas in enumerate(canvases):
            c, palette = canvas.config, canvas.palette
            terms += [(c.smoothness, smoothness, b), (c.symmetry, asymmetry, b)]
            if len(palette):
                terms.append((c.palette_weight, lambda p, q=palette: palette_distance(p, q), b))
        losses, slope = pixels.new_zeros(len(canvases)), torch.zeros_like(pixels)
        for weight, measure, b in terms:
            if weight:
                loss = weight * measure(pixels[b : b + 1]).sum()
                slope = slope + grad(loss, [pixels])[0]
                losses[b] += loss.detach()
        return losses, slope
