"""The Pictures tab: a style is chosen, and every page of the story is painted, one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.book import Book, new_id, now
from pipelines.errors import AppError
from pipelines.events import PageFinished, PagePainting
from pipelines.presets import PictureConfig
from ui import markup, prompts
from ui.desk import Desk, Origin
from ui.film import PaintingFilms, build_switch, of_pages
from ui.jobs import Job, Work, until_stopped
from ui.manuscript import Manuscript
from ui.panel import panel
from ui.picture_settings import picture_config, widgets
from ui.running import Runner, stop_button
from ui.story import StoryTab
from ui.workshop import Workshop, paced

log = logging.getLogger(__name__)

NO_STORY = markup.empty(
    "No story yet",
    "Write one in the Story tab; its pages will be painted here, one by one.",
    '<button type="button" class="small-button brave" data-begin="1">Write a story</button>',
)
FINISHED = "Finished: your book is in the gallery."
SAVED = "Saved in the gallery."
WAITS = "Saved: the administrator looks at your book before it stands in the gallery."
LATER = markup.status(
    "This book is painted with the settings it was begun with. What you choose here is for the "
    "next painting."
)
SOON = markup.empty("Your story is being written", "Its pages will be painted here, one by one.")


@dataclass(frozen=True)
class Moment:
    """The book at one moment of painting; `done` in [0, 1] of what was asked for."""

    book: Book
    live: Mapping[int, markup.Live]
    """The pages that are being painted, by their index."""
    line: str
    saved: bool
    """Whether the library has the book as it is."""
    done: float = 0.0
    left: str = ""
    """How long it will take still, in words."""


@dataclass(frozen=True)
class PicturesTab:
    """What the other tabs need of this one."""

    pages: gr.HTML
    read: gr.Button
    settings: list[Component]


def next_book(
    book: Book | None, story: Manuscript, origin: Origin | None, style: str, owner: str
) -> Book:
    """The book that "Paint" goes on with.

    The one at hand, as long as it is this visitor's, in this style, and has pages to paint.
    Otherwise a new one: what was painted before stays in the gallery as it is.
    """
    if book is not None and book.owner == owner and book.style == style:
        revised = story.revise(book)
        if any(p.picture is None for p in revised.pages):
            return revised
    if book is not None:
        fresh = replace(book, id=new_id(), created=now(), style=style, owner=owner, pages=())
    elif origin is not None:
        from pipelines.storybook import book_from_draft

        fresh = book_from_draft(origin.draft, origin.config, style=style, owner=owner)
    else:
        fresh = Book(title="My story", pages=(), style=style, owner=owner)
    return story.revise(replace(fresh, pages=()))


def paint_pages(
    shop: Workshop,
    job: Job,
    book: Book,
    config: PictureConfig,
    only: Sequence[int],
    films: PaintingFilms,
    desk: Desk | None = None,
    weighed: frozenset[str] = frozenset(),
) -> Iterator[Moment]:
    """Paint until done or stopped; every finished page is in the library before it is shown.

    A library that cannot be written stops nothing: the pages stay on the screen, and the line
    says what is wrong.
    """
    from pipelines.storybook import paint

    live: dict[int, markup.Live] = {}
    shares: dict[int, float] = {}
    """How far pages are, in [0, 1]."""
    notes: dict[int, str] = {}
    saved, trouble = True, ""
    yield Moment(book, live, "Mixing the colours…", saved)
    events = paint(shop.painter(), book, config, only=only, prompts=weighed)
    due = paced(0.25)
    for event in until_stopped(job, events):
        if isinstance(event, PagePainting):
            n, step = event.page, event.progress
            films.watch(n, step.preview)
            first = n not in live
            seen = step.preview or (None if first else live[n].preview)
            if step.stage != "start":
                live = {k: replace(page, waits=True) for k, page in live.items()}
            live = {**live, n: markup.Live(step, seen)}
            shares[n] = step.step / max(step.of, 1)
            notes[n] = step.note or notes.get(n, "")  # such as: memory is short
            if first or step.preview is not None or next(due):
                line = f"{doing(n, live, event.pages)}. {notes[n]} {trouble}".strip()
                left = f"About {markup.seconds(event.eta)} left" if event.eta is not None else ""
                done = sum(shares.values()) / max(len(only), 1)
                yield Moment(book, live, line, saved, done, left)
        elif isinstance(event, PageFinished):
            book, shares[event.index] = book.with_page(event.index, event.page), 1.0
            live = {n: page for n, page in live.items() if n != event.index}
            try:
                book = shop.save(book, desk)
                saved, trouble = True, ""
            except AppError as error:  # the house rules may object, too
                log.warning("A page could not be saved: %s", error)
                saved, trouble = False, f"Not saved: {error}"
            films.finish(event.index, event.page)
            line = f"Page {event.index + 1} is finished. {trouble}"
            yield Moment(book, live, line, saved, sum(shares.values()) / max(len(only), 1))
    done = sum(p.picture is not None for p in book.pages)
    if done == len(book.pages):
        line = FINISHED if shop.waiting is None else WAITS
    elif not done:
        line = "Stopped: no page was finished yet. Paint begins again."
    else:
        kept = "are kept" if done != 1 else "is kept"
        line = f"Stopped: {done} of {len(book.pages)} pages {kept}. Paint goes on from there."
    yield Moment(book, {}, trouble or line, saved, 1.0)


def doing(index: int, live: Mapping[int, markup.Live], pages: int) -> str:
    """What is done to page `index` (from 0) of the `live` ones now."""
    first, last = min(live) + 1, max(live) + 1
    now = live[index].progress
    if now is not None and now.stage == "start" and first < last:
        return f"Sketching pages {first} to {last} of {pages}"
    return f"Painting page {index + 1} of {pages}"


def paint(shop: Workshop, desk: Desk, job: Job, config: PictureConfig) -> Iterator[Moment]:
    """Paint the story in the editor; the desk has every finished page at once."""
    tale = desk.tale
    if tale is None:
        return
    book = next_book(tale.book, tale.manuscript, tale.origin, config.style, desk.owner)
    desk.keep_book(book)
    only = tuple(n for n, page in enumerate(book.pages) if page.picture is None)
    desk.lines["pictures"] = ("", "")
    last = Moment(book, {}, "", saved=True)
    try:
        with PaintingFilms(desk) as films:
            for moment in paint_pages(shop, job, book, config, only, films, desk, tale.prompts):
                desk.keep_book(moment.book)
                last = moment
                yield moment
    except AppError as error:
        desk.lines["pictures"] = (str(error), "")  # stays when the toast has gone
        raise
    whole = all(page.picture is not None for page in last.book.pages)
    desk.lines["pictures"] = (last.line, "done" if last.saved and whole else "")


def build(runner: Runner, story: StoryTab) -> PicturesTab:
    """Lay out the tab inside the current Tabs and connect its events, also Story's way on."""
    shop = runner.shop
    with gr.Tab("Pictures", id="pictures") as tab:
        with gr.Column(elem_classes="desk"):
            later = panel(elem_id="for-later")
            settings = widgets(shop.painting, lambda: build_switch(runner))
            prompts.build(runner, story.editor, settings, partial(paint, shop))
        # Stays in sight while the pages below are watched.
        with gr.Row(elem_classes="actions workbar"):
            read = gr.Button("Read your book", variant="primary", visible=False, elem_id="read")
            go = gr.Button("Paint", variant="primary", elem_id="paint")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop-painting")
            save = gr.Button("Save changes", visible=False, elem_id="save")
            status = panel(script="live.js", elem_id="picture-status")
        pages = panel(
            NO_STORY,
            events=(*markup.PAGE_ACTIONS, "begin"),
            script="pages.js",
            elem_id="pages",
        )

    def draw(desk: Desk) -> dict[Any, Any]:
        job, tale, mine = desk.job_of("paint", "make"), desk.tale, desk.book
        busy = job is not None
        line = markup.status(*desk.lines.get("pictures", ("", "")))
        if job and isinstance(job.moment, Moment):
            now = job.moment
            line = markup.painting(now.line, now.left, now.done)
            book = job.moment.book
            films = of_pages(desk, book)
            of = tale.key if tale else ""
            shown = markup.spreads(book, job.moment.live, of=of, changeable=False, films=films)
        elif job and job.kind == "make":
            line, shown = markup.status("Your story is being written…", "busy"), SOON
        elif tale is None:
            line, shown = markup.status(""), NO_STORY
        else:
            if job:
                line = markup.waiting(shop.jobs.ahead(job))
            book = mine or tale.manuscript.revise(Book("My story", (), id=""))
            films = of_pages(desk, book)
            shown = markup.spreads(book, of=tale.key, changeable=not busy, films=films)
        painted = [p.picture is not None for p in mine.pages] if mine else []
        whole = bool(painted) and all(painted)
        name = "Paint it anew" if whole else "Go on painting" if any(painted) else "Paint"
        if mine and any(painted) and desk.style not in (None, mine.style):
            name = "Paint in this style"  # which begins another book
        return {
            read: gr.update(visible=any(painted) and not busy),
            go: gr.update(
                visible=tale is not None and not busy,
                value=name,
                variant="secondary" if any(painted) else "primary",
            ),
            stop: stop_button(job),
            save: gr.update(visible=any(painted) and not busy),
            later: LATER if busy else "",
            status: line,
            pages: shown,
        }

    def begin(desk: Desk, value: Any, *values: Any) -> Work:
        config = picture_config(*values)
        shop.rules.check_pictures(config)
        words = Manuscript.from_value(value)  # or say what is wrong with it
        shop.rules.check_words(words.title, words.author, *(s.text for s in words.sentences))
        desk.remember(value)
        desk.shown = "pictures"
        return lambda job: paint(shop, desk, job, config)

    def keep(desk: Desk, value: Any) -> None:
        """Save the words as they are in the editor, with the pictures there are."""
        Manuscript.from_value(value)  # or say what is wrong with it
        desk.remember(value)
        if (book := desk.book) is None:
            return
        desk.keep_book(shop.save(book, desk))
        desk.lines["pictures"] = (SAVED if shop.waiting is None else WAITS, "done")

    def choose(desk: Desk, style: str) -> None:
        desk.style = style

    runner.acts(settings[0].change, choose, [settings[0]])  # type: ignore[attr-defined]
    runner.shows(draw, [read, go, stop, save, later, status, pages])
    wanted = [story.editor, *settings]
    for button in (go, story.paint):
        runner.starts(button.click, "paint", begin, wanted)
    runner.stops(stop.click)
    runner.acts(save.click, keep, [story.editor])
    runner.acts(pages.begin, Desk.show_story)
    runner.opens(tab, "pictures", lambda desk, value: desk.remember(value), [story.editor])
    return PicturesTab(pages, read, settings)
