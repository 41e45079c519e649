"""Many look around while one paints: `python -m tests.bench.visitors`. The last line is JSON.

The app runs in a process of its own with the embedded models. One visitor makes a book twice with
the same seed: alone, and while the others load the page, look at the shelf, search, read, and ask
for news as a browser does. The figures say how much slower the second book was, and whether any
answer was an error; where one was, or the book more than a quarter slower, this ends with status 1.
The others run in this process, which gives way to the app (`nice`), as they would be elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx

from pipelines.book import Book
from pipelines.book import Page as BookPage
from storage.local import LocalLibrary
from tests.bench.app_process import App
from tests.storage.books import picture

BOOKS = 60
STAMP_EVERY = 2.0
"""Seconds, as in `ui/assets/shelf.js`."""
MOST_SLOWER = 0.25
"""How much slower a book may be that others watch."""
LOOK_FOR = 6.0
"""Seconds that a visitor looks at something, on average, before they do the next thing."""


@dataclass
class Figures:
    """Answers by kind, in seconds, and everything that was not as it should be."""

    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    errors: list[str] = field(default_factory=list[str])

    def note(self, what: str, begin: float) -> None:
        self.seconds.setdefault(what, []).append(time.monotonic() - begin)


class Visitor:
    """One browser tab, without the browser: it speaks Gradio's own protocol."""

    def __init__(self, client: httpx.AsyncClient, figures: Figures) -> None:
        self.client = client
        self.figures = figures
        self.session = secrets.token_hex(6)
        self.secret = secrets.token_hex(16)
        self.config: dict[str, Any] = {}
        self.values: dict[int, Any] = {}
        self.kept: set[str] = set()

    async def get(self, what: str, path: str) -> httpx.Response | None:
        """Ask for a file; once more on a new connection if the server has closed this one."""
        begin = time.monotonic()
        try:
            try:
                answer = await self.client.get(path)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                answer = await self.client.get(path)
        except httpx.HTTPError as error:
            self.figures.errors.append(f"{what}: {type(error).__name__}")
            return None
        self.figures.note(what, begin)
        if answer.status_code != 200:
            self.figures.errors.append(f"{what}: {answer.status_code}")
        return answer

    async def arrive(self) -> None:
        """Load the page and say who one is."""
        await self.get("page", "/")
        answer = await self.get("config", "/config")
        if answer is None:
            return
        self.config = answer.json()
        self.values = {c["id"]: c["props"].get("value") for c in self.config["components"]}
        kept = json.dumps({"tab": secrets.token_hex(16)})
        await self.act("arrive", self._load(), {0: self.secret, 1: kept})

    def component(self, elem_id: str) -> int:
        return next(c["id"] for c in self.config["components"]
                    if c["props"].get("elem_id") == elem_id)  # fmt: skip

    def _load(self) -> dict[str, Any]:
        """The dependency of the page's load event that draws everything."""
        loads = [d for d in self.config["dependencies"] if [*d["targets"][0]][1:] == ["load"]]
        return max(loads, key=lambda d: len(d["outputs"]))

    def on(self, elem_id: str, event: str) -> dict[str, Any]:
        wanted = [self.component(elem_id), event]
        return next(d for d in self.config["dependencies"]
                    if wanted in [[*t] for t in d["targets"]] and d["backend_fn"])  # fmt: skip

    async def act(
        self,
        what: str,
        dependency: dict[str, Any],
        given: dict[int, Any] | None = None,
        event_data: Any = None,
    ) -> list[Any]:
        """Trigger an event and wait for its answer; `given` are inputs by their place."""
        data = [self.values.get(id) for id in dependency["inputs"]]
        for place, value in (given or {}).items():
            data[place] = value
        begin = time.monotonic()
        try:
            joined = await self.client.post(
                "/gradio_api/queue/join",
                json={"data": data, "fn_index": dependency["id"], "session_hash": self.session,
                      "event_data": event_data, "trigger_id": dependency["targets"][0][0]},
            )  # fmt: skip
            event = joined.json().get("event_id")
            address = f"/gradio_api/queue/data?session_hash={self.session}"
            async with self.client.stream("GET", address) as lines:
                async for line in lines.aiter_lines():
                    message = json.loads(line[6:]) if line.startswith("data: ") else {}
                    if message.get("msg") == "process_completed" and message["event_id"] == event:
                        self.figures.note(what, begin)
                        if not message["success"]:
                            self.figures.errors.append(f"{what}: {message['output']}")
                            return []
                        return self._took(dependency, message["output"]["data"])
                    if message.get("msg") in ("close_stream", "unexpected_error"):
                        break
        except httpx.HTTPError as error:
            self.figures.errors.append(f"{what}: {type(error).__name__}")
            return []
        self.figures.errors.append(f"{what}: no answer")
        return []

    def _took(self, dependency: dict[str, Any], data: list[Any]) -> list[Any]:
        """Values that the page shows from now on."""
        for id, value in zip(dependency["outputs"], data, strict=True):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" in value:
                    self.values[id] = value["value"]
            else:
                self.values[id] = value
        return data

    async def pictures(self, html: str) -> None:
        """Load the pictures of a piece of the page, six at a time as browsers do."""
        found = {unescape(a) for a in re.findall(r'src="(gradio_api/file=[^"]+)"', html)}
        addresses = found - self.kept  # which never change, so that browsers keep them
        self.kept |= addresses
        slots = asyncio.Semaphore(6)

        async def load(address: str) -> None:
            async with slots:
                await self.get("picture", "/" + address)

        await asyncio.gather(*(load(a) for a in addresses))

    async def shelf(self) -> list[str]:
        """Look at the covers; returns the books' ids."""
        html = str(self.values.get(self.component("shelf")) or "")
        await self.pictures(html)
        return re.findall(r'data-open="([0-9a-f]{16})"', html)

    async def news(self) -> None:
        """What `ui/assets/shelf.js` asks every other second."""
        await self.get("news", "/news")

    async def look_around(self, until: Callable[[], bool], patience: random.Random) -> None:
        """Come, and look at this and that until it is over."""
        await asyncio.sleep(patience.uniform(0, 10))
        await self.arrive()
        gallery = next(d for d in self.config["dependencies"]
                       if [*d["targets"][0]][1:] == ["select"]
                       and self.component("shelf") in d["outputs"])  # fmt: skip
        await self.act("open gallery", gallery)
        books = await self.shelf()
        while not until():
            wait, news = time.monotonic() + patience.expovariate(1 / LOOK_FOR), 0.0
            while time.monotonic() < wait and not until():
                if time.monotonic() > news:
                    await self.news()
                    news = time.monotonic() + STAMP_EVERY
                await asyncio.sleep(0.2)
            if patience.random() < 0.6 and books:
                book = {"value": patience.choice(books)}
                await self.act("open a book", self.on("shelf", "open"), event_data=book)
                reader = next((v for v in self.values.values() if "spread-leaf" in str(v)), "")
                await self.pictures(str(reader))
                await asyncio.sleep(patience.expovariate(1 / LOOK_FOR))
                await self.act("back to the shelf", self.on("back", "click"))
            else:
                word = patience.choice(("fox", "owl", "7", ""))
                await self.act("search", self.on("search", "change"), {0: word})
                books = await self.shelf()


