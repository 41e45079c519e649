"""What a local library asks and tells its table of books.

Words are looked for as substrings. Three characters or more are found through `books_text`, an
FTS5 index of trigrams: the trigrams of a word in a row are the word. Shorter ones are found
through the trigrams that begin with them. What many books hold is found sooner by walking
through the newest ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from pipelines.book import Book
from storage.base import not_found, refuse_deletion, refuse_other_owner, searchable
from storage.database import transaction

RARE = 2000
"""Books that hold all words, up to which they are sorted after they were looked up."""

MAX_TRIGRAMS = 40
"""Trigrams that a short word may begin; one with more is in so many books that walking is quick."""

_LAST = "\U0010ffff"
_BIGGEST = 2**31


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
    match, rest = _split(db, words)
    if match and _is_rare(db, match):
        tables = "books_text CROSS JOIN books ON books.number = books_text.rowid"
        conditions, values = ["books_text MATCH ?"], [match]
    else:
        # The planner cannot know how common the words are, so it is told which way to go.
        tables = f"books INDEXED BY {'books_by_style' if style else 'books_newest'}"
        conditions, values, rest = [], [], words
    if style:
        conditions.append("books.style = ?")
        values.append(style)
    if owner:
        conditions.append("books.owner = ?")
        values.append(owner)
    where = _where(conditions, values, rest, without)
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM {tables}{where}"
        " ORDER BY books.created DESC, books.id LIMIT ? OFFSET ?",
        [*values, *page],
    )
    return [Row(*row) for row in rows]


def count(
    db: sqlite3.Connection, words: Sequence[str], style: str, without: Collection[str] = ()
) -> int:
    """How many books `find` finds in all."""
    match, rest = _split(db, words)
    tables, conditions, values = "books", [], []
    if match and not (style or rest or without):
        tables, conditions, values = "books_text", ["books_text MATCH ?"], [match]
    elif match:
        # So that the rows, with their long texts, need not be read where an index has it all.
        conditions.append("books.number IN (SELECT rowid FROM books_text WHERE books_text MATCH ?)")
        values.append(match)
    if style:
        conditions.append("books.style = ?")
        values.append(style)
    where = _where(conditions, values, rest, without)
    (n,) = db.execute(f"SELECT count(*) FROM {tables}{where}", values).fetchone()
    return n


def styles(db: sqlite3.Connection, without: Collection[str] = ()) -> list[tuple[str, int]]:
    """Styles and how many books each has, most first."""
    values: list[str] = []
    where = _where(["style != ''"], values, (), without)
    return db.execute(
        f"SELECT style, count(*) AS n FROM books{where} GROUP BY style ORDER BY n DESC, style",
        values,
    ).fetchall()


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


def _split(db: sqlite3.Connection, words: Sequence[str]) -> tuple[str, list[str]]:
    """An FTS5 query, "" where there is none, and the words that it leaves to be looked for."""
    found: list[str] = []
    rest: list[str] = []
    for word in words:
        if len(word) >= 3:
            found.append(_quoted(word))
            continue
        begun = _trigrams(db, word)
        if len(begun) > MAX_TRIGRAMS:
            rest.append(word)
        else:
            # A word that begins no trigram is in no book, and nor is itself as a trigram.
            found.append(f"({' OR '.join(map(_quoted, begun or [word * 3]))})")
    return " AND ".join(found), rest


def _trigrams(db: sqlite3.Connection, beginning: str) -> list[str]:
    """Trigrams that begin with a short word, at most one more than MAX_TRIGRAMS."""
    rows = db.execute(
        # The table has a row for each place of a trigram: jump to the next trigram every time.
        """
        WITH RECURSIVE found (term) AS (
            SELECT * FROM (SELECT term FROM books_trigrams WHERE term >= :word LIMIT 1)
            UNION ALL
            SELECT (
                SELECT t.term FROM books_trigrams AS t WHERE t.term >= found.term || char(0) LIMIT 1
            )
            FROM found WHERE found.term <= :last
        )
        SELECT term FROM found WHERE term <= :last LIMIT :most
        """,
        {"word": beginning, "last": beginning + _LAST, "most": MAX_TRIGRAMS + 1},
    )
    return [term for (term,) in rows]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _is_rare(db: sqlite3.Connection, match: str) -> bool:
    query = "SELECT count(*) FROM (SELECT 1 FROM books_text WHERE books_text MATCH ? LIMIT ?)"
    return db.execute(query, (match, RARE + 1)).fetchone()[0] <= RARE


def _where(
    conditions: list[str], values: list[str], words: Sequence[str], without: Collection[str]
) -> str:
    """The WHERE clause with words and ids added; their values are added to `values`."""
    # instr() has no wildcards, so nothing needs escaping, and both sides are folded already.
    conditions = [*conditions, *("instr(books.searchable, ?) > 0" for _ in words)]
    if without:
        conditions.append(f"books.id NOT IN ({', '.join('?' * len(without))})")
    values.extend([*words, *without])
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
