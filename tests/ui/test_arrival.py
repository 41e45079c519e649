"""What a browser remembers is taken over as far as it makes sense, whatever it sends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.book import Book, Page
from storage.memory import MemoryLibrary
from ui.arrival import fits, open_address, read_memory, restore
from ui.desk import Desk, Reading
from ui.manuscript import Manuscript
from ui.workshop import Workshop

BOOK = Book("Pip", (Page("A fox slept.", "fox @forest day"),), owner="ada")
TALE = {**Manuscript.from_book(BOOK).to_value(), "of": "pip"}


def nothing() -> Any:
    raise AssertionError("no model is needed here")


@given(st.text(max_size=40) | st.none() | st.integers())
def test_any_memory_is_read(kept: object) -> None:
    assert isinstance(read_memory(kept), dict)


def test_a_memory_is_json_of_a_sensible_size() -> None:
    assert read_memory(json.dumps({"tab": "a"})) == {"tab": "a"}
    assert read_memory("[1]") == {}
    assert read_memory("[" * 90_000) == {}
    assert read_memory(json.dumps({"tab": "a" * 200_000})) == {}


@pytest.mark.parametrize(
    "owner, wanted, found",
    [
        ("ada", {"id": BOOK.id, "of": "pip"}, True),
        ("bob", {"id": BOOK.id, "of": "pip"}, False),
        ("ada", {"id": BOOK.id, "of": "tom"}, False),
        ("ada", {"id": "0" * 16, "of": "pip"}, False),
        ("ada", {"id": 7, "of": "pip"}, False),
        ("ada", "pip", False),
    ],
    ids=["one's own", "another's", "another story's", "none", "nonsense", "no book"],
)
def test_a_story_comes_back_with_its_book_if_that_is_ones_own(
    owner: str, wanted: object, found: bool
) -> None:
    library = MemoryLibrary()
    library.save(BOOK)
    desk = Desk(owner, "tab")
    restore(Workshop(nothing, nothing, library), desk, {"tale": TALE, "book": wanted})
    assert desk.handed == TALE
    assert (desk.book is not None) is found


def test_without_a_story_the_desk_stays_empty() -> None:
    desk = Desk("ada", "tab")
    restore(Workshop(nothing, nothing, MemoryLibrary()), desk, {"tale": {"sentences": []}})
    assert desk.tales == ()


def test_widgets_take_only_what_they_could_have_said() -> None:
    slider, text = gr.Slider(4, 12), gr.Textbox(max_length=5)
    radio, style = gr.Radio([("Noise", "noise")]), gr.HTML()
    assert [v for v in (4, 12, 7.5, 3, 13, "7", None, True) if fits(slider, v)] == [4, 12, 7.5]
    assert [v for v in ("", "abcde", "abcdef", 7, None) if fits(text, v)] == ["", "abcde"]
    assert [v for v in ("noise", "Noise", None) if fits(radio, v)] == ["noise"]
    assert [v for v in ("pencil", "<b>", 7, None) if fits(style, v)] == ["pencil"]


@pytest.mark.parametrize("again, shown", [(False, "gallery"), (True, "pictures")])
def test_a_page_that_is_loaded_again_stays_on_its_tab(again: bool, shown: str) -> None:
    book = Book("Pip", (Page("A fox slept."),))
    desk = Desk("ada", "tab", shown="pictures", reading=Reading(book))
    shop = Workshop(nothing, nothing, MemoryLibrary())
    shop.library.save(replace(book, title="Pip again"))
    open_address(shop, desk, book.id, again=again)
    assert desk.shown == shown
    assert desk.reading is not None
    assert desk.reading.book.title == "Pip again"  # changed since it was opened
    shop.library.delete(book.id, owner=book.owner)
    with pytest.warns(UserWarning, match="address is not here"):
        open_address(shop, desk, book.id, again=again)
    assert desk.reading is None


@pytest.mark.parametrize("wanted", ["0" * 16, "../../etc"])
def test_an_address_of_no_book_says_so(wanted: str) -> None:
    with pytest.warns(UserWarning, match="address is not here"):  # outside of an event
        open_address(Workshop(nothing, nothing, MemoryLibrary()), Desk("ada", "tab"), wanted)
