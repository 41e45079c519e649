"""The Colour tab: a drawing is handed in, coloured while one draws on it, and saved."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from pipelines.book import Book
from pipelines.colorize.lineart import STRENGTH
from pipelines.colorize.settings import StablePaintConfig
from pipelines.errors import InvalidInput
from ui import colour_files as files
from ui import colour_kept as kept
from ui import colour_markup, colour_vary, gallery, markup
from ui import colour_work as work
from ui.colour_vary import Varying
from ui.desk import Desk
from ui.easel import Easel, Place
from ui.jobs import Job, Work
from ui.panel import panel
from ui.pictures import PicturesTab
from ui.running import Runner, stop_button
from ui.story import read_seed, seed_box
from ui.theme import ASSETS, asset
from ui.workshop import Workshop, clicked, clicked_number

log = logging.getLogger(__name__)

FREEDOM = 0.85
"""How far variations may stray by default: from what is there to something else, not to chaos."""

BEFORE = "Back to the drawing before"

INPUT = """<div class="drop"><p class="lead">Hand in a drawing</p>
<label class="small-button">Choose a file<input type="file"
  accept="image/*,.ora" aria-label="Choose a drawing"></label>
<label class="small-button photo">Take a photo<input type="file" accept="image/*"
  capture="environment" aria-label="Take a photo of a drawing"></label>
