"""What every answer of the server goes through: no detours to other sites, and what to keep.

What all browsers ask for all the time is answered here, before Gradio is troubled with it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ui import news

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ELSEWHERE = re.compile(r"/file=\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)
"""A file address that names another site; Gradio would fetch it for whoever asks."""

UNCHANGING = re.compile(r"/file=.*/[0-9a-f]{64}/[^/]+$")
"""A file in a folder named by its SHA-256: a browser never needs to ask for it again."""


class Doorkeeper:
    """ASGI middleware. Answers 403 to files elsewhere, lets browsers keep files that never
    change, forbids them to guess what kind of file something is, and tells the news."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], board: news.News
    ) -> None:
        self.app = app
        self.board = board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = str(scope["path"])
        if path == news.ADDRESS:
            await _answer(send, 200, (await self.board.ask()).encode())
            return
        if ELSEWHERE.search(path):
            await _answer(send, 403, b"There is no such file here.")
            return
        more = [(b"x-content-type-options", b"nosniff")]
        keep = (b"cache-control", b"private, max-age=86400, immutable")

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                found = message["status"] == 200 and UNCHANGING.search(path)
                message["headers"] = [*message["headers"], *more, *([keep] if found else [])]
            await send(message)

        await self.app(scope, receive, answer)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
