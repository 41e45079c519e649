"""The bookcase shows what is in the library now, page by page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from pipelines.book import now
from pipelines.errors import StorageError
from storage.memory import MemoryLibrary
from tests.storage.books import make_book
from tests.ui.blocks import built
from ui import bookcase, markup
from ui.bookcase import SHELF, Bookcase
from ui.desk import Desk
from ui.news import News
from ui.running import Runner
from ui.workshop import Workshop


def nothing() -> Any:
    raise AssertionError("no model is needed here")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


@pytest.fixture(scope="module")
def shop() -> Workshop:
    """A shelf of 30 books, five of them in pencil."""
    library = MemoryLibrary()
    for n in range(30):
        style = "pencil" if n % 6 == 0 else "storybook"
        library.save(make_book("Fox", version=n, id=f"{n:016x}", pages=1, style=style))
    return Workshop(nothing, nothing, library, waiting=MemoryLibrary())


@pytest.fixture(scope="module")
def case(shop: Workshop) -> Bookcase:
    def build() -> Bookcase:
        with gr.Blocks(), gr.Tabs() as tabs, gr.Tab("Gallery"):
            return bookcase.build(Runner(shop, tabs))

    return built(build)


def fill(case: Bookcase, *place: Any, desk: Desk | None = None) -> dict[str, Any]:
    """What the bookcase shows, in the order of `Bookcase.shown`."""
    found = case.fill(desk or Desk("a" * 64, "tab"), *place)
    names = ("looks", "shelf", "style", "offset", "pager", "where", "newer", "older")
    return {name: found[component] for name, component in zip(names, case.shown, strict=True)}


def handler(component: Any, event: str) -> Any:
    """What the page calls when this happens to a component."""
    fns = component.parent
    while not isinstance(fns, gr.Blocks):
        fns = fns.parent
    return next(f.fn for f in fns.fns.values() if (component._id, event) in f.targets)


def covers(html: str) -> int:
    return html.count("data-open=")


def test_pages_of_24_that_end_where_the_books_end(case: Bookcase) -> None:
    first = fill(case, "", "", 0)
    assert covers(first["shelf"]) == SHELF == 24
    assert "Page 1 of 2" in first["where"]
    for offset in (24, 47, 1e9):
        last = fill(case, "", "", offset)
        assert (last["offset"], covers(last["shelf"])) == (24, 6)
    assert fill(case, "", "", -5)["offset"] == 0


def test_one_style_and_the_words_of_a_search(case: Bookcase) -> None:
    assert covers(fill(case, "", "pencil", 0)["shelf"]) == 5
    assert covers(fill(case, " page 0 of 12 ", "pencil", 0)["shelf"]) == 1
    assert covers(fill(case, "page 0 of 13", "pencil", 0)["shelf"]) == 0
    assert 'data-look="pencil"' in fill(case, "", "", 0)["looks"]
    gone = fill(case, "", "<b>", 0)  # a style that no book has, or has any more
    assert (gone["style"], covers(gone["shelf"])) == ("", 24)


def test_what_refreshes_by_itself_undoes_nothing(shop: Workshop, case: Bookcase) -> None:
    desk = shop.desks.arrive("page", "ada", "tab")[0].desk
    refresh = handler(case.shelf, "news")

    def refreshed(*place: Any, session: str = "page") -> bool:
        found = refresh(SimpleNamespace(session_hash=session), *place)
        return isinstance(found[case.shelf], str)

    assert not refreshed("", "", 0)  # nothing is shown yet
    case.fill(desk, "", "", 0)
    assert refreshed("", "", 0)
    case.fill(desk, "", "pencil", 0)
    assert not refreshed("", "", 0)  # asked by what was on the shelf before
    assert refreshed("", "pencil", 0)
    assert not refreshed("", "pencil", 0, session="never seen")


def test_a_shelf_that_could_not_be_filled_goes_on_being_refreshed(
    shop: Workshop, case: Bookcase, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = shop.desks.arrive("busy page", "ada", "busy tab")[0].desk
    refresh = handler(case.shelf, "news")
    case.fill(desk, "", "", 0)

    def busy(*_: Any, **__: Any) -> Any:
        raise StorageError("The library is busy: try again.")

    with monkeypatch.context() as failing:
        failing.setattr(shop.library, "list", busy)
        with pytest.raises(StorageError):
            case.fill(desk, "", "", 0)
    found = refresh(SimpleNamespace(session_hash="busy page"), "", "", 0)
    assert isinstance(found[case.shelf], str)


def test_books_that_wait_are_shown_to_their_maker_and_the_administrator(
    shop: Workshop, case: Bookcase, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.save(make_book("Waits", id="f" * 16, pages=1, owner="ada", created=now()))
    with monkeypatch.context() as few:
        few.setattr(bookcase, "MOST_WAITING", 1)
        later = make_book("Later", id="e" * 16, pages=1, owner="bob", created=now())
        shop.save(later)
        assert "Waits 0" in fill(case, "", "", 0, desk=Desk("ada", "tab"))["shelf"]
        assert shop.waiting is not None
        shop.waiting.delete(later.id, owner="bob")
    assert "Waits 0" in fill(case, "", "", 0, desk=Desk("ada", "tab"))["shelf"]
    assert (
        "To look through: 1 book<"
        in fill(case, "", "", 0, desk=Desk("root", "tab", admin=True))["shelf"]
    )
    assert "Waits 0" not in fill(case, "", "", 0)["shelf"]


def test_what_either_library_has_to_say_is_shown_once(
    shop: Workshop, case: Bookcase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shelf, waiting, shown in (
        ("", "1 book waits for the network.", "1 book waits for the network."),
        ("The network is gone.", "1 book waits.", "The network is gone. 1 book waits."),
        ("The network is gone.", "The network is gone.", "The network is gone."),
    ):
        monkeypatch.setattr(shop.library, "notice", lambda said=shelf: said)
        monkeypatch.setattr(shop.waiting, "notice", lambda said=waiting: said)
        assert markup.status(shown) in fill(case, "", "", 0)["shelf"]


def test_the_stamp_tells_of_books_that_come_change_and_go() -> None:
    shop = Workshop(nothing, nothing, MemoryLibrary(), waiting=MemoryLibrary())
    assert shop.waiting is not None
    stamp = News([shop.library, shop.waiting], seconds=0)
    seen = [stamp.now()]

    def differs() -> bool:
        seen.append(stamp.now())
        return seen[-1] not in seen[:-1]

    assert stamp.now() == seen[0]
    book = make_book(owner="ada", pages=1)
    shop.library.save(book)
    assert differs()
    shop.library.save(replace(book, title="Changed"))
    assert differs()
    shop.save(book)
    assert differs()
    shop.library.delete(book.id, owner="ada")
    assert differs()


def test_the_stamp_is_looked_up_once_for_all_browsers() -> None:
    shop = Workshop(nothing, nothing, MemoryLibrary())
    stamp = News([shop.library], seconds=1000)
    first = stamp.now()
    shop.library.save(make_book(pages=1))
    assert stamp.now() == first
