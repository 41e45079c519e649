"""The whole way: words -> story -> pictures -> book. Torch is imported only when models load."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from pipelines.book import MAX_TITLE, Book, Page, Recipe, check_sentence
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
from pipelines.picture_request import PictureRequest
from pipelines.presets import (
    MAX_SEED,
    PRESETS,
    PictureConfig,
    Preset,
    StoryConfig,
    draw_seed,
)
from pipelines.reading import brief_of, split_sentences
from pipelines.scene import parse_brief

if TYPE_CHECKING:
    from pipelines.story import StoryPipeline
    from pipelines.vqgan_clip import VQGANCLIPPipeline

BEGUN = 4
"""Pages of a book that are begun together: with more the book is finished sooner, and its first
page later."""

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


def sentences_of(text: str) -> list[str]:
    """The sentences of a story that somebody has written, a page each.

    Raises InvalidInput when there are none, or one is too long for a page.
    """
    found = split_sentences(" ".join(text.split()))
    if not found:
        raise InvalidInput("There are no sentences in this text.")
    for number, sentence in enumerate(found, 1):
        check_sentence(number, sentence)
    return found


def draft_of_text(text: str, words: str, seed: int = 0) -> Draft:
    """A story that somebody has written, with a brief for every sentence. Its title is `words`.

    Raises InvalidInput as `sentences_of`.
    """
    sentences: list[Sentence] = []
    for sentence in sentences_of(text):
        sentences.append(Sentence(sentence, brief_of(sentence, sentences)))
    return Draft((words[:1].upper() + words[1:])[:MAX_TITLE], tuple(sentences), seed)


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


def page_config(config: PictureConfig, index: int) -> PictureConfig:
    """The settings of page `index` (from 0) of a book painted with these, whose seed is set."""
    seed = config.seed or 0
    scenery = seed if config.scenery is None else config.scenery
    return replace(config, seed=page_seed(seed, index), scenery=scenery)


def scenery_of(book: Book) -> int | None:
    """The scenery of the pages that a book has so far, None where nothing says."""
    settings = (p.recipe.settings for p in book.pages if p.picture is not None and p.recipe)
    found = (s.get("scenery") for s in settings)
    # Books come from elsewhere, too, and may say anything.
    return next((f for f in found if isinstance(f, int) and 0 <= f <= MAX_SEED), None)


def paint(
    pipeline: VQGANCLIPPipeline,
    book: Book,
    config: PictureConfig,
    *,
    only: Sequence[int] | None = None,
    together: int = 1,
    begun: int = BEGUN,
    prompts: Container[str] = (),
) -> Iterator[PagePainting | PageFinished | BookFinished]:
    """Paint the pages that have no picture yet, or `only` these (indices from 0).

    Page n's seed is the config's (drawn once when None) plus n, so that a page painted alone
    equals the same page of the book. All pages have one scenery, that of those painted before where
    no seed is set: a place looks the same on each. With start="picture" a page begins from its own
    picture.
    `begun` pages at a time are begun together, which takes half of the time, and guided one after
    the other; with `together` above 1 so many pages are painted as one batch from first to last.
    A page whose text is one of `prompts` is guided by it as `pipelines.prompts` reads it, and one
    that was painted from prompts is by those again; others are plain text. `close()` stops; what
    PageFinished has told stays.
    Raises InvalidInput for a page that there is not, and as `VQGANCLIPPipeline.stream`.
    """
    todo = [n for n, p in enumerate(book.pages) if p.picture is None] if only is None else [*only]
    for n in todo:
        if not 0 <= n < len(book.pages):
            raise InvalidInput(f"There is no page {n + 1}: the book has {len(book.pages)}.")
    if config.seed is None:
        scenery = scenery_of(book) if config.scenery is None else config.scenery
        config = replace(config, seed=draw_seed(), scenery=scenery)
    eta = Eta()
    done = dict.fromkeys(todo, 0.0)  # in [0, 1]
    for batch in _batches(todo, together if together > 1 else begun):
        requests = [page_request(book, n, page_config(config, n), prompts) for n in batch]
        for k, event in pipeline.stream_many(requests, in_turn=together == 1):
            n = batch[k]
            if isinstance(event, PictureProgress):
                done[n] = event.step / event.of
                share = sum(done.values()) / len(todo)
                yield PagePainting(n, len(book.pages), event, eta(share))
            else:
                if not requests[k].sentence.text:  # the line stays as it was typed
                    event = replace(event, text=book.pages[n].text, brief=book.pages[n].brief)
                book = book.with_page(n, event)
                yield PageFinished(n, event)
    yield BookFinished(book)


def _batches(todo: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """Pages in batches of `most`, or of nearly that, so that none is left over alone."""
    count = -(-len(todo) // most)
    for k in range(count):
        yield todo[k * len(todo) // count : (k + 1) * len(todo) // count]


def page_request(
    book: Book, index: int, config: PictureConfig, prompts: Container[str] = ()
) -> PictureRequest:
    """What page `index` (from 0) is painted from; see `paint` for `prompts`."""
    page = book.pages[index]
    picture = page.image() if config.start == "picture" and page.picture else None
    if line := prompts_of(page) or (page.text if page.text in prompts else ""):
        return PictureRequest(Sentence(""), replace(config, prompts=line), picture)
    before = [Sentence(p.text, p.brief) for p in book.pages[:index]]
    brief = page.brief
    try:
        parse_brief(brief)
    except InvalidInput:  # nobody said it, or in words that this painter does not know
        brief = brief_of(page.text, before)
    return PictureRequest(Sentence(page.text, brief), config, picture)


def prompts_of(page: Page) -> str:
    """The prompts that a page was painted from instead of a sentence; "" where it was not."""
    settings = page.recipe.settings if page.recipe else {}
    prompts = settings.get("prompts") if settings.get("sentence") == "" else ""
    return prompts if isinstance(prompts, str) else ""
