"""What a book was made with comes back into the widgets, and nothing that does not fit there."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import gradio as gr
import pytest

from pipelines.book import Book, Page, Recipe
from pipelines.errors import InvalidInput
from pipelines.events import Draft, Sentence
from pipelines.presets import PictureConfig, StoryConfig
from pipelines.storybook import book_from_draft
from storage.memory import MemoryLibrary
from tests.ui.blocks import built
from ui import pictures, story
from ui.page import keep_within
from ui.picture_settings import FIELDS, picture_config
from ui.pictures import PicturesTab
from ui.recipe import STORY_FIELDS, like, named
from ui.rules import Rules
from ui.running import Runner
from ui.story import StoryTab, story_config
from ui.workshop import Workshop

Tabs = tuple[StoryTab, PicturesTab]
WRITTEN = StoryConfig(
    "a fox", sentences=5, drafts=3, temperature=1.2, ban=("ghost", "storm"), max_words=120, seed=40
)
PAINTED = PictureConfig(
    style="pencil", steps=33, start="sketch", suffix="soft", width=320, seed=9,
    prompts="red:0.5", palette="navy", augment=("flip", "erase"), optimiser="radam", pull=1.5,
)  # fmt: skip


def nothing() -> Any:
    raise AssertionError("no model is needed here")


def both_tabs() -> Tabs:
    with gr.Blocks(), gr.Tabs() as tabs:
        runner = Runner(Workshop(nothing, nothing, MemoryLibrary()), tabs)
        with gr.Tab("Story"):
            written = story.build(runner)
        return written, pictures.build(runner, written)


@pytest.fixture(scope="module")
def tabs() -> Tabs:
    return built(both_tabs)


@pytest.fixture
def book() -> Book:
    """A book as the app makes it; its second page alone is painted."""
    sentences = tuple(Sentence(f"A fox saw {n}.", "fox @lake day") for n in range(4))
    draft = Draft("The fox", sentences, 40, "embedded")
    made = book_from_draft(draft, WRITTEN, style="pencil")
    recipe = Recipe("a fox", 10, {}, asdict(replace(PAINTED, seed=10)))
    return made.with_page(1, replace(made.pages[1], recipe=recipe))


def shown(tabs: Tabs, found: dict[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What every widget shows: as found, or as it stands."""
    both = (STORY_FIELDS, tabs[0].settings), (FIELDS, tabs[1].settings)
    told, painted = (
        {name: found.get(c, c.value) for name, c in named(names, components).items()}  # type: ignore[attr-defined]
        for names, components in both
    )
    return told, painted


def test_the_same_settings_come_back(tabs: Tabs, book: Book) -> None:
    told, painted = shown(tabs, like(book, *tabs, same=True))
    assert story_config(**told) == WRITTEN
    assert picture_config(*painted.values()) == PAINTED


def test_one_like_it_has_new_seeds(tabs: Tabs, book: Book) -> None:
    told, painted = shown(tabs, like(book, *tabs))
    assert told["seed"] == painted["seed"] == ""
    assert replace(story_config(**told), seed=40) == WRITTEN
    assert picture_config(*painted.values()) == replace(PAINTED, seed=None)


def test_a_book_of_ones_own_words_brings_its_style_and_length(tabs: Tabs) -> None:
    own = Book("Mine", (Page("A fox slept."),) * 6, style="crayon")
    told, painted = shown(tabs, like(own, *tabs))
    assert told["sentences"] == 6
    assert painted["style"] == "crayon"
    assert painted["steps"] == PictureConfig().steps


def test_nothing_that_a_widget_could_not_say_gets_into_it(tabs: Tabs, book: Book) -> None:
    odd = {
        "sentences": 99, "temperature": "hot", "drafts": None, "ban": "ghost" * 900, "top_k": True,
        "style": "pencil", "steps": -1, "start": "<b>", "prefix": ["a"], "width": 1e9,
    }  # fmt: skip
    recipe = Recipe("x" * 9000, 1, {}, odd)
    odder = Recipe("x", 1, {}, {"style": ["pencil"]})
    strange = replace(book, words="", recipe=recipe).with_page(1, Page("A fox.", recipe=recipe))
    strange = strange.with_page(0, Page("A fox.", recipe=odder))
    found = like(strange, *tabs)
    names = {c: n for n, c in named(STORY_FIELDS, tabs[0].settings).items()}
    names |= {c: n for n, c in named(FIELDS, tabs[1].settings).items()}
    assert {names[c] for c in found} == {"seed", "style"}


def test_widgets_offer_no_more_than_the_house_allows() -> None:
    rules = Rules(request=50, story=90, side=256, steps=10)
    written, painted = built(both_tabs)
    keep_within(rules, written, painted)
    told, drawn = shown((written, painted), {})
    rules.check_story(story_config(**{**told, "words": "a fox"}))
    rules.check_pictures(picture_config(*drawn.values()))
    sliders = {**named(STORY_FIELDS, written.settings), **named(FIELDS, painted.settings)}
    assert [sliders[n].maximum for n in ("max_words", "steps", "width")] == [90, 10, 256]  # type: ignore[attr-defined]


def test_a_long_request_is_not_cut_but_answered(tabs: Tabs) -> None:
    words = named(STORY_FIELDS, tabs[0].settings)["words"]
    assert isinstance(words, gr.Textbox)
    assert words.max_length is None
    with pytest.raises(InvalidInput, match="500 characters, and this one has 10000: shorten"):
        story_config(**{**shown(tabs, {})[0], "words": "a" * 10_000})
