"""What every backend must do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from pipelines.book import Book, Page, Recipe
from pipelines.errors import InvalidInput, NotFound, StorageError
from storage.base import HasChanged, Library
from storage.bucket import Bucket
from storage.firebase import FirebaseLibrary
from storage.firestore import FirestoreIndex
from storage.local import LocalLibrary
from storage.memory import MemoryLibrary
from storage.outbox import OutboxLibrary, open_firebase
from tests.storage.books import OWNER, STRANGER, make_book, picture, version_of, weird_books
from ui.desk import Desk
from ui.workshop import Workshop


@pytest.fixture
def local(tmp_path: Path) -> Library:
    return LocalLibrary(tmp_path / "library")


@pytest.fixture
def memory() -> Library:
    return MemoryLibrary()


@pytest.fixture
def firebase(bucket_name: str, tmp_path: Path) -> Iterator[Library]:
    with closing(FirebaseLibrary(Bucket(bucket_name, "here/"), tmp_path)) as library:
        yield library


@pytest.fixture
def firestore(bucket_name: str, tmp_path: Path, firestore_emulator: None) -> Iterator[Library]:
    index = FirestoreIndex(bucket_name, bucket_name)
    with closing(FirebaseLibrary(Bucket(bucket_name), tmp_path, index=index)) as library:
        yield library


@pytest.fixture
def outbox(bucket_name: str, tmp_path: Path) -> Iterator[Library]:
    """As the app opens it: a book is in the outbox, or already published, whenever one looks."""
    with closing(open_firebase(f"{bucket_name}?folder={tmp_path}")) as library:
        yield library


@pytest.fixture(params=["local", "memory", "firebase", "firestore", "outbox"])
def library(request: pytest.FixtureRequest) -> Library:
    """A new backend joins by a fixture of its name."""
    return request.getfixturevalue(request.param)


def settle(library: Library) -> None:
    """Wait until an outbox is empty: a list may change while a book leaves it."""
    while isinstance(library, OutboxLibrary) and library.waiting.count():
        time.sleep(0.01)


def ids(library: Library, *, offset: int = 0, limit: int = 24) -> list[str]:
    return [s.id for s in library.list(offset=offset, limit=limit)]


def test_empty(library: Library) -> None:
    assert library.list() == []
    assert library.count() == 0


def test_a_book_comes_back_as_it_was(library: Library) -> None:
    book = make_book(author="Ann", words="a fox", style="pencil")
    library.save(book)
    assert library.get(book.id) == book


def check_kept_listed_and_found(library: Library, book: Book) -> None:
    for old in library.list():
        library.delete(old.id, owner="")
    library.save(book)
    assert library.get(book.id) == book
    (summary,) = library.list(search=book.title)
    assert (summary.id, summary.title, summary.author) == (book.id, book.title, book.author)
    assert (summary.style, summary.created, summary.owner) == (
        book.style,
        book.created,
        book.owner,
    )
    assert summary.pages == len(book.pages)
    assert (summary.cover is not None) == (book.cover is not None)


WEIRD = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("library", ["local", "memory"], indirect=True)
@settings(WEIRD, max_examples=40)
@given(book=weird_books)
def test_any_text_is_kept_listed_and_found(library: Library, book: Book) -> None:
    check_kept_listed_and_found(library, book)


# Not the outbox: its thread draws random numbers, which Hypothesis takes for those of a strategy.
@pytest.mark.parametrize("library", ["firebase", "firestore"], indirect=True)
@settings(WEIRD, max_examples=10)
@given(book=weird_books)
def test_any_text_is_kept_listed_and_found_elsewhere(library: Library, book: Book) -> None:
    check_kept_listed_and_found(library, book)


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", "../../x", "👩‍👩‍👧 神話"])
def test_fuzzed_titles_up_to_64_kilobytes(library: Library, title: str) -> None:
    title = (title * (65536 // len(title))).encode()[:65536].decode("utf-8", "ignore")
    book = replace(make_book(pages=1), title=title, author=title[:300], style=title[:300])
    library.save(book)
    assert library.get(book.id) == book
    (summary,) = library.list(search=title[:9], style=title[:300])
    assert summary.title == title


def test_saving_again_replaces(library: Library) -> None:
    library.save(make_book(version=11, pages=5))
    library.save(make_book(version=22, pages=2))
    assert version_of(library.get("0" * 16)) == 22
    (summary,) = library.list()
    assert (summary.title, summary.pages, library.count()) == ("The fox 22", 2, 1)
    assert library.list(search="11") == []


def test_a_book_without_pictures_or_pages(library: Library) -> None:
    sketch = Book("Not painted", (Page("One."), Page("Two.")))
    library.save(sketch)
    library.save(Book("Nothing", ()))
    assert library.get(sketch.id) == sketch
    assert [s.cover for s in library.list()] == [None, None]


@pytest.mark.parametrize("size, expected", [(640, 320), (200, 200)])
def test_cover_is_a_small_webp_of_the_first_picture(
    library: Library, size: int, expected: int
) -> None:
    pages = (Page("Bare."), Page("Painted.", picture=picture(90, size)))
    library.save(Book("Cover", pages))
    cover = library.list()[0].cover
    assert cover is not None
    with Image.open(cover) as image:
        assert (image.format, image.size) == ("WEBP", (expected, expected))
        shade = image.convert("L").getpixel((5, 5))
        assert isinstance(shade, int)
        assert abs(shade - 90) < 4


def test_newest_first_then_by_id_in_pages(library: Library) -> None:
    days = {"b" * 16: "2026-01-02", "a" * 16: "2026-01-02", "c" * 16: "2026-01-03", "d" * 16: ""}
    for book_id, day in days.items():
        library.save(make_book(id=book_id, created=f"{day or '2026-01-01'}T00:00:00+00:00"))
    newest = ["c" * 16, "a" * 16, "b" * 16, "d" * 16]
    assert ids(library) == newest
    assert ids(library, limit=2) == newest[:2]
    assert ids(library, offset=1, limit=2) == newest[1:3]
    assert ids(library, offset=9) == []
    assert ids(library, limit=0) == []
    assert ids(library, offset=-5, limit=10**30) == newest
    assert ids(library, offset=10**30, limit=-1) == []
    settle(library)
    assert library.ids() == newest[::-1]


SEARCHES = [
    ("", True),
    ("  ", True),
    ("Straße", True),
    ("STRASSE", True),
    ("łódź", True),
    ("ŁÓDŹ", True),
    ("Ｆｏｘ", True),  # full-width letters
    ("fox lantern", True),  # one in the title, one on a page
    ("fo", True),
    ("神話", True),
    ("🦊", True),
    ("100%", True),
    ("flew at night", True),
    ("fox whale", False),
    ("%", True),
    ("1%0", False),
    ("_", False),
    ("'", False),
    ('" OR 1=1 --', False),
    ("\ud800", False),
    ("\0", False),
    ("zq " * 10_000, False),
]


def test_search(library: Library) -> None:
    pages = (Page("A LANTERN in Łódź was 100% bright."), Page("神話 🦊"))
    library.save(Book("Fox in der Straße", pages, words="who flew at night"))
    library.save(Book("Quiet", (Page("Nobody."),)))
    for search, found in SEARCHES:
        count = 2 if not search.strip() else int(found)
        assert library.count(search=search) == len(library.list(search=search)) == count, search


def test_styles(library: Library) -> None:
    assert library.styles() == []
    for n, style in enumerate(["pencil", "oil", "", "oil", "Oil", "oil' --"]):
        library.save(make_book("Fox" if n % 2 else "Owl", id=f"{n:016x}", style=style))
    assert library.styles() == [("oil", 2), ("Oil", 1), ("oil' --", 1), ("pencil", 1)]
    assert sorted(s.id[-1] for s in library.list(style="oil")) == ["1", "3"]
    assert [s.id[-1] for s in library.list(style="oil", search="fox", limit=1)] == ["3"]
    assert library.list(style="oil", search="owl") == []
    assert library.count(style="oil", search="fox") == 2
    assert library.count(style="oil' --") == library.count(style="pencil") == 1
    assert library.count(style="oi") == library.count(style="\ud800") == 0
    assert library.list(style="\ud800") == []
    library.delete(f"{0:016x}", owner=OWNER)
    assert ("pencil", 1) not in library.styles()


def test_books_of_one_owner(library: Library) -> None:
    for n in range(6):
        library.save(make_book("Fox", id=f"{n:016x}", owner=(OWNER, STRANGER)[n % 2]))
    assert [s.id[-1] for s in library.list(owner=STRANGER)] == ["5", "3", "1"]
    assert [s.id[-1] for s in library.list(owner=OWNER, search="fox", offset=1, limit=1)] == ["2"]
    assert library.list(owner="c" * 64) == library.list(owner="\ud800") == []
    assert (library.owner(f"{2:016x}"), library.owner(f"{3:016x}")) == (OWNER, STRANGER)
    settle(library)
    assert library.owner(f"{2:016x}") == OWNER
    library.delete(f"{2:016x}", owner="")
    assert library.owner(f"{2:016x}") is None


def test_the_stamp_differs_after_every_change(library: Library) -> None:
    stamps = [library.stamp()]
    for change in (
        lambda: library.save(make_book()),
        lambda: library.save(make_book(version=1)),
        lambda: library.save(make_book(id="e" * 16)),
        lambda: library.delete("0" * 16, owner=OWNER),
    ):
        change()
        settle(library)
        assert library.stamp() == library.stamp()
        assert library.stamp() not in stamps
        stamps.append(library.stamp())
    with pytest.raises(NotFound):
        library.delete("0" * 16, owner=OWNER)
    library.list()
    assert library.stamp() == stamps[-1]


def test_only_the_owner_or_the_administrator_deletes(library: Library) -> None:
    book = make_book()
    library.save(book)
    for stranger in (STRANGER, OWNER[:-1], "é", "\ud800"):
        with pytest.raises(StorageError, match="Only the one who made this book"):
            library.delete(book.id, owner=stranger)
    assert library.get(book.id) == book
    library.delete(book.id, owner=OWNER)
    with pytest.raises(NotFound):
        library.get(book.id)
    with pytest.raises(NotFound):
        library.delete(book.id, owner=OWNER)
    assert library.count() == 0
    library.save(book)
    library.delete(book.id, owner="")
    assert library.list() == []


def test_a_book_is_deleted_only_as_it_was_read(library: Library) -> None:
    read, newer = make_book(), make_book(version=1)
    library.save(read)
    library.save(newer)
    for _ in range(2):  # an outbox has published it the second time
        with pytest.raises(HasChanged):
            library.delete(read.id, owner="", only=read)
        assert library.get(read.id) == newer
        settle(library)
    with pytest.raises(StorageError, match="Only the one who made this book"):
        library.delete(read.id, owner=STRANGER, only=newer)
    library.delete(read.id, owner=OWNER, only=newer)
    with pytest.raises(NotFound):
        library.delete(read.id, owner="", only=newer)
    assert library.list() == []


def test_nobody_replaces_the_book_of_another(library: Library) -> None:
    library.save(make_book(version=1))
    for other in (STRANGER, ""):
        with pytest.raises(StorageError, match="belongs to someone else"):
            library.save(make_book(version=2, owner=other))
    assert version_of(library.get("0" * 16)) == 1


BAD_IDS = ["", "..", "../../etc/passwd", "/etc/passwd", "0" * 15, "0" * 17, "G" * 16, "A" * 16]


@pytest.mark.parametrize("book_id", [*BAD_IDS, "0" * 16 + "\n", "\0" * 16, "０" * 16])
def test_ids_that_are_none(library: Library, book_id: str) -> None:
    with pytest.raises(NotFound):
        library.get(book_id)
    with pytest.raises(NotFound):
        library.delete(book_id, owner="")
    with pytest.raises(InvalidInput, match="id"):
        library.save(make_book(id=book_id))
    assert library.count() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"title": "lone \ud800 surrogate"},
        {"created": "yesterday"},
        {"recipe": Recipe("Too deep.", 1, settings=reduce(lambda n, _: {"": n}, range(5000), {}))},
        {"pages": (Page("Bad score.", score=float("nan")),)},
        {"pages": (Page("No picture.", picture=b"not a PNG"),)},
        {"pages": (Page("Cut off.", picture=picture(7, 64)[:-60]),)},
    ],
)
def test_books_that_cannot_be_written_leave_the_old_one(
    library: Library, change: dict[str, object]
) -> None:
    book = make_book()
    library.save(book)
    with pytest.raises(InvalidInput):
        library.save(replace(book, **change))
    assert library.get(book.id) == book
    assert library.count() == 1


def test_many_threads(library: Library) -> None:
    shared = "f" * 16
    library.save(make_book(id=shared))
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                version_of(library.get(shared))
                assert shared in ids(library, limit=100)
            except Exception as e:
                failures.append(e)
                return

    # Where every request passes a server, fewer of them prove as much.
    turns = 4 if isinstance(library, LocalLibrary | MemoryLibrary) else 2

    def write(n: int) -> None:
        for turn in range(turns):
            library.save(make_book(id=shared, version=10 * n + turn))
            library.save(make_book(id=f"{n:016x}", version=turn))
        if n % 2:
            library.delete(f"{n:016x}", owner=OWNER)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert sorted(ids(library)) == sorted([shared, *(f"{n:016x}" for n in (0, 2, 4))])


def test_two_desks_of_one_owner_keep_each_others_pages(library: Library) -> None:
    """Each knows the book as it was when it took it up, or saved it last."""

    def nothing() -> Any:
        raise AssertionError("no model is needed here")

    def again(book: Book, index: int, shade: int) -> Book:
        return book.with_page(index, replace(book.pages[index], picture=picture(shade)))

    shop, book = Workshop(nothing, nothing, library), make_book()
    one, other = Desk(OWNER, "one"), Desk(OWNER, "other")
    shop.save(book, one)
    shop.took_up(other, book)
    mine = shop.save(again(book, 0, 101), one)
    theirs = shop.save(again(replace(book, title="Renamed"), 2, 102), other)
    mine = shop.save(again(mine, 1, 103), one)
    shown = [picture(shade) for shade in (101, 103, 102)]
    assert [page.picture for page in mine.pages] == shown
    assert library.get(book.id) == mine == replace(theirs, pages=mine.pages)
    assert mine.title == "Renamed"
    # A page has gone there and another was painted here: nobody can tell what belongs together.
    theirs = shop.save(theirs, other)
    shop.save(replace(theirs, pages=theirs.pages[1:]), other)
    apart = shop.save(again(mine, 0, 104), one)
    assert apart.id != book.id
    assert len(library.get(book.id).pages) == 2
    assert library.get(apart.id) == apart
    assert shop.save(again(apart, 1, 105), one).id == apart.id
