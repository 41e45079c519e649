"""The whole way: words -> story -> pictures -> book. Torch is imported only when models load."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from pipelines.book import Book, Page, Recipe
from pipelines.errors import InvalidInput
from pipelines.events import (
    BookFinished,
    Draft,
    Eta,
    PageFinished,
    PagePainting,
    PictureProgress,
    Sentence,
)
from pipelines.presets import (
    MAX_SEED,
    PRESETS,
    PictureConfig,
    Preset,
    StoryConfig,
    draw_seed,
)
from pipelines.scene import brief_of

if TYPE_CHECKING:
    from pipelines.story import StoryPipeline
    from pipelines.vqgan_clip import VQGANCLIPPipeline

_loading = threading.Lock()


def load_story(preset: str = "embedded", story: str = "") -> StoryPipeline:
    """The story writer of a preset, or `story` instead, by name or folder; loaded once.

    Raises InvalidInput, ModelUnavailable.
    """
    with _loading:
        return _story(story or _preset(preset).story)


def load_pictures(preset: str = "embedded", vqgan: str = "", clip: str = "") -> VQGANCLIPPipeline:
    """The picture maker of a preset, with another VQGAN or CLIP where they are named (as
    `VQGANCLIPPipeline.from_pretrained` takes them); loaded once.

    Raises InvalidInput, ModelUnavailable.
    """
    with _loading:
        return _pictures(_preset(preset).name, vqgan, clip)


def load(preset: str = "embedded") -> tuple[StoryPipeline, VQGANCLIPPipeline]:
    """Both models of a preset. Raises InvalidInput, ModelUnavailable."""
    return load_story(preset), load_pictures(preset)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise InvalidInput(f"There is no preset “{name}”: choose {', '.join(PRESETS)}.")
    return PRESETS[name]


@lru_cache(maxsize=2)
def _story(name: str) -> StoryPipeline:
    from pipelines.story import StoryPipeline

    return StoryPipeline.from_pretrained(name)


@lru_cache(maxsize=2)
def _pictures(preset: str, vqgan: str, clip: str) -> VQGANCLIPPipeline:
    from pipelines.vqgan_clip import VQGANCLIPPipeline

    return VQGANCLIPPipeline.from_pretrained(preset, vqgan=vqgan, clip=clip)


def book_from_draft(
    draft: Draft, config: StoryConfig, *, style: str, author: str = "", owner: str = ""
) -> Book:
    """An unpainted book: a page per sentence, with the story's recipe."""
    settings = asdict(config)
    settings["seed"] = draft.seed
    settings["ban"] = list(config.ban)
    models = {"story": draft.writer} if draft.writer else {}
    recipe = Recipe(config.words, draft.seed, models, settings)
    pages = tuple(
        Page(s.text, s.brief or brief_of(s.text, draft.sentences[:n]))
        for n, s in enumerate(draft.sentences)
    )
    return Book(draft.title, pages, author=author, words=config.words, style=style, owner=owner,
                recipe=recipe)  # fmt: skip


def page_seed(seed: int, index: int) -> int:
    """The seed of page `index` (from 0) of a book painted with `seed`."""
    return (seed + index) % (MAX_SEED + 1)


def paint(
    pipeline: VQGANCLIPPipeline,
    book: Book,
    config: PictureConfig,
    *,
    only: Sequence[int] | None = None,
) -> Iterator[PagePainting | PageFinished | BookFinished]:
    """Paint the pages that have no picture yet, or `only` these (indices from 0).

    Page n's seed is the config's (drawn once when None) plus n, so that a page painted alone
    equals the same page of the book. With start="picture" a page begins from its own picture.
    `close()` stops; what PageFinished has told stays.
    """
    todo = [n for n, p in enumerate(book.pages) if p.picture is None] if only is None else [*only]
    for n in todo:
        if not 0 <= n < len(book.pages):
            raise InvalidInput(f"There is no page {n + 1}: the book has {len(book.pages)}.")
    seed = draw_seed() if config.seed is None else config.seed
    eta = Eta()
    for done, n in enumerate(todo):
        page = book.pages[n]
        settings = replace(config, seed=page_seed(seed, n))
        picture = page.image() if config.start == "picture" and page.picture else None
        brief = page.brief or brief_of(
            page.text, [Sentence(p.text, p.brief) for p in book.pages[:n]]
        )
        for event in pipeline.stream(Sentence(page.text, brief), settings, picture=picture):
            if isinstance(event, PictureProgress):
                share = (done + event.step / event.of) / len(todo)
                yield PagePainting(n, len(book.pages), event, eta(share))
            else:
                book = book.with_page(n, event)
                yield PageFinished(n, event)
    yield BookFinished(book)
