"""What long tasks say while they run: small frozen records, yielded by `stream` methods.

The app turns them into widgets, the command line prints them, `__call__` only drains them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.book import Book, Page


@dataclass(frozen=True)
class Sentence:
    """One sentence of a story and, in the painter's words, what its picture shows."""

    text: str
    brief: str = ""


@dataclass(frozen=True)
class Draft:
    """A whole story. `seed` makes it again with the same words and settings.

    `writer` names the model that wrote it, "" where a person did.
    """

    title: str
    sentences: tuple[Sentence, ...]
    seed: int
    writer: str = ""


@dataclass(frozen=True)
class StoryProgress:
    """Draft number `draft` (from 0) as far as it is written; `done` is in [0, 1]."""

    draft: int
    title: str
    text: str
    done: float


@dataclass(frozen=True)
class PictureProgress:
    """One step of painting a picture.

    `stage` is "start" (sampling or laying out the first picture) or "refine" (VQGAN+CLIP).
    `loss` is the spherical distance, `score` CLIP's cosine similarity; None while sampling.
    `preview` is PIL RGB, set on some steps and always on the last. `eta` is in seconds. `note`
    says what went otherwise than asked: less memory than needed, an early end.
    """

    step: int
    of: int
    stage: str
    loss: float | None = None
    score: float | None = None
    preview: Image | None = None
    eta: float | None = None
    note: str = ""


@dataclass(frozen=True)
class PagePainting:
    """Page `page` (from 0) of `pages` is being painted."""

    page: int
    pages: int
    progress: PictureProgress
    eta: float | None = None
    """Seconds until the whole job is done."""


@dataclass(frozen=True)
class PageFinished:
    """Page `index` (from 0) is painted; it stays whatever happens to the others."""

    index: int
    page: Page


@dataclass(frozen=True)
class BookFinished:
    """The last event of a book: every page that was asked for is painted."""

    book: Book


class Eta:
    """Seconds left, from the pace so far; smooth enough to show at every step."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, done: float) -> float | None:
        """`done` in [0, 1]; None until there is a pace to judge by."""
        if done <= 0.0:
            return None
        return (time.monotonic() - self._begin) * (1.0 - done) / done
