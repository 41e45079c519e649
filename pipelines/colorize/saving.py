"""A coloured drawing as a file that knows what made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.book import Recipe, encode_png
from pipelines.colorize.document import Document

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
