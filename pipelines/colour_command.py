"""Command line: `python -m pipelines colour drawing.png --out coloured/`.

Colours drawings: scans, photos of paper, or pictures, whose lines are drawn first. Every file is a
PNG that the app's Colour tab opens with its lines and strokes, and so does this command: what was
saved with a mask is painted within it. Ctrl-C keeps what is finished.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pipelines.colorize.document import Document
from pipelines.colorize.drawing import read_drawing
from pipelines.colorize.hints import paste, read_mask
from pipelines.colorize.lineart import STRENGTH, extract
from pipelines.colorize.regions import find_regions, within_lines
from pipelines.colorize.saving import coloured_png, read_saved, recipe_of
from pipelines.colorize.settings import StablePaintConfig, variation_seeds
from pipelines.durable import write_whole
from pipelines.errors import AppError, InvalidInput, StorageError
from pipelines.presets import MAX_SEED, check_range

if TYPE_CHECKING:
    from pipelines.colorize.stenciltorch import StencilTorchPipeline

MOST = 8
"""Pictures of one drawing."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m pipelines colour",
        description="Colour drawings, from strokes where there are some.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("drawings", nargs="+", type=Path, help="scans, photos, line art, pictures")
    p.add_argument("--out", type=Path, default=Path("coloured"), help="folder of the results")
    p.add_argument("--hints", type=Path, help="strokes: a PNG of the drawing's size, else clear")
    p.add_argument("--seed", type=int, default=0, help="other seeds choose other colours")
    p.add_argument("--count", type=int, default=1, help=f"pictures of each, 1 to {MOST}")
    p.add_argument("--model", choices=("paintstorch", "stablepaint"), default="paintstorch")
    p.add_argument("--steps", type=int, default=StablePaintConfig.steps, help="of stablepaint")
    p.add_argument(
        "--lines", type=float, metavar="STRENGTH",
        help="draw the lines anew, 0 = bold ones only, 1 = faint ones as well; those of pictures "
        f"are drawn in any case, at {STRENGTH}",
    )  # fmt: skip
    p.add_argument("--strokes-only", action="store_true",
                   help="do not choose colours for what has no stroke")  # fmt: skip
    p.add_argument("--over-lines", action="store_true", help="let colours flow over the lines")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all are coloured, 1 some are not, 130 stopped."""
    args = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return _colour(args)
    except AppError as error:
        print(f"storybrush: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. What is finished is in {args.out}.", file=sys.stderr)
        return 130


def _colour(args: argparse.Namespace) -> int:
    check_range("--count", args.count, 1, MOST)
    check_range("--seed", args.seed, 0, MAX_SEED)
    check_range("--steps", args.steps, 1, 100)
    if args.lines is not None:
        check_range("--lines", args.lines, 0.0, 1.0)
    if args.hints is not None and len(args.drawings) > 1:
        raise InvalidInput("--hints goes with one drawing: colour them one by one.")
    results = [p for d in args.drawings for p in _results(d, args)]
    if len(set(results)) < len(results):
        raise InvalidInput("Two drawings have the same name: colour them into different folders.")
    if {p.resolve() for p in results} & {p.resolve() for p in args.drawings}:
        raise InvalidInput(f"{args.out} holds the drawing itself: name another folder with --out.")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise StorageError(f"The folder {args.out} cannot be made ({e.strerror or e}).") from e
    failed, paint = 0, _Painter(args)
    for path in args.drawings:
        try:
            document = _read(path, args)
        except InvalidInput as error:
            print(f"storybrush: {path}: {error}", file=sys.stderr)
            failed += 1
            continue
        for file, (seed, coloured) in zip(_results(path, args), paint(document), strict=True):
            settings = {
                "within_lines": not args.over_lines, "suggested": not args.strokes_only
            }  # fmt: skip
            if args.model == "stablepaint":
                settings["steps"] = args.steps
            recipe = recipe_of(paint.model(document), seed, settings)
            _write(file, coloured_png(coloured, recipe))
    return 1 if failed else 0


def _results(drawing: Path, args: argparse.Namespace) -> list[Path]:
    """Where the pictures of a drawing go."""
    if args.count == 1:
        return [args.out / f"{drawing.stem}.png"]
    return [args.out / f"{drawing.stem}-{n}.png" for n in range(1, args.count + 1)]


def _read(path: Path, args: argparse.Namespace) -> Document:
    """A drawing, or what was saved with its strokes. Raises InvalidInput."""
    try:
        saved = read_saved(path.read_bytes())
    except OSError:  # read_drawing says it better
        saved = None
    if saved is not None:
        document, _ = saved
        print(f"{path}: Its lines and strokes are taken up: they were kept inside.")
        if args.lines is not None:
            lines = extract(document.picture, strength=args.lines)
            document = replace(document, lineart=lines)
        if document.mask is None:  # all of it is painted again, from the strokes of every round
            document = Document(document.lineart, hints=document.strokes)
    else:
        drawing = read_drawing(path)
        for note in drawing.notes:
            print(f"{path}: {note}")
        lineart = drawing.lineart
        if args.lines is not None:
            lineart = extract(drawing.original, strength=args.lines)
        document = Document(lineart)
    if args.hints is None:
        return document
    try:
        with Image.open(args.hints) as file:
            hints = file.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise InvalidInput(f"The strokes in {args.hints} cannot be read: give a PNG.") from e
    width, height = document.size
    if hints.size != (width, height):
        raise InvalidInput(
            f"The strokes are {hints.width}x{hints.height} pixels and the drawing "
            f"{width}x{height}: draw them on a layer over it."
        )
    return document.with_strokes(hints, document.mask)


class _Painter:
    """The models that the arguments and the drawings ask for, loaded once."""

    def __init__(self, args: argparse.Namespace) -> None:
        from pipelines.colorize.paintstorch import PaintsTorchPipeline
        from pipelines.colorize.planning import ColourPlanner
        from pipelines.colorize.stablepaint import StablePaintPipeline

        self.args = args
        self.planner = None if args.strokes_only else ColourPlanner.from_pretrained()
        self.quick = PaintsTorchPipeline.from_pretrained() if args.model == "paintstorch" else None
        self.varied = None if self.quick else StablePaintPipeline.from_pretrained()

    @cached_property
    def stencil(self) -> StencilTorchPipeline:
        from pipelines.colorize.stenciltorch import StencilTorchPipeline

        return StencilTorchPipeline.from_pretrained()

    def __call__(self, document: Document) -> Iterator[tuple[int, Document]]:
        """Seeds and the document coloured with each, one after the other."""
        lineart, hints, mask, kept = document.lineart, document.hints, document.mask, document.kept
        regions = None if self.args.over_lines else find_regions(lineart)
        for seed in variation_seeds(self.args.seed, self.args.count):
            planned = None
            if self.planner is not None:
                planned = self.planner(lineart, hints, mask=mask, picture=kept, seed=seed)
            painted = picture = self._paint(document, planned or hints, seed)
            if regions is not None:
                picture = within_lines(
                    regions, lineart, picture, hints, planned=planned is not None
                )
            if mask is not None:
                picture = paste(picture, kept or painted, read_mask(mask, *document.size))
            yield seed, replace(document, colours=picture, planned=planned)

    def model(self, document: Document) -> str:
        """The name of the model that paints it: PaintsTorch has no masks, StencilTorch has."""
        masked = self.quick is not None and document.mask is not None
        return "stenciltorch" if masked else self.args.model

    def _paint(self, document: Document, hints: Image.Image | None, seed: int) -> Image.Image:
        lineart, mask, kept = document.lineart, document.mask, document.kept
        if self.quick is not None:
            if mask is not None:
                return self.stencil(lineart, hints, mask, kept)
            return self.quick(lineart, hints)
        assert self.varied is not None
        steps = self.args.steps
        config = StablePaintConfig(variations=1, steps=steps, seed=seed, preview_every=steps)
        return self.varied(lineart, hints, config, mask=mask, picture=kept).pictures[0]


def _write(path: Path, png: bytes) -> None:
    try:
        write_whole(path, png)
    except OSError as e:
        raise StorageError(f"{path} cannot be written: {e.strerror or e}.") from e
    print(path)
