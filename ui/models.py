"""The "Your models" tab: texts or pictures are handed in, a model learns them, the app uses it.

What happens there is the whole app's, not one visitor's: whoever opens the tab sees the same
training. It is there only where `app.py` allows it (`Workshop.training`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.errors import InvalidInput
from ui import model_markup
from ui.desk import Desk
from ui.model_order import LANGUAGES, LEARNS, PICTURES, TEXTS, Order, install_line, missing
from ui.model_shelf import KINDS, OwnModel
from ui.model_work import Training
from ui.panel import panel
from ui.running import Drawing, Runner
from ui.served_files import file_for_browser
from ui.workshop import QUIET, clicked, session_of

TICK = 1.0
"""Seconds between two looks at a training that runs."""

INTRO = """<div class="models-intro"><h3>Teach Storybrush your own</h3>
<p>Bring texts, and leave with a story writer that sounds like them. Bring pictures, and leave with
a picture maker that paints like them. Everything stays on this computer.</p></div>"""

HINTS = {
    "writer": "A dozen stories or more, in English: txt, Markdown, EPUB, csv, jsonl, or a ZIP.",
    "painter": "Pictures of one kind, a dozen or more: png, jpg, webp, or a ZIP. They take longer "
    "than texts: give it half an hour or more. While it is in use, pages begin from a sketch: the "
    "first ideas for a page are made for the embedded picture maker alone.",
}


def build(runner: Runner, training: Training) -> gr.Timer:
    """Lay out the tab inside the current Tabs and connect its events -> its timer, for `watch`."""
    shelf = training.shelf
    with gr.Tab("Your models", id="models") as tab:
        timer = gr.Timer(TICK, active=False)
        work = panel(events=("halt", "begin", "resume", "keep", "drop"), elem_id="training")
        with gr.Column(elem_classes="desk", elem_id="teach") as form:
            gr.HTML(INTRO, apply_default_css=False)
            kind = gr.Radio(
                [(f"A {name}", key) for key, name in KINDS.items()],
                value="writer", label="What is to learn?", elem_id="model-kind",
            )  # fmt: skip
            name = gr.Textbox(
                label="Its name", placeholder="Grandmother's tales", max_length=60,
                elem_id="model-name", lines=1,
            )  # fmt: skip
            files = gr.File(
                label="Your texts or pictures", file_count="multiple",
                file_types=[*dict.fromkeys((*TEXTS, *PICTURES))], height=150, elem_id="model-files",
            )  # fmt: skip
            hint = gr.HTML(_note(HINTS["writer"]), apply_default_css=False)
            with gr.Row(elem_classes="actions"):
                folder = gr.UploadButton(
                    "Choose a whole folder", file_count="directory", size="sm",
                    elem_id="model-folder",
                )  # fmt: skip
            with gr.Row(elem_classes="sliders"):
                bases = {
                    key: gr.Dropdown(
                        _bases((), key), value="", label="Begin from",
                        info="One of these, or the whole path of a folder with a model"
                        if training.anywhere else None,
                        allow_custom_value=training.anywhere,
                        visible=key == "writer", elem_id=f"model-base-{key}",
                    )
                    for key in KINDS
                }  # fmt: skip
                minutes = gr.Slider(
                    1,
                    240,
                    10,
                    step=1,
                    label="Minutes",
                    info="How long it may learn",
                )
            use = gr.Checkbox(True, label="Use it as soon as it is ready")
            with gr.Accordion("Advanced", open=False, elem_id="models-advanced"):
                with gr.Row():
                    steps = _number("Steps", "empty: what fits into the minutes")
                    rate = _number("Learning rate", "empty: what suits", whole=False)
                    batch = _number("At a time", "texts or pictures a step; empty: what suits")
                with gr.Row() as of_writers:
                    learns = gr.Dropdown(
                        [(text, key) for key, text in LEARNS.items()], value="all",
                        label="Which part learns",
                    )  # fmt: skip
                    language = gr.Dropdown(
                        [(text, key) for key, text in LANGUAGES.items()], value="en",
                        label="Language of the texts", info="Texts in another one are left out",
                    )  # fmt: skip
            needs = gr.HTML(_needs("writer"), apply_default_css=False)
            with gr.Row(elem_classes="actions big"):
                look = gr.Button("Look at them first", variant="primary", elem_id="model-check")
        shown = panel(
            events=("use", "own", "take", "remove"), script="takeaway.js", elem_id="own-models"
        )

    def draw(desk: Desk) -> dict[Any, Any]:
        if desk.shown != "models":
            return {timer: gr.update(active=False)}
        now = training.moment()
        busy = now.stage in ("checking", "running", "elsewhere")
        return {
            timer: gr.update(active=busy),
            form: gr.update(visible=now.stage == "none"),
            work: model_markup.work(now),
            shown: model_markup.shelf(shelf),
            **{base: gr.update(choices=_bases(shelf.models, key)) for key, base in bases.items()},
        }

    def opened(desk: Desk, of: str) -> Drawing:
        shelf.refresh()
        training.look()
        return {needs: _needs(of)}

    def other_kind(desk: Desk, of: str) -> Drawing:
        return {
            **{base: gr.update(visible=key == of) for key, base in bases.items()},
            hint: _note(HINTS[of]),
            needs: _needs(of),
            of_writers: gr.update(visible=of == "writer"),
        }

    def check(desk: Desk, dropped: Sequence[str] | None, *values: Any) -> Drawing:
        training.check(order_of(*values), _paths(dropped))
        return {files: None}

    def whole_folder(desk: Desk, chosen: Sequence[str] | None, *values: Any) -> Drawing:
        training.check(order_of(*values), _paths(chosen))
        return {files: None}

    def take(desk: Desk, event: gr.EventData) -> Drawing:
        slug = clicked(event)
        path = file_for_browser(shelf.zipped(slug), f"{slug}.zip")
        return {shown: model_markup.shelf(shelf, made=path)}

    def use_own(desk: Desk, event: gr.EventData) -> None:
        shelf.use("", shelf.get(clicked(event)).slug)

    def use_embedded(desk: Desk, event: gr.EventData) -> None:
        if clicked(event) not in KINDS:
            raise InvalidInput("That button is not known here: load the page again.")
        shelf.use(clicked(event), "")

    def remove(desk: Desk, event: gr.EventData) -> None:
        training.delete(clicked(event))

    settings = [kind, name, *bases.values(), minutes, steps, rate, batch, learns, language, use]
    runner.shows(draw, [timer, form, work, shown, *bases.values()])
    runner.opens(tab, "models", opened, [kind], [needs])
    of_kind = [*bases.values(), hint, needs, of_writers]
    runner.acts(kind.input, other_kind, [kind], of_kind)
    runner.acts(look.click, check, [files, *settings], [files])
    runner.acts(folder.upload, whole_folder, [folder, *settings], [files])
    for event, act in (
        (work.halt, lambda desk: training.stop()),  # type: ignore[attr-defined]
        (work.begin, lambda desk: training.start()),  # type: ignore[attr-defined]
        (work.resume, lambda desk: training.start()),  # type: ignore[attr-defined]
        (work.keep, lambda desk: training.keep()),  # type: ignore[attr-defined]
        (work.drop, lambda desk: training.discard()),  # type: ignore[attr-defined]
        (shown.use, use_own),  # type: ignore[attr-defined]
        (shown.own, use_embedded),  # type: ignore[attr-defined]
        (shown.remove, remove),  # type: ignore[attr-defined]
    ):
        runner.acts(event, act)
    runner.acts(shown.take, take, (), [shown])  # type: ignore[attr-defined]
    return timer


def watch(runner: Runner, timer: gr.Timer) -> None:
    """Let the timer show how the training goes, once every tab is connected."""

    def look(request: gr.Request) -> Drawing:
        try:
            visit = runner.shop.desks.visit(session_of(request))
        except InvalidInput:  # the app was started again: its next event says so, once
            return {timer: gr.update(active=False)}
        if runner.shop.training is not None:
            runner.shop.training.look()
        return runner.draw(visit)

    timer.tick(look, None, runner.outputs, **QUIET)


def order_of(
    kind: str, name: str, of_writer: str, of_painter: str, minutes: float, steps: str, rate: str,
    batch: str, learns: str, language: str, use: bool,
) -> Order:  # fmt: skip
    """What the widgets say, checked. Raises: InvalidInput."""
    base = of_painter if kind == "painter" else of_writer
    return Order(
        kind, name or "", (base or "").strip(), float(minutes), int(_read("Steps", steps)),
        _read("Learning rate", rate), int(_read("At a time", batch)), learns, language, bool(use),
    )  # fmt: skip


def _read(what: str, text: str | None) -> float:
    """A number that somebody has typed; 0 for nothing. Raises: InvalidInput."""
    digits = (text or "").strip()
    try:
        found = float(digits) if digits else 0.0
        if not math.isfinite(found):
            raise ValueError(digits)
        return found
    except ValueError as error:
        raise InvalidInput(f"{what} is a number, not “{digits}”; or leave it empty.") from error


def _number(label: str, hint: str, whole: bool = True) -> gr.Textbox:
    """Not gr.Number, which turns an empty field into 0 when it is unfolded."""
    return gr.Textbox(label=label, info=hint, placeholder="8" if whole else "3e-4", max_length=12)


def _paths(given: Sequence[str] | None) -> list[Path]:
    if not given:
        raise InvalidInput("Drop your texts or pictures first, or choose a folder of them.")
    return [Path(path) for path in given]


def _bases(models: Sequence[OwnModel], kind: str) -> list[tuple[str, str]]:
    own = [(m.name, m.slug) for m in models if m.kind == kind]
    return [(f"The embedded {KINDS[kind]}", ""), *own]


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def _needs(kind: str) -> str:
    """What has to be installed first, if anything."""
    gone = missing(kind)
    if not gone:
        return ""
    return (
        '<div class="trouble" role="note"><p>Training needs a few packages more than the app. '
        f"In a terminal, and no restart is needed:</p><pre>{install_line(gone)}</pre></div>"
    )
