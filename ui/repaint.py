"""Painting one page again beside its picture, and keeping the better of the two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL.Image import Image

from pipelines.book import Book, Page
from pipelines.errors import InvalidInput
from pipelines.events import PictureProgress, Sentence
from pipelines.presets import PictureConfig
from ui import markup
from ui.jobs import Job, until_stopped
from ui.manuscript import brief_for, shows
from ui.messages import guarded
from ui.pictures import PicturesTab, picture_config
from ui.workshop import MODEL, QUIET, Workshop, clicked_number, session_of

WAYS = {
    "seed": "Another try from scratch",
    "current": "From the picture it has",
    "upload": "From a picture of mine",
}

OPENED = """() => setTimeout(() => {
  const dialog = document.querySelector('#repaint');
  if (!dialog) return;
  dialog.setAttribute('role', 'dialog');
  dialog.setAttribute('aria-modal', 'true');
  dialog.setAttribute('aria-labelledby', 'repaint-title');
  dialog.onkeydown = (event) => {
    if (event.key === 'Escape') dialog.querySelector('#keep-old')?.click();
  };
  document.querySelector('#tabs').inert = true;
  dialog.querySelector('input')?.focus();
}, 60)"""
"""Gradio has no dialogs: name ours one, give it the keyboard, and keep it there."""

CLOSED = "() => { document.querySelector('#tabs').inert = false; }"


@dataclass(frozen=True)
class Repainting:
    """One page that waits to be painted again."""

    job: Job
    page: Page
    sentence: Sentence
    config: PictureConfig
    picture: Image | None


def build(shop: Workshop, pictures: PicturesTab, book: gr.State) -> None:
    """Lay out the dialog over the page and connect it with the pages' "Paint again"."""
    with (
        gr.Column(visible=False, elem_id="repaint", elem_classes="dialog") as dialog,
        gr.Column(elem_classes="dialog-sheet"),
    ):
        heading = gr.HTML("", apply_default_css=False)
        versus = gr.HTML("", apply_default_css=False, elem_id="versus")
        way = gr.Radio([(t, k) for k, t in WAYS.items()], value="seed", label="Start")
        upload = gr.Image(
            label="Your picture", type="pil", image_mode="RGB", visible=False, height=180
        )
        wish = gr.Textbox(
            label="What the picture shows",
            info="Say it in other words, or leave it as it is",
            max_length=200,
            elem_id="wish",
        )
        with gr.Row(elem_classes="actions"):
            again = gr.Button("Paint again", variant="primary", elem_id="repaint-go")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="repaint-stop")
            keep = gr.Button("Keep the new one", visible=False, elem_id="keep-new")
            close = gr.Button("Keep the old one", elem_id="keep-old")
    number, request, found = gr.State(0), gr.State(None), gr.State(None)

    @guarded
    def open_dialog(request: gr.Request, event: gr.EventData, book: Book | None) -> tuple[Any, ...]:
        index = clicked_number(event)
        shop.jobs.refuse_while_busy(session_of(request))
        if book is None or index is None or index >= len(book.pages):
            raise InvalidInput("This page is gone: open the Pictures tab again.")
        page = book.pages[index]
        return (
            gr.update(visible=True),
            f'<h2 id="repaint-title">Page {index + 1}, painted again</h2>',
            markup.comparison(page, None, None),
            shows(page.brief),
            index,
            None,
            gr.update(visible=False),
        )

    @guarded
    def begin(
        request: gr.Request,
        book: Book | None,
        index: int,
        way: str,
        upload: Image | None,
        wish: str,
        *values: Any,
    ) -> tuple[Any, ...]:
        config = picture_config(*values)
        if book is None or index >= len(book.pages):
            raise InvalidInput("This page is gone: open the Pictures tab again.")
        page = book.pages[index]
        picture = {"current": page.image, "upload": lambda: upload}.get(way, lambda: None)()
        if way == "upload" and picture is None:
            raise InvalidInput("Add your picture first, or choose another start.")
        if picture is not None:
            config = replace(config, start="picture")
        brief = page.brief
        if (wish or "").strip() and wish.strip() != shows(page.brief):
            brief = brief_for(page.text, wish=wish.strip())
        job = shop.jobs.begin(session_of(request))
        waiting = markup.waiting(shop.jobs.ahead(job))
        task = Repainting(job, page, Sentence(page.text, brief), config, picture)
        return task, None, waiting, *buttons(True, False)

    @guarded
    def work(task: Repainting | None) -> Any:
        if task is None or not shop.jobs.start(task.job):
            return
        try:
            pipeline = shop.painter()
            live = markup.Live(0)
            yield gr.skip(), markup.comparison(task.page, live, None)
            events = pipeline.stream(task.sentence, task.config, picture=task.picture)
            new: Page | None = None
            for event in until_stopped(task.job, events):
                if isinstance(event, PictureProgress):
                    live = markup.Live(0, event, event.preview or live.preview)
                    yield gr.skip(), markup.comparison(task.page, live, None)
                else:
                    new = event
        finally:
            shop.jobs.end(task.job)
        yield new, markup.comparison(task.page, None, new)

    @guarded
    def rest(request: gr.Request, new: Page | None) -> tuple[Any, ...]:
        busy = shop.jobs.busy(session_of(request))
        return (gr.skip(),) * 4 if busy else buttons(False, new is not None)

    @guarded
    def keep_new(book: Book | None, index: int, new: Page | None) -> tuple[Any, ...]:
        if book is None or new is None or index >= len(book.pages):
            raise InvalidInput("There is no new picture to keep: paint it first.")
        changed = book.with_page(index, new)
        shop.library.save(changed)
        line = markup.status(f"Page {index + 1} has its new picture.", "done")
        return changed, markup.spreads(changed), line, gr.update(visible=False)

    @guarded
    def halt(request: gr.Request) -> None:
        shop.jobs.stop(session_of(request))

    @guarded
    def close_dialog(request: gr.Request) -> Any:
        shop.jobs.stop(session_of(request))
        return gr.update(visible=False)

    row = [again, stop, keep, close]
    pictures.pages.repaint(
        open_dialog, book, [dialog, heading, versus, wish, number, found, keep], **QUIET
    ).success(None, js=OPENED)
    way.change(lambda way: gr.update(visible=way == "upload"), way, upload, **QUIET)
    again.click(
        begin,
        [book, number, way, upload, wish, *pictures.settings],
        [request, found, versus, *row],
        **QUIET,
    ).success(work, request, [found, versus], **MODEL).then(rest, found, row, **QUIET)
    stop.click(halt, None, None, **QUIET)
    shown = [book, pictures.pages, pictures.status, dialog]
    for closing in (
        keep.click(keep_new, [book, number, found], shown, **QUIET),
        close.click(close_dialog, None, dialog, **QUIET),
    ):
        closing.success(None, js=CLOSED)


def buttons(busy: bool, found: bool) -> tuple[Any, ...]:
    """Paint again, Stop, Keep the new one, Keep the old one."""
    return (
        gr.update(visible=not busy),
        gr.update(visible=busy),
        gr.update(visible=found and not busy),
        gr.update(visible=not busy),
    )
