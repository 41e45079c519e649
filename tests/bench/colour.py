"""Speed and memory of colouring at 512x512: `python -m tests.bench.colour`; part of `make bench`.

Every figure is the median of several, after one that warms up. A "stroke" is a further one on the
same drawing. "A stroke, all of it" is what the app does about one: it reads the strokes from the
browser's PNG, lets the chosen colours make way for them, colours, keeps within the lines, and
writes the picture for the browser; the figures after it are of its parts. Colours for all else are
chosen once for a drawing, and when other ones are asked for. The last line is JSON.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from PIL import Image, ImageDraw

import app

if TYPE_CHECKING:
    from ui.colour_models import Colourists

ROOT = Path(__file__).resolve().parents[2]
SIDE = 512


def seconds(act: Callable[[int], object], times: int = 7) -> float:
    """Median time of `act(n)`; the first call does not count."""
    act(0)
    found = list[float]()
    for n in range(1, times + 1):
        begin = time.perf_counter()
        act(n)
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def drawing() -> Image.Image:
    """Line art of circles in each other's way: many regions, long and short lines."""
    rng = np.random.default_rng(5)
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(24):
        x, y, radius = (int(v) for v in rng.integers((20, 20, 10), (490, 490, 120)))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=0, width=2)
    return image


def strokes(number: int) -> Image.Image:
    """`number` + 3 strokes of different colours."""
    rng = np.random.default_rng(6)
    layer = Image.new("RGBA", (SIDE, SIDE))
    pen = ImageDraw.Draw(layer)
    for _ in range(number + 3):
        x, y, dx, dy = (int(v) for v in rng.integers(20, 460, 4))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        pen.line((x, y, (x + dx) // 2, (y + dy) // 2), fill=(*colour, 255), width=9)
    return layer


def scene() -> Image.Image:
    """A drawing of those in the app, with a sky that is open to the ground."""
    with Image.open(ROOT / "tests/farm.png") as image:
        return image.convert("L").resize((SIDE, SIDE))


def dab(number: int) -> Image.Image:
    """A dab of paint in its sky, and `number` more."""
    layer = Image.new("RGBA", (SIDE, SIDE))
    pen = ImageDraw.Draw(layer)
    for n in range(number + 1):
        pen.ellipse((150 + 20 * n, 40, 166 + 20 * n, 56), fill=(40, 60, 140, 255))
    return layer


def scan() -> Image.Image:
    """2048x2048, grey and noisy as a scan is."""
    rng = np.random.default_rng(7)
    large = drawing().resize((2048, 2048), Image.Resampling.BICUBIC)
    noisy = np.asarray(large, np.float32)[..., None] * 0.9 + rng.normal(0, 4, (2048, 2048, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def sent(layer: Image.Image) -> str:
    """A layer as a browser sends it."""
    out = io.BytesIO()
    layer.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def strokes_of_the_app(
    models: Colourists, lineart: Image.Image, layers: list[Image.Image], mask: Image.Image
) -> dict[str, float]:
    """Seconds of all that the app does about a further stroke: in closed regions, without a mask
    and within one, and in a region that is open, as most of the drawings in the app are."""
    from pipelines.colorize.drawing import Drawing
    from ui.colour_work import paint_once, take_strokes
    from ui.easel import address, as_layer, new_easel

    def all_of_it(lineart: Image.Image, layers: list[Image.Image], **more: str) -> float:
        data = [sent(layer) for layer in layers]
        easel = new_easel(Drawing(lineart, lineart.convert("RGB"), "lineart", ()))

        def stroke(n: int) -> None:
            drawn = {"name": easel.name, "round": easel.round, "hints": data[n]}
            assert take_strokes(easel, drawn if n else {**drawn, **more})
            easel.document, _ = paint_once(models, easel, easel.document)
            easel.painted = easel.revision
            address(easel.document.picture, "picture")

        return seconds(stroke)

    return {
        "a stroke, all of it": all_of_it(lineart, layers),
        "a stroke in an open region, all of it": all_of_it(scene(), [dab(n) for n in range(8)]),
        "a stroke within a mask, all of it": all_of_it(lineart, layers, mask=sent(as_layer(mask))),
    }


def memory() -> float:
    """Resident memory of this process, in MB of 10^6 bytes."""
    return psutil.Process().memory_info().rss / 1e6


def main() -> None:
    app.share_the_processor()
    for name in ("gradio", "torch"):  # what the app has in memory anyway
        importlib.import_module(name)

    from pipelines.colorize.drawing import read_drawing
    from pipelines.colorize.lineart import extract
    from pipelines.colorize.progress import ColourProgress
    from pipelines.colorize.regions import find_regions, within_lines
    from pipelines.colorize.settings import StablePaintConfig
    from ui.colour_models import Colourists

    found = dict[str, float]()
    whole = scan()
    before = memory()
    peak = before

    def note(name: str, value: float) -> None:
        nonlocal peak
        found[name] = value
        peak = max(peak, memory())

    lineart = drawing()
    layers = [strokes(n) for n in range(8)]
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (128, 128, 400, 400))

    models = Colourists()
    for name, value in strokes_of_the_app(models, lineart, layers, mask).items():
        note(name, value)
    live, stencil, planner = models.live(), models.stencil(), models.planner()
    note("PaintsTorch stroke", seconds(lambda n: live(lineart, layers[n])))
    kept = live(lineart, layers[0])
    note("StencilTorch stroke", seconds(lambda n: stencil(lineart, layers[n], mask, kept)))
    note("find regions", seconds(lambda n: find_regions(lineart), 3))
    regions = find_regions(lineart)
    note("keep within lines", seconds(lambda n: within_lines(regions, lineart, kept, layers[n])))
    note("choose colours", seconds(lambda n: planner(lineart, layers[n])))
    plan = planner(lineart, layers[0])
    again = seconds(
        lambda n: planner.after_strokes(plan, lineart, layers[max(n - 1, 0)], layers[n])
    )
    note("make way for a stroke", again)
    farm, sky = scene(), [dab(n) for n in range(8)]
    chosen = planner(farm, sky[0])
    again = seconds(lambda n: planner.after_strokes(chosen, farm, sky[0], sky[n]))
    note("choose again for a stroke in a sky", again)
    note("XDoG of 2048x2048", seconds(lambda n: extract(whole), 3))
    note("read a scan of 2048x2048", seconds(lambda n: read_drawing(whole), 3))

    varied = models.variations()
    begin = time.perf_counter()
    for event in varied.stream(lineart, layers[0], StablePaintConfig(seed=1)):
        if isinstance(event, ColourProgress) and event.previews:
            found.setdefault("first preview of variations", time.perf_counter() - begin)
        peak = max(peak, memory())
    note("four variations", time.perf_counter() - begin)
    note("colour memory MB", peak - before)
    for name, value in found.items():
        print(f"{name:38s} {value:8.3f}")
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    main()
