"""Pictures without a story: a list of prompts, of which each line is painted as a page.

Lines are read as the command line's `--prompt-file` reads them (`pipelines/prompts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.book import MAX_SENTENCE, MAX_TITLE, Book
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.presets import PictureConfig
from pipelines.prompts import Prompt, parse
from pipelines.storybook import prompts_of
from ui.desk import Desk, Tale
from ui.jobs import Job, Work
from ui.manuscript import MAX_PAGES, Manuscript, brief_for
from ui.picture_settings import picture_config
from ui.running import Runner
from ui.workshop import Workshop

LONGEST = MAX_PAGES * (MAX_SENTENCE + 1)
"""Characters of a list."""


def read_prompts(text: str) -> Manuscript:
    """A page for every line; empty ones and those that begin with # are left out.

    Raises: InvalidInput.
    """
    lines = [" ".join(line.split()) for line in (text or "").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise InvalidInput("Say what the pictures show, one on each line.")
    if len(lines) > MAX_PAGES:
        raise InvalidInput(
            f"A book has {MAX_PAGES} pages at most, and this list {len(lines)} lines: "
            "paint the others as a second book."
        )
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_SENTENCE:
            raise InvalidInput(
                f"Line {number} has {len(line)} characters; {MAX_SENTENCE} fit on a page."
            )
        try:
            parse(line)
        except InvalidInput as error:
            raise InvalidInput(f"Line {number}: {error}") from error
    title = lines[0][:MAX_TITLE] if len(lines) == 1 else f"{len(lines)} pictures"
    # Pictures of their own: none takes anything over from those before, as sentences do.
    return Manuscript(title, "", tuple(Sentence(line, brief_for(line)) for line in lines))


def weighed(words: Manuscript) -> frozenset[str]:
    """The lines that say more than plain words: several prompts, weights, stops, or phases."""
    return frozenset(s.text for s in words.sentences if parse(s.text) != ((Prompt(s.text),),))


def prompts_in(book: Book) -> frozenset[str]:
    """The lines of a book that are prompts, painted ones and, where there are such, others, too."""
    painted = frozenset(page.text for page in book.pages if prompts_of(page))
    with suppress(InvalidInput):  # a book may come from anywhere
        return painted and painted | weighed(Manuscript.from_book(book))
    return painted


def put_on_desk(shop: Workshop, desk: Desk, text: str) -> None:
    """The list becomes the book that is worked on, beside what lies there. Raises: InvalidInput."""
    words = read_prompts(text)
    shop.rules.check_words(*(s.text for s in words.sentences))
    desk.add((Tale(words, prompts=weighed(words)),), choose=True)


def build(
    runner: Runner,
    editor: Component,
    settings: Sequence[Component],
    paint: Callable[[Desk, Job, PictureConfig], Iterator[Any]],
) -> None:
    """Lay out the list, folded away; `editor` has the story, `settings` are those of pictures, and
    `paint` is the work of a job."""
    shop = runner.shop
    with gr.Accordion("Pictures without a story", open=False, elem_id="prompts"):
        lines = gr.Textbox(
            label="What they show",
            info=f"One picture a line, {MAX_PAGES} at most. They become a book of their own. "
            "Weights as in “a fox | text:-0.5”; what stands after ^ follows.",
            placeholder="a fox under the stars\nan owl on a lighthouse\na boat in the snow",
            lines=4,
            max_lines=MAX_PAGES,
            max_length=LONGEST,
        )
        with gr.Row(elem_classes="actions"):
            go = gr.Button("Paint these", elem_id="paint-prompts")

    def draw(desk: Desk) -> dict[Any, Any]:
        return {go: gr.update(interactive=desk.job is None)}

    def begin(desk: Desk, story: Any, text: str, *values: Any) -> Work:
        config = picture_config(*values)
        shop.rules.check_pictures(config)
        if config.prompts and weighed(read_prompts(text)):
            raise InvalidInput(
                "This list has prompts with weights or phases of its own: leave “Prompts” in the "
                "settings empty."
            )
        desk.remember(story)
        put_on_desk(shop, desk, text)
        desk.shown = "pictures"
        return lambda job: paint(desk, job, config)

    runner.shows(draw, [go])
    runner.starts(go.click, "paint", begin, [editor, lines, *settings])
