"""A book is painted page by page: which pages, with which seeds, and what stays when it stops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from pipelines.book import Book, Page, Recipe, encode_png
from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.events import BookFinished, Draft, PageFinished, PagePainting, Sentence
from pipelines.presets import MAX_SEED, PictureConfig, StoryConfig
from pipelines.scene import parse_brief
from pipelines.storybook import (
    book_from_draft,
    load,
    load_pictures,
    load_story,
    page_seed,
    paint,
    scenery_of,
)
from pipelines.vqgan_clip import VQGANCLIPPipeline
from tests import tiny

DRAFT = Draft(
    "The fox who flew",
    (
        Sentence("A fox named Pip lived in the forest.", "fox @forest day"),
        Sentence("One night he looked at the stars.", ""),
        Sentence("They flew past the moon.", "fox on owl @sky night moon"),
    ),
    seed=11,
)
STORY = StoryConfig("a fox who wanted to fly", ban=("wolf",), seed=4)
CONFIG = replace(tiny.QUICK, start="noise", steps=1, seed=40)


@pytest.fixture(scope="module")
def painter() -> VQGANCLIPPipeline:
    return tiny.pipeline()


@pytest.fixture
def book() -> Book:
    return book_from_draft(DRAFT, STORY, style="pencil", author="Ada", owner="o" * 64)


def draw(
    painter: VQGANCLIPPipeline, book: Book, config: PictureConfig = CONFIG, **more: Any
) -> tuple[dict[int, Page], Book, list[PagePainting]]:
    """-> pages in the order they were finished, the finished book, the progress."""
    *events, last = paint(painter, book, config, **more)
    assert isinstance(last, BookFinished)
    pages = {e.index: e.page for e in events if isinstance(e, PageFinished)}
    return pages, last.book, [e for e in events if isinstance(e, PagePainting)]


# from a draft


def test_a_book_of_a_draft(book: Book) -> None:
    assert [p.text for p in book.pages] == [s.text for s in DRAFT.sentences]
    assert (book.title, book.author, book.style) == ("The fox who flew", "Ada", "pencil")
    assert (book.words, book.owner) == (STORY.words, "o" * 64)
    assert all(p.picture is None for p in book.pages)
    assert book.recipe is not None
    assert book.recipe.seed == book.recipe.settings["seed"] == 11  # the draft's, not the request's
    settings = dict(book.recipe.settings)
    settings["ban"] = tuple(settings["ban"])
    assert StoryConfig(**settings) == replace(STORY, seed=11)
    assert Book.from_json(book.to_json(), {}) == book


def test_sentences_without_brief_get_one_from_the_story(book: Book) -> None:
    scene = parse_brief(book.pages[1].brief)
    assert [i.word for i in scene.items] == ["fox"]
    assert (scene.place, scene.time) == ("forest", "night")
    assert book.pages[0].brief == "fox @forest day"


# painting


def test_every_page_is_painted_in_order(painter: VQGANCLIPPipeline, book: Book) -> None:
    pages, finished, progress = draw(painter, book)
    assert [*pages] == [0, 1, 2]
    assert finished.pages == tuple(pages.values())
    assert replace(finished, pages=book.pages) == book
    assert [p.text for p in finished.pages] == [p.text for p in book.pages]
    assert [e.page for e in progress] == sorted(e.page for e in progress)
    assert {e.pages for e in progress} == {3}
    assert progress[-1].eta == 0
    assert all(e.eta is None or e.eta >= 0 for e in progress)
    assert len({p.picture for p in finished.pages}) == 3


def test_seeds_follow_the_page(painter: VQGANCLIPPipeline, book: Book) -> None:
    _, finished, _ = draw(painter, book)
    assert [p.recipe.seed for p in finished.pages if p.recipe] == [40, 41, 42]
    assert page_seed(MAX_SEED, 1) == 0
    _, last, _ = draw(painter, book, replace(CONFIG, seed=MAX_SEED), only=[1])
    assert last.pages[1].recipe is not None
    assert last.pages[1].recipe.seed == 0


def test_a_missing_seed_is_drawn_once_for_the_book(painter: VQGANCLIPPipeline, book: Book) -> None:
    _, finished, _ = draw(painter, book, replace(CONFIG, seed=None))
    first, second, third = (p.recipe.seed for p in finished.pages if p.recipe)
    assert (second - first) % (MAX_SEED + 1) == (third - second) % (MAX_SEED + 1) == 1


def test_all_pages_have_one_scenery(painter: VQGANCLIPPipeline, book: Book) -> None:
    def of(book: Book) -> set[object]:
        return {p.recipe.settings["scenery"] for p in book.pages if p.recipe}

    _, whole, _ = draw(painter, book)
    assert of(whole) == {CONFIG.seed}
    anew = replace(CONFIG, seed=None)
    _, begun, _ = draw(painter, book, anew, only=[1])
    (scenery,) = of(begun)
    assert begun.pages[1].recipe is not None
    assert begun.pages[1].recipe.seed == page_seed(scenery if isinstance(scenery, int) else -1, 1)
    _, finished, _ = draw(painter, begun, anew)  # painted on another day
    assert of(finished) == {scenery}
    assert len({p.recipe.seed for p in finished.pages if p.recipe}) == 3
    _, other, _ = draw(painter, finished, only=[0])  # a seed that is set says all of it
    assert other.pages[0] == whole.pages[0]
    _, chosen, _ = draw(painter, book, replace(CONFIG, scenery=9))
    assert of(chosen) == {9}


@pytest.mark.parametrize("said", ["7", -1, MAX_SEED + 1, None])
def test_a_scenery_that_is_none_is_not_taken_from_a_book(book: Book, said: object) -> None:
    recipe = Recipe("a fox", 1, settings={"scenery": said})
    page = replace(book.pages[0], picture=b"1", recipe=recipe)
    assert scenery_of(book.with_page(0, page)) is None


def test_only_unpainted_pages(painter: VQGANCLIPPipeline, book: Book) -> None:
    old = Page("Old.", picture=encode_png(Image.new("RGB", (128, 128))))
    begun = book.with_page(1, old)
    pages, finished, _ = draw(painter, begun)
    assert [*pages] == [0, 2]
    assert finished.pages[1] == old
    nothing, same, _ = draw(painter, finished)
    assert nothing == {}
    assert same == finished


@pytest.mark.parametrize("only", [[2], [2, 0], []])
def test_only_the_pages_asked_for(
    painter: VQGANCLIPPipeline, book: Book, only: Sequence[int]
) -> None:
    _, whole, _ = draw(painter, book)
    pages, finished, _ = draw(painter, book, only=only)
    assert [*pages] == list(only)
    for n, page in enumerate(finished.pages):
        # A page painted alone equals the page of the book.
        assert page == (whole.pages[n] if n in only else book.pages[n])


def test_a_painted_page_can_be_painted_again(painter: VQGANCLIPPipeline, book: Book) -> None:
    _, whole, _ = draw(painter, book)
    _, again, _ = draw(painter, whole, replace(CONFIG, seed=90), only=[1])
    assert again.pages[1].picture != whole.pages[1].picture
    assert (again.pages[0], again.pages[2]) == (whole.pages[0], whole.pages[2])


def test_a_page_begins_from_its_own_picture(painter: VQGANCLIPPipeline, book: Book) -> None:
    config = replace(CONFIG, start="picture", steps=0)
    found: list[bytes] = []
    for colour in ("black", "white"):
        picture = encode_png(Image.new("RGB", (128, 128), colour))
        begun = book.with_page(1, replace(book.pages[1], picture=picture))
        _, finished, _ = draw(painter, begun, config, only=[1])
        assert finished.pages[1].picture is not None
        found.append(finished.pages[1].image().tobytes())
    assert found[0] != found[1]
    with pytest.raises(InvalidInput, match="picture to start from"):
        draw(painter, book, config, only=[1])


@pytest.mark.parametrize("brief", ["", "gryphon @moor"])
def test_a_page_without_brief_is_read_in_the_light_of_those_before(
    painter: VQGANCLIPPipeline, book: Book, brief: str
) -> None:
    """So is one whose brief the painter cannot read."""
    bare = book.with_page(1, Page("One night he looked at the stars.", brief))
    _, finished, _ = draw(painter, bare, only=[1])
    recipe = finished.pages[1].recipe
    assert recipe is not None
    assert recipe.prompt.startswith("a fox")
    assert "in the forest, at night" in recipe.prompt


def test_stopping_keeps_what_was_finished(painter: VQGANCLIPPipeline, book: Book) -> None:
    _, whole, _ = draw(painter, book)
    events = paint(painter, book, CONFIG)
    kept = book
    for event in events:
        if isinstance(event, PageFinished):
            kept = kept.with_page(event.index, event.page)
        if isinstance(event, PagePainting) and event.page == 2 and event.progress.stage == "refine":
            break  # midway through the last page
    events.close()  # type: ignore[attr-defined]
    assert kept.pages[:2] == whole.pages[:2]
    assert kept.pages[2].picture is None
    _, resumed, _ = draw(painter, kept)  # painting on gives the same book
    assert resumed == whole


@pytest.mark.parametrize("only", [[3], [-1], [0, 99]])
def test_pages_that_are_not_there(
    painter: VQGANCLIPPipeline, book: Book, only: Iterable[int]
) -> None:
    with pytest.raises(InvalidInput, match=r"There is no page -?\d+: the book has 3"):
        next(paint(painter, book, CONFIG, only=list(only)))


# models by name


def test_unknown_presets() -> None:
    for loader in (load, load_story, load_pictures):
        with pytest.raises(InvalidInput, match=r"“gigantic”.*embedded"):
            loader("gigantic")


def test_models_are_loaded_once(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.presets import PRESETS, Preset

    folder = tiny.write(tmp_path_factory.mktemp("models"))
    monkeypatch.setitem(PRESETS, "tiny", Preset("tiny", "Tiny", "embedded", str(folder)))
    assert load_pictures("tiny") is load_pictures("tiny")
    missing = Preset("missing", "Missing", "embedded", str(folder / "nowhere"))
    monkeypatch.setitem(PRESETS, "missing", missing)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="nowhere"):
            load_pictures("missing")
    tiny.write(folder / "nowhere")  # what was missing is found once it is there
    assert load_pictures("missing").name == "nowhere"
