"""The Pictures tab: a style is chosen, and every page of the story is painted, one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.book import Book, new_id, now
from pipelines.errors import InvalidInput, StorageError
from pipelines.events import BookFinished, PageFinished, PagePainting
from pipelines.presets import STARTS, STYLES, PictureConfig
from ui import markup
from ui.jobs import Job, until_stopped
from ui.manuscript import Manuscript
from ui.messages import guarded
from ui.story import Origin, StoryTab, Writing, read_seed
from ui.theme import ASSETS, asset
from ui.workshop import MODEL, QUIET, Workshop, owner_of, paced, session_of, url_of

log = logging.getLogger(__name__)

NO_STORY = markup.empty(
    "No story yet", "Write one in the Story tab; its pages will be painted here, one by one."
)

SHOW_PAGES = "() => setTimeout(() => document.querySelector('#pages')?.scrollIntoView(), 80)"


@dataclass(frozen=True)
class Painting:
    """Pages that wait for their turn to be painted."""

    job: Job
    book: Book
    config: PictureConfig
    only: tuple[int, ...]


@dataclass(frozen=True)
class Moment:
    """The book at one moment of painting; `saved` tells whether the library has it so."""

    book: Book
    live: markup.Live | None
    line: str
    saved: bool


@dataclass(frozen=True)
class PicturesTab:
    """What the other tabs need of this one."""

    tab: gr.Tab
    pages: gr.HTML
    status: gr.HTML
    settings: list[Component]

    @property
    def style(self) -> Component:
        return self.settings[0]


def picture_config(
    style: str,
    prefix: str,
    suffix: str,
    start: str,
    candidates: float,
    guidance: float,
    steps: float,
    step_size: float,
    cutouts: float,
    width: float,
    height: float,
    seed: float | None,
) -> PictureConfig:
    """What the widgets say, checked. Raises: InvalidInput."""
    return PictureConfig(
        style=style,
        prefix=(prefix or "").strip(),
        suffix=(suffix or "").strip(),
        start=start,
        candidates=int(candidates),
        guidance=float(guidance),
        steps=int(steps),
        step_size=float(step_size),
        cutouts=int(cutouts),
        width=int(width),
        height=int(height),
        seed=None if seed is None else read_seed(seed),
    )


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


def paint_pages(shop: Workshop, painting: Painting) -> Iterator[Moment]:
    """Paint until done or stopped; every finished page is in the library before it is shown.

    A library that cannot be written stops nothing: the pages stay on the screen, and the line
    says what is wrong.
    """
    from pipelines.storybook import paint

    book, live, saved, trouble = painting.book, None, True, ""
    pipeline = shop.painter()
    events = paint(pipeline, book, painting.config, only=painting.only)
    due = paced(0.25)
    for event in until_stopped(painting.job, events):
        if isinstance(event, PagePainting):
            preview = event.progress.preview
            shown = preview or (live.preview if live and live.index == event.page else None)
            turned = live is None or live.index != event.page
            live = markup.Live(event.page, event.progress, shown)
            if turned or preview is not None or next(due):
                line = f"Painting page {event.page + 1} of {event.pages}"
                if event.eta is not None:
                    line += f", about {markup.seconds(event.eta)} left"
                yield Moment(book, live, f"{line}. {trouble}", saved)
        elif isinstance(event, PageFinished):
            book, live = book.with_page(event.index, event.page), None
            try:
                shop.library.save(book)
                saved, trouble = True, ""
            except StorageError as error:
                log.warning("A page could not be saved: %s", error)
                saved, trouble = False, f"Not saved: {error}"
            yield Moment(book, None, f"Page {event.index + 1} is finished. {trouble}", saved)
        elif isinstance(event, BookFinished):
            book = event.book
    done = sum(p.picture is not None for p in book.pages)
    if done == len(book.pages):
        line = "Finished: your book is in the gallery."
    else:
        kept = "are kept" if done != 1 else "is kept"
        line = f"Stopped: {done} of {len(book.pages)} pages {kept}. Paint goes on from there."
    yield Moment(book, None, trouble or line, saved)


def build(
    shop: Workshop, tabs: gr.Tabs, story: StoryTab, book: gr.State, secret: gr.BrowserState
) -> PicturesTab:
    """Lay out the tab inside the current Tabs and connect its events, also those from Story."""
    with gr.Tab("Pictures", id="pictures") as tab:
        with gr.Column(elem_classes="desk"):
            settings = _settings()
        # Stays in sight while the pages below are watched.
        with gr.Row(elem_classes="actions workbar"):
            paint = gr.Button("Paint", variant="primary", elem_id="paint")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop-painting")
            save = gr.Button("Save changes", elem_id="save")
            status = gr.HTML(markup.status(""), elem_id="picture-status")
        pages = gr.HTML(
            NO_STORY,
            js_on_load=markup.button_js("repaint"),
            apply_default_css=False,
            elem_id="pages",
        )
        request = gr.State(None)
    manuscript = [story.editor, book, story.origin, secret]

    @guarded
    def begin(
        request: gr.Request,
        value: Any,
        book: Book | None,
        origin: Origin | None,
        secret: str,
        *values: Any,
    ) -> tuple[Any, ...]:
        config = picture_config(*values)
        story = Manuscript.from_value(value)
        todo = next_book(book, story, origin, config.style, owner_of(secret))
        only = tuple(n for n, page in enumerate(todo.pages) if page.picture is None)
        job = shop.jobs.begin(session_of(request))
        return (
            Painting(job, todo, config, only),
            todo,
            gr.Tabs(selected="pictures"),
            markup.spreads(todo, changeable=False),
            markup.waiting(shop.jobs.ahead(job)),
            *buttons(True),
        )

    @guarded
    def begin_after(request: gr.Request, writing: Writing | None, *values: Any) -> tuple[Any, ...]:
        """Go on from "Write and paint", unless it was stopped."""
        if writing is None or writing.job.stopped:
            return (None, *(gr.skip(),) * 7)
        return begin(request, *values)

    @guarded
    def work(painting: Painting | None) -> Any:
        if painting is None or not shop.jobs.start(painting.job):
            return
        try:
            moment = Moment(painting.book, None, "Mixing the colours…", saved=True)
            yield moment.book, gr.skip(), markup.status(moment.line, "busy")
            for moment in paint_pages(shop, painting):
                html = markup.spreads(moment.book, moment.live, changeable=False)
                yield moment.book, html, markup.status(moment.line, "busy")
        finally:
            shop.jobs.end(painting.job)
        kind = "done" if moment.saved else ""
        yield moment.book, markup.spreads(moment.book), markup.status(moment.line, kind)

    @guarded
    def rest(request: gr.Request, book: Book | None) -> tuple[Any, ...]:
        """Buttons back and pages changeable, unless something new has begun already."""
        if shop.jobs.busy(session_of(request)):
            return (gr.skip(),) * 4
        return (*buttons(False), markup.spreads(book) if book else NO_STORY)

    @guarded
    def halt(request: gr.Request) -> tuple[Any, ...]:
        if shop.jobs.stop(session_of(request)):
            # The work says so itself at its next event; two answers could come in any order.
            return (gr.skip(),) * 4
        return (markup.status("Stopped."), *buttons(False))

    @guarded
    def keep(value: Any, book: Book | None, origin: Origin | None, secret: str) -> tuple[Any, ...]:
        """Save the words as they are in the editor, with the pictures there are."""
        story, owner = Manuscript.from_value(value), owner_of(secret)
        if book is None or book.owner != owner:
            book = next_book(book, story, origin, book.style if book else "storybook", owner)
        else:
            book = story.revise(book)
        shop.library.save(book)
        return book, markup.spreads(book), markup.status("Saved in the gallery.", "done")

    @guarded
    def look(request: gr.Request, value: Any, book: Book | None) -> Any:
        """What the pages would be, when the tab is opened."""
        if shop.jobs.busy(session_of(request)):
            return gr.skip()
        try:
            story = Manuscript.from_value(value)
        except InvalidInput:
            return NO_STORY
        return markup.spreads(story.revise(book or Book(title="My story", pages=())))

    row = [paint, stop, save]
    begun = [request, book, tabs, pages, status, *row]
    wanted = [*manuscript, *settings]
    for asked in (
        paint.click(begin, wanted, begun, **QUIET),
        story.paint.click(begin, wanted, begun, **QUIET),
        story.written.success(begin_after, [story.writing, *wanted], begun, **QUIET),
    ):
        asked.success(None, js=SHOW_PAGES)
        worked = asked.success(work, request, [book, pages, status], **MODEL)
        worked.failure(lambda: markup.status(""), None, status, **QUIET)
        worked.then(rest, book, [*row, pages], **QUIET)
    stop.click(halt, None, [status, *row], **QUIET)
    save.click(keep, manuscript, [book, pages, status], **QUIET)
    tab.select(look, [story.editor, book], pages, **QUIET)
    return PicturesTab(tab, pages, status, settings)


def buttons(busy: bool) -> tuple[Any, ...]:
    """Paint and Save, or Stop."""
    shown, hidden = gr.update(visible=not busy), gr.update(visible=busy)
    return shown, hidden, shown


def _settings() -> list[Component]:
    """The widgets of a PictureConfig, in the order of `picture_config`."""
    plain = PictureConfig()
    style = gr.HTML(
        plain.style,
        html_template=_styles(),
        js_on_load=asset("styles.js"),
        apply_default_css=False,
        elem_id="styles",
    )
    with gr.Accordion("Advanced", open=False, elem_id="picture-advanced"):
        with gr.Row():
            prefix = gr.Textbox(label="Before every picture's words", placeholder="a cosy", lines=1)
            suffix = gr.Textbox(label="After them", placeholder="soft light", lines=1)
        with gr.Row():
            # "picture" is offered where there is one: when a page is painted again.
            starts = [(text, key) for key, text in STARTS.items() if key != "picture"]
            start = gr.Radio(starts, value=plain.start, label="Start")
        with gr.Row():
            candidates = gr.Slider(1, 16, plain.candidates, step=1, label="Candidates")
            guidance = gr.Slider(1.0, 10.0, plain.guidance, step=0.1, label="Guidance")
        with gr.Row():
            steps = gr.Slider(0, 500, plain.steps, step=1, label="Steps")
            step_size = gr.Slider(0.001, 1.0, plain.step_size, step=0.001, label="Step size")
            cutouts = gr.Slider(1, 128, plain.cutouts, step=1, label="Cutouts")
        with gr.Row():
            width = gr.Slider(128, 512, plain.width, step=16, label="Width")
            height = gr.Slider(128, 512, plain.height, step=16, label="Height")
            seed = gr.Number(
                None, label="Seed", precision=0, minimum=0, placeholder="new each time"
            )
    return [
        style, prefix, suffix, start, candidates, guidance, steps, step_size, cutouts,
        width, height, seed,
    ]  # fmt: skip


def _styles() -> str:
    """Radio buttons with a sample picture each; a plain card where there is no sample."""
    cards: list[str] = []
    for key, style in STYLES.items():
        sample = ASSETS / "styles" / f"{key}.webp"
        picture = '<span class="blank"></span>'
        if sample.is_file():
            picture = f'<img src="{url_of(sample)}" alt="" loading="lazy">'
        cards.append(
            f'<label><input type="radio" name="style" value="{escape(key)}">{picture}'
            f"<span>{escape(style.label)}</span></label>"
        )
    return f'<fieldset class="styles"><legend>Style</legend>{"".join(cards)}</fieldset>'
