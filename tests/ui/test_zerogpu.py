"""On ZeroGPU every page is one call to the card, and the model is looked up by whoever runs it.

The package `spaces` is there on a Space alone: what it does with a function it is given (keep it
as a function that yields, ask how long it takes) is written out here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from pipelines.book import Page
from pipelines.events import Sentence
from pipelines.picture_request import PictureRequest
from pipelines.presets import PictureConfig
from tests.ui.stand_in import TALE, QuickPainter
from ui.zerogpu import LentPainter, lent, seconds

calls: list[int] = []


def gpu(duration: Callable[..., int]) -> Callable[[Any], Any]:
    def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
            calls.append(duration(*args, **kwargs))
            yield from task(*args, **kwargs)

        return call

    return decorate


def test_a_page_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = ModuleType("spaces")
    spaces.GPU = gpu  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setattr(QuickPainter, "pause", 0)
    painter = LentPainter(QuickPainter)
    config = PictureConfig(steps=2, seed=1)
    events = list(painter.stream(Sentence(TALE[0]), config))
    assert isinstance(events[-1], Page)
    assert calls == [seconds(Sentence(TALE[0]), config)]
    calls.clear()
    wanted = [PictureRequest(Sentence(text), config) for text in TALE[:3]]
    pages = [(k, e.text) for k, e in painter.stream_many(wanted) if isinstance(e, Page)]
    assert pages == [*enumerate(TALE[:3])]
    assert len(calls) == 3


def test_larger_pictures_and_more_steps_ask_for_more_time() -> None:
    page = Sentence(TALE[0])
    small, long, large = (
        seconds(page, config)
        for config in (
            PictureConfig(steps=12),
            PictureConfig(steps=100),
            PictureConfig(steps=100, width=512, height=512),
        )
    )
    assert small < long < large


@pytest.mark.parametrize("value, found", [("", False), ("false", False), ("true", True)])
def test_cards_are_lent_where_the_space_says_so(
    monkeypatch: pytest.MonkeyPatch, value: str, found: bool
) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", value)
    assert lent() is found
