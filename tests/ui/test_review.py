"""Who may see, delete and let in which book: the maker, the administrator, everybody else."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pipelines.book import Book
from pipelines.errors import InvalidInput, NotFound, StorageError, Unreachable
from storage.base import open_library
from storage.memory import MemoryLibrary
from tests.storage.books import make_book
from ui import gallery, review
from ui.desk import Desk
from ui.rules import Rules
from ui.workshop import Workshop

ADA, BOB = Desk("ada", "tab"), Desk("bob", "tab")
SECRET = "correct horse"


def nothing() -> Any:
    raise AssertionError("no model is needed here")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))


@pytest.fixture
def shop() -> Workshop:
    return Workshop(
        nothing, nothing, MemoryLibrary(), waiting=MemoryLibrary(), admin=SECRET,
        rules=Rules(banned=("zombie",)),
    )  # fmt: skip


@pytest.fixture
def admin() -> Desk:
    return Desk("root", "tab", admin=True)


BOOK = make_book(owner="ada")


def shelved(shop: Workshop) -> list[str]:
    return [book.title for book in shop.library.list()]


def test_a_book_waits_unseen_until_it_is_let_in(shop: Workshop, admin: Desk) -> None:
    shop.save(BOOK)
    assert shelved(shop) == []
    assert shop.read(BOOK.id, ADA) == shop.read(BOOK.id, admin) == BOOK
    with pytest.raises(NotFound):  # not even by its address
        gallery.open_book(shop, BOB, BOOK.id)
    gallery.open_book(shop, admin, BOOK.id)
    assert admin.reading is not None
    assert admin.reading.waits
    review.let_in(shop, admin)
    assert shelved(shop) == [BOOK.title]
    assert shop.read(BOOK.id, BOB) == BOOK
    assert shop.waits(BOOK.id) is None
    gallery.open_book(shop, BOB, BOOK.id)
    assert BOB.reading is not None
    assert not BOB.reading.waits


def test_a_shelved_book_stays_as_it_is_while_its_new_version_waits(
    shop: Workshop, admin: Desk
) -> None:
    shop.library.save(BOOK)
    changed = replace(BOOK, title="Changed")
    shop.save(changed)
    assert shop.read(BOOK.id, BOB) == BOOK
    assert shop.read(BOOK.id, ADA) == changed
    gallery.open_book(shop, admin, BOOK.id)
    review.refuse(shop, admin)
    assert shop.waits(BOOK.id) is None
    assert shelved(shop) == [BOOK.title]


def test_only_what_was_read_is_let_in(shop: Workshop, admin: Desk) -> None:
    shop.save(BOOK)
    gallery.open_book(shop, admin, BOOK.id)
    shop.save(replace(BOOK, title="Something else"))
    for act in (review.let_in, review.refuse):
        with pytest.raises(InvalidInput, match="has changed this book"):
            act(shop, admin)
    assert shelved(shop) == []
    assert shop.waits(BOOK.id) == replace(BOOK, title="Something else")


def test_what_is_saved_while_a_book_is_let_in_waits_again(shop: Workshop, admin: Desk) -> None:
    shop.save(BOOK)
    gallery.open_book(shop, admin, BOOK.id)
    changed = replace(BOOK, title="Changed")
    saving = threading.Thread(target=lambda: shop.save(changed))
    save = shop.library.save

    def slow(book: Book) -> None:
        saving.start()
        saving.join(0.2)
        save(book)

    shop.library.save = slow
    review.let_in(shop, admin)
    saving.join()
    assert shelved(shop) == [BOOK.title]
    assert shop.waits(BOOK.id) == changed


def test_what_is_saved_on_another_server_while_a_book_is_let_in_or_refused_waits(
    shop: Workshop, admin: Desk
) -> None:
    assert isinstance(shop.waiting, MemoryLibrary)
    waiting, changed = shop.waiting, replace(BOOK, title="Changed")
    delete = waiting.delete

    def late(book_id: str, **how: Any) -> None:
        waiting.save(changed)  # which takes no turn here
        delete(book_id, **how)

    waiting.delete = late
    waiting.save(BOOK)
    gallery.open_book(shop, admin, BOOK.id)
    review.let_in(shop, admin)
    assert shelved(shop) == [BOOK.title]
    assert shop.waits(BOOK.id) == changed
    waiting.save(BOOK)
    gallery.open_book(shop, admin, BOOK.id)
    with pytest.raises(InvalidInput, match="has changed this book"):
        review.refuse(shop, admin)
    assert shop.waits(BOOK.id) == changed


class Away(MemoryLibrary):
    """Where the network is gone: the list is there, and what is saved waits; no book is."""

    def get(self, book_id: str) -> Book:
        raise Unreachable("no network")


def test_books_are_saved_without_the_network_as_well() -> None:
    shop = Workshop(nothing, nothing, Away(), waiting=Away(), admin=SECRET)
    desk = Desk("ada", "tab")
    shop.library.save(BOOK)
    shop.took_up(desk, BOOK)
    for n in range(2):
        shop.save(replace(BOOK, title=f"Saved {n}"), desk)
    assert shop.waiting is not None
    assert [book.title for book in shop.waiting.list()] == ["Saved 1"]
    assert shop.waits(BOOK.id) is None
    with pytest.raises(StorageError, match="belongs to someone else"):
        shop.save(replace(BOOK, owner="bob"))


@pytest.mark.parametrize("act", [review.let_in, review.refuse])
def test_nobody_else_lets_in_or_refuses(shop: Workshop, act: Any) -> None:
    maker = Desk("ada", "tab")
    shop.save(BOOK)
    gallery.open_book(shop, maker, BOOK.id)
    with pytest.raises(InvalidInput, match="Only the administrator"):
        act(shop, maker)
    assert shop.waits(BOOK.id) == BOOK
    assert shelved(shop) == []


@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "on the shelf"])
def test_a_stranger_neither_deletes_nor_replaces_a_book(shop: Workshop, waits: bool) -> None:
    (shop.save if waits else shop.library.save)(BOOK)
    with pytest.raises(StorageError, match="Only the one who made"):
        shop.delete(BOOK.id, BOB)
    with pytest.raises(StorageError, match="belongs to someone else"):
        shop.save(replace(BOOK, owner="bob"))
    assert shop.read(BOOK.id, ADA) == BOOK


@pytest.mark.parametrize("who", [ADA, Desk("root", "tab", admin=True)], ids=["maker", "admin"])
def test_maker_and_administrator_delete_a_book_wherever_it_is(shop: Workshop, who: Desk) -> None:
    shop.library.save(BOOK)
    shop.save(replace(BOOK, title="Changed"))
    shop.delete(BOOK.id, who)
    assert shelved(shop) == []
    assert shop.waits(BOOK.id) is None
    with pytest.raises(NotFound):
        shop.delete(BOOK.id, who)


def test_without_review_books_are_on_the_shelf_at_once() -> None:
    shop = Workshop(nothing, nothing, MemoryLibrary())
    shop.save(BOOK)
    assert shop.read(BOOK.id, BOB) == BOOK
    assert not shop.is_admin("")
    with pytest.raises(StorageError):
        shop.delete(BOOK.id, BOB)


def test_a_book_with_a_banned_word_is_not_saved(shop: Workshop) -> None:
    with pytest.raises(InvalidInput, match="zombie"):
        shop.save(replace(BOOK, title="The zombie"))


def test_the_secret_opens_and_nothing_else_does(shop: Workshop) -> None:
    assert shop.is_admin(SECRET)
    assert not any(shop.is_admin(s) for s in ("", "correct", SECRET + " ", "\ud800"))


@pytest.mark.parametrize(
    "url, beside",
    [
        ("firebase://b", "firebase://b?prefix=waiting"),
        ("firebase://b?prefix=a/", "firebase://b?prefix=a-waiting"),
        ("firebase://b?index=firestore", "firebase://b?index=firestore&prefix=waiting"),
        ("firebase://b?index=firestore:c", "firebase://b?index=firestore:c-waiting&prefix=waiting"),
        ("firebase://b?folder=f", "firebase://b?folder=f-waiting&prefix=waiting"),
    ],
)
def test_in_a_bucket_nothing_that_waits_has_a_name_of_the_library(url: str, beside: str) -> None:
    assert unquote(review.waiting_url(url)) == beside


def test_books_wait_beside_the_library(tmp_path: Path) -> None:
    library = open_library(str(tmp_path))
    waiting = review.open_waiting(str(tmp_path), library)
    waiting.save(BOOK)
    assert library.count() == 0
    again = review.open_waiting(str(tmp_path), open_library(str(tmp_path)))
    assert isinstance(again.get(BOOK.id), Book)
