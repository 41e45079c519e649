"""One book that was changed in two places: both changes are kept."""

from __future__ import annotations

from dataclasses import replace

from pipelines.book import Book, new_id, now


def merged(book: Book, since: Book, stored: Book) -> Book:
    """`book`, made out of `since`, as it is to replace `stored`, made out of `since` as well.

    What is in `book` as it was in `since` stays as it is stored: title, author, each page. Where
    pages have come or gone in the one while the other has changed some, nobody can tell which
    belong together: then it becomes a book of its own, with a new id.
    """
    pages = book.pages
    if stored.pages != since.pages:
        if pages == since.pages:
            pages = stored.pages
        elif len(pages) == len(since.pages) == len(stored.pages):
            every = zip(pages, since.pages, stored.pages, strict=True)
            pages = tuple(there if mine == before else mine for mine, before, there in every)
        else:
            return replace(book, id=new_id(), created=now())
    fields = {
        name: getattr(stored, name)
        for name in ("title", "author")
        if getattr(book, name) == getattr(since, name)
    }
    return replace(book, pages=pages, **fields)
