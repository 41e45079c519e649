"""From widgets to settings, from settings to the book that is painted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.book import Book, Page
from pipelines.errors import InvalidInput
from pipelines.events import Draft, Sentence, StoryProgress
from pipelines.presets import MAX_SEED, PictureConfig, StoryConfig
from ui.desk import Origin
from ui.manuscript import Manuscript
from ui.picture_settings import FIELDS
from ui.pictures import next_book, picture_config
from ui.story import finished_part, read_seed, story_config

CONFIG = StoryConfig("a fox", seed=7)
DRAFT = Draft("Pip", (Sentence("A fox slept.", "fox @forest day"),), 7)
STORY = Manuscript.from_draft(DRAFT, "Ada")


def test_the_widgets_say_a_story_config() -> None:
    config = story_config(" a fox ", 6, 0.5, 3, 0, 150, 0, 0.9, 1.2, 0.5, "ghost, \n storm,", None)
    assert (config.words, config.sentences, config.ban) == ("a fox", 6, ("ghost", "storm"))
    assert config.seed is not None  # drawn at once, so that it can be kept
    assert 0 <= config.seed <= MAX_SEED


@pytest.mark.parametrize("seed", ["-1", "0.5", str(MAX_SEED + 1), "seven", "1e3"])
def test_odd_seeds_are_refused(seed: str) -> None:
    with pytest.raises(InvalidInput, match=r"[Ss]eed"):
        story_config("a fox", 6, 0.5, 3, 0, 150, 0, 0.9, 1.2, 0.5, "", seed)
    with pytest.raises(InvalidInput, match=r"[Ss]eed"):
        picture_config(*(seed if n == "seed" else getattr(PictureConfig(), n) for n in FIELDS))


def test_a_seed_is_read_and_an_empty_one_is_drawn() -> None:
    assert read_seed(" 42 ") == 42
    assert read_seed("0") == 0
    assert read_seed("") is read_seed(None) is None


def test_of_a_stopped_draft_whole_sentences_stay() -> None:
    text = "A fox slept in the forest. “Wake up!” said the owl. Then the"
    draft = finished_part(StoryProgress(0, "Pip", text, 0.4), CONFIG)
    assert draft is not None
    assert [s.text for s in draft.sentences] == [
        "A fox slept in the forest.",
        "“Wake up!” said the owl.",
    ]
    assert all(s.brief for s in draft.sentences)
    assert finished_part(StoryProgress(0, "Pip", "A fox", 0.1), CONFIG) is None


def test_the_first_paint_makes_a_book_with_its_recipe() -> None:
    book = next_book(None, STORY, Origin(DRAFT, CONFIG), "pencil", "me")
    assert (book.title, book.author, book.style, book.owner) == ("Pip", "Ada", "pencil", "me")
    assert book.recipe is not None
    assert book.recipe.seed == 7


def test_paint_goes_on_with_a_book_and_never_paints_over_a_finished_one() -> None:
    page = Page("A fox slept.", "fox @forest day", b"png")
    half = Book("Pip", (page, Page("It woke.")), style="pencil", owner="me")
    story = Manuscript.from_book(half)
    assert next_book(half, story, None, "pencil", "me").id == half.id
    for other in (
        next_book(half, story, None, "vintage", "me"),
        next_book(half, story, None, "pencil", "somebody else"),
        next_book(replace(half, pages=(page,)), STORY, None, "pencil", "me"),
    ):
        assert other.id != half.id
        assert all(p.picture is None for p in other.pages)
