"""The story editor: a Gradio component of our own, written in `assets/editor.js`.

Its value is what `Tale.to_value` gives and `Manuscript.from_value` reads. Sentences are moved,
split and joined in the browser; only the question what a new sentence shows goes to the server,
outside the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from pipelines.book import MAX_SENTENCE, MAX_TITLE
from pipelines.events import Sentence
from ui.manuscript import MAX_PAGES, Manuscript, brief_for, shows
from ui.theme import asset


def read_brief(question: Any) -> dict[str, str]:
    """What the picture of a sentence shows: {"brief", "shows"}.

    `question` comes from any browser: {"text", "wish", "before": [{"text", "brief"}, ...]}, where
    `wish` are a person's own words for the picture.
    """
    asked: Mapping[str, Any] = question if isinstance(question, Mapping) else {}

    def words(source: Mapping[str, Any], name: str) -> str:
        value = source.get(name)
        return value[:MAX_SENTENCE] if isinstance(value, str) else ""

    rows = asked.get("before")
    before = [
        Sentence(words(row, "text"), words(row, "brief"))
        for row in (rows[:MAX_PAGES] if isinstance(rows, list) else [])
        if isinstance(row, Mapping)
    ]
    text, wish = words(asked, "text"), words(asked, "wish")
    brief = brief_for(text, before, wish) if text.strip() or wish.strip() else ""
    return {"brief": brief, "shows": shows(brief)}


def editor() -> gr.HTML:
    """An editor without a story in it."""
    return gr.HTML(
        Manuscript().to_value(),
        html_template='<div class="manuscript"></div>',
        js_on_load=asset("editor.js"),
        server_functions=[read_brief],
        apply_default_css=False,
        elem_id="editor",
        max_sentences=MAX_PAGES,
        max_characters=MAX_SENTENCE,
        max_title=MAX_TITLE,
    )
