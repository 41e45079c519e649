"""The whole page: header, tabs, and what happens when a visitor comes and goes."""

from __future__ import annotations

import gradio as gr

from ui import gallery, pictures, repaint, story
from ui.theme import ASSETS, HEADER, HEADER_JS
from ui.workshop import QUIET, Workshop, session_of

KEEP_FILES = 24 * 3600
"""Seconds that pictures stay where browsers fetch them; books in the library stay for good."""


def build(shop: Workshop) -> gr.Blocks:
    """The app as Gradio Blocks; theme and style sheet are given to `launch`."""
    gr.set_static_paths([ASSETS / "styles"])
    with gr.Blocks(title="Storybrush", delete_cache=(3600, KEEP_FILES)) as demo:
        # The key only scrambles what lies in the browser; who reads it there is its owner anyway.
        secret = gr.BrowserState("", storage_key="storybrush-secret", secret="storybrush")
        book = gr.State(None)
        gr.HTML(HEADER, js_on_load=HEADER_JS, apply_default_css=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Story", id="story"):
                story_tab = story.build(shop, book)
            pictures_tab = pictures.build(shop, tabs, story_tab, book, secret)
            arrive, outputs = gallery.build(shop, tabs, story_tab, pictures_tab, book, secret)
        repaint.build(shop, pictures_tab, book)

        def leave(request: gr.Request) -> None:
            shop.jobs.stop(session_of(request))

        demo.load(arrive, secret, outputs, **QUIET)
        demo.unload(leave)
    demo.queue(default_concurrency_limit=16, api_open=False)
    return demo