<p>or drop it here, or paste it. Line art, scans, photos of paper and whole pictures will do.</p>
<p role="alert"></p></div>"""

TO_BENCH = "() => setTimeout(() => document.querySelector('#colour-bench')?.scrollIntoView(), 120)"

PAINTING = "Variations are being painted: wait for them, or press Stop."

SMALL, FULL = "stablepaint", "full"
"""Who paints variations."""

FULL_GUIDANCE = 7.0
"""How much Stable Diffusion heeds the words."""

ELSEWHERE = (
    "This drawing was drawn on in another tab of yours, and is shown as it is there now: "
    "draw your last stroke once more."
)


def build(runner: Runner, pictures: PicturesTab) -> None:
    """Lay out the tab inside the current Tabs and connect its events."""
    shop = runner.shop
    with gr.Tab("Colour", id="colour") as tab:
        with gr.Column(elem_classes="desk", elem_id="colour-start") as start:
            given = gr.HTML(
                html_template=INPUT,
                js_on_load=asset("colour_input.js"),
                apply_default_css=False,
                elem_id="drawing-input",
            )
            samples = panel(colour_markup.examples(), events=("example",), elem_id="drawings")
            with gr.Row(elem_classes="actions"):
                resume = gr.Button(BEFORE, size="sm", visible=False, elem_id="resume-drawing")
        with gr.Column(visible=False, elem_id="colour-bench") as bench:
            with gr.Row(elem_classes="actions workbar"):
                going = gr.Button("Keep going", elem_id="keep-going")
                back = gr.Button("‹ Step back", elem_id="step-back")
                forward = gr.Button("Step forward ›", elem_id="step-forward")
                another = gr.Button("New drawing", elem_id="new-drawing")
                before = gr.Button(BEFORE, visible=False, elem_id="drawing-before")
                status = panel(elem_id="colour-status")
            with gr.Row(elem_classes="bench"):
                with gr.Column(min_width=300, elem_classes="desk"):
                    easel_html = gr.HTML(
                        "",
                        html_template='<div class="easel"></div>',
                        js_on_load=asset("colour.js"),
                        apply_default_css=False,
                        elem_id="easel",
                    )
                with gr.Column(min_width=300):
                    compare = panel(script="colour_compare.js", elem_id="compare")
                    tidy = gr.Checkbox(
                        True, label="Keep colours within the lines", elem_id="within-lines"
                    )
                    with gr.Row(elem_classes="actions"):
                        suggest = gr.Checkbox(
                            True, label="Choose colours where I drew none", elem_id="suggest"
                        )
                        others = gr.Button("Other colours", size="sm", elem_id="other-colours")
                    notes = panel(events=("offer",), elem_id="drawing-notes")
                    with gr.Accordion("The lines", open=False, elem_id="lines-settings"):
                        strength = gr.Slider(
                            0.0, 1.0, STRENGTH, step=0.05, label="Strength",
                            info="Bold lines only, or faint ones as well",
                        )  # fmt: skip
                        with gr.Row(elem_classes="actions"):
                            buttons = {
                                name: gr.Button(text, size="sm")
                                for name, text in colour_markup.OFFERS.items()
                            }
            with gr.Column(elem_classes="desk"):
                with gr.Row(elem_classes="actions"):
                    vary = gr.Button("Four variations", variant="primary", elem_id="vary")
                    stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop-varying")
                    varied = panel(elem_id="varied")
                variations = panel(events=("keep", "mix"), elem_id="variations")
                mixed = panel(events=("mixed",), script="colour_mix.js", elem_id="mixed")
                with gr.Accordion("Advanced", open=False, elem_id="colour-advanced"), gr.Row():
                    freedom = gr.Slider(
                        0.1, 1.0, FREEDOM, step=0.05, label="Freedom",
                        info="How far variations may stray from what is there",
                    )  # fmt: skip
                    steps = gr.Slider(4, 30, 12, step=1, label="Steps")
                    seed = seed_box()
                with gr.Row(visible=shop.colourists.full is not None, elem_id="full-size"):
                    painter = gr.Radio(
                        [("StablePaint", SMALL), ("Stable Diffusion at full size", FULL)],
                        value=FULL if shop.colourists.full else SMALL, label="Painted by",
                    )  # fmt: skip
                    prompt = gr.Textbox(
                        label="In words", placeholder="a fox in a snowy wood", lines=1,
                        max_length=300, info="For Stable Diffusion: what the picture shows",
                    )  # fmt: skip
            with gr.Row(elem_classes="actions"):
                to_page = gr.Button("Put it on the page", variant="primary", visible=False,
                                    elem_id="to-page")  # fmt: skip
                save = gr.Button("Save…", elem_id="save-colours")
                saved = panel(elem_id="saved-files")

    def draw(desk: Desk) -> dict[Any, Any]:
        easel, job = desk.easel, desk.job
        if easel is None:
            return {
                start: gr.update(visible=True),
                bench: gr.update(visible=False),
                given: "asks" if desk.asks_for_drawing else "",
                resume: gr.update(visible=desk.easel_before is not None),
            }
        varying = desk.job_of("vary")
        document, found = easel.document, easel.candidates
        moment = varying.moment if varying else None
        line, kind, aside = colour_markup.status_line(
            easel, job, shop.jobs.ahead(job) if job else 0
        )
        waits = varying is not None or easel.stale
        under, shown = "", colour_markup.candidates(found, easel.end)
        between = colour_markup.mixed(easel.mixed)
        if varying:
            under = markup.waiting(shop.jobs.ahead(varying))
        if isinstance(moment, Varying):
            under = colour_markup.progress(moment)
            if moment.between:
                between = colour_markup.wet(moment.urls)
            else:
                shown, between = colour_markup.wet(moment.urls), ""
        return {
            start: gr.update(visible=False),
            bench: gr.update(visible=True),
            easel_html: describe(easel),
            compare: colour_markup.comparison(easel),
            notes: colour_markup.notes(easel),
            tidy: easel.tidy,
            suggest: easel.suggest,
            strength: easel.strength,
            others: gr.update(visible=easel.suggest and not easel.waits_for_mask),
            status: markup.status(line, kind, aside),
            going: gr.update(interactive=document.colours is not None and not waits),
            back: gr.update(visible=bool(easel.past)),
            forward: gr.update(visible=bool(easel.future)),
            before: gr.update(visible=desk.easel_before is not None and varying is None),
            vary: gr.update(visible=varying is None),
            stop: stop_button(varying),
            varied: under,
            variations: shown,
            mixed: between,
            to_page: gr.update(
                visible=easel.place is not None and easel.coloured, interactive=not waits
            ),
            save: gr.update(interactive=not easel.stale),
            saved: colour_markup.saved(easel),
        }

    def hand_in(desk: Desk, event: gr.EventData) -> None:
        put_up(shop, desk, files.read(files.uploaded(clicked(event), get_upload_folder())))

    def take_up(desk: Desk, event: gr.EventData) -> None:
        """Go on with what the browser has kept; whatever tab is open stays so."""
        if not desk.asks_for_drawing:
            return
        desk.asks_for_drawing = False
        try:
            easel = kept.put_together(read_message(event), get_upload_folder())
        except InvalidInput as error:  # nobody has asked for it
            log.warning("A drawing that a browser has kept cannot be opened: %s", error)
            gr.Warning(kept.UNREADABLE)
            return
        with desk.lock:
            if desk.easel is None:
                replace_easel(desk, easel)
        follow(shop, desk)

    def try_one(desk: Desk, event: gr.EventData) -> None:
        name = clicked(event)
        if name not in colour_markup.EXAMPLES:
            raise InvalidInput("There is no such drawing: choose another one.")
        easel = files.read(ASSETS / "drawings" / f"{name}.png")
        _, easel.choice = colour_markup.EXAMPLES[name]
        put_up(shop, desk, easel)

    def colour_page(desk: Desk, event: gr.EventData) -> None:
        put_up(shop, desk, page_of(desk.book, clicked_number(event), desk))

    def take_strokes(desk: Desk, event: gr.EventData) -> None:
        sent = read_message(event)
        if not isinstance(sent, dict):
            raise InvalidInput("Your strokes could not be read: load the page again.")
        easel = needed(desk)
        with desk.lock:
            elsewhere = work.drawn_over_others(easel, sent)
            taken = work.take_strokes(easel, sent)
        if elsewhere:
            gr.Warning(ELSEWHERE)
        if taken:
            follow(shop, desk)

    def redraw(desk: Desk, offer: str, level: float) -> None:
        """Other lines, by what was offered."""
        easel = needed(desk)
        with desk.lock:
            strength = None
            if offer == "extract":
                strength = float(level)
                lineart = work.lines_of(easel, strength)
            elif offer == "own":
                lineart = work.own_lines(easel)
            else:
                lineart = work.swapped(easel)
            work.redraw(easel, lineart, strength)
        follow(shop, desk)

    def repaint(desk: Desk, **wishes: bool | int) -> None:
        """Paint the easel's drawing anew, with other wishes."""
        easel = needed(desk)
        with desk.lock:
            for name, value in wishes.items():
                setattr(easel, name, value)
            easel.changed()
        follow(shop, desk)

    def go_on(desk: Desk) -> None:
        with desk.lock:
            work.keep_going(needed(desk))

    def go_step(desk: Desk, is_back: bool) -> None:
        with desk.lock:
            work.step(needed(desk), is_back)
        follow(shop, desk)

    def choose(desk: Desk, event: gr.EventData) -> None:
        number = clicked_number(event)
        with desk.lock:
            colour_vary.keep_candidate(needed(desk), -1 if number is None else number)

    def choose_mixed(desk: Desk, event: gr.EventData) -> None:
        number = clicked_number(event)
        with desk.lock:
            colour_vary.keep_mixed(needed(desk), -1 if number is None else number)

    def mix(desk: Desk, event: gr.EventData) -> None:
        """Choose an end of the way, and begin when both are chosen."""
        number, easel = clicked_number(event), needed(desk)
        desk.refuse_while_busy()
        with desk.lock:
            ends = colour_vary.pick_end(easel, -1 if number is None else number)
        if ends is not None:

            def paint(job: Job) -> Iterator[Varying]:
                return colour_vary.paint_between(shop, desk, easel, job, ends)

            desk.begin(shop.jobs, "vary", paint, shop.desks.grace)

    def clear_table(desk: Desk) -> None:
        with desk.lock:
            if desk.job_of("vary"):
                raise InvalidInput(PAINTING)
            replace_easel(desk, None)

    def go_back(desk: Desk) -> None:
        if desk.easel_before is None:
            raise InvalidInput("There was no drawing before: hand one in, or try an example.")
        put_up(shop, desk, desk.easel_before)

    def begin_variations(
        desk: Desk, free: float, steps_now: float, seed_now: str, by: str, words: str
    ) -> Work:
        easel = needed(desk)
        full = by == FULL and shop.colourists.full is not None
        if full:
            shop.rules.check_words(words or "")
        config = StablePaintConfig(
            corruption=float(free),
            steps=int(steps_now),
            seed=read_seed(seed_now),
            guidance=FULL_GUIDANCE if full else StablePaintConfig.guidance,
        )

        def paint(job: Job) -> Iterator[Varying]:
            asked = (words or "").strip() if full else None
            return colour_vary.paint_variations(shop, desk, easel, job, config, asked)

        return paint

    def save_files(desk: Desk) -> None:
        easel = needed(desk)
        with desk.lock:
            files.save_files(easel)

    def put_on_page(desk: Desk) -> None:
        book = files.put_on_page(shop, desk, needed(desk))
        if desk.reading is not None and desk.reading.book.id == book.id:
            desk.reading = gallery.reading(book, waits=desk.reading.waits)
        gr.Info("The page has its new picture.")

    runner.shows(
        draw,
        [
            start, given, resume, bench, easel_html, compare, tidy, suggest, others, notes, status,
            going, back, forward, vary, stop, varied, variations, mixed, to_page, saved, save,
            strength, before,
        ],
    )  # fmt: skip
    runner.opens(tab, "colour", lambda desk: shop.colourists.warm())
    runner.resumes(lambda desk: resume_live(shop, desk))
    runner.acts(given.given, hand_in, js=TO_BENCH, watch=True)
    runner.acts(given.kept, take_up, watch=True)
    runner.acts(easel_html.given, hand_in, watch=True)
    runner.acts(samples.example, try_one, js=TO_BENCH, watch=True)
    runner.acts(pictures.pages.colour, colour_page, js=TO_BENCH, watch=True)
    runner.acts(easel_html.draw, take_strokes, watch=True)
    for name, button in buttons.items():
        runner.acts(
            button.click,
            lambda desk, level, name=name: redraw(desk, name, level),
            [strength],
            watch=True,
        )
    runner.acts(
        strength.release, lambda d, level: redraw(d, "extract", level), [strength], watch=True
    )
    runner.acts(
        notes.offer,
        lambda desk, event, level: redraw(desk, clicked(event), level),
        [strength],
        watch=True,
    )
    runner.acts(tidy.input, lambda d, on: repaint(d, tidy=bool(on)), [tidy], watch=True)
    runner.acts(suggest.input, lambda d, on: repaint(d, suggest=bool(on)), [suggest], watch=True)
    runner.acts(others.click, lambda d: repaint(d, choice=needed(d).choice + 1), watch=True)
    runner.acts(going.click, go_on)
    runner.acts(back.click, lambda desk: go_step(desk, True), watch=True)
    runner.acts(forward.click, lambda desk: go_step(desk, False), watch=True)
    runner.acts(variations.keep, choose)
    runner.acts(variations.mix, mix, watch=True)
    runner.acts(mixed.mixed, choose_mixed)
    runner.acts(another.click, clear_table, js="() => storybrush.drawing.forget()")
    runner.acts(before.click, go_back, watch=True)
    runner.acts(resume.click, go_back, js=TO_BENCH, watch=True)
    runner.starts(vary.click, "vary", begin_variations, [freedom, steps, seed, painter, prompt])
    runner.stops(stop.click)
    runner.acts(save.click, save_files)
    runner.acts(to_page.click, put_on_page)


