"""No text of a person or a model becomes markup; pictures keep their recipe."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.book import Book, Page, Recipe, encode_png, read_recipe
from pipelines.events import PictureProgress, Sentence
from storage.base import BookSummary
from ui import markup
from ui.desk import Tale
from ui.manuscript import Manuscript
from ui.workshop import owner_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


class Tags(HTMLParser):
    """The tags and attribute names of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def every_piece(text: str) -> list[str]:
    page = Page(text, "fox @lake day")
    made = Recipe(text, 7, {text: text}, {"steps": text, "sentences": text, "style": text})
    page = replace(page, recipe=made)
    book = Book(text, (page, page), author=text, words=text, style=text, recipe=made)
    summary = BookSummary("0" * 16, text, text, "storybook", "2026-01-01", 2, None, "someone")
    step = PictureProgress(1, 2, "refine", score=0.2, preview=Image.new("RGB", (8, 8)))
    return [
        markup.status(text),
        markup.empty(text, text),
        markup.writing([markup.DraftCard(text, text, 0.5)]),
        markup.drafts([Tale(Manuscript(text, text, (Sentence(text),)))] * 2, 0),
        markup.spreads(book),
        markup.spreads(book, {1: markup.Live(step, step.preview)}),
        markup.spreads(book, {0: markup.Live(step, waits=True)}),
        markup.comparison(page, markup.Live(step, step.preview), None),
        markup.shelf([summary], "me"),
        markup.waiting_books([summary], "me", admin=False),
        markup.looks([("storybook", 3), (text, 2)], text),
        markup.stamped("", text),
        markup.recipe(book),
        markup.reader(book),
    ]


@settings(deadline=None)
@given(st.text(alphabet="<>&\"'`${}/=ax \u202e", min_size=1, max_size=40))
def test_any_text_leaves_the_markup_as_it_is(text: str) -> None:
    for plain, piece in zip(every_piece("x"), every_piece(text), strict=True):
        assert Tags(piece).found == Tags(plain).found


def test_a_finished_picture_is_served_with_its_recipe(cache: Path) -> None:
    recipe = Recipe("a fox", 7, {}, {})
    page = Page("A fox.", "fox @lake day", encode_png(Image.new("RGB", (16, 16)), recipe))
    book = Book("Pip", (page,))
    html = markup.spreads(book)
    assert markup.spreads(book) == html  # the browser may keep what it has
    path = html.split("gradio_api/file=")[1].split('"')[0]
    assert Path(unquote(path)).is_relative_to(cache)
    assert read_recipe(Path(unquote(path)).read_bytes()) == recipe
    assert 'alt="A fox."' in html


def test_how_well_a_picture_matches_its_words_is_said_without_jargon() -> None:
    shown = markup.score(0.314)
    assert ">Matches its words: 0.31<" in shown
    assert "the higher, the better" in shown
    assert markup.score(None) == ""


def test_owners_are_hashes_and_strangers_share_nothing() -> None:
    assert owner_of("a" * 32) == owner_of("a" * 32) != owner_of("b" * 32)
    for odd in ("", "x" * 32, None, 7, {"a": 1}):
        assert len(owner_of(odd)) == 64
        assert owner_of(odd) != owner_of(odd)


def test_the_place_in_line_counts_from_one_and_seconds_are_not_spoken() -> None:
    assert "You are number 3 in line" in markup.waiting(2)
    assert "number" not in markup.waiting(0)
    assert '<span aria-hidden="true">about 9 s left</span>' in markup.status(
        "Page 1", "", "about 9 s left"
    )


def test_stories_to_choose_from_show_the_words_as_they_are_now() -> None:
    mine = Tale(Manuscript("Mine", "", (Sentence("A fox slept."),)))
    assert "welcome" in markup.drafts(())
    assert markup.drafts([mine], 0) == ""  # it is in the editor
    html = markup.drafts([mine, mine], 1)
    assert html.count("A fox slept.") == 2
    assert html.count("changed by you") == 1
    assert 'aria-pressed="true"' in html


def test_a_book_on_the_shelf_has_title_pages_and_day() -> None:
    made = BookSummary("0" * 16, "Pip", "Ada", "", "2026-11-05T10:00:00+00:00", 1, None, "me")
    html = markup.shelf([made], "me")
    assert "1 page · 5 Nov 2026" in html
    assert "1 page, 5 November 2026" in html
    assert "yours" in html
    assert markup.date("yesterday") == ""


def test_painted_pages_have_every_action_and_unpainted_ones_none(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setitem(markup.PAGE_ACTIONS, "colour", "Colour it")
    painted = Page("A fox.", "", encode_png(Image.new("RGB", (16, 16))))
    html = markup.spreads(Book("Pip", (painted, Page("It slept."))))
    assert 'data-colour="0" aria-label="Colour it: page 1"' in html
    assert 'data-repaint="0"' in html
    assert 'data-repaint="1"' not in html
    assert "data-repaint" not in markup.spreads(Book("Pip", (painted,)), changeable=False)
