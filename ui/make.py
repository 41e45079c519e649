""" "Make my book": one button from a few words to the finished book."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ui import gallery, pictures, story
from ui.desk import Desk
from ui.jobs import Job, Work
from ui.pictures import PicturesTab, picture_config
from ui.running import Runner
from ui.story import StoryTab, story_config


def connect(runner: Runner, story_tab: StoryTab, pictures_tab: PicturesTab) -> None:
    """Let the Story tab's first button write, paint and open the book."""
    shop = runner.shop

    def make(desk: Desk, job: Job, story_settings: Any, picture_settings: Any) -> Iterator[Any]:
        yield from story.write(shop, desk, job, story_settings, choose=True)
        if job.stopped or desk.chosen != 0:
            return
        if desk.shown == "story":
            desk.shown = "pictures"
        yield from pictures.paint(shop, desk, job, picture_settings)
        book = desk.book
        whole = book is not None and all(p.picture is not None for p in book.pages)
        if book is not None and whole and desk.shown == "pictures":
            desk.reading = gallery.reading(book)
            desk.shown = "gallery"

    def begin(desk: Desk, value: Any, *values: Any) -> Work:
        count = len(story_tab.settings)
        told, painted = story_config(*values[:count]), picture_config(*values[count:])
        desk.remember(value)
        return lambda job: make(desk, job, told, painted)

    wanted = [story_tab.editor, *story_tab.settings, *pictures_tab.settings]
    runner.starts(story_tab.make.click, "make", begin, wanted)
