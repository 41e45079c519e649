"""Quick colour models for tests of the page: they obey the pipelines' contract, without weights.

Run as a program it serves the page with them: `python -m tests.ui.colour_stand_in PORT LIBRARY`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pipelines.colorize.hints import paste, read_mask
from pipelines.colorize.progress import ColourProgress, Variations
from pipelines.colorize.regions import drawn_over, find_regions, touched_regions, without
from pipelines.colorize.settings import StablePaintConfig
from ui.colour_models import Colourists

BARE = (235, 228, 214)
"""What paper becomes where nobody has drawn a stroke."""


class QuickLive:
    """Every pixel takes the colour of its nearest stroke."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, lineart: Image.Image, hints: Image.Image | None = None) -> Image.Image:
        self.calls += 1
        colours = np.full((lineart.height, lineart.width, 3), BARE, np.uint8)
        layer = None if hints is None else np.asarray(hints)
        if layer is not None and (layer[..., 3] > 127).any():
            drawn = layer[..., 3] > 127
            _, found = cv2.distanceTransformWithLabels(
                (~drawn).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
            )
            places = np.asarray(found, np.int64)
            table = np.zeros((int(places.max()) + 1, 3), np.uint8)
            table[places[drawn]] = layer[drawn][:, :3]
            colours = table[places]
        return Image.fromarray(colours)


class QuickStencil:
    """The same within the mask."""

    def __call__(self, lineart: Image.Image, hints: Any, mask: Any, picture: Any) -> Image.Image:
        inside = read_mask(mask, *lineart.size)
        before = lineart.convert("RGB") if picture is None else picture
        return paste(QuickLive()(lineart, hints), before, inside)


class QuickPlanner:
    """No choice at first; with another seed a corner of its tint."""

    def __call__(
        self, lineart: Image.Image, hints: Image.Image | None, *, seed: int, **parts: Any
    ) -> Image.Image:
        told = Image.new("RGBA", lineart.size) if hints is None else hints.copy()
        if seed:
            told.paste((*tint(seed), 255), (0, 0, 24, 24))
        return told

    def after_strokes(
        self,
        layer: Image.Image,
        lineart: Image.Image,
        before: Image.Image | None,
        now: Image.Image | None,
        **parts: Any,
    ) -> Image.Image:
        """Nothing is chosen again: what strokes touch is theirs alone."""
        regions = find_regions(lineart)
        touched = touched_regions(regions, before, now, lineart.size)
        return drawn_over(without(layer, regions, touched), now)


class QuickVariations:
    """Tints that come from the seed."""

    name = "quick"

    def __init__(self) -> None:
        self.hints: Any = None
        self.asked = dict[str, Any]()
        """The parts that `stream` was last given by name."""

    def stream(
        self, lineart: Image.Image, hints: Any, config: StablePaintConfig, **parts: Any
    ) -> Iterator[ColourProgress | Variations]:
        self.hints, self.asked = hints, parts
        seeds = tuple((config.seed or 0) + k for k in range(config.variations))
        return self._paint(lineart, config, seeds, list(map(tint, seeds)))

    def interpolate(
        self,
        lineart: Image.Image,
        hints: Any,
        config: StablePaintConfig,
        seeds: tuple[int, int],
        *,
        count: int,
        ends: bool,
        **parts: Any,
    ) -> Iterator[ColourProgress | Variations]:
        assert not ends
        self.hints = hints
        one, two = (np.array(tint(s)) for s in seeds)
        shares = [k / (count - 1) for k in range(1, count - 1)]
        tints = [tuple((one + (two - one) * t).astype(int).tolist()) for t in shares]
        return self._paint(lineart, config, (seeds[0],) * len(tints), tints)

    def _paint(
        self,
        lineart: Image.Image,
        config: StablePaintConfig,
        seeds: tuple[int, ...],
        tints: Sequence[tuple[int, ...]],
    ) -> Iterator[ColourProgress | Variations]:
        pictures = tuple(Image.new("RGB", lineart.size, tint) for tint in tints)
        for step in range(1, config.steps + 1):
            time.sleep(0.01)
            yield ColourProgress(step, config.steps, pictures, 0.1 * (config.steps - step))
        yield Variations(pictures, seeds)


def tint(seed: int) -> tuple[int, int, int]:
    return 90 + 37 * seed % 160, 90 + 71 * seed % 160, 200


def quick_colourists() -> Colourists:
    live: Any = QuickLive()
    stencil: Any = QuickStencil()
    variations: Any = QuickVariations()
    planner: Any = QuickPlanner()
    return Colourists(lambda: live, lambda: stencil, lambda: variations, lambda: planner)


def serve(port: int, library: str) -> None:
    """The page with these models, until killed."""
    import app

    app.stay_on_this_machine("embedded")
    from storage.base import open_library
    from tests.ui.stand_in import QuickPainter, QuickWriter
    from ui.workshop import Workshop

    writer: Any = QuickWriter()
    painter: Any = QuickPainter()
    shop = Workshop(
        lambda: writer, lambda: painter, open_library(library), colourists=quick_colourists()
    )
    app.launch(shop, app.parser().parse_args(["--port", str(port)]))


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
