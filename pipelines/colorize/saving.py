"""A coloured drawing as a file that knows what made it, and such a file read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.book import Recipe, encode_png, read_recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import refuse_too_small
from pipelines.colorize.openraster import is_openraster, read_note
from pipelines.errors import InvalidInput

NOTE = "Generated picture: coloured by Storybrush with {}"

MODELS = {
    "paintstorch": "PaintsTorch",
    "stenciltorch": "StencilTorch",
    "stablepaint": "StablePaint",
    "controlnet": "Stable Diffusion and a ControlNet",
}


def recipe_of(
    model: str, seed: int, settings: Mapping[str, Any], by: str = "embedded", prompt: str = ""
) -> Recipe:
    """What made a picture: `model` is a key of MODELS, `by` the weights' name, `prompt` the words
    that it was told."""
    return Recipe(prompt, seed, {"colour": f"{model} {by}"}, dict(settings))


def coloured_png(document: Document, recipe: Recipe | None, caption: str = "") -> bytes:
    """The document's picture, with what made it inside: recipe, lines, strokes, mask."""
    model = recipe.models["colour"].split()[0] if recipe else ""
    note = NOTE.format(MODELS.get(model, "its colour models"))
    return document.write_into(encode_png(document.picture, recipe, caption, note=note))


def read_saved(data: bytes) -> tuple[Document, Recipe | None] | None:
    """What was saved with its strokes, as a PNG or as OpenRaster, and what made it; None for any
    other file.

    Raises: InvalidInput for an OpenRaster file that cannot be taken up, and for what is too small.
    """
    ours = is_openraster(data)
    document = Document.from_openraster(data) if ours else Document.read_from(data)
    if document is None:
        return None
    refuse_too_small(document.size)
    return document, _recipe_in(data) if ours else read_recipe(data)


def _recipe_in(ora: bytes) -> Recipe | None:
    """The recipe that travels with an OpenRaster file, None where there is none."""
    try:
        return Recipe.from_json(json.loads(read_note(ora)))
    except (InvalidInput, ValueError, TypeError, RecursionError):
        return None
