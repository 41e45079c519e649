"""What a local library asks and tells its table of books.

Words are looked for as substrings. Three characters or more are found through `books_text`, an
FTS5 index of trigrams: the trigrams of a word in a row are the word. Shorter ones are found
through `books_trigrams`, which knows where each trigram is that begins with them. Texts are read
for short words alone that are all over the place: walking through the newest books finds them soon.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from pipelines.book import Book
from storage.base import not_found, refuse_deletion, refuse_other_owner, searchable, storable
from storage.database import transaction

RARE = 2000
"""Books that hold a word, up to which they are sorted after they were looked up."""

COMMON = 100_000
"""Places of a short word, from which on it is looked for in the texts."""

LONGEST = 64
"""Characters of a word that are looked up; whether the rest follows is read in the texts. A word as
long as a book would take a gigabyte and half a minute to look up."""

_LAST = 3 * "\U0010ffff"
_BIGGEST = 2**31


class Holders(NamedTuple):
    """Books that hold something, as a query of their numbers.

    `most` is how many they are at most; of more than RARE nobody counts how many.
    """

    most: int
    query: str
    values: list[str]


class Row(NamedTuple):
    """A book in a list; `revision` names the folder of its files."""

    id: str
    revision: str
    title: str
    author: str
    style: str
    created: str
    pages: int
    owner: str


_COLUMNS = ", ".join(f"books.{name}" for name in Row._fields)


def find(
    db: sqlite3.Connection,
    words: Sequence[str],
    style: str,
    offset: int,
    limit: int,
    without: Collection[str] = (),
    owner: str = "",
) -> list[Row]:
    """Books with all the words (of `search_words`), newest first; not those of ids `without`.

    With `owner`, only those of this one.
    """
    # SQLite's integers end at 2**63, and a negative limit means none
    page = [min(max(0, n), _BIGGEST) for n in (limit, offset)]
    held, rest = _split(db, words)
    where, values = _where(held, rest, style, without, owner)
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM {_tables(held, style)}{where}"
        " ORDER BY books.created DESC, books.id LIMIT ? OFFSET ?",
        [*values, *page],
    )
    return [Row(*row) for row in rows]


def count(
    db: sqlite3.Connection, words: Sequence[str], style: str, without: Collection[str] = ()
) -> int:
    """How many books `find` finds in all."""
    held, rest = _split(db, words)
    if len(held) == 1 and not (rest or style or without):
        query, values = f"SELECT count(DISTINCT number) FROM ({held[0].query})", held[0].values
    else:
        where, values = _where(held, rest, style, without)
        # Texts are read in the order in which they lie.
        tables = "books" if rest else _tables(held, style)
        query = f"SELECT count(*) FROM {tables}{where}"
    (n,) = db.execute(query, values).fetchone()
    return n


def styles(db: sqlite3.Connection, without: Collection[str] = ()) -> list[tuple[str, int]]:
    """Styles and how many books each has, most first."""
    where, values = _where((), (), "", without)
    return db.execute(
        f"SELECT style, count(*) AS n FROM books{where} GROUP BY style"
        " HAVING style != '' ORDER BY n DESC, style",
        values,
    ).fetchall()


class Styles:
    """What `styles` says, counted once for every change of the table: a shelf asks for it each time
    that it is filled, and counting 100,000 books takes a twentieth of a second."""

    def __init__(self) -> None:
        self._counted: tuple[str, list[tuple[str, int]]] = ("", [])

    def of(self, db: sqlite3.Connection) -> list[tuple[str, int]]:
        known, found = self._counted
        now = stamp(db)  # before counting: what changes in between is counted the next time
        if known != now:
            found = styles(db)
            self._counted = now, found
        return [*found]


def ids(db: sqlite3.Connection) -> list[str]:
    """Every book's id, oldest first."""
    return [i for (i,) in db.execute("SELECT id FROM books ORDER BY created, id DESC")]


def stamp(db: sqlite3.Connection) -> str:
    """Another text after every change of the table."""
    return str(db.execute("SELECT stamp FROM changes").fetchone()[0])


def revision(db: sqlite3.Connection, book_id: str) -> str | None:
    """The revision that is the book, None when there is no such book."""
    row = db.execute("SELECT revision FROM books WHERE id = ?", (book_id,)).fetchone()
    return row[0] if row else None


