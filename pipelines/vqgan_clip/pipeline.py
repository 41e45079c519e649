"""A sentence becomes a picture: a start (code transformer, sketch, noise or a picture), then
VQGAN+CLIP. Several pictures are painted as one batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
import torch.nn.functional as F
from PIL.Image import Image as Picture
from torch import Tensor

from pipelines.book import Page, encode_png
from pipelines.camera import Camera
from pipelines.device import fast_bf16, is_out_of_memory, pick_device
from pipelines.errors import OutOfMemory
from pipelines.events import Eta, PictureProgress, Sentence
from pipelines.paper import flat
from pipelines.picture_request import MASK_PAPER, ImagePrompt, PictureRequest, prompt_of
from pipelines.presets import MAX_SEED, PictureConfig, draw_seed
from pipelines.reading import brief_of
from pipelines.vqgan_clip.canvas import Aims, Canvas, Kept, Step, resize, small_size
from pipelines.vqgan_clip.code_transformer import CodeTransformer
from pipelines.vqgan_clip.cutouts import reduce
from pipelines.vqgan_clip.guidance import Guidance, usual_views
from pipelines.vqgan_clip.loading import load_models
from pipelines.vqgan_clip.losses import Targets
from pipelines.vqgan_clip.models import (
    ImageCodec,
    PictureTextModel,
    WeightedModel,
    fingerprint,
)
from pipelines.vqgan_clip.pixels import Frame, to_mask, to_picture, to_pixels
from pipelines.vqgan_clip.starts import (
    Opening,
    Start,
    begin,
    rows_of,
    sampled_together,
    take_back,
)

__all__ = ["VQGANCLIPPipeline", "prompt_of", "to_picture", "to_pixels"]

Event = TypeVar("Event")

TOO_LARGE = (
    "There is too little memory for this picture: choose a smaller size, fewer cutouts or fewer "
    "candidates."
)


@dataclass
class _Work:
    """One picture on its way."""

    index: int
    opening: Opening
    of: int
    """Progress events' steps in all: rows of the code transformer, then guidance."""
    step: int = 0
    eta: Eta = field(default_factory=Eta)
    start: Start | None = None
    canvas: Canvas | None = None
    score: float | None = None

    @property
    def request(self) -> PictureRequest:
        return self.opening.request

    def progress(
        self, stage: str, *, found: Step | None = None, preview: Picture | None = None,
        note: str = "",
    ) -> tuple[int, PictureProgress]:  # fmt: skip
        loss, score = (None, None) if found is None else (found.loss, found.score)
        left = self.eta(self.step / self.of)
        event = PictureProgress(self.step, self.of, stage, loss, score, preview, left, note)
        return self.index, event


