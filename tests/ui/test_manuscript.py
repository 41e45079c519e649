"""What the editor holds, and how pages keep their pictures through edits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.book import MAX_SENTENCE, Book, Page
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from ui.editor import read_brief
from ui.manuscript import Manuscript, shows

STORY = Manuscript(
    "Pip",
    "Ada",
    (
        Sentence("A fox sat by the lake.", "fox @lake day"),
        Sentence("An owl came at night.", "owl @lake night"),
        Sentence("They slept in the cave.", "fox + owl @cave night"),
    ),
)


def painted(story: Manuscript) -> Book:
    pages = [Page(s.text, s.brief, s.brief.encode(), 0.3) for s in story.sentences]
    return Book(story.title, tuple(pages), author=story.author)


def test_what_the_editor_shows_is_what_it_reads() -> None:
    assert Manuscript.from_value(STORY.to_value()) == STORY


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["title", "author", "sentences", "text", "brief", "before", "wish"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_anything_from_a_browser_is_read_or_refused(value: Any) -> None:
    try:
        story = Manuscript.from_value(value)
    except InvalidInput:
        pass
    else:
        assert all(s.text and shows(s.brief) for s in story.sentences)
    assert set(read_brief(value)) == {"brief", "shows"}


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "no story"),
        ([{"text": " \u0007 "}], "no story"),
        ([{"text": "a " * MAX_SENTENCE}], "Sentence 1 has"),
        ([{"text": "A fox."}] * 13, "12 pages"),
    ],
)
def test_what_cannot_become_a_book_is_refused(rows: list[Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Manuscript.from_value({"title": "", "author": "", "sentences": rows})


@pytest.mark.parametrize("text", ["او می\u200cخواهد", "क्\u200dष", "👨\u200d👩\u200d👧 went home."])
def test_joiners_stay(text: str) -> None:
    story = Manuscript.from_value({"title": text, "author": "", "sentences": [{"text": text}]})
    assert (story.title, story.sentences[0].text) == (text, text)


def test_control_characters_go_and_what_does_not_show_is_empty() -> None:
    rows = [{"text": "A\x00fox\nsat. "}, {"text": "\u200b \u200d"}]
    story = Manuscript.from_value({"title": "\u200d", "author": "", "sentences": rows})
    assert story.title == ""
    assert [s.text for s in story.sentences] == ["A fox sat."]


def test_a_broken_brief_is_read_again_from_the_sentence() -> None:
    rows = [{"text": "A fox sat by the lake.", "brief": "@nowhere <b>"}]
    story = Manuscript.from_value({"sentences": rows})
    assert story.sentences[0].brief == "fox @lake day"


def test_a_wish_that_the_browser_has_not_asked_about_yet_is_the_picture() -> None:
    rows = [{"text": "A fox sat by the lake.", "brief": "", "wish": "an owl in the forest"}]
    assert Manuscript.from_value({"sentences": rows}).sentences[0].brief == "owl @forest day"


def test_pictures_move_with_their_sentences() -> None:
    book = painted(STORY)
    moved = Manuscript("Pip", "", (STORY.sentences[2], STORY.sentences[0]))
    revised = moved.revise(book)
    assert [p.picture for p in revised.pages] == [b"fox + owl @cave night", b"fox @lake day"]
    assert revised.id == book.id


def test_a_typo_keeps_the_picture_and_another_scene_loses_it() -> None:
    sentences = (
        Sentence("A little fox sat by the lake.", "fox @lake day"),
        Sentence("A duck came at night.", "duck @lake night"),
        STORY.sentences[2],
    )
    pages = Manuscript("Pip", "", sentences).pages(painted(STORY).pages)
    assert pages[0].text == "A little fox sat by the lake."
    assert pages[0].picture == b"fox @lake day"
    assert pages[1].picture is None
    assert pages[2].picture is not None


def test_two_pages_never_share_one_picture() -> None:
    twice = Manuscript("Pip", "", (STORY.sentences[0], STORY.sentences[0]))
    pages = twice.pages(painted(STORY).pages)
    assert [p.picture is None for p in pages] == [False, True]