def owner_of(db: sqlite3.Connection, book_id: str) -> str | None:
    """The hash of a book's owner, None when there is no such book."""
    row = db.execute("SELECT owner FROM books WHERE id = ?", (book_id,)).fetchone()
    return row[0] if row else None


def point_at(db: sqlite3.Connection, book: Book, revision: str) -> str | None:
    """Make `revision` the book; return the revision it replaces, None for a new book."""
    with transaction(db):
        query = "SELECT owner, revision FROM books WHERE id = ?"
        row = db.execute(query, (book.id,)).fetchone()
        if row is not None:
            refuse_other_owner(row[0], book.owner)
        put(db, book, revision)
    return row[1] if row else None


def forget(db: sqlite3.Connection, book_id: str, owner: str, revision: str = "") -> str:
    """Remove the row of a book; return the revision it pointed at.

    With `revision`, only where the book is that one; NotFound otherwise.
    """
    with transaction(db):
        query = "SELECT owner, revision FROM books WHERE id = ?"
        row = db.execute(query, (book_id,)).fetchone()
        if row is None or (revision and row[1] != revision):
            raise not_found(book_id)
        refuse_deletion(row[0], owner)
        db.execute("DELETE FROM books WHERE id = ?", (book_id,))
    return row[1]


def put(db: sqlite3.Connection, book: Book, revision: str) -> None:
    """Insert or replace the row of a book, inside a transaction."""
    row = Row(
        id=book.id,
        revision=revision,
        title=book.title,
        author=book.author,
        style=book.style,
        created=book.created,
        pages=len(book.pages),
        owner=book.owner,
    )
    names = [*Row._fields, "searchable"]
    # REPLACE would delete the old row without calling the triggers.
    db.execute(
        f"INSERT INTO books ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in names)}",
        (*row, searchable(book)),
    )


def _split(db: sqlite3.Connection, words: Sequence[str]) -> tuple[list[Holders], list[str]]:
    """Who holds the words, the fewest first, and those that are to be looked for in the texts."""
    held: list[Holders] = []
    rest: list[str] = []
    match = " AND ".join(_quoted(word[:LONGEST]) for word in words if len(word) >= 3)
    if match:
        query = "SELECT rowid AS number FROM books_text WHERE books_text MATCH ?"
        held.append(Holders(_count(db, query, [match], RARE + 1), query, [match]))
    rest += [word for word in words if len(word) > LONGEST]
    for word in (word for word in words if len(word) < 3):
        query = "SELECT doc AS number FROM books_trigrams WHERE term >= ? AND term < ?"
        bounds = [word, word + _LAST]
        places = _count(db, query, bounds, COMMON)
        if places < COMMON:
            held.append(Holders(places, query, bounds))
        else:
            rest.append(word)
    return sorted(held), rest


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _count(db: sqlite3.Connection, query: str, values: Sequence[str], most: int) -> int:
    """Rows of a query, up to `most` of them."""
    return db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM ({query}) LIMIT ?)", [*values, most]
    ).fetchone()[0]


def _tables(held: Sequence[Holders], style: str) -> str:
    """What is gone through. The planner cannot know how common words are, so it is told."""
    if held and held[0].most <= RARE:
        return "books NOT INDEXED"  # the numbers of the fewest lead to the rows
    return f"books INDEXED BY {'books_by_style' if style else 'books_newest'}"


def _where(
    held: Sequence[Holders],
    words: Sequence[str],
    style: str,
    without: Collection[str],
    owner: str = "",
) -> tuple[str, list[str]]:
    """The WHERE clause and its values; `words` are looked for in the texts."""
    # The + keeps all but the first from leading anywhere.
    conditions = [f"{'+' if n else ''}books.number IN ({h.query})" for n, h in enumerate(held)]
    values = [value for h in held for value in h.values]
    for column, wanted in (("style", style), ("owner", owner)):
        if wanted:
            conditions.append(f"books.{column} = ?")
            values.append(storable(wanted))
    # instr() has no wildcards, so nothing needs escaping, and both sides are folded already.
    conditions += ["instr(books.searchable, ?) > 0" for _ in words]
    values += words
    if without:
        conditions.append(f"books.id NOT IN ({', '.join('?' * len(without))})")
        values += without
    return f" WHERE {' AND '.join(conditions)}" if conditions else "", values
