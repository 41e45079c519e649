"""What the browser is told of an event's outputs, beside what Gradio's own Blocks tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from PIL import Image

from tests.ui.blocks import built
from ui.sparing import SparingBlocks

Answer = Callable[[gr.Textbox, gr.State, gr.HTML], Any]

ANSWERS: dict[str, Answer] = {
    "one": lambda text, state, html: {text: "fox"},
    "an update": lambda text, state, html: {text: gr.update(value="owl", visible=False)},
    "a state": lambda text, state, html: {state: 3, html: "<b>bold</b>"},
    "all": lambda text, state, html: {text: "a", state: 1, html: "<i>i</i>"},
    "none": lambda text, state, html: {html: gr.skip()},
    "in order": lambda text, state, html: ["a", 2, gr.skip()],
    "an empty text": lambda text, state, html: {text: "", html: None},
}


def told(blocks: type[gr.Blocks], answer: Answer) -> tuple[list[Any], Any]:
    """What the browser is told, and the state afterwards."""

    def build() -> tuple[gr.Blocks, list[Any]]:
        with blocks() as demo:
            outputs = [gr.Textbox(), gr.State(7), gr.HTML()]
            gr.Button().click(lambda: None, None, outputs)
        return demo, outputs

    demo, outputs = built(build)
    (event,) = demo.fns.values()
    session = SessionState(demo)
    data = asyncio.run(demo.postprocess_data(event, answer(*outputs), session))
    return data, session[outputs[1]._id]


def plain(value: Any) -> Any:
    """Without the empty properties that Gradio sends of an HTML that is skipped."""
    if isinstance(value, dict) and value.get("props") == gr.skip():
        return {k: v for k, v in value.items() if k != "props"}
    return value


@pytest.mark.parametrize("name", ANSWERS)
def test_the_browser_is_told_what_gradio_would_tell_it(name: str) -> None:
    (ours, state), (theirs, same_state) = (
        told(blocks, ANSWERS[name]) for blocks in (SparingBlocks, gr.Blocks)
    )
    assert [*map(plain, ours)] == [*map(plain, theirs)]
    assert len(ours) == 3
    assert state == same_state


def test_what_is_left_as_it_is_is_not_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    ordinary = gr.HTML.__init__

    def counted(self: gr.HTML, *args: Any, **kwargs: Any) -> None:
        begun.append("html")
        ordinary(self, *args, **kwargs)

    monkeypatch.setattr(gr.HTML, "__init__", counted)
    for blocks, times in ((SparingBlocks, 1), (gr.Blocks, 2)):
        begun.clear()
        told(blocks, ANSWERS["one"])
        assert len(begun) == times, "once when the page is laid out"


def test_news_takes_nothing_back_from_the_news_before_it() -> None:
    """Gradio's page changes in place what it may not have shown yet."""

    def build() -> tuple[gr.Blocks, list[Any]]:
        with SparingBlocks() as demo:
            outputs = [gr.Textbox(), gr.HTML(), gr.Button()]
            gr.Button().click(lambda: None, None, outputs)
        return demo, outputs

    demo, _ = built(build)
    (event,) = demo.fns.values()
    shown, hidden = gr.update(visible=True), gr.update(visible=False, variant="stop")
    news = (["", "<b>", shown], ["a", "<b>old", gr.skip()], [gr.skip(), "<i>", hidden])

    def tell(data: list[Any], final: bool = False) -> list[Any]:
        return demo.handle_streaming_diffs(event, [*data], "session", "run", final)

    assert tell(news[0]) == news[0]
    assert tell(news[1]) == [
        [["append", [], "a"]], [["append", [], "old"]], [["replace", [], gr.skip()]]
    ]  # fmt: skip
    whole = [[["replace", [], value]] for value in news[2]]
    assert tell(news[2]) == whole
    assert tell(news[2]) == [[], [], []]
    assert tell([None] * 3, final=True) == news[2]


def test_a_component_that_is_no_output_is_refused_as_by_gradio() -> None:
    with pytest.raises(ValueError, match="not specified as output"):
        told(SparingBlocks, lambda text, state, html: {text: "a", gr.Number(render=False): 1})


def test_a_picture_that_is_far_too_large_is_told_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def build() -> gr.Blocks:
        with SparingBlocks() as demo:
            gr.Button().click(lambda picture: None, gr.Image(type="pil"), None)
        return demo

    demo = built(build)
    (event,) = demo.fns.values()
    for side, fits in ((10, True), (11, False)):
        path = tmp_path / f"{side}.png"
        Image.new("L", (side, side)).save(path)
        given = [{"path": str(path), "meta": {"_type": "gradio.FileData"}}]
        if fits:
            with pytest.warns(Image.DecompressionBombWarning):
                asyncio.run(demo.preprocess_data(event, given, SessionState(demo)))
            continue
        with pytest.raises(gr.Error, match="far too large"):
            asyncio.run(demo.preprocess_data(event, given, SessionState(demo)))
