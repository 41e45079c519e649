""" "Make my book": one button from a few words to the finished book."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.presets import PictureConfig, StoryConfig
from ui import gallery, pictures, story
from ui.desk import Desk
from ui.jobs import Job, Work
from ui.pictures import PicturesTab, picture_config
from ui.running import Runner
from ui.story import StoryTab, story_config
from ui.workshop import Workshop


def make_book(
    shop: Workshop, desk: Desk, job: Job, told: StoryConfig, painted: PictureConfig
) -> Iterator[Any]:
    """Write, paint, and open the book, unless it was stopped or could not be saved.

    The page follows as long as its visitor has not turned to another tab.
    """
    yield from story.write(shop, desk, job, told, choose=True)
    if job.stopped or desk.chosen != 0:
        return
    if desk.shown == "story":
        desk.leads_to("pictures")
    yield from pictures.paint(shop, desk, job, painted)
    book = desk.book
    whole = book is not None and all(p.picture is not None for p in book.pages)
    saved = desk.lines["pictures"][1] == "done"
    if book is not None and whole and saved and desk.shown == "pictures":
        desk.reading = gallery.reading(book, waits=shop.waiting is not None)
        desk.leads_to("gallery")


def connect(runner: Runner, story_tab: StoryTab, pictures_tab: PicturesTab) -> None:
    """Let the Story tab's first button make the book."""

    def begin(desk: Desk, value: Any, *values: Any) -> Work:
        count = len(story_tab.settings)
        told, painted = story_config(*values[:count]), picture_config(*values[count:])
        runner.shop.rules.check_story(told)
        runner.shop.rules.check_pictures(painted)
        desk.remember(value)
        return lambda job: make_book(runner.shop, desk, job, told, painted)

    wanted = [story_tab.editor, *story_tab.settings, *pictures_tab.settings]
    runner.starts(story_tab.make.click, "make", begin, wanted)
