"""Two servers of the app on one bucket: what one publishes the other shows, and to whom."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.bench.visitors import Figures, Visitor
from tests.e2e.conftest import Server
from tests.storage.emulator import StorageServer
from ui.theme import asset

SOON = 5.0
"""Seconds within which others see what was published."""

TITLE = "The fox who flew"
"""What the quick writer calls every story."""


@pytest.fixture(scope="module")
def servers(
    storage_server: StorageServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """With quick models, each with a folder of its own as on another machine."""
    storage_server.new_bucket("two-servers")
    home = tmp_path_factory.mktemp("machines")

    def server(name: str) -> Server:
        library = f"firebase://two-servers?folder={home / name}"
        hold = str(home / "hold")
        return Server(
            lambda port: [sys.executable, "-m", "tests.ui.stand_in", str(port), library, hold]
        )

    both = server("a"), server("b")
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Server.start, both))
        yield both
    finally:
        for one in both:
            one.stop()


@asynccontextmanager
async def visiting(server: Server) -> AsyncIterator[Visitor]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        visitor = Visitor(client, Figures())
        await visitor.arrive()
        yield visitor
        assert visitor.figures.errors == []


async def looked_up(visitor: Visitor) -> list[str]:
    """Ids of the books on the shelf, looked at anew."""
    search = visitor.on("search", "change")
    await visitor.act("search", search, {0: ""})
    return await visitor.shelf()


def seconds_between_looks() -> float:
    """How often a page that is looked at asks for news."""
    found = re.search(r"setInterval\(look, (\d+)\)", asset("shelf.js"))
    assert found is not None
    return int(found[1]) / 1000


async def until_news(visitor: Visitor, before: str) -> str:
    """As a page that is looked at asks for them."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = await visitor.get("news", "/news")
        if answer is not None and answer.text not in ("", before):
            return answer.text
        await asyncio.sleep(seconds_between_looks())
    raise AssertionError("nothing new in 30 seconds")


def test_what_one_server_publishes_the_other_shows(servers: tuple[Server, Server]) -> None:
    async def run() -> None:
        async with visiting(servers[0]) as maker, visiting(servers[1]) as reader:
            assert await looked_up(reader) == []
            stamp = await until_news(reader, "")
            make = maker.on("make", "click")
            words = make["inputs"].index(maker.component("words"))
            begin = dict.fromkeys((words,), "a fox who wanted to fly")
            waiting = asyncio.create_task(until_news(reader, stamp))
            await maker.act("make", make, begin)
            end = time.monotonic() + 30
            while not (own := await looked_up(maker)):
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            saved = time.monotonic()
            await waiting
            while not (books := await looked_up(reader)):
                await asyncio.sleep(0.05)
            assert time.monotonic() - saved <= SOON
            assert books == own
            book = {"value": books[0]}
            data = await reader.act("open", reader.on("shelf", "open"), event_data=book)
            assert TITLE in json.dumps(data)

    asyncio.run(run())


def test_nobody_is_told_what_lies_on_another_visitors_desk(
    servers: tuple[Server, Server],
) -> None:
    async def run() -> None:
        async with visiting(servers[0]) as maker, visiting(servers[0]) as stranger:
            write = maker.on("write", "click")
            words = write["inputs"].index(maker.component("words"))
            await maker.act("write", write, {words: "a fox who wanted to fly"})
            files = {"files": ("mine.txt", b"for nobody else")}
            given = await maker.client.post("/gradio_api/upload", files=files)
            (path,) = given.json()
            events = maker.config["dependencies"]
            tab = next(d for d in events if d["backend_fn"] and "select" in d["targets"][0])
            end = time.monotonic() + 30
            while TITLE not in json.dumps([*maker.values.values()], default=str):
                assert time.monotonic() < end
                await looked_up(maker)
                await maker.act("open a tab", tab)
            # Neither a new page, nor one of a session that the server never saw, nor a guess.
            again = Visitor(stranger.client, Figures())
            await again.arrive()
            assert TITLE not in json.dumps([*again.values.values()], default=str)
            unknown = Visitor(stranger.client, Figures())
            unknown.config, unknown.values = again.config, again.values
            assert await unknown.act("search", unknown.on("search", "change"), {0: ""}) == []
            assert unknown.figures.errors
            folder = Path(path)
            for guess in (folder.parent, folder.parent.parent, folder.with_name("other.txt"),
                          folder.parent.with_name("0" * 64) / folder.name):  # fmt: skip
                answer = await stranger.client.get(f"/gradio_api/file={guess}")
                assert answer.status_code in (403, 404), guess
                assert b"nobody" not in answer.content

    asyncio.run(run())
