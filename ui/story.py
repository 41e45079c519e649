"""The Story tab: words become drafts, one draft is chosen and edited."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.errors import InvalidInput
from pipelines.events import Draft, Sentence, StoryProgress
from pipelines.presets import StoryConfig, draw_seed
from pipelines.scene import MAX_REQUEST, split_sentences
from ui import markup
from ui.editor import editor
from ui.jobs import Job, until_stopped
from ui.manuscript import Manuscript, brief_for
from ui.messages import guarded
from ui.workshop import MODEL, QUIET, Workshop, clicked_number, paced, session_of

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


@dataclass(frozen=True)
class Writing:
    """A request for drafts that has been checked and waits for its turn."""

    job: Job
    config: StoryConfig
    choose: bool
    """Take the best draft without asking."""


@dataclass(frozen=True)
class Origin:
    """Where the story in the editor came from."""

    draft: Draft
    config: StoryConfig


@dataclass(frozen=True)
class StoryTab:
    """What the other tabs need of this one.

    `written` ends the way from "Write and paint": unless the job of `writing` was stopped, the
    best draft is in the editor then.
    """

    editor: gr.HTML
    origin: gr.State
    paint: gr.Button
    writing: gr.State
    written: Any


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
    seed: float | None,
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
        seed=read_seed(seed),
    )


def read_seed(seed: float | None) -> int:
    """The seed of the box, or a fresh one when it is empty. Raises: InvalidInput."""
    if seed is None:
        return draw_seed()
    if seed != int(seed):
        raise InvalidInput("A seed is a whole number; leave it empty for a new one.")
    return int(seed)


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


def write_drafts(shop: Workshop, writing: Writing) -> Generator[str, None, list[Draft]]:
    """Stream the drafts as HTML; returns them finished, or as far as they came when stopped."""
    config = writing.config
    story = shop.writer()
    latest: dict[int, StoryProgress] = {}
    found: list[Draft] = []
    due = paced(0.12)
    for event in until_stopped(writing.job, story.stream(config)):
        if isinstance(event, Draft):
            found.append(event)
            continue
        latest[event.draft] = event
        if next(due):
            yield markup.writing(
                [markup.DraftCard(p.title, p.text, p.done) for _, p in sorted(latest.items())]
            )
    if not found:
        parts = (finished_part(p, config) for _, p in sorted(latest.items()))
        found = [draft for draft in parts if draft is not None]
    return found


def build(shop: Workshop, book: gr.State) -> StoryTab:
    """Lay out the tab inside the current Blocks and connect its events.

    `book` is emptied whenever another story comes into the editor.
    """
    with gr.Column(elem_classes="desk"):
        settings = _settings()
        with gr.Row(elem_classes="actions"):
            both = gr.Button("Write and paint", variant="primary", elem_id="write-and-paint")
            write = gr.Button("Only write", elem_id="write")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop-writing")
        status = gr.HTML(markup.status(""), elem_id="story-status")
    drafts = gr.HTML(
        markup.empty("A blank page", "Type a few words above, or pick an example."),
        js_on_load=markup.button_js("choose"),
        apply_default_css=False,
        elem_id="drafts",
    )
    page = editor()
    with gr.Row(elem_classes="actions"):
        paint = gr.Button("Paint this story", variant="primary", visible=False, elem_id="paint-it")
        own = gr.Button("Write a story of my own", size="sm", elem_id="own-story")

    request, found, origin = gr.State(None), gr.State(None), gr.State(None)

    @guarded
    def begin(request: gr.Request, choose: bool, *values: Any) -> tuple[Any, ...]:
        config = story_config(*values)
        job = shop.jobs.begin(session_of(request))
        return (Writing(job, config, choose), markup.waiting(shop.jobs.ahead(job)), *buttons(True))

    @guarded
    def work(writing: Writing | None) -> Any:
        if writing is None or not shop.jobs.start(writing.job):
            return
        same = (gr.skip(),) * 5
        try:
            yield (gr.skip(), markup.status("Writing…", "busy"), *same)
            stream = write_drafts(shop, writing)
            while True:
                try:
                    yield (next(stream), gr.skip(), *same)
                except StopIteration as end:
                    result: list[Draft] = end.value
                    break
        finally:
            shop.jobs.end(writing.job)
        chosen = 0 if result and (writing.choose or len(result) == 1) else None
        if not result:
            text, line = markup.empty("Stopped", "Nothing was written yet."), "Stopped."
        elif chosen is None:
            text, line = markup.drafts(result), "Choose the story you like best."
        else:
            text, line = markup.drafts(result, chosen), "Your story is written."
        written = (result, writing.config)
        yield (text, markup.status(line, "done"), written, *take(*written, chosen))

    @guarded
    def choose(
        request: gr.Request,
        event: gr.EventData,
        written: tuple[list[Draft], StoryConfig] | None,
    ) -> tuple[Any, ...]:
        chosen = clicked_number(event)
        if written is None or chosen not in range(len(written[0])):
            raise InvalidInput("This draft is gone: write new ones.")
        shop.jobs.refuse_while_busy(session_of(request))
        return (markup.drafts(written[0], chosen), *take(*written, chosen))

    @guarded
    def write_own(request: gr.Request) -> tuple[Any, ...]:
        shop.jobs.refuse_while_busy(session_of(request))
        blank = Manuscript(sentences=(Sentence(""),) * 3)
        return (blank.to_value(), None, None, gr.update(visible=True))

    @guarded
    def halt(request: gr.Request) -> tuple[Any, ...]:
        if shop.jobs.stop(session_of(request)):
            # The work says so itself at its next event; two answers could come in any order.
            return (gr.skip(),) * 4
        return (markup.status("Stopped."), *buttons(False))

    @guarded
    def rest(request: gr.Request) -> tuple[Any, ...]:
        """Show the buttons again, unless the visitor has begun something new already."""
        return (gr.skip(),) * 3 if shop.jobs.busy(session_of(request)) else buttons(False)

    row, taken = [both, write, stop], [page, origin, book, paint]
    ends: list[Any] = []
    for button, at_once in ((both, True), (write, False)):
        asked = button.click(
            begin, [gr.State(at_once), *settings], [request, status, *row], **QUIET
        )
        ends.append(asked.success(work, request, [drafts, status, found, *taken], **MODEL))
        ends[-1].failure(lambda: markup.status(""), None, status, **QUIET)
        ends[-1].then(rest, None, row, **QUIET)
    drafts.choose(choose, found, [drafts, *taken], **QUIET).then(None, js=SCROLL_TO_EDITOR)
    own.click(write_own, None, taken, **QUIET).then(None, js=SCROLL_TO_EDITOR)
    stop.click(halt, None, [status, *row], **QUIET)
    return StoryTab(page, origin, paint, request, ends[0])


def buttons(busy: bool) -> tuple[Any, ...]:
    """Either the two ways to begin, or Stop."""
    return (gr.update(visible=not busy),) * 2 + (gr.update(visible=busy),)


def take(drafts: list[Draft], config: StoryConfig, chosen: int | None) -> tuple[Any, ...]:
    """Put a draft into the editor: its value, its origin, no book yet, the way on."""
    if chosen is None:
        return (gr.skip(),) * 4
    draft = drafts[chosen]
    value = Manuscript.from_draft(draft).to_value()
    return (value, Origin(draft, config), None, gr.update(visible=True))


def _settings() -> list[Component]:
    """The widgets of a StoryConfig, in the order of `story_config`."""
    plain = StoryConfig(words="x")
    words = gr.Textbox(
        label="What is your story about?",
        placeholder="a fox who wanted to fly",
        lines=2,
        max_lines=6,
        max_length=MAX_REQUEST,
        elem_id="words",
        autofocus=True,
    )
    with gr.Row(elem_classes="chips"):
        for example in EXAMPLES:
            chip = gr.Button(example, size="sm", elem_classes="chip")
            chip.click(None, None, words, js=f"() => {json.dumps(example)}")
    with gr.Row():
        sentences = gr.Slider(
            4, 12, plain.sentences, step=1, label="Pages", info="One sentence each"
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
            seed = gr.Number(
                None, label="Seed", precision=0, minimum=0, placeholder="new each time"
            )
    return [
        words, sentences, temperature, drafts, min_words, max_words, top_k, top_p,
        repetition, length, ban, seed,
    ]  # fmt: skip