class VQGANCLIPPipeline:
    """VQGAN, CLIP and code transformer together. Safe to share: calls take turns."""

    def __init__(
        self,
        vqgan: ImageCodec,
        clip: PictureTextModel | Sequence[WeightedModel],
        transformer: CodeTransformer | None = None,
        *,
        name: str = "embedded",
        low_precision: bool | None = None,
    ) -> None:
        """Several CLIPs guide together, each by its weight. Without a code transformer pictures
        begin from a sketch instead. `low_precision` runs guidance in bfloat16; by default where
        that is native.
        """
        self.vqgan, self.transformer, self.name = vqgan, transformer, name
        self.clips = tuple(clip) if isinstance(clip, Sequence) else (WeightedModel(clip),)
        self.device = vqgan.device
        self.low_precision = fast_bf16(self.device) if low_precision is None else low_precision
        self._lock = threading.Lock()

    @cached_property
    def models(self) -> dict[str, str]:
        """Name and fingerprints for a recipe: files of other weights may have the same name."""
        clips = [(fingerprint(model), weight) for model, weight in self.clips]
        one = len(clips) == 1
        found = {
            "pictures": self.name,
            "vqgan": fingerprint(self.vqgan),
            "clip": clips[0][0] if one else " + ".join(f"{k}:{w:.3g}" for k, w in clips),
            "code_transformer": fingerprint(self.transformer),
        }
        return {part: name for part, name in found.items() if name}

    @classmethod
    def from_pretrained(
        cls,
        preset_or_path: str = "embedded",
        *,
        vqgan: str = "",
        clip: str = "",
        device: torch.device | str | None = None,
    ) -> VQGANCLIPPipeline:
        """Load a preset ("embedded", "full") or a folder with `vqgan`, `clip` and
        `code_transformer` in it.

        `vqgan` and `clip` take the place of the preset's own. `vqgan`: a checkpoint of
        taming-transformers, a folder of diffusers, or a name on the hub. `clip`: one CLIP or SigLIP
        or several with weights, by hub name, folder or OpenAI's archive ("ViT-B/32:1,RN50.pt:0.5").
        Raises ModelUnavailable that names what is missing or damaged, and where to get it.
        """
        where = device if isinstance(device, torch.device) else pick_device(device or "auto")
        models = load_models(preset_or_path, vqgan, clip, where)
        return cls(models.codec, models.clips, models.transformer, name=models.name)

    def __call__(
        self,
        sentence: Sentence | str,
        config: PictureConfig = PictureConfig(),
        *,
        picture: Picture | None = None,
        mask: Picture | None = None,
        image_prompts: Sequence[ImagePrompt] = (),
        generator: torch.Generator | None = None,
    ) -> Page:
        """Paint to the end; arguments and errors as `stream`."""
        page: Page | None = None
        for event in self.stream(
            sentence, config, picture=picture, mask=mask, image_prompts=image_prompts,
            generator=generator,
        ):  # fmt: skip
            if isinstance(event, Page):
                page = event
        assert page is not None
        return page

    def stream(
        self,
        sentence: Sentence | str,
        config: PictureConfig = PictureConfig(),
        *,
        picture: Picture | None = None,
        mask: Picture | None = None,
        image_prompts: Sequence[ImagePrompt] = (),
        generator: torch.Generator | None = None,
    ) -> Iterator[PictureProgress | Page]:
        """Paint one page: progress events, then the finished page. `close()` stops.

        Of words alone it is read what they show; a Sentence of a story says it in its brief.
        `picture` is where start="picture" begins (PIL, any size; the middle is cut to the shape).
        With a `mask` only what is bright in it is painted, the rest stays as it is in `picture`.
        `generator` (on the CPU) overrides the seed: it paints as its own seed does, and once it has
        drawn anything as one drawn from it, which the recipe names. Raises InvalidInput,
        OutOfMemory.
        """
        if isinstance(sentence, str):
            sentence = Sentence(sentence, brief_of(sentence) if sentence.strip() else "")
        request = PictureRequest(sentence, config, picture, mask, tuple(image_prompts))
        for _, event in self._stream([request], [generator]):
            yield event

    def stream_many(
        self, requests: Sequence[PictureRequest], *, in_turn: bool = False
    ) -> Iterator[tuple[int, PictureProgress | Page]]:
        """Paint several pictures together: (index from 0, event) as `stream` has them.

        Those of one size, and with the same cutouts, share every step. Each becomes what it would
        become alone, but for rounding. With `in_turn` they share what the code transformer samples,
        nothing else, and are guided one after the other: each is just what it is alone.
        """
        yield from self._stream(requests, [None] * len(requests), in_turn)

    def _stream(
        self,
        requests: Sequence[PictureRequest],
        generators: Sequence[torch.Generator | None],
        in_turn: bool = False,
    ) -> Iterator[tuple[int, PictureProgress | Page]]:
        works: list[_Work] = []
        for index, (request, given) in enumerate(zip(requests, generators, strict=True)):
            request = self._possible(request)
            config = request.config
            seed, generator = _source(config.seed, given)
            of = rows_of(self, config) + config.steps
            works.append(_Work(index, Opening(request, seed, generator), of))
        yield from _told(self._paint(works, in_turn))

    def frame(self, config: PictureConfig) -> Frame:
        """Where the picture is on the canvas that it is painted on."""
        return Frame.around(config.width, config.height, self.vqgan.stride)

    def whole(self, config: PictureConfig) -> PictureConfig:
        """The settings with the sides of the canvas."""
        frame = self.frame(config)
        return replace(config, width=frame.canvas_width, height=frame.canvas_height)

    def latent_shape(self, config: PictureConfig) -> tuple[int, int]:
        """(h, w) of the canvas."""
        whole = self.whole(config)
        return self.vqgan.latent_shape(whole.width, whole.height)[1:]

    def on_canvas(
        self, picture: Picture, config: PictureConfig, size: tuple[int, int] | None = None
    ) -> Tensor:
        """A picture, its middle cut to the shape, on a canvas of its own or another size (width and
        height): (1, 3, height, width) in [-1, 1]."""
        frame = self.frame(config)
        width, height = size or (frame.canvas_width, frame.canvas_height)
        whole = frame.extended(flat(picture), width, height)
        return to_pixels(whole, width, height, self.device)

    def _possible(self, request: PictureRequest) -> PictureRequest:
        """The request as these models can carry it out."""
        if request.config.start == "transformer" and self.transformer is None:
            return replace(request, config=replace(request.config, start="sketch"))
        return request

    def _paint(
        self, works: Sequence[_Work], in_turn: bool
    ) -> Iterator[tuple[int, PictureProgress | Page]]:
        if not in_turn:
            yield from self._begin(works)
            yield from self._refine(works)
            return
        for indices in sampled_together(self, [work.opening for work in works]):
            batch = [works[k] for k in indices]
            yield from self._begin(batch)
            for work in batch:
                yield from self._refine([work])

    def _begin(self, works: Sequence[_Work]) -> Iterator[tuple[int, PictureProgress]]:
        """1. The starts."""
        for index, event in begin(self, [work.opening for work in works]):
            work = works[index]
            if not isinstance(event, Start):
                work.step += 1
                if event is not None:
                    yield work.progress("start", preview=event)
                continue
            work.start = event
            frame = self.frame(work.request.config)
            with self._lock:
                work.canvas = self.canvas(work.request, event.latents, work.opening.generator)
                preview = frame.cut(to_picture(work.canvas.decode()[0]))
            yield work.progress("start", preview=preview)

    def _refine(self, works: Sequence[_Work]) -> Iterator[tuple[int, PictureProgress | Page]]:
        """2. Guidance, of all together; whatever is finished leaves."""
        guide = self.guide()
        left = [*works]
        while True:
            for work in [w for w in left if w.canvas is not None and w.canvas.finished]:
                left.remove(work)
                yield from self._end(work)
            if not left:
                return
            canvases = [w.canvas for w in left if w.canvas is not None]
            with self._lock:
                for canvas in canvases:
                    canvas.grow()
                steps = guide.descend(canvases)
                note, guide.notes = " ".join(guide.notes), []
                previews = [
                    to_picture(c.decode()[0])
                    if c.step % c.config.preview_every == 0 and not c.finished
                    else None
                    for c in canvases
                ]
            for work, step, preview in zip(left, steps, previews, strict=True):
                work.step += 1
                work.score = step.score
                shown = preview and self.frame(work.request.config).cut(preview)
                yield work.progress("refine", found=step, preview=shown, note=note)

    def _end(self, work: _Work) -> Iterator[tuple[int, PictureProgress | Page]]:
        """3. The finished page."""
        request, canvas, start = work.request, work.canvas, work.start
        assert canvas is not None
        assert start is not None
        note = ""
        if canvas.step < canvas.steps:
            note = f"CLIP's score has not improved any more: finished after {canvas.step} steps."
        with self._lock:
            canvas.settle()
            take_back(self, request, start, canvas)
            pixels = canvas.decode()
            score = work.score
            if subject := request.subject(-1):
                score = self.score(pixels, subject)[0].item()
            whole = to_picture(self._finish(request, canvas, pixels)[0])
        final = self.frame(request.config).cut(whole)
        work.step = work.of
        index, last = work.progress("refine", preview=final, note=note)
        yield index, replace(last, score=score, eta=0.0)
        recipe = request.recipe(self.models, work.opening.seed)
        if canvas.shrunk:
            height, width = canvas.pixels_wide
            recipe = replace(
                recipe, settings={**recipe.settings, "painted_at": f"{width}x{height}"}
            )
        text = request.sentence.text or request.subject()
        png = encode_png(final, recipe, text)
        yield index, Page(text, request.sentence.brief, png, score, recipe)

    def _finish(self, request: PictureRequest, canvas: Canvas, pixels: Tensor) -> Tensor:
        """The canvas at the size it is handed over in, what had to stay as sharp as it was."""
        config, frame = request.config, self.frame(request.config)
        height, width = frame.canvas_height, frame.canvas_width
        if config.enlarge:
            pixels = canvas.finish()
            scale = pixels.shape[-1] // canvas.pixels_wide[1]
            height, width = scale * height, scale * width
        if pixels.shape[-2:] != (height, width):  # it was painted smaller, for want of memory
            pixels = resize(pixels, height, width)
        kept = self._kept(request, height, width, canvas)
        return pixels if kept is None else kept.over(pixels)

    def animate(self, request: PictureRequest, camera: Camera) -> Iterator[PictureProgress]:
        """A picture that moves: `animation.animate` with these models."""
        from pipelines.vqgan_clip.animation import animate

        return _told(animate(self, request, camera))

    def turn(self) -> AbstractContextManager[object]:
        """Wait until the models are free, and keep them within."""
        return self._lock

    def guide(self) -> Guidance:
        """The engine, with the memory this device is likely to have."""
        views = usual_views(self.device)
        return Guidance(self.vqgan, self.clips, self.low_precision, views)

    @torch.no_grad()
    def canvas(
        self, request: PictureRequest, latents: Tensor, generator: torch.Generator
    ) -> Canvas:
        """A canvas that begins from these latents (1, C, h, w)."""
        config, stride = self.whole(request.config), self.vqgan.stride
        kept = self._kept(request, config.height, config.width)
        height, width = (side * stride for side in latents.shape[-2:])
        if kept is not None and (height, width) != (config.height, config.width):
            kept = kept.resized(height, width)
        if request.mask is not None and kept is not None and request.picture is not None:
            paint_at = kept.latent_mask(latents.shape[-2:]) > 0
            latents = torch.where(paint_at, latents, self.vqgan.encode(kept.pixels))
        canvas = Canvas(self.vqgan, latents, self._aims(request), config, generator)
        if request.mask is not None and kept is None:  # what stays is the start itself
            pixels = canvas.decode()
            kept = Kept(pixels, self._mask(request, width, height))
        if kept is not None:
            canvas = Canvas(self.vqgan, latents, canvas.aims, config, generator, kept)
        small = small_size(config, stride)
        if small is not None and (height, width) != small:
            canvas.resize(*small)
        return canvas

    def _kept(
        self, request: PictureRequest, height: int, width: int, canvas: Canvas | None = None
    ) -> Kept | None:
        """What must stay, at a size: of the picture given, or else as the canvas has it."""
        if request.mask is None:
            return None
        mask = self._mask(request, width, height)
        if request.picture is not None:
            pixels = self.on_canvas(request.picture, request.config, (width, height))
            return Kept(pixels, mask)
        if canvas is None or canvas.kept is None:
            return None
        # Drawn as large as what is painted: enlarged, the start would lose detail.
        pixels = canvas.finish(start=True) if request.config.enlarge else canvas.kept.pixels
        return Kept(resize(pixels, height, width), mask)

    def _mask(self, request: PictureRequest, width: int, height: int) -> Tensor:
        """Where a canvas of this size is painted: (1, 1, height, width) in [0, 1]."""
        assert request.mask is not None
        grey = flat(request.mask, MASK_PAPER).convert("L")
        mask = self.frame(request.config).extended(grey, width, height)
        return to_mask(mask, width, height, self.device)

    @torch.no_grad()
    def _aims(self, request: PictureRequest) -> Aims:
        """The prompts of a request as each CLIP sees them."""
        story = request.story or ((),)
        phases: list[tuple[Targets, ...]] = []
        shown = request.image_prompts
        noise = request.config.noise_targets()
        for phase in story:
            targets: list[Targets] = []
            for model, _ in self.clips:
                vectors: list[Tensor] = []
                if phase:
                    vectors.append(model.embed_texts([p.text for p in phase]))
                vectors += [self.embed(model, self._square(p.picture)) for p in shown]
                for seed, _, _ in noise:
                    like = vectors[0] if vectors else model.embed_texts([""])
                    drawn = torch.randn(
                        1, like.shape[1], generator=torch.Generator().manual_seed(seed)
                    )
                    vectors.append(F.normalize(drawn, dim=-1).to(like))
                pulls = [(p.weight, p.stop) for p in (*phase, *shown)]
                pulls += [(weight, stop) for _, weight, stop in noise]
                weights, stops = torch.tensor(pulls, device=self.device).unbind(1)
                targets.append(Targets(torch.cat(vectors).float(), weights, stops))
            phases.append(tuple(targets))
        return Aims(tuple(phases))

    def _square(self, picture: Picture) -> Tensor:
        side = min(picture.size)
        return to_pixels(picture, side, side, self.device)

    @staticmethod
    def embed(model: PictureTextModel, pixels: Tensor) -> Tensor:
        """Whole pictures (B, 3, H, W), squeezed to CLIP's square -> unit vectors (B, D)."""
        return model.embed_images(reduce(pixels, (model.image_size, model.image_size)))

    @torch.no_grad()
    def score(self, pixels: Tensor, prompt: str) -> Tensor:
        """CLIP's cosine similarity of whole pictures (B, 3, H, W) with a prompt: (B,)."""
        found = torch.zeros(len(pixels), device=pixels.device)
        for model, weight in self.clips:
            seen = self.embed(model, pixels)
            found = found + weight * (seen @ model.embed_texts([prompt]).T)[:, 0].float()
        return found


def _source(seed: int | None, given: torch.Generator | None) -> tuple[int, torch.Generator]:
    """Where chance comes from, and the seed that makes the same again."""
    if given is not None:
        own = given.initial_seed()
        fresh = torch.Generator().manual_seed(own).get_state()
        if own <= MAX_SEED and torch.equal(given.get_state(), fresh):
            return own, given
        seed = int(torch.randint(MAX_SEED + 1, (), generator=given))
    elif seed is None:
        seed = draw_seed()
    return seed, torch.Generator().manual_seed(seed)


def _told(events: Iterator[Event]) -> Iterator[Event]:
    """The same events. Raises OutOfMemory where nothing more can be given up."""
    try:
        yield from events
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        raise OutOfMemory(TOO_LARGE) from e