def connect_reader(runner: Runner, reader: gr.HTML) -> None:
    """Let a page of the book that is being read be coloured."""

    def colour_read(desk: Desk, event: gr.EventData) -> None:
        book = desk.reading.book if desk.reading else None
        put_up(runner.shop, desk, page_of(book, clicked_number(event), desk))

    runner.acts(reader.colour, colour_read, js=TO_BENCH, watch=True)  # type: ignore[attr-defined]


def follow(shop: Workshop, desk: Desk, patience: float = 0.4) -> None:
    """Let the picture follow what was changed, as soon as it is this visitor's turn.

    A job that has just seen the last strokes is about to end; after `patience` seconds, strokes
    are kept and coloured when the other work has ended (`resume_live`).
    """
    easel = desk.easel
    if easel is None:
        return
    end = time.monotonic() + patience
    while not begin_live(shop, desk, easel) and time.monotonic() < end:
        time.sleep(0.01)


def begin_live(shop: Workshop, desk: Desk, easel: Easel) -> bool:
    """Begin to paint what was changed, unless other work comes first; whether it is painted.

    Raises: InvalidInput when the line is full.
    """
    with desk.lock:
        job = desk.job
        if job is not None:
            return easel.live and job.kind == "colour"
        easel.live = True
        try:
            desk.begin(
                shop.jobs,
                "colour",
                lambda job: work.paint_live(shop, desk, easel, job),
                shop.desks.grace,
            )
        except InvalidInput:
            easel.live = False
            raise
        return True


