"""Painting one page again beside its picture, and keeping the better of the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL.Image import Image

from pipelines.book import MAX_SENTENCE, Book, Page
from pipelines.errors import InvalidInput
from pipelines.events import PictureProgress, Sentence
from pipelines.picture_request import ImagePrompt, PictureRequest
from pipelines.presets import PictureConfig
from pipelines.storybook import page_request, prompts_of, scenery_of
from ui import brush, markup, moving, zerogpu
from ui.desk import Desk, Retry
from ui.film import PaintingFilms
from ui.jobs import Job, Work, until_stopped
from ui.manuscript import brief_for, shows
from ui.panel import panel
from ui.pictures import PicturesTab, picture_config
from ui.running import Runner, keyboard_to, stop_button
from ui.served_files import picture_url
from ui.workshop import QUIET, Workshop, clicked_number

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
  // Of the whole page: when a button has gone that was pressed, nothing in here has the keyboard.
  // Escape is the way out that one sees: Stop as long as something is painted, and Cancel then.
  document.onkeydown = (event) => {
    if (event.key !== 'Escape' || event.repeat) return;
    document.querySelector('#repaint :is(#repaint-stop, #keep-old)')?.click();
  };
  window.storybrush.repainted = dialog.querySelector('#repaint-title')?.dataset.page;
  storybrush.alone(dialog);
  dialog.querySelector('input')?.focus();
}, 60)"""
"""Gradio has no dialogs: name ours one, give it the keyboard, and keep it there."""

CLOSED = """() => {
  const end = Date.now() + 1000;
  const timer = setInterval(() => {
    if (Date.now() > end) clearInterval(timer);
    if (document.activeElement !== document.body) return;
    const page = window.storybrush.repainted;
    document.querySelector(`#pages [data-repaint="${page}"]`)?.focus();
  }, 60);
}"""
"""The keyboard goes back to the button that has opened the dialog, also when the page's new picture
brings a new button a moment later; unless a person has gone elsewhere meanwhile."""


GONE = "This page is gone: open the Pictures tab again."


@dataclass(frozen=True)
class Repainting:
    """A page and how its new picture looks so far."""

    live: markup.Live


def words_of(page: Page) -> str:
    """What the dialog says that a page's picture shows: its prompts, or what its brief says."""
    return prompts_of(page) or shows(page.brief)


def request(page: Page, wish: str, config: PictureConfig) -> PictureRequest:
    """What a page is painted from; `wish` is what stands in the place of `words_of` it now."""
    said, prompts = wish.strip(), set[str]()
    if said and said != words_of(page):
        if prompts_of(page):
            page, prompts = replace(page, text=said, recipe=None), {said}
        else:
            page = replace(page, brief=brief_for(page.text, wish=said))
    return page_request(Book(page.text, (page,)), 0, config, prompts)


def paint_again(
    shop: Workshop, desk: Desk, job: Job, page: Page, wanted: PictureRequest
) -> Iterator[Repainting]:
    """Paint the picture of a page anew beside the old one; a stopped one is not kept."""
    live = markup.Live()
    yield Repainting(live)
    events = shop.painter().stream(
        wanted.sentence,
        wanted.config,
        picture=wanted.picture,
        mask=wanted.mask,
        image_prompts=wanted.image_prompts,
    )
    index = desk.retry.index if desk.retry is not None else 0
    with PaintingFilms(desk) as films:
        for event in until_stopped(job, events):
            if isinstance(event, PictureProgress):
                films.watch(index, event.preview)
                live = markup.Live(event, event.preview or live.preview)
                yield Repainting(live)
            elif desk.retry is not None:
                films.finish(index, event)
                if not wanted.sentence.text:  # a line of prompts stays as it was typed
                    event = replace(event, text=page.text, brief=page.brief)
                changed(desk, new=event)


def changed(desk: Desk, **fields: Any) -> None:
    """Note something of the page that is painted again, as long as it is."""
    with desk.lock:
        if desk.retry is not None:
            desk.retry = replace(desk.retry, **fields)


def begun_as(way: str, config: PictureConfig, scenery: int | None, *, given: bool) -> PictureConfig:
    """The settings for one of WAYS; `given`: there is a picture to begin from. Its place stays that
    of the pages around it, which is `scenery`."""
    if given:
        return replace(config, start="picture")
    config = replace(config, scenery=scenery)
    # With a seed that is set, every try from scratch would be the same.
    return replace(config, seed=None) if way == "seed" else config


