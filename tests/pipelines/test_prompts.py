"""The grammar of prompts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.prompts import NEVER, Prompt, parse, phase_at, write

PROMPTS = st.builds(
    Prompt,
    st.text(min_size=1).map(str.strip).filter(bool),
    st.floats(-100, 100),
    st.one_of(st.just(NEVER), st.floats(allow_nan=False, allow_infinity=False)),
)
STORIES = st.lists(st.lists(PROMPTS, min_size=1, max_size=4).map(tuple), max_size=5).map(tuple)


@settings(deadline=None, max_examples=60)
@given(STORIES)
def test_what_is_written_is_read_again(story: tuple[tuple[Prompt, ...], ...]) -> None:
    assert parse(write(story)) == story


@settings(deadline=None)
@given(st.text(alphabet="ab :|^\\0.5-e"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        story = parse(text)
    except InvalidInput:
        return
    assert parse(write(story)) == story


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", ()),
        (" | ^ ", ()),
        ("a fox", ((Prompt("a fox"),),)),
        ("a:1:0.2 | b:-0.5", ((Prompt("a", 1, 0.2), Prompt("b", -0.5)),)),
        ("a|b^c", ((Prompt("a"), Prompt("b")), (Prompt("c"),))),
        ("a ^ a:2 ^", ((Prompt("a"),), (Prompt("a", 2),))),
        ("Star Trek: the movie", ((Prompt("Star Trek: the movie"),),)),
        ("the time is 12:30", ((Prompt("the time is 12", 30),),)),
        (r"the time is 12\:30", ((Prompt("the time is 12:30"),),)),
        (r"this \| that : .5", ((Prompt("this | that", 0.5),),)),
        ("a:1:0.2:0.3", ((Prompt("a:1", 0.2, 0.3),),)),
        ("a:1:-inf", ((Prompt("a"),),)),
        ("a:nan", ((Prompt("a:nan"),),)),
        ("fox.png:1e-1", ((Prompt("fox.png", 0.1),),)),
        (r"C\:\pictures\fox.png:2", ((Prompt(r"C:\pictures\fox.png", 2),),)),
    ],
)
def test_prompts_are_read_as_the_known_tools_read_them(
    text: str, expected: tuple[tuple[Prompt, ...], ...]
) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", [":0.5", "a | :1:2", "a:1000", "a:-101", "a|" * 40])
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


def test_stops_are_numbers() -> None:
    for stop in (math.nan, math.inf):
        with pytest.raises(InvalidInput, match="distance"):
            Prompt("a", 1, stop)


def test_phases_share_the_steps() -> None:
    story = ("one", "two", "three")
    assert [phase_at(story, n, 7) for n in range(1, 8)] == [0, 0, 0, 1, 1, 2, 2]
    assert [phase_at(story, n, 3) for n in range(1, 4)] == [0, 1, 2]
    assert phase_at(story, 1, 1) == 0
