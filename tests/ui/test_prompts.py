"""A list of prompts becomes a book beside the story that lies there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.book import MAX_SENTENCE
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.presets import PictureConfig
from storage.memory import MemoryLibrary
from tests import tiny
from tests.ui.stand_in import QuickPainter
from ui.desk import Desk, Tale
from ui.jobs import Job
from ui.manuscript import MAX_PAGES, Manuscript
from ui.pictures import paint
from ui.prompts import put_on_desk, read_prompts
from ui.rules import Rules
from ui.workshop import Workshop


def workshop() -> Workshop:
    painter: Any = QuickPainter()
    rules = Rules(banned=("zombie",))
    return Workshop(lambda: painter, lambda: painter, MemoryLibrary(), rules=rules)


def test_each_line_is_a_page_of_its_own() -> None:
    words = read_prompts("a fox in the forest\n\n# a note\n  it   sleeps \r\nan owl")
    assert [s.text for s in words.sentences] == ["a fox in the forest", "it sleeps", "an owl"]
    assert words.title == "3 pictures"
    assert "fox" in words.sentences[0].brief
    assert "fox" not in words.sentences[1].brief  # "it" is nobody here
    assert read_prompts("an owl").title == "an owl"


@pytest.mark.parametrize(
    "text, told",
    [
        (" \n# a note", "one on each line"),
        ("an owl\n" * (MAX_PAGES + 1), "13 lines: paint the others"),
        ("an owl\n:2", "Line 2: There are no words before “:2”"),
        ("an owl\n" + "x" * (MAX_SENTENCE + 1), "Line 2 has 601 characters"),
    ],
)
def test_what_cannot_be_a_book_is_explained(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        read_prompts(text)


def test_they_are_painted_beside_the_story_that_lies_there() -> None:
    shop, desk = workshop(), Desk("ada", "tab")
    mine = Tale(Manuscript("Mine", "", (Sentence("A fox slept.", "fox @forest day"),)))
    desk.add((mine,), choose=True)
    with pytest.raises(InvalidInput, match="zombie"):
        put_on_desk(shop, desk, "a zombie")
    assert desk.tale == mine
    put_on_desk(shop, desk, "an owl\na boat")
    job = Job("paint", lambda job: iter(()))
    for _ in paint(shop, desk, job, PictureConfig(steps=1, width=128, height=128)):
        pass
    assert desk.book is not None
    saved = shop.library.get(desk.book.id)
    assert [p.text for p in saved.pages] == ["an owl", "a boat"]
    assert all(p.picture for p in saved.pages)
    assert desk.tales[1] == mine


def test_weights_and_phases_are_read_as_on_the_command_line() -> None:
    painter: Any = tiny.pipeline()
    shop = Workshop(lambda: painter, lambda: painter, MemoryLibrary())
    desk, line = Desk("ada", "tab"), "a fox:1 | text:-0.5 ^ an owl"
    put_on_desk(shop, desk, f"a boat\n{line}")
    job = Job("paint", lambda job: iter(()))
    config = replace(tiny.QUICK, start="noise", enlarge=False)
    *_, last = paint(shop, desk, job, config)
    assert last.done == 1.0
    assert desk.book is not None
    plain, weighed = shop.library.get(desk.book.id).pages
    assert (plain.text, weighed.text) == ("a boat", line)
    assert weighed.recipe is not None
    settings = weighed.recipe.settings
    assert (settings["sentence"], settings["prompts"]) == ("", line)
    assert plain.recipe is not None
    assert plain.recipe.settings["sentence"] == "a boat"
    again = painter(Sentence(""), replace(config, prompts=line, seed=weighed.recipe.seed))
    assert again.picture == weighed.picture
    assert desk.tale is not None
    assert desk.tale.manuscript.revise(desk.book).pages[1].picture is not None
