"""The Colour tab: a drawing is handed in, coloured while one draws on it, and saved."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from pipelines.colorize.document import Document
from pipelines.colorize.drawing import Drawing, read_drawing
from pipelines.colorize.lineart import extract
from pipelines.colorize.openraster import is_openraster
from pipelines.colorize.settings import StablePaintConfig
from pipelines.errors import InvalidInput
from ui import colour_markup, markup
from ui import colour_work as work
from ui.colour_work import Easel, Place, Varying
from ui.desk import Desk
from ui.jobs import Job, Work
from ui.panel import panel
from ui.pictures import PicturesTab
from ui.running import Runner
from ui.story import read_seed, seed_box
from ui.theme import ASSETS, asset
from ui.workshop import clicked, clicked_number

FREEDOM = 0.85
"""How far variations may stray by default: from what is there to something else, not to chaos."""

INPUT = """<div class="drop"><p class="lead">Hand in a drawing</p>
<label class="small-button">Choose a file<input type="file"
  accept="image/*,.ora" aria-label="Choose a drawing"></label>
<label class="small-button">Take a photo<input type="file" accept="image/*" capture="environment"
  aria-label="Take a photo of a drawing"></label>
<p>or drop it here, or paste it. Line art, scans, photos of paper and whole pictures will do.</p>
<p role="alert"></p></div>"""

TO_BENCH = "() => setTimeout(() => document.querySelector('#colour-bench')?.scrollIntoView(), 120)"

WAITS = "This picture stands. Draw a mask over the part that should change, then colour there."

KEPT = "Your strokes are kept. Other work of yours comes first: draw on when it has ended."


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
        with gr.Column(visible=False, elem_id="colour-bench") as bench:
            with gr.Row(elem_classes="actions workbar"):
                going = gr.Button("Keep going", elem_id="keep-going")
                back = gr.Button("‹ Step back", elem_id="step-back")
                forward = gr.Button("Step forward ›", elem_id="step-forward")
                another = gr.Button("New drawing", elem_id="new-drawing")
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
                    notes = panel(elem_id="drawing-notes")
                    with gr.Accordion("The lines", open=False, elem_id="lines-settings"):
                        strength = gr.Slider(
                            0.0, 1.0, work.STRENGTH, step=0.05, label="Strength",
                            info="Bold lines only, or faint ones as well",
                        )  # fmt: skip
                        with gr.Row(elem_classes="actions"):
                            take = gr.Button("Take lines from this picture", size="sm")
                            invert = gr.Button("Swap black and white", size="sm")
            with gr.Column(elem_classes="desk"):
                with gr.Row(elem_classes="actions"):
                    vary = gr.Button("Four variations", variant="primary", elem_id="vary")
                    stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop-varying")
                    varied = panel(elem_id="varied")
                variations = panel(events=("keep",), elem_id="variations")
                with gr.Accordion("Advanced", open=False, elem_id="colour-advanced"), gr.Row():
                    freedom = gr.Slider(
                        0.1, 1.0, FREEDOM, step=0.05, label="Freedom",
                        info="How far variations may stray from what is there",
                    )  # fmt: skip
                    steps = gr.Slider(4, 30, 12, step=1, label="Steps")
                    seed = seed_box()
            with gr.Row(elem_classes="actions"):
                to_page = gr.Button("Put it on the page", variant="primary", visible=False,
                                    elem_id="to-page")  # fmt: skip
                save = gr.Button("Save…", elem_id="save-colours")
                saved = panel(elem_id="saved-files")

    def draw(desk: Desk) -> dict[Any, Any]:
        easel, job = desk.easel, desk.job
        if easel is None:
            return {start: gr.update(visible=True), bench: gr.update(visible=False)}
        varying = desk.job_of("vary")
        document, found = easel.document, easel.candidates
        moment = varying.moment if varying else None
        line, kind, aside = status_line(easel, job, shop.jobs.ahead(job) if job else 0)
        under, shown = "", colour_markup.candidates(found.urls, found.seeds, True)
        if varying:
            under = markup.waiting(shop.jobs.ahead(varying))
        if isinstance(moment, Varying):
            under = colour_markup.progress(moment)
            shown = colour_markup.candidates(moment.urls, (), False)
        return {
            start: gr.update(visible=False),
            bench: gr.update(visible=True),
            easel_html: describe(easel),
            compare: colour_markup.comparison(easel),
            notes: colour_markup.notes(easel),
            tidy: easel.tidy,
            status: markup.status(line, kind, aside),
            going: gr.update(interactive=document.colours is not None and varying is None),
            back: gr.update(visible=bool(easel.past)),
            forward: gr.update(visible=bool(easel.future)),
            vary: gr.update(visible=varying is None),
            stop: gr.update(visible=varying is not None),
            varied: under,
            variations: shown,
            to_page: gr.update(visible=easel.place is not None and document.colours is not None),
            saved: colour_markup.saved(easel),
        }

    def follow(desk: Desk) -> None:
        """Let the picture follow what was changed, as soon as it is this visitor's turn."""
        easel = desk.easel
        if easel is None:
            return
        for _ in range(40):  # a job that has just seen the last strokes is about to end
            with desk.lock:
                if easel.live:
                    return
                if desk.job is None:
                    easel.live = True
                    begin = lambda job: work.paint_live(shop, desk, easel, job)  # noqa: E731
                    desk.begin(shop.jobs, "colour", begin, shop.desks.grace)
                    return
                if desk.job.kind != "colour":
                    break
            time.sleep(0.01)
        # Strokes are kept; they are coloured when the other work has ended.

    def put_up(desk: Desk, easel: Easel) -> None:
        with desk.lock:
            if desk.job_of("vary"):
                raise InvalidInput("Variations are being painted: wait for them, or press Stop.")
            desk.easel = easel
            desk.shown = "colour"
        follow(desk)

    def hand_in(desk: Desk, event: gr.EventData) -> dict[Any, Any]:
        easel = read(work.uploaded(clicked(event), get_upload_folder()))
        put_up(desk, easel)
        return {strength: easel.strength}

    def try_one(desk: Desk, event: gr.EventData) -> None:
        name = clicked(event)
        if name not in colour_markup.EXAMPLES:
            raise InvalidInput("There is no such drawing: choose another one.")
        put_up(desk, read(ASSETS / "drawings" / f"{name}.png"))

    def colour_page(desk: Desk, event: gr.EventData) -> None:
        index, book = clicked_number(event), desk.book
        if book is None or index is None or index >= len(book.pages):
            raise InvalidInput("This page is gone: open the Pictures tab again.")
        picture = book.pages[index].image()
        drawing = Drawing(extract(picture), picture, "picture", (f"Page {index + 1} as line art.",))
        put_up(desk, work.new_easel(drawing, Place(book.id, index)))

    def take_strokes(desk: Desk, event: gr.EventData) -> None:
        try:
            sent = json.loads(clicked(event))
        except (ValueError, RecursionError):
            sent = None
        if not isinstance(sent, dict):
            raise InvalidInput("Your strokes could not be read: load the page again.")
        easel = needed(desk)
        with desk.lock:
            taken = work.take_strokes(easel, sent)
        if taken:
            follow(desk)

    def other_lines(desk: Desk, level: float, swap: bool = False) -> None:
        easel = needed(desk)
        with desk.lock:
            if swap:
                lineart = easel.document.lineart.point([255 - v for v in range(256)])
            else:
                easel.strength = float(level)
                lineart = work.lines_of(easel, easel.strength)
            work.redraw(easel, lineart)
        follow(desk)

    def keep_within(desk: Desk, wished: bool) -> None:
        easel = needed(desk)
        with desk.lock:
            easel.tidy = bool(wished)
            easel.changed()
        follow(desk)

    def go_on(desk: Desk) -> None:
        with desk.lock:
            work.keep_going(needed(desk))

    def go_step(desk: Desk, is_back: bool) -> None:
        with desk.lock:
            work.step(needed(desk), is_back)
        follow(desk)

    def choose(desk: Desk, event: gr.EventData) -> None:
        number = clicked_number(event)
        with desk.lock:
            work.keep_candidate(needed(desk), -1 if number is None else number)

    def clear_table(desk: Desk) -> None:
        if desk.job_of("vary"):
            raise InvalidInput("Variations are being painted: wait for them, or press Stop.")
        desk.easel = None

    def begin_variations(desk: Desk, free: float, steps_now: float, seed_now: str) -> Work:
        easel = needed(desk)
        config = StablePaintConfig(
            corruption=float(free), steps=int(steps_now), seed=read_seed(seed_now)
        )

        def paint(job: Job) -> Iterator[Varying]:
            return work.paint_variations(shop, desk, easel, job, config)

        return paint

    def save_files(desk: Desk) -> None:
        easel = needed(desk)
        with desk.lock:
            work.save_files(easel)

    def put_on_page(desk: Desk) -> None:
        easel = needed(desk)
        work.put_on_page(shop, desk, easel)
        gr.Info("The page has its new picture.")

    runner.shows(
        draw,
        [
            start, bench, easel_html, compare, tidy, notes, status, going, back, forward, vary,
            stop, varied, variations, to_page, saved,
        ],
    )  # fmt: skip
    runner.opens(tab, "colour", lambda desk: None)
    runner.acts(given.given, hand_in, (), [strength], js=TO_BENCH, watch=True)
    runner.acts(samples.example, try_one, js=TO_BENCH, watch=True)
    runner.acts(pictures.pages.colour, colour_page, js=TO_BENCH, watch=True)
    runner.acts(easel_html.draw, take_strokes, watch=True)
    for event in (take.click, strength.release):
        runner.acts(event, other_lines, [strength], watch=True)
    runner.acts(invert.click, lambda desk: other_lines(desk, 0.5, swap=True), watch=True)
    runner.acts(tidy.input, keep_within, [tidy], watch=True)
    runner.acts(going.click, go_on)
    runner.acts(back.click, lambda desk: go_step(desk, True), watch=True)
    runner.acts(forward.click, lambda desk: go_step(desk, False), watch=True)
    runner.acts(variations.keep, choose)
    runner.acts(another.click, clear_table)
    runner.starts(vary.click, "vary", begin_variations, [freedom, steps, seed])
    runner.stops(stop.click)
    runner.acts(save.click, save_files)
    runner.acts(to_page.click, put_on_page)


