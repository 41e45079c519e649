"""The command line without a story: pictures of prompts, of a file of prompts, or of a recipe."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.book import Book, Page, read_recipe
from pipelines.errors import InvalidInput
from pipelines.events import PictureProgress, Sentence
from pipelines.picture_options import picture_config, reject, reject_settings
from pipelines.picture_request import (
    BRIGHT,
    DRAWN,
    MASK_PAPER,
    ImagePrompt,
    PictureRequest,
    request_from,
)
from pipelines.presets import MAX_SEED, PictureConfig, draw_seed
from pipelines.prompts import Prompt, parse

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.book import Recipe
    from pipelines.vqgan_clip import VQGANCLIPPipeline

log = logging.getLogger(__name__)

PARTS = {"vqgan": "the VQGAN", "clip": "the CLIP", "code_transformer": "the code transformer"}
"""What has a fingerprint in a recipe, in words."""
MAX_LINES = 1000
"""Lines of a file of prompts."""


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Options for pictures and files that go in."""
    group = parser.add_argument_group("pictures without a story")
    group.add_argument("--prompt-file", type=Path, help="a picture for each line of prompts")
    group.add_argument("--recipe", type=Path, help="the same picture again: a PNG made here")
    group.add_argument("--init", type=Path, help="picture to begin from")
    group.add_argument("--mask", type=Path, help="paint only where this picture is bright")
    group.add_argument(
        "--image-prompt", default="", help="pictures to come close to: “fox.png:0.5 | owl.png”"
    )


INPUTS = ("init", "mask", "image_prompt")


def asks_for_pictures(args: argparse.Namespace) -> bool:
    """Whether the arguments ask for pictures of their own instead of a story."""
    given = vars(args)
    asked = ("recipe", "prompt_file", "image_prompt", "prompts", "noise_prompts")
    return not args.words and not args.text and any(given.get(name) for name in asked)


def requests_of(args: argparse.Namespace) -> tuple[list[PictureRequest], Recipe | None]:
    """The pictures that are asked for, and the recipe they come from. Raises: InvalidInput."""
    init = open_picture(args.init) if args.init else None
    mask = open_picture(args.mask, MASK_PAPER) if args.mask else None
    shown = [
        ImagePrompt(open_picture(Path(p.text)), p.weight, p.stop) for p in _named(args.image_prompt)
    ]
    if args.recipe:
        reason = "does not go with --recipe, which has all settings: leave one of them out."
        reject(args, ("prompt_file",), reason)
        reject_settings(args, reason)
        recipe = _recipe(args.recipe)
        pictures = [p.picture for p in shown]
        return [request_from(recipe, picture=init, mask=mask, image_prompts=pictures)], recipe
    config = picture_config(args)
    if mask is not None:
        _check_mask(mask, init, config)
    seed = draw_seed() if args.seed is None else args.seed
    lines = [config.prompts]
    if args.prompt_file:
        if config.prompts:
            raise InvalidInput("--prompt does not go with --prompt-file.")
        lines = read_lines(args.prompt_file)
    found: list[PictureRequest] = []
    for n, line in enumerate(lines):
        settings = replace(config, prompts=line, seed=(seed + n) % (MAX_SEED + 1))
        try:
            found.append(PictureRequest(Sentence(""), settings, init, mask, tuple(shown)))
        except InvalidInput as error:
            raise InvalidInput(f"{line}: {error}" if args.prompt_file else str(error)) from error
    return found, None