def page_of(desk: Desk) -> Page:
    """The page that the dialog is about. Raises: InvalidInput when it is no longer there."""
    book, retry = desk.book, desk.retry
    if book is None or retry is None or retry.index >= len(book.pages):
        raise InvalidInput(GONE)
    page = book.pages[retry.index]
    if page.picture is None:
        raise InvalidInput(GONE)
    return page


def compared(shop: Workshop, desk: Desk, page: Page) -> str:
    """HTML: the picture beside the new one as far as there is one, and the place in line."""
    job, new = desk.job_of("repaint", "move"), desk.retry.new if desk.retry else None
    live = None
    if job is not None and job.kind == "repaint":
        live, new = job.moment.live if job.moment else None, None
    line = markup.waiting(shop.jobs.ahead(job)) if job and job.moment is None else ""
    return markup.comparison(page, live, new) + line


def _advanced() -> tuple[gr.HTML, gr.Image, gr.Slider]:
    """A part of the picture, and a picture to come close to: folded away."""
    with gr.Accordion("Advanced", open=False, elem_id="repaint-advanced"):
        part = brush.component()
        with gr.Row():
            like = gr.Image(
                label="Come close to a picture",
                type="pil",
                image_mode="RGBA",
                sources=["upload", "clipboard"],
                height=180,
                elem_id="like",
            )
            weight = gr.Slider(-3, 3, 1, step=0.1, label="How close", info="Below 0: keep away")
    return part, like, weight


