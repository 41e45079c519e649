"""Whether anything on the shelves has changed: what browsers ask every other second."""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
import time
from collections.abc import Sequence

from pipelines.errors import AppError
from storage.base import Library

ADDRESS = "/news"
"""Where `Doorkeeper` answers, past Gradio: fifty visitors ask 25 times a second."""


class News:
    """The stamp of some libraries, looked up once in some seconds however many ask for it.

    It is another one when a book has appeared, changed or gone, or when a library has something
    to say; and tells nothing else.
    """

    def __init__(self, libraries: Sequence[Library], seconds: float = 0.5) -> None:
        self._libraries = libraries
        self._seconds = seconds
        self._lock = threading.Lock()
        self._last = -math.inf
        self._value = ""

    def now(self) -> str:
        """The stamp; "" while a library cannot be read."""
        with self._lock:
            value = self._fresh()
            if value is None:
                try:
                    found = [t for lib in self._libraries for t in (lib.stamp(), lib.notice())]
                    whole = " ".join(found).encode()
                    value = hashlib.blake2s(whole, digest_size=8).hexdigest()
                except AppError:
                    value = ""
                self._value, self._last = value, time.monotonic()
            return value

    async def ask(self) -> str:
        """As `now`; a thread is only needed to look it up."""
        value = self._fresh()
        return await asyncio.to_thread(self.now) if value is None else value

    def _fresh(self) -> str | None:
        return self._value if time.monotonic() - self._last < self._seconds else None