def resume_live(shop: Workshop, desk: Desk) -> bool:
    """Paint what was drawn while other work came first; what has failed is not tried again."""
    easel = desk.easel
    if easel is None or not easel.behind or easel.tried == easel.revision:
        return False
    if desk.gone(shop.desks.grace):
        return False
    return begin_live(shop, desk, easel)


def put_up(shop: Workshop, desk: Desk, easel: Easel) -> None:
    """Put a drawing on the easel. Raises: InvalidInput while variations are being painted."""
    with desk.lock:
        if desk.job_of("vary"):
            raise InvalidInput(PAINTING)
        replace_easel(desk, easel)
        desk.shown = "colour"
    follow(shop, desk)


def replace_easel(desk: Desk, easel: Easel | None) -> None:
    """Put another drawing up, or none; one can go back to the one that was there."""
    if desk.easel is not None:
        desk.easel_before = desk.easel
    elif desk.easel_before is easel:
        desk.easel_before = None
    desk.easel, desk.asks_for_drawing = easel, False


def read_message(event: gr.EventData) -> object:
    """The JSON value that a page has sent, None where it cannot be read."""
    try:
        return json.loads(clicked(event))
    except (ValueError, RecursionError):
        return None


def needed(desk: Desk) -> Easel:
    """The work on the easel. Raises InvalidInput when there is none."""
    if desk.easel is None:
        raise InvalidInput("There is no drawing yet: hand one in, or try an example.")
    return desk.easel


def page_of(book: Book | None, index: int | None, desk: Desk) -> Easel:
    """A page of a book on the easel; it may go back into the book if that is this visitor's.

    Raises: InvalidInput when there is no such page, or it is not painted yet.
    """
    if book is None or index is None or index >= len(book.pages):
        raise InvalidInput("This page is gone: open the book again.")
    place = Place.of(book, index) if book.owner == desk.owner else None
    return files.read_page(book.pages[index], index + 1, place, book.title)


def describe(easel: Easel) -> str:
    """What the canvas shows, as `assets/colour.js` reads it."""
    width, height = easel.document.size
    value = {
        "name": easel.name,
        "round": easel.round,
        "heard": easel.heard,
        "width": width,
        "height": height,
        "palette": easel.table,
        "masking": easel.waits_for_mask,
        "about": kept.about(easel),
        **easel.urls,
    }
    return json.dumps(value)