async def make_book(app: App, client: httpx.AsyncClient, pages: int) -> tuple[float, float]:
    """Seconds of one book by the app's own log, and of a processor that the app used meanwhile."""
    before = app.processor_seconds()
    maker, since = Visitor(client, Figures()), len(app.log)
    await maker.arrive()
    make = maker.on("make", "click")
    words = make["inputs"].index(maker.component("words"))
    seeds = [make["inputs"].index(c["id"]) for c in maker.config["components"]
             if c["props"].get("label") == "Seed" and c["id"] in make["inputs"]]  # fmt: skip
    given = {words: "a fox who wanted to fly", words + 1: pages, **dict.fromkeys(seeds, "5")}
    await maker.act("make", make, given)
    if maker.figures.errors:
        raise SystemExit(maker.figures.errors)
    done = await asyncio.to_thread(app.told, r"make: done after ([\d.]+) s", since)
    return float(done[1]), app.processor_seconds() - before


async def measure(visitors: int, pages: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="storybrush-") as folder:
        library = LocalLibrary(Path(folder))
        for n in range(BOOKS):
            leaves = tuple(
                BookPage(f"Sentence {m} of book {n} about a fox.", picture=picture(n + m, 512))
                for m in range(4)
            )
            library.save(Book(f"Book {n}", leaves, style="storybook" if n % 3 else "pencil"))
        app = App(Path(folder))
        os.nice(10)
        limits = httpx.Limits(max_connections=None)
        try:
            app.told("Models ready")
            async with httpx.AsyncClient(base_url=app.url, timeout=120, limits=limits) as client:
                await make_book(app, client, pages)  # warm
                alone, needed = await make_book(app, client, pages)
                figures, over = Figures(), threading.Event()
                rng = random.Random(7)
                crowd = [
                    asyncio.create_task(
                        Visitor(client, figures).look_around(
                            over.is_set, random.Random(rng.random())
                        )
                    )
                    for _ in range(visitors)
                ]
                await asyncio.sleep(12)  # until all have come
                begin = time.process_time(), time.monotonic()
                watched, used = await make_book(app, client, pages)
                own = (time.process_time() - begin[0]) / (time.monotonic() - begin[1])
                over.set()
                await asyncio.gather(*crowd)
        finally:
            app.close()
    failed = [line for line in app.log if "failed" in line or "Traceback" in line]
    return {
        "visitors": visitors,
        "book alone s": alone,
        "book watched s": watched,
        "slower": round(watched / alone - 1, 3),
        "errors": len(figures.errors) + len(failed),
        "first errors": (figures.errors + failed)[:3],
        "cores used to paint": round(needed / alone, 2),
        "cores used to answer the visitors": round((used - needed) / watched, 2),
        "cores used by the visitors": round(own, 2),
        "answers": {
            what: {
                "count": len(times),
                "median s": round(statistics.median(times), 3),
                "worst s": round(max(times), 3),
            }
            for what, times in sorted(figures.seconds.items())
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.visitors", description=__doc__)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--pages", type=int, default=6, help="pages of the book that is made")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.visitors, options.pages))
    print(json.dumps(figures))
    return well(figures)


def well(figures: dict[str, Any]) -> int:
    """Exit status: 0 when no answer was an error and the book took little longer, 1 otherwise."""
    return int(bool(figures["errors"]) or figures["slower"] > MOST_SLOWER)


if __name__ == "__main__":
    sys.exit(main())
