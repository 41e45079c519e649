"""The whole page: header, tabs, and what happens when a visitor comes and goes.

To add a tab: a module with `build(runner, ...)` that lays out a `gr.Tab`, tells the runner what it
shows and does, and is called here. A button on every painted page comes with a line in
`markup.PAGE_ACTIONS`: the pages then have a Gradio event of that name, which carries the page's
index (from 0), and `runner.acts(pictures_tab.pages.NAME, ...)` connects it. `desk.book` has the
page under that index, and `desk.keep_book` takes the changed book.
"""

from __future__ import annotations

import gradio as gr

from ui import arrival, colour, gallery, make, models, pictures, rating, repaint, story
from ui.account import login_button, login_offered
from ui.near import NearRunner
from ui.picture_settings import FIELDS
from ui.pictures import PicturesTab
from ui.recipe import STORY_FIELDS, named
from ui.rules import Rules
from ui.running import Runner
from ui.served_files import KEEP_FILES, SWEEP_EVERY
from ui.sparing import SparingBlocks
from ui.story import StoryTab
from ui.theme import ASSETS, HEADER, HEADER_JS
from ui.workshop import Workshop, session_of

MOST_EVENTS = 1000
"""Events that wait to be answered, of all pages; more are told that the app is busy."""


def build(shop: Workshop) -> gr.Blocks:
    """The app as Gradio Blocks; theme and style sheet are given to `launch`."""
    gr.set_static_paths([ASSETS / "styles", ASSETS / "drawings"])
    with SparingBlocks(title="Storybrush", delete_cache=(SWEEP_EVERY, KEEP_FILES)) as demo:
        # The key only scrambles what lies in the browser; who reads it there is its owner anyway.
        secret = gr.BrowserState("", storage_key="storybrush-secret", secret="storybrush")
        gr.HTML(HEADER, js_on_load=HEADER_JS, apply_default_css=False)
        watched: gr.Timer | None = None
        with gr.Tabs(elem_id="tabs") as tabs:
            runner = Runner(shop, tabs)
            with gr.Tab("Story", id="story") as story_page:
                story_tab = story.build(runner)
            pictures_tab = pictures.build(runner, story_tab)
            colour.build(runner, pictures_tab)
            gallery_tab = gallery.build(runner, story_tab, pictures_tab)
            if shop.training is not None:
                watched = models.build(NearRunner(runner) if shop.near else runner, shop.training)
            if shop.survey is not None:
                rating.build(runner, shop.survey)
        colour.connect_reader(runner, gallery_tab.reader)
        if login_offered():
            with gr.Row(elem_classes="actions centred", elem_id="account"):
                login_button()
        runner.opens(story_page, "story", lambda desk: None)
        repaint.build(runner, pictures_tab, story_tab.editor)
        make.connect(runner, story_tab, pictures_tab)
        settings = {"story": story_tab.settings, "pictures": pictures_tab.settings}
        keep_within(shop.rules, story_tab, pictures_tab)
        arrived = arrival.build(demo, runner, secret, settings)
        runner.connect(arrived)
        if watched is not None:
            models.watch(runner, watched)

        def leave(request: gr.Request) -> None:
            shop.desks.leave(session_of(request))

        demo.unload(leave)
    demo.queue(default_concurrency_limit=16, max_size=MOST_EVENTS, api_open=False)
    return demo


def keep_within(rules: Rules, story_tab: StoryTab, pictures_tab: PicturesTab) -> None:
    """Let no slider offer more than the house rules allow."""
    written = named(STORY_FIELDS, story_tab.settings)
    painted = named(FIELDS, pictures_tab.settings)
    for widget, most in (
        (written["min_words"], rules.story),
        (written["max_words"], rules.story),
        (painted["steps"], rules.steps),
        (painted["width"], rules.side),
        (painted["height"], rules.side),
    ):
        assert isinstance(widget, gr.Slider)
        widget.maximum = min(widget.maximum, most)
        widget.value = min(widget.value, most)
