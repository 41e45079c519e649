"""The drawing that a browser keeps, for when this server does not know it any more.

The layers lie where the page fetches them anyhow; what else makes the drawing goes with them, and
both come back as files that are handed in (`assets/kept_drawing.js`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from PIL import Image

from pipelines.book import Recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import Drawing, Kind, opened
from pipelines.colorize.lineart import STRENGTH
from pipelines.errors import InvalidInput
from pipelines.presets import MAX_SEED
from storage.base import BOOK_ID
from ui.colour_files import uploaded
from ui.easel import Easel, Place, Round, new_easel

_KINDS: tuple[Kind, ...] = get_args(Kind)

AGAIN = "Your drawing of last time is here again: this browser has kept it."

UNREADABLE = "The drawing that this browser has kept cannot be opened any more."

_MODES = {
    "lines": "L", "original": "RGB", "hints": "RGBA", "mask": "RGBA", "kept": "RGB",
    "picture": "RGB", "earlier": "RGBA",
}  # fmt: skip
"""Layers that a browser keeps, by the names of `Easel.urls`, and PIL's mode for each."""


def about(easel: Easel) -> dict[str, Any]:
    """What makes the drawing besides its layers, as JSON values."""
    return {
        "title": easel.title,
        "kind": easel.drawing.kind,
        "place": easel.place and asdict(easel.place),
        "from_page": easel.from_page,
        "recipe": easel.recipe and easel.recipe.to_json(),
        "frozen": easel.frozen,
        "strength": easel.strength,
        "tidy": easel.tidy,
        "suggest": easel.suggest,
        "choice": easel.choice,
    }


def put_together(sent: object, folder: str) -> Easel:
    """The drawing that a browser has kept, to be painted anew.

    `sent` may be anything: "about" as above, and under "layers" the paths of the files, by name,
    that were handed in to `folder`. Raises: InvalidInput.
    """
    told, paths = _mapping(_mapping(sent).get("about")), _mapping(_mapping(sent).get("layers"))
    layers = {
        name: opened(uploaded(paths[name], folder)).convert(mode)
        for name, mode in _MODES.items()
        if name in paths
    }
    lines = layers.get("lines")
    if lines is None or any(layer.size != lines.size for layer in layers.values()):
        raise InvalidInput(UNREADABLE)
    document = _document(lines, layers)
    kinds: list[Kind] = [kind for kind in _KINDS if kind == told.get("kind")]
    original = layers.get("original", document.picture)
    drawing = Drawing(lines, original, kinds[0] if kinds else "lineart", (AGAIN,))
    easel = new_easel(drawing, _place(told.get("place")))
    easel.title, easel.from_page = str(told.get("title", "")), told.get("from_page") is True
    strength, choice = told.get("strength"), told.get("choice")
    if not isinstance(strength, int | float) or not math.isfinite(strength):
        strength = STRENGTH
    easel.begin_round(
        Round(
            document,
            _recipe(told.get("recipe")),
            frozen=document.mask is not None and told.get("frozen") is True,
            strength=min(max(float(strength), 0.0), 1.0),
            tidy=told.get("tidy") is not False,
            suggest=told.get("suggest") is not False,
            choice=choice if isinstance(choice, int) and 0 <= choice <= MAX_SEED else 0,
            plan=None,
        )
    )
    return easel


def _document(lines: Image.Image, layers: Mapping[str, Image.Image]) -> Document:
    mask = layers.get("mask")
    return Document(
        lines,
        kept=layers.get("kept"),
        colours=layers.get("picture"),
        earlier=layers.get("earlier"),
    ).with_strokes(layers.get("hints"), mask and mask.getchannel("A"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _place(value: object) -> Place | None:
    """The page that it belongs to; whether that is this visitor's is seen to when it goes there."""
    place = _mapping(value)
    book, index = place.get("book"), place.get("index")
    if not isinstance(book, str) or not BOOK_ID.fullmatch(book) or not isinstance(index, int):
        return None
    return Place(book, index, str(place.get("text", "")), str(place.get("brief", "")))


def _recipe(value: object) -> Recipe | None:
    try:
        return Recipe.from_json(_mapping(value))
    except InvalidInput:
        return None
