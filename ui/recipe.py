"""How a book was made, read back into the settings: "Make one like this".

A book may come from anywhere, so nothing of its recipe is believed: a setting that its widget
could not have said stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.book import Book
from pipelines.presets import BEFORE, MAX_SEED, STYLES
from ui.picture_settings import FIELDS
from ui.pictures import PicturesTab
from ui.story import StoryTab, story_config

STORY_FIELDS = tuple(signature(story_config).parameters)
"""Names of a story's settings, in the order of their widgets."""


def named(names: Sequence[str], components: Sequence[Component]) -> Mapping[str, Component]:
    """The widgets of a tab under the names of their settings."""
    return dict(zip(names, components, strict=True))


def fits(component: Component, value: object) -> bool:
    """Whether a value from a browser or a book may be put into a widget."""
    if isinstance(component, gr.Slider):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return component.minimum <= value <= component.maximum
    if isinstance(component, gr.Radio):
        return value in [key for _, key in component.choices]
    if isinstance(component, gr.CheckboxGroup):
        known = [key for _, key in component.choices]
        return isinstance(value, (list, tuple)) and all(key in known for key in value)
    if isinstance(component, gr.Textbox):
        return isinstance(value, str) and len(value) <= (component.max_length or 2000)
    return value in STYLES if isinstance(value, str) else False


def story_settings(book: Book) -> dict[str, Any]:
    """The settings its story was written with, as far as the book tells them."""
    kept = dict(book.recipe.settings) if book.recipe else {}
    ban = kept.get("ban")
    if isinstance(ban, Sequence) and not isinstance(ban, str):
        kept["ban"] = ", ".join(map(str, ban))
    kept["words"] = book.words or (book.recipe.prompt if book.recipe else "")
    kept["seed"] = str(book.recipe.seed) if book.recipe else ""
    kept.setdefault("sentences", min(max(len(book.pages), 4), 12))
    return kept


def picture_settings(book: Book) -> dict[str, Any]:
    """The settings its pages were painted with, as far as the book tells them.

    Of the first page that was painted from words; one that was coloured by hand has others.
    """
    for index, page in enumerate(book.pages):
        style = page.recipe.settings.get("style") if page.recipe else None
        if page.recipe and isinstance(style, str) and style in STYLES:
            seed = (page.recipe.seed - index) % (MAX_SEED + 1)  # as storybook.page_seed gave it
            return {**page.recipe.settings, "seed": str(seed)}
    return {"style": book.style}


def like(
    book: Book, story: StoryTab, pictures: PicturesTab, *, same: bool = False
) -> dict[Component, Any]:
    """What the widgets must show to make a book like this one.

    With `same` the seeds come along, and it is the very same book; without, they stay empty.
    """
    found: dict[Component, Any] = {}
    painted = {**(BEFORE if same else {}), **picture_settings(book)}
    for names, components, settings in (
        (STORY_FIELDS, story.settings, story_settings(book)),
        (FIELDS, pictures.settings, painted),
    ):
        for name, component in named(names, components).items():
            value = settings.get(name)
            if name == "seed" and not same:
                value = ""
            if fits(component, value):
                found[component] = value
    return found
