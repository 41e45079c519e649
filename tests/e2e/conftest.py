"""A browser, and servers to point it at."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --headless=new --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

expect.set_options(timeout=60_000)  # the machine may be busy with training


@dataclass
class Server:
    """The app as a process of its own on a free port."""

    command: Callable[[int], list[str]]
    port: int = field(default=0)
    process: subprocess.Popen[bytes] | None = None
    hold: Path = Path("nowhere")
    """While this file exists, the quick painter does not finish a second page in pencil."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self, *, same_port: bool = False) -> None:
        if not same_port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GRADIO_HEARTBEAT_INTERVAL": "1"}
        self.process = subprocess.Popen(self.command(self.port), cwd=ROOT, env=environment)
        begin = time.monotonic()
        while True:
            try:
                with urllib.request.urlopen(self.url, timeout=5):
                    return
            except OSError:
                if time.monotonic() - begin > 120 or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


# Of the package, not of the session: Playwright keeps an event loop running in this thread
# while it lives, and no test that starts a loop of its own could come after it.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages, each in a browser of its own that remembers nothing of the others.

    After the test no page may have asked another machine for anything or have failed in its
    scripts.
    """
    outside: list[str] = []
    failures: list[str] = []
    pages: list[Page] = []

    def asked(url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            outside.append(url)

    def visit(url: str, width: int = 1280, height: int = 900) -> Page:
        page = browser.new_page(
            viewport={"width": width, "height": height},
            is_mobile=width < 500,
            has_touch=width < 500,
            reduced_motion="reduce",
        )
        page.set_default_timeout(30_000)
        page.on("request", lambda request: asked(request.url))
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(url)
        # The tabs are there whichever of them an address opens.
        page.get_by_role("tab", name="Gallery").wait_for()
        pages.append(page)
        return page

    yield visit
    for page in pages:
        page.context.close()
    assert not outside
    assert not failures


def start_server(command: Callable[[int], list[str]]) -> Server:
    server = Server(command)
    server.start()
    return server


@pytest.fixture(scope="module")
def storybrush(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as `python app.py` starts it, with the embedded models and an empty library."""
    library: Path = tmp_path_factory.mktemp("library")

    def command(port: int) -> list[str]:
        return [sys.executable, "app.py", "--port", str(port), "--library", str(library)]

    server = start_server(command)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page with the quick models of tests/ui/stand_in.py."""
    library = tmp_path_factory.mktemp("library")
    hold = library.with_name("hold")
    server = start_server(
        lambda port: [
            sys.executable, "-m", "tests.ui.stand_in", str(port), str(library), str(hold)
        ]
    )  # fmt: skip
    server.hold = hold
    yield server
    server.stop()
