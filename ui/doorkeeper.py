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


MAX_BODY = 32 * 2**20
"""Bytes of a request that is no upload: two layers of strokes at their largest, and some."""

FILES_AT_ONCE = 10
"""Files of the largest size that one upload may have together; of smaller ones it may have more."""

WRAPPING = 2**20
"""Bytes of an upload that are names of its files and what parts them."""

FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"}
"""Headers of requests that another server passes on."""


class TooLarge(Exception):
    """The body of a request has grown past what it may have."""


class Doorkeeper:
    """ASGI middleware. Answers 403 to files elsewhere and 413 to what is too large, lets browsers
    keep files that never change, forbids them to guess what kind of file something is, and tells
    the news.

    `largest` is how many bytes a file may have that is uploaded, which Gradio sees to; here all of
    an upload is counted. `forwarded` is how many bytes may be uploaded through another server, None
    where that makes no difference.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        board: news.News,
        largest: int,
        forwarded: int | None = None,
    ) -> None:
        self.app = app
        self.board = board
        self.upload = FILES_AT_ONCE * largest + WRAPPING
        self.forwarded = forwarded

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
        most = self._most(scope)
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"")
        if length.isdigit() and int(length) > most:
            await _answer(send, 413, TOO_LARGE)
            return
        received = 0
        over = False

        async def count() -> Any:
            nonlocal received, over
            message = await receive()
            received += len(message.get("body", b""))
            over = received > most
            if over:
                raise TooLarge
            return message

        more = [(b"x-content-type-options", b"nosniff")]
        keep = (b"cache-control", b"private, max-age=86400, immutable")

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if over:  # whatever the app makes of a body that it could not read
                    message["status"] = 413
                found = message["status"] == 200 and UNCHANGING.search(path)
                message["headers"] = [*message["headers"], *more, *([keep] if found else [])]
            await send(message)

        try:
            await self.app(scope, count, answer)
        except TooLarge:
            await _answer(send, 413, TOO_LARGE)

    def _most(self, scope: Scope) -> int:
        """Bytes of the body that this request may have."""
        if not str(scope["path"]).endswith("/upload"):
            return MAX_BODY
        if self.forwarded is not None and any(k in FORWARDED for k, _ in scope["headers"]):
            return self.forwarded
        return self.upload


TOO_LARGE = b"This is too large to be handed in here."


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