def build(runner: Runner, pictures: PicturesTab, editor: Component) -> None:
    """Lay out the dialog over the page and connect it with the pages' "Paint again"."""
    shop = runner.shop
    with (
        gr.Column(visible=False, elem_id="repaint", elem_classes="dialog") as dialog,
        gr.Column(elem_classes="dialog-sheet"),
    ):
        heading = panel()
        versus = panel(elem_id="versus")
        way = gr.Radio([(t, k) for k, t in WAYS.items()], value="seed", label="Start")
        upload = gr.Image(
            label="Your picture",
            type="pil",
            image_mode="RGBA",
            sources=["upload", "clipboard"],
            visible=False,
            height=220,
            elem_id="upload",
        )
        wish = gr.Textbox(
            label="What the picture shows",
            info="Say it in other words, or leave it as it is",
            max_length=MAX_SENTENCE,
            elem_id="wish",
        )
        part, like, weight = _advanced()
        # Where a card is lent page by page, nobody has it for as long as a film takes.
        moves = None if zerogpu.lent() else moving.controls()
        with gr.Row(elem_classes="actions"):
            keep = gr.Button(
                "Keep the new one", variant="primary", visible=False, elem_id="keep-new"
            )
            again = gr.Button("Paint again", variant="primary", elem_id="repaint-go")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="repaint-stop")
            close = gr.Button("Cancel", elem_id="keep-old")

    def draw(desk: Desk) -> dict[Any, Any]:
        book, retry, job = desk.book, desk.retry, desk.job_of("repaint", "move")
        if book is None or retry is None or retry.index >= len(book.pages):
            return {dialog: gr.update(visible=False), versus: "", heading: ""}
        busy, found = job is not None, retry.new is not None
        page = book.pages[retry.index]
        return {
            dialog: gr.update(visible=True),
            heading: f'<h2 id="repaint-title" data-page="{retry.index}">'
            f"Paint page {retry.index + 1} again</h2>",
            versus: compared(shop, desk, page),
            keep: gr.update(visible=found and not busy),
            again: gr.update(visible=not busy, variant="secondary" if found else "primary"),
            stop: stop_button(job),
            close: gr.update(visible=not busy, value="Keep the old one" if found else "Cancel"),
        }

    def draw_moving(desk: Desk) -> dict[Any, Any]:
        assert moves is not None
        try:
            page = page_of(desk)
        except InvalidInput:
            return {moves.shown: ""}
        return {
            moves.shown: moving.shown(desk, page, desk.job_of("move")),
            moves.go: gr.update(visible=desk.job is None),
        }

    def open_dialog(desk: Desk, event: gr.EventData) -> dict[Any, Any]:
        desk.refuse_while_busy()
        desk.retry = Retry(-1 if (n := clicked_number(event)) is None else n)
        try:
            page = page_of(desk)
        except InvalidInput:
            desk.retry = None
            raise
        return laid_out(page, {})

    def laid_out(page: Page, given: Mapping[str, Any]) -> dict[Any, Any]:
        """The widgets as they were `given`, or as they are at first."""
        begun = given.get("way", "seed")
        return {
            wish: given.get("wish", words_of(page)),
            way: begun,
            upload: gr.update(value=given.get("upload"), visible=begun == "upload"),
            part: brush.value_of(picture_url(page.picture or b""), given.get("strokes", ())),
            like: given.get("like"),
            weight: given.get("weight", 1),
        }

    def greet(desk: Desk) -> dict[Any, Any]:
        if desk.retry is None:
            return {}
        with suppress(InvalidInput):
            return laid_out(page_of(desk), desk.retry.given)
        return {}

    def begin(
        desk: Desk,
        wish: str,
        way: str,
        upload: Image | None,
        part: object,
        like: Image | None,
        weight: float,
        *values: Any,
    ) -> Work:
        config = picture_config(*values)
        shop.rules.check_words(wish or "")
        page = page_of(desk)
        picture = {"current": page.image, "upload": lambda: upload}.get(way, lambda: None)()
        if way == "upload" and picture is None:
            raise InvalidInput("Add your picture first, or choose another start.")
        scenery = scenery_of(desk.book) if desk.book is not None else None
        config = begun_as(way, config, scenery, given=picture is not None)
        mask = brush.brushed(part, page.image().size)
        if mask is not None and way == "upload":
            raise InvalidInput(
                "Where you brushed belongs to the picture it has: choose that, or clear it."
            )
        if mask is not None and picture is None:
            picture = page.image()  # stays around what is painted from scratch
        shown = () if like is None else (ImagePrompt(like, float(weight)),)
        wanted = request(page, wish or "", config)
        wanted = replace(wanted, picture=picture, mask=mask, image_prompts=shown)
        shop.rules.check_pictures(wanted.config)
        given = {"wish": wish or "", "way": way, "upload": upload, "like": like, "weight": weight,
                 "strokes": brush.strokes_of(part)}  # fmt: skip
        changed(desk, given=given)
        return lambda job: paint_again(shop, desk, job, page, wanted)

    def begin_moving(desk: Desk, *values: Any) -> Work:
        camera, config = moving.camera(*values[:6]), picture_config(*values[6:])
        page = page_of(desk)
        wanted = moving.request(shop, page, config, camera)
        return lambda job: moving.move_through(shop, desk, job, page, wanted, camera)

    def keep_new(desk: Desk, value: object) -> None:
        book, retry = desk.book, desk.retry
        old = page_of(desk)
        if book is None or retry is None or retry.new is None:
            raise InvalidInput("There is no new picture to keep: paint it first.")
        desk.refuse_while_busy()
        saved = shop.save(book.with_page(retry.index, retry.new), desk)
        desk.remember(value)
        desk.shows_instead(Sentence(old.text, old.brief), retry.new.brief)
        desk.keep_book(saved)
        desk.retry = None
        desk.lines["pictures"] = (f"Page {retry.index + 1} has its new picture.", "done")

    def close_dialog(desk: Desk) -> None:
        if job := desk.job_of("repaint", "move"):
            shop.jobs.stop(job)
        desk.retry = None

    runner.shows(draw, [dialog, heading, versus, keep, again, stop, close])
    if moves is not None:
        runner.shows(draw_moving, [moves.shown, moves.go])
        wanted = [*moves.settings, *pictures.settings]
        runner.starts(moves.go.click, "move", begin_moving, wanted)
    asked = [wish, way, upload, part, like, weight]
    runner.greets(greet, asked)
    runner.acts(pictures.pages.repaint, open_dialog, (), asked, js=OPENED)
    way.change(lambda way: gr.update(visible=way == "upload"), way, upload, **QUIET)
    wanted = [*asked, *pictures.settings]
    runner.starts(again.click, "repaint", begin, wanted, js=keyboard_to("#repaint-stop"))
    runner.stops(stop.click)
    runner.acts(keep.click, keep_new, [editor], js=CLOSED)
    runner.acts(close.click, close_dialog, js=CLOSED)
