"""ZeroGPU on Hugging Face Spaces: a graphics card is lent for one call, and one page is one call.

A Space without a card of its own brings the package `spaces`. The picture maker asks it for a card
for each page; writer and colour models stay on the processor, which they are quick on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from pipelines.camera import Camera
from pipelines.events import PictureProgress, Sentence
from pipelines.picture_request import PictureRequest
from pipelines.presets import PictureConfig
from ui.colour_models import Colourists

SECONDS = 30.0
"""What a page may take at default settings, with the time to move the models."""
SECONDS_A_STEP = 0.25
"""What each step of guidance may take besides."""


def lent() -> bool:
    """Whether this is a Space that lends cards."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def seconds(sentence: Sentence, config: PictureConfig, given: Any = None) -> int:
    """How long the card is asked for; whoever asks for less comes first."""
    area = config.width * config.height / 256**2
    return round(SECONDS + config.steps * SECONDS_A_STEP * area)


def seconds_of_film(request: PictureRequest, camera: Camera) -> int:
    """How long the card is asked for to paint all frames."""
    steps = request.config.steps + camera.steps * (camera.frames - 1)
    return seconds(request.sentence, replace(request.config, steps=steps))


class LentPainter:
    """A picture maker whose every picture, or picture that moves, is one call to ZeroGPU.

    `load` gives the real one. It is looked up by whoever runs the call, since it cannot be sent
    to the process that has the card.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        import spaces  # type: ignore[import-not-found]  # a Space brings it

        def page(sentence: Sentence, config: PictureConfig, given: Any) -> Iterator[Any]:
            yield from load().stream(sentence, config, **given)

        def frames(request: PictureRequest, camera: Camera) -> Iterator[PictureProgress]:
            yield from load().animate(request, camera)

        self._page = spaces.GPU(duration=seconds)(page)
        self._frames = spaces.GPU(duration=seconds_of_film)(frames)

    @property
    def name(self) -> str:
        """What recipes call it."""
        return self._load().name

    def stream(self, sentence: Sentence, config: PictureConfig, **given: Any) -> Iterator[Any]:
        """As `VQGANCLIPPipeline.stream`; `given` are the pictures that go in."""
        return self._page(sentence, config, given)

    def stream_many(
        self, requests: Sequence[PictureRequest], *, in_turn: bool = True
    ) -> Iterator[tuple[int, Any]]:
        """As `VQGANCLIPPipeline.stream_many`, one call after the other, also without `in_turn`."""
        for index, r in enumerate(requests):
            given = {"picture": r.picture, "mask": r.mask, "image_prompts": r.image_prompts}
            for event in self._page(r.sentence, r.config, given):
                yield index, event

    def animate(self, request: PictureRequest, camera: Camera) -> Iterator[PictureProgress]:
        """As `VQGANCLIPPipeline.animate`."""
        return self._frames(request, camera)


def models(
    preset: str,
    banned: tuple[str, ...] = (),
    *,
    story: str = "",
    vqgan: str = "",
    clip: str = "",
) -> dict[str, Any]:
    """Fields of a `Workshop` on ZeroGPU; `banned` are words that its writer never uses.

    `story`, `vqgan` and `clip` take the place of the preset's own, where they are named.

    The picture maker is loaded now: it must be there before the page opens.
    """
    found: dict[str, Any] = {}
    painter = LentPainter(lambda: found["painter"])
    from pipelines.storybook import load_pictures

    found["painter"] = load_pictures(preset, vqgan, clip)

    @cache
    def on_processor(name: str) -> Any:
        if name == "writer":
            from pipelines.story import StoryPipeline

            writer = StoryPipeline.from_pretrained(story or preset, device="cpu")
            writer.banned = banned
            return writer
        from pipelines.colorize import paintstorch, planning, stablepaint, stenciltorch

        kinds = {
            "live": paintstorch.PaintsTorchPipeline,
            "stencil": stenciltorch.StencilTorchPipeline,
            "variations": stablepaint.StablePaintPipeline,
            "planner": planning.ColourPlanner,
        }
        return kinds[name].from_pretrained("embedded", device="cpu")

    return {
        "writer": partial(on_processor, "writer"),
        "painter": lambda: painter,
        "colourists": Colourists(
            partial(on_processor, "live"),
            partial(on_processor, "stencil"),
            partial(on_processor, "variations"),
            partial(on_processor, "planner"),
        ),
    }
