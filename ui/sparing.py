"""Gradio's Blocks, sparing with what an event leaves as it is.

Gradio 6 builds every component anew that an event may change, and looks its signature up to do so,
also where the event says to skip it. The page's events may change dozens and change one or two;
that was half of what answering visitors cost.
"""

from __future__ import annotations

import copy
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import Block
from gradio.exceptions import ComponentProcessingError
from gradio.state_holder import SessionState
from PIL.Image import DecompressionBombError

TOO_LARGE = "This picture is far too large: make it smaller and hand it in again."

UNCHANGED = gr.skip()


class SparingBlocks(gr.Blocks):
    """Blocks whose handlers return what has changed: `{component: value, ...}`."""

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], state: SessionState | None,
        explicit_call: bool = False,
    ) -> list[Any]:  # fmt: skip
        """What the handler is given; a picture that is far too large is not opened, but told."""
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except ComponentProcessingError as error:
            if not isinstance(error.__cause__, DecompressionBombError):
                raise
            raise gr.Error(TOO_LARGE, duration=15, print_exception=False) from error

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list[Any] | dict[Any, Any],
        state: SessionState | None,
    ) -> list[Any]:  # fmt: skip
        """What the browser is told of each output; those left out are skipped unseen."""
        if not (isinstance(predictions, dict) and predictions and _by_component(predictions)):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = {c._id: v for c, v in predictions.items() if not _is_skip(v)}
        places = {block._id: n for n, block in enumerate(block_fn.outputs)}
        told: list[Any] = [None if b.stateful else gr.skip() for b in block_fn.outputs]
        if not changed.keys() <= places.keys():  # Gradio knows what to say
            return await super().postprocess_data(block_fn, predictions, state)
        if changed:
            some = copy.copy(block_fn)
            some.outputs = [block_fn.outputs[places[id]] for id in changed]
            values = [*changed.values()]
            given = values if len(values) > 1 else values[0]
            data = await super().postprocess_data(some, given, state)
            for id, value in zip(changed, data, strict=True):
                told[places[id]] = value
        return told

    def handle_streaming_diffs(
        self, block_fn: BlockFunction, data: list[Any], session_hash: str | None,
        run: str | None, final: bool, simple_format: bool = False,
    ) -> list[Any]:  # fmt: skip
        """What has changed since the event's last news, as edits of it.

        Gradio's page makes them in the very object that it was told and may not have shown yet: of
        two pieces of news that come close together, the first would lose what the second leaves
        out, and a button stay hidden. So an object is told anew as a whole.
        """
        streams = self.pending_diff_streams.get(session_hash or "", {})
        edits = not (final or simple_format) and run in streams
        whole = [*data]
        told = super().handle_streaming_diffs(
            block_fn, data, session_hash, run, final, simple_format
        )
        if not edits:
            return told
        return [
            [["replace", [], value]] if any(path for _, path, _ in changes) else changes
            for changes, value in zip(told, whole, strict=True)
        ]


def _by_component(predictions: dict[Any, Any]) -> bool:
    return all(isinstance(key, Block) for key in predictions)


def _is_skip(value: object) -> bool:
    return isinstance(value, dict) and value == UNCHANGED
