"""A list of prompts becomes a book beside the story that lies there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from pipelines.book import MAX_SENTENCE, Book, Page, Recipe, encode_png
from pipelines.camera import Camera
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.presets import PictureConfig
from pipelines.storybook import prompts_of
from storage.memory import MemoryLibrary
from tests import tiny
from tests.ui.stand_in import QuickPainter
from ui import moving
from ui.arrival import restore
from ui.desk import Desk, Retry, Tale
from ui.jobs import Job
from ui.manuscript import MAX_PAGES, Manuscript
from ui.pictures import paint
from ui.prompts import prompts_in, put_on_desk, read_prompts
from ui.repaint import paint_again, request, words_of
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
    own = replace(config, seed=weighed.recipe.seed, scenery=settings["scenery"])
    again = painter(Sentence(""), replace(own, prompts=line))
    assert again.picture == weighed.picture
    assert desk.tale is not None
    assert desk.tale.manuscript.revise(desk.book).pages[1].picture is not None


LINE = "a fox:1 | text:-0.5 ^ an owl"


def of_prompts(**settings: str) -> Page:
    """A page that was painted from LINE."""
    recipe = Recipe("a fox", 1, settings={"sentence": "", "prompts": LINE, **settings})
    picture = encode_png(Image.new("RGB", (128, 128)), recipe)
    return Page(LINE, "fox @forest day", picture, recipe=recipe)


def test_a_page_of_prompts_is_painted_again_from_prompts() -> None:
    painter: Any = tiny.pipeline()
    shop, page = Workshop(lambda: painter, lambda: painter, MemoryLibrary()), of_prompts()
    desk = Desk("ada", "tab", retry=Retry(0))
    config = replace(tiny.QUICK, start="noise", enlarge=False)
    assert words_of(page) == LINE
    for said, line in ((LINE, LINE), ("", LINE), ("a boat | fog:-1", "a boat | fog:-1")):
        wanted = request(page, said, config)
        assert (wanted.sentence.text, wanted.config.prompts) == ("", line)
    for _ in paint_again(shop, desk, Job("repaint", lambda job: iter(())), page, wanted):
        pass
    assert desk.retry is not None
    new = desk.retry.new
    assert new is not None
    assert (new.text, new.brief) == (LINE, page.brief)  # as it was typed
    assert prompts_of(new) == "a boat | fog:-1"


def test_a_sentence_that_looks_like_prompts_is_painted_again_as_a_sentence() -> None:
    page = of_prompts(sentence=LINE, prompts="")
    wanted = request(page, "an owl", tiny.QUICK)
    assert wanted.sentence.text == LINE
    assert wanted.sentence.brief.startswith("owl")
    assert wanted.config.prompts == ""
    assert request(page, words_of(page), tiny.QUICK).sentence.brief == page.brief


def test_a_film_through_a_page_of_prompts_is_guided_by_them() -> None:
    shop = workshop()
    wanted = moving.request(shop, of_prompts(), tiny.QUICK, Camera(frames=4, steps=1))
    assert (wanted.sentence.text, wanted.config.prompts) == ("", LINE)
    banned = of_prompts(prompts="a zombie")
    with pytest.raises(InvalidInput, match="zombie"):
        moving.request(shop, banned, tiny.QUICK, Camera(frames=4, steps=1))


def test_a_list_that_is_opened_again_still_is_one() -> None:
    other = "a boat:1 | fog:-1"
    book = Book("Two", (of_prompts(), Page(other), Page("a boat")))
    assert prompts_in(book) == {LINE, other}
    assert prompts_in(Book("A story", (Page(other),))) == frozenset()
    assert prompts_in(Book("From elsewhere", (of_prompts(), Page(":2")))) == {LINE}
    shop, desk = workshop(), Desk("ada", "tab")
    shop.library.save(replace(book, owner="ada"))
    told = {**Manuscript.from_book(book).to_value(), "of": "this"}
    restore(shop, desk, {"tale": told, "book": {"id": book.id, "of": "this"}})
    assert desk.tale is not None
    assert desk.tale.prompts == {LINE, other}
