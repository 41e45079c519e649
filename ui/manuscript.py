"""The story while a person works on it: from draft to editor to the pages of a book."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.book import MAX_SENTENCE, MAX_TITLE, Book, Page, check_sentence
from pipelines.errors import InvalidInput
from pipelines.events import Draft, Sentence
from pipelines.reading import brief_of
from pipelines.scene import describe

MAX_PAGES = 12
"""Most sentences of a story, one picture each."""


def shows(brief: str) -> str:
    """What a picture shows, in plain words; "" for a brief the painter cannot read."""
    try:
        return describe(brief)
    except InvalidInput:
        return ""


def brief_for(text: str, before: Sequence[Sentence] = (), wish: str = "") -> str:
    """The brief of a sentence; a person's own words for the picture come first."""
    return brief_of(wish or text, () if wish else before)


@dataclass(frozen=True)
class Manuscript:
    """Title, author and sentences as they stand in the editor."""

    title: str = ""
    author: str = ""
    sentences: tuple[Sentence, ...] = field(default=())

    @staticmethod
    def from_draft(draft: Draft, author: str = "") -> Manuscript:
        return Manuscript(draft.title, author, draft.sentences[:MAX_PAGES])

    @staticmethod
    def from_book(book: Book) -> Manuscript:
        return Manuscript(
            book.title, book.author, tuple(Sentence(p.text, p.brief) for p in book.pages)
        )

    @staticmethod
    def from_value(value: object) -> Manuscript:
        """Read what the browser sends, which may be anything.

        Empty sentences are left out; where a brief is missing it is read from the words, or from
        what the picture is wished to show.
        Raises: InvalidInput.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("sentences"), list):
            raise InvalidInput("There is no story yet: write or choose one first.")
        title = _line(value.get("title"))
        author = _line(value.get("author"))
        if max(len(title), len(author)) > MAX_TITLE:
            raise InvalidInput(f"Titles and names may have {MAX_TITLE} characters at most.")
        sentences: list[Sentence] = []
        for row in value["sentences"]:
            text = _line(row.get("text")) if isinstance(row, Mapping) else ""
            if not text:
                continue
            check_sentence(len(sentences) + 1, text)
            brief = _line(row.get("brief"))
            if not shows(brief):
                brief = brief_for(text, sentences, _line(row.get("wish"))[:MAX_SENTENCE])
            sentences.append(Sentence(text, brief))
        if not sentences:
            raise InvalidInput("There is no story yet: write or choose one first.")
        if len(sentences) > MAX_PAGES:
            raise InvalidInput(
                f"A book has {MAX_PAGES} pages at most, and this story {len(sentences)} sentences."
            )
        return Manuscript(title, author, tuple(sentences))

    def to_value(self) -> dict[str, Any]:
        """What the editor shows."""
        return {
            "title": self.title,
            "author": self.author,
            "sentences": [
                {"text": s.text, "brief": s.brief, "shows": shows(s.brief)} for s in self.sentences
            ],
        }

    def pages(self, old: Sequence[Page] = ()) -> tuple[Page, ...]:
        """The pages of the book; a picture of `old` stays with its sentence wherever it moved.

        A sentence that was reworded keeps its picture as long as the picture shows the same.
        """
        left = list(old)
        found: list[Page | None] = [None] * len(self.sentences)
        for same in (
            lambda p, s: p.text == s.text and p.brief == s.brief,
            lambda p, s: p.brief == s.brief,
        ):
            for n, sentence in enumerate(self.sentences):
                if found[n] is None:
                    match = next((p for p in left if same(p, sentence)), None)
                    if match is not None:
                        left.remove(match)
                        found[n] = replace(match, text=sentence.text)
        return tuple(
            page or Page(s.text, s.brief) for page, s in zip(found, self.sentences, strict=True)
        )

    def revise(self, book: Book) -> Book:
        """The same book with the title, author and pages as they are now."""
        pages = self.pages(book.pages)
        return replace(book, title=self.title or book.title, author=self.author, pages=pages)


def _line(value: object) -> str:
    """One line of text without control characters, however it was typed; "" if nothing shows.

    Joiners and marks of direction stay, as scripts and emoji need them.
    """
    text = value if isinstance(value, str) else ""
    kept = (c if c.isprintable() or unicodedata.category(c) == "Cf" else " " for c in text)
    line = " ".join("".join(kept).split())
    return line if any(c.isprintable() and c != " " for c in line) else ""
