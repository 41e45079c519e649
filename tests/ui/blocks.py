"""Pages for tests, without a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def built(build: Callable[[], T]) -> T:
    """What `build` makes of Gradio's Blocks.

    In a running event loop: without one, Gradio makes some and never closes them.
    """

    async def run() -> T:
        return build()

    return asyncio.run(run())