def _check_mask(mask: Image, init: Image | None, config: PictureConfig) -> None:
    """Raises InvalidInput for a mask that leaves nothing to paint, or is of another picture."""
    import numpy as np

    if not (np.asarray(mask.convert("L")) >= BRIGHT).any():
        raise InvalidInput(
            "The picture of --mask is dark all over, and what is bright in it is painted: make it "
            "white there."
        )
    painted = config.width, config.height
    if init is not None and not any(_alike(mask.size, size) for size in (init.size, painted)):
        asked, given, made = (f"{w}×{h}" for w, h in (init.size, mask.size, painted))
        raise InvalidInput(
            f"--mask has {given} pixels, another shape than --init: give it {asked}, or the "
            f"{made} that are painted."
        )


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes have one shape, but for rounding."""
    (a, b), (c, d) = one, other
    return abs(a * d - b * c) <= 0.02 * a * d


def paint_pictures(
    pipeline: VQGANCLIPPipeline,
    requests: list[PictureRequest],
    book: Book,
    together: int,
    tell: Callable[[int, PictureProgress], None],
) -> Iterator[Book]:
    """Paint page after page, `together` at a time; yields the book with each that is finished."""
    for begin in range(0, len(requests), together):
        for index, event in pipeline.stream_many(requests[begin : begin + together]):
            if isinstance(event, PictureProgress):
                tell(begin + index, event)
            else:
                book = book.with_page(begin + index, event)
                yield book


def unpainted(requests: list[PictureRequest]) -> Book:
    """A book of pictures without a story, to be painted."""
    pages = tuple(Page(r.sentence.text or r.subject()) for r in requests)
    title = pages[0].text or "A picture" if len(pages) == 1 else f"{len(pages)} pictures"
    return Book(title[:200], pages, style=requests[0].config.style)


def check_models(pipeline: VQGANCLIPPipeline, recipe: Recipe) -> None:
    """Raises InvalidInput when a recipe's picture was made by other models.

    Fingerprints tell; where an older version has written none, the names do.
    """
    made, have = recipe.models, pipeline.models
    name, here = (re.sub(r":1(?= \+ |$)", "", str(m.get("pictures", ""))) for m in (made, have))
    parts = ["vqgan", "clip"]
    if recipe.settings.get("start") == "transformer":
        parts.append("code_transformer")
    known = [part for part in parts if made.get(part) and have.get(part)]
    other = [PARTS[part] for part in known if made[part] != have[part]]
    if other:
        raise InvalidInput(
            f"This picture was made with “{name}”, and {' and '.join(other)} of “{here}” "
            f"{'has' if len(other) == 1 else 'have'} other weights than then: name its models with "
            "--preset, --vqgan and --clip."
        )
    if not known and name != here:
        raise InvalidInput(
            f"This picture was made with “{name}”, not with “{here}”: name its models "
            "with --preset, --vqgan and --clip."
        )
    laid_out = recipe.settings.get("start") in ("transformer", "sketch")
    if laid_out and recipe.settings.get("drawn") != DRAWN:
        log.warning("Another version made this picture, which drew otherwise: it becomes another.")
    if painted := recipe.settings.get("painted_at"):
        log.warning(
            "This picture was painted at %s pixels, for want of memory: with more it becomes "
            "another.",
            painted,
        )


def read_lines(path: Path) -> list[str]:
    """The prompts of a file, one a line; empty lines and those after # are left out.

    Raises: InvalidInput.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text: {error}.") from error
    lines = [s for line in text.splitlines() if (s := line.strip()) and not s.startswith("#")]
    if not 0 < len(lines) <= MAX_LINES:
        raise InvalidInput(f"{path} has {len(lines)} prompts; it may have 1 to {MAX_LINES}.")
    for n, line in enumerate(lines, 1):
        try:
            PictureConfig(prompts=line)
        except InvalidInput as error:
            raise InvalidInput(f"{path}, prompt {n}: {error}") from error
    return lines


def open_picture(path: Path, paper: str = "white") -> Image:
    """A picture of any kind, upright, on `paper` where it is transparent: PIL RGB.

    Raises: InvalidInput.
    """
    from PIL import Image, ImageOps

    from pipelines.paper import flat

    try:
        with Image.open(path) as picture:
            return flat(ImageOps.exif_transpose(picture), paper)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{path} cannot be opened as a picture: {error}.") from error


def _named(text: str) -> list[Prompt]:
    return [prompt for phase in parse(text) for prompt in phase]


def _recipe(path: Path) -> Recipe:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from error
    recipe = read_recipe(data)
    if recipe is None:
        raise InvalidInput(f"There is no recipe in {path}: it was not made here, or was changed.")
    return recipe