def needed(desk: Desk) -> Easel:
    """The work on the easel. Raises InvalidInput when there is none."""
    if desk.easel is None:
        raise InvalidInput("There is no drawing yet: hand one in, or try an example.")
    return desk.easel


def read(path: Path) -> Easel:
    """A drawing, or a document that was saved with its layers. Raises: InvalidInput."""
    with path.open("rb") as file:
        head = file.read(100)
    if not is_openraster(head):
        return work.new_easel(read_drawing(path))
    document = Document.from_openraster(path.read_bytes())
    easel = work.new_easel(Drawing(document.lineart, document.picture, "lineart", ()))
    easel.begin_round(document, None)
    return easel


def describe(easel: Easel) -> str:
    """What the canvas shows, as `assets/colour.js` reads it."""
    width, height = easel.document.size
    value = {
        "name": easel.name,
        "round": easel.round,
        "width": width,
        "height": height,
        "palette": easel.table,
        "masking": easel.waits_for_mask,
        **easel.urls,
    }
    return json.dumps(value)


def status_line(easel: Easel, job: Job | None, ahead: int) -> tuple[str, str, str]:
    """What the work is waiting for: (text, kind, aside) of `markup.status`."""
    if easel.painted != easel.revision and not easel.waits_for_mask:
        if job is None:
            return "Your strokes are kept: draw on, and the picture follows.", "", ""
        if job.kind not in ("colour", "vary"):
            return KEPT, "", ""
        if ahead:
            return f"You are number {ahead + 1} in line. It begins by itself.", "busy", ""
        return "Colouring…", "busy", ""
    if easel.waits_for_mask:
        return WAITS, "", ""
    if easel.document.mask is not None:
        return "Only the masked part changes. Keep going when you like it.", "done", ""
    if not easel.document.hinted:
        return "Draw a stroke of colour where you want it.", "", ""
    return "Coloured. Draw on, or mask a part to change only that.", "done", ""
