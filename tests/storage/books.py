"""Small books for the tests of storage."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from PIL import Image

from pipelines.book import MAX_SENTENCE, MAX_TITLE, Book, Page, Recipe, encode_png
from storage.base import Library

OWNER = "a" * 64
STRANGER = "b" * 64


def picture(shade: int, size: int = 16) -> bytes:
    """A PNG in one shade of grey, with a caption and a recipe inside."""
    return encode_png(Image.new("RGB", (size, size), (shade,) * 3), Recipe("a fox", shade), "a fox")


def make_book(
    title: str = "The fox", *, version: int = 0, pages: int = 3, id: str = "0" * 16, **fields: str
) -> Book:
    """A book whose page texts, pictures and title all tell the same `version`."""
    recipe = Recipe("a fox", version, {"writer": "tiny"}, {"steps": 3, "top_p": 0.5})
    return Book(
        title=f"{title} {version}",
        pages=tuple(
            Page(f"Page {n} of {version}.", "fox @forest", picture(version % 256), 0.5, recipe)
            for n in range(pages)
        ),
        id=id,
        recipe=recipe,
        **{"owner": OWNER, **fields},
    )


def version_of(book: Book) -> int:
    """The version of a book of `make_book`; fails when its parts are of different ones."""
    version = int(book.title.rpartition(" ")[2])
    for n, page in enumerate(book.pages):
        assert page.text == f"Page {n} of {version}."
        assert page.picture == picture(version % 256)
    return version


def check_whole(folder: Path, library: Library) -> list[Book]:
    """Every book of a local library is whole, and no file is left over; returns the books."""
    books = [library.get(s.id) for s in library.list(limit=1000)]
    for book in books:
        version_of(book)
    assert list((folder / "writing").iterdir()) == []
    homes = list((folder / "books").iterdir())
    assert sorted(h.name for h in homes) == sorted(b.id for b in books)
    assert all(len(list(home.iterdir())) == 1 for home in homes)
    return books


_weird = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="\0\x1b\n\u202e\u200f\ufeff\u0301<>&\"'/\\.%_שלום神話🦊", max_size=40),
    st.sampled_from(["<script>alert(1)</script>", "../../etc/passwd", '"><img src=x onerror=1>']),
)
_json = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=3,
)
_recipes = st.builds(
    Recipe,
    prompt=_weird,
    seed=st.integers(0, 2**63),
    models=st.dictionaries(_weird, _weird, max_size=2),
    settings=_json,
)
_pages = st.builds(
    Page,
    text=_weird.map(lambda t: t[:MAX_SENTENCE]),
    brief=_weird,
    picture=st.none() | st.integers(0, 255).map(lambda shade: picture(shade, 2)),
    score=st.none() | st.floats(-1, 1),
    recipe=st.none() | _recipes,
)
weird_books = st.builds(
    Book,
    title=_weird.map(lambda t: t[:MAX_TITLE]),
    pages=st.lists(_pages, max_size=4).map(tuple),
    id=st.from_regex(r"\A[0-9a-f]{16}\Z"),
    author=_weird,
    words=_weird,
    style=_weird,
    created=st.datetimes().map(lambda d: d.isoformat(timespec="microseconds") + "+00:00"),
    owner=st.sampled_from(["", OWNER]),
    recipe=st.none() | _recipes,
)
