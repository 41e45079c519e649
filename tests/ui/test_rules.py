"""House rules hold whatever is asked, and however a banned word is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.book import Book, Page
from pipelines.errors import InvalidInput
from pipelines.presets import PictureConfig, StoryConfig
from ui.rules import MAX_BANNED, Rules, read_ban_list


@pytest.fixture
def ban_list(tmp_path: Path) -> Path:
    file = tmp_path / "banned.txt"
    file.write_text("# nobody wants these\nzombie\n\n  Big   Bang \nＤÖRF\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "text",
    [
        "a zombie", "ZOMBIE!", "two zombies", "the zombie's hat", "ｚｏｍｂｉｅ", "zom\u200bbie",
        "a big  bang", "dörf",
    ],
)  # fmt: skip
def test_a_banned_word_is_found_however_it_is_written(ban_list: Path, text: str) -> None:
    rules = Rules(banned=read_ban_list(ban_list))
    for broken in (
        lambda: rules.check_words("a fox", text),
        lambda: rules.check_story(StoryConfig(text)),
        lambda: rules.check_pictures(PictureConfig(prefix=text)),
        lambda: rules.check_book(Book("A fox", (Page("It slept."), Page(text)))),
        lambda: rules.check_book(Book(text, ())),
        lambda: rules.check_book(Book("A fox", (), author=text)),
    ):
        with pytest.raises(InvalidInput, match="not a word for here"):
            broken()


@pytest.mark.parametrize("text", ["", "zombieland", "a bang, big", "🦊", "nobody wants these"])
def test_other_words_are_welcome(ban_list: Path, text: str) -> None:
    Rules(banned=read_ban_list(ban_list)).check_words(text)


def test_a_ban_list_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    damaged, long = tmp_path / "damaged", tmp_path / "long"
    damaged.write_bytes(b"\xff\xfe\x00")
    long.write_text("\n".join(f"word{n}" for n in range(MAX_BANNED + 1)))
    for file in (damaged, long, tmp_path / "missing", tmp_path):
        with pytest.raises(InvalidInput, match=file.name):
            read_ban_list(file)


def test_more_than_the_house_allows_is_refused_with_the_limit() -> None:
    rules = Rules(request=10, story=100, side=256, steps=20)
    rules.check_story(StoryConfig("a fox", max_words=100))
    rules.check_pictures(PictureConfig(steps=20))
    for config, limit in (
        (StoryConfig("a fox and an owl"), "10 characters"),
        (StoryConfig("a fox", max_words=101), "100 words"),
    ):
        with pytest.raises(InvalidInput, match=limit):
            rules.check_story(config)
    for config, limit in (
        (PictureConfig(steps=21), "20 steps"),
        (PictureConfig(height=512), "256 pixels"),
    ):
        with pytest.raises(InvalidInput, match=limit):
            rules.check_pictures(config)
