"""The Story tab: words become drafts, one draft is chosen and edited."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.errors import AppError, InvalidInput
from pipelines.events import Draft, Sentence, StoryProgress
from pipelines.presets import StoryConfig, draw_seed
from pipelines.reading import split_sentences
from ui import markup
from ui.desk import Desk, Origin, Tale
from ui.editor import editor
from ui.jobs import Job, Work, until_stopped
from ui.manuscript import Manuscript, brief_for
from ui.panel import panel
from ui.running import Runner, stop_button
from ui.workshop import Workshop, carried, clicked_number, paced

EXAMPLES = (
    "a fox who wanted to fly",
    "the owl who was afraid of the dark",
    "a robot and a snail on the beach",
    "a dragon who lost its fire",
    "two friends, a rocket and the moon",
)

SCROLL_TO_EDITOR = """() => {
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  document.querySelector('#editor')?.scrollIntoView({ behavior: calm ? 'auto' : 'smooth' });
}"""

TO_EXAMPLE = "(typed) => storybrush.example(typed, %s)"


@dataclass(frozen=True)
class Drafting:
    """The drafts as far as they are written."""

    cards: tuple[markup.DraftCard, ...]


@dataclass(frozen=True)
class StoryTab:
    """What the other tabs need of this one."""

    editor: gr.HTML
    make: gr.Button
    paint: gr.Button
    settings: list[Component]


def story_config(
    words: str,
    sentences: float,
    temperature: float,
    drafts: float,
    min_words: float,
    max_words: float,
    top_k: float,
    top_p: float,
    repetition_penalty: float,
    length_penalty: float,
    ban: str,
    seed: str | None,
) -> StoryConfig:
    """What the widgets say, checked; a missing seed is drawn here. Raises: InvalidInput."""
    return StoryConfig(
        words=words or "",
        sentences=int(sentences),
        temperature=float(temperature),
        drafts=int(drafts),
        min_words=int(min_words),
        max_words=int(max_words),
        top_k=int(top_k),
        top_p=float(top_p),
        repetition_penalty=float(repetition_penalty),
        length_penalty=float(length_penalty),
        ban=tuple(w.strip() for w in re.split(r"[,\n]", ban or "") if w.strip()),
        seed=draw_seed() if (given := read_seed(seed)) is None else given,
    )


def seed_box() -> gr.Textbox:
    """A field for a seed. Not gr.Number, which turns an empty field into 0 when it is unfolded."""
    return gr.Textbox(label="Seed", placeholder="new each time", lines=1, max_length=12)


def read_seed(text: str | None) -> int | None:
    """The seed in the box; None when it is empty. Raises: InvalidInput."""
    digits = (text or "").strip()
    try:
        return int(digits) if digits else None
    except ValueError as error:
        raise InvalidInput(
            f"A seed is a whole number, not “{digits}”; leave it empty for a new one."
        ) from error


def finished_part(progress: StoryProgress, config: StoryConfig) -> Draft | None:
    """The whole sentences of a draft that was stopped midway; None when there are none yet."""
    texts = split_sentences(progress.text)
    if texts and texts[-1].rstrip("\"'”’»)")[-1:] not in tuple(".!?…"):
        texts.pop()
    sentences: list[Sentence] = []
    for text in texts:
        sentences.append(Sentence(text, brief_for(text, sentences)))
    if not sentences:
        return None
    return Draft(progress.title, tuple(sentences), config.seed or 0)


def write_drafts(
    shop: Workshop, job: Job, config: StoryConfig
) -> Generator[Drafting, None, list[Draft]]:
    """Stream the drafts; returns them finished, or as far as they came when stopped."""
    story = shop.writer()
    latest: dict[int, StoryProgress] = {}
    found: list[Draft] = []
    due = paced(0.12)
    for event in until_stopped(job, story.stream(config)):
        if isinstance(event, Draft):
            found.append(event)
            continue
        latest[event.draft] = event
        if next(due):
            yield Drafting(
                tuple(markup.DraftCard(p.title, p.text, p.done) for _, p in sorted(latest.items()))
            )
    if not found:
        parts = (finished_part(p, config) for _, p in sorted(latest.items()))
        found = [draft for draft in parts if draft is not None]
    return found


def write(
    shop: Workshop, desk: Desk, job: Job, config: StoryConfig, choose: bool
) -> Iterator[Drafting]:
    """Write drafts onto the desk; with `choose` the best one goes into the editor."""
    desk.lines["story"] = ("", "")
    try:
        found = yield from write_drafts(shop, job, config)
    except AppError as error:
        desk.lines["story"] = (str(error), "")  # stays when the toast has gone
        raise
    if not found:
        desk.lines["story"] = ("Stopped: nothing was written yet.", "")
        return
    tales = tuple(Tale(Manuscript.from_draft(d), Origin(d, config)) for d in found)
    desk.add(tales, choose or len(tales) == 1)
    line = "Your story is written." if desk.chosen == 0 else "Choose the story you like best."
    if job.stopped:
        line = "Stopped: this is as far as it was written. Change it, or write another one."
        if desk.chosen != 0:
            line = "Stopped: stories end where they were. Use one, or write others."
    desk.lines["story"] = (line, "" if job.stopped else "done")


def build(runner: Runner) -> StoryTab:
    """Lay out the tab inside the current Blocks and connect its events."""
    with gr.Column(elem_classes="desk", elem_id="wish-desk"):
        words = _words()
        with gr.Row(elem_classes="actions big"):
            make = gr.Button("Make my book", variant="primary", elem_id="make")
            only = gr.Button("Write the story first", elem_id="write")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop-writing")
        status = panel(elem_id="story-status")
        settings = [words, *_settings()]
    drafts = panel(markup.welcome(), events=("choose",), script="drafts.js", elem_id="drafts")
    page = editor()
    with gr.Row(elem_classes="actions way-on"):
        paint = gr.Button("Paint this story", variant="primary", visible=False, elem_id="paint-it")
        own = gr.Button("Write a story of my own", size="sm", elem_id="own-story")

    def draw(desk: Desk) -> dict[Any, Any]:
        job = desk.job_of("write", "make")
        writing = job is not None
        if job and isinstance(job.moment, Drafting):
            line, cards = markup.status("Writing…", "busy"), markup.writing(job.moment.cards)
        else:
            line = markup.status(*desk.lines.get("story", ("", "")))
            cards = markup.drafts(desk.tales, desk.chosen)
        if job and job.moment is None:
            line = markup.waiting(runner.shop.jobs.ahead(job))
        told = desk.tale is not None  # then the way on is to paint it
        return {
            make: gr.update(visible=not writing, variant="secondary" if told else "primary"),
            only: gr.update(visible=not writing),
            stop: stop_button(job),
            status: line,
            drafts: cards,
            page: desk.handed,
            paint: gr.update(visible=told),
        }

    def begin(desk: Desk, value: Any, *values: Any) -> Work:
        config = story_config(*values)
        runner.shop.rules.check_story(config)
        desk.remember(value)
        return lambda job: write(runner.shop, desk, job, config, choose=False)

    def choose(desk: Desk, event: gr.EventData, value: Any) -> None:
        chosen = clicked_number(event)
        if chosen is None or chosen not in range(len(desk.tales)):
            raise InvalidInput("This draft is gone: write new ones.")
        desk.refuse_while_busy()
        desk.remember(value)
        desk.choose(chosen)

    def put_back(desk: Desk, event: gr.EventData) -> None:
        desk.put_back(carried(event))

    def write_own(desk: Desk, value: Any) -> None:
        desk.refuse_while_busy()
        desk.remember(value)
        desk.add((Tale(Manuscript(sentences=(Sentence(""),) * 3)), *_untouched(desk)), choose=True)

    runner.shows(draw, [make, only, stop, status, drafts, page, paint])
    runner.starts(only.click, "write", begin, [page, *settings])
    runner.acts(drafts.choose, choose, [page], js=SCROLL_TO_EDITOR)
    runner.acts(page.left, put_back)
    runner.acts(own.click, write_own, [page], js=SCROLL_TO_EDITOR)
    runner.stops(stop.click)
    return StoryTab(page, make, paint, settings)


def _untouched(desk: Desk) -> tuple[Tale, ...]:
    """Drafts that nobody has changed yet; they can still be chosen."""
    return tuple(t for t in desk.tales if t.origin is not None and not t.touched)


def _words() -> gr.Textbox:
    """The one field that matters, and examples to put into it.

    Any number of characters goes in: a browser would cut them without a word, and the rules say
    how many there may be.
    """
    words = gr.Textbox(
        label="What is your story about?",
        placeholder="a fox who wanted to fly",
        lines=2,
        max_lines=6,
        elem_id="words",
        autofocus=True,
    )
    with gr.Row(elem_classes="chips"):
        for example in EXAMPLES:
            chip = gr.Button(example, size="sm", elem_classes="chip")
            chip.click(None, words, words, js=TO_EXAMPLE % json.dumps(example))
    return words


def _settings() -> list[Component]:
    """The other widgets of a StoryConfig, in the order of `story_config`."""
    plain = StoryConfig(words="x")
    with gr.Row(elem_classes="sliders"):
        sentences = gr.Slider(
            4, 12, plain.sentences, step=1, label="Pages", info="About so many, a sentence each"
        )
        temperature = gr.Slider(
            0.1, 2.0, plain.temperature, step=0.05, label="Liveliness", info="Calm to wild"
        )
    with gr.Accordion("Advanced", open=False, elem_id="story-advanced"):
        with gr.Row():
            drafts = gr.Slider(1, 4, plain.drafts, step=1, label="Drafts")
            min_words = gr.Slider(0, 200, plain.min_words, step=5, label="Words, at least")
            max_words = gr.Slider(20, 400, plain.max_words, step=5, label="Words, at most")
        with gr.Row():
            top_k = gr.Slider(0, 200, plain.top_k, step=1, label="Top-k", info="0 = off")
            top_p = gr.Slider(0.05, 1.0, plain.top_p, step=0.01, label="Top-p")
        with gr.Row():
            repetition = gr.Slider(
                1.0, 2.0, plain.repetition_penalty, step=0.01, label="Repetition penalty"
            )
            length = gr.Slider(
                -2.0,
                2.0,
                plain.length_penalty,
                step=0.1,
                label="Length penalty",
                info="Above 0 longer drafts win, below 0 shorter ones",
            )
        with gr.Row():
            ban = gr.Textbox(label="Banned words", placeholder="ghost, storm", lines=1)
            seed = seed_box()
    return [
        sentences, temperature, drafts, min_words, max_words, top_k, top_p,
        repetition, length, ban, seed,
    ]  # fmt: skip
