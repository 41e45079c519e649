"""Speed and memory on this machine: `make bench`. The last line is JSON.

Every part runs in a process of its own, as a person would meet it; nothing is asserted, because
figures depend on the machine. Seconds, and megabytes of 10^6 bytes. `--busy 1` measures beside
another program that takes three quarters of a core, as a browser does that shows the page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BOOK = """
import json, resource, sys, threading, time

import app  # the app's own imports count
import gradio

app.share_the_processor()

found = {}
begin = time.perf_counter()
from pipelines.storybook import book_from_draft, load_story, load_pictures, paint
from pipelines.presets import PictureConfig, StoryConfig
from pipelines.events import Draft, PageFinished, PagePainting, StoryProgress

story = load_story()
found["load story writer"] = time.perf_counter() - begin
begin = time.perf_counter()
pictures = load_pictures()
found["load picture maker"] = time.perf_counter() - begin

config = StoryConfig("a fox who wanted to fly", sentences=6, seed=1)
begin = pressed = time.perf_counter()
draft = None
for event in story.stream(config):
    if isinstance(event, StoryProgress) and event.text and "first words" not in found:
        found["first words"] = time.perf_counter() - begin
    if isinstance(event, Draft) and draft is None:
        draft = event
found["drafts of a story"] = time.perf_counter() - begin
book = book_from_draft(draft, config, style="storybook")
book = type(book)(book.title, (book.pages * 6)[:6])

begin = time.perf_counter()
for event in paint(pictures, book, PictureConfig(seed=1)):
    if isinstance(event, PagePainting) and event.progress.preview is not None:
        found.setdefault("first preview", time.perf_counter() - begin)
    if isinstance(event, PageFinished):
        found.setdefault("first page", time.perf_counter() - begin)
found["book of six pages"] = time.perf_counter() - begin
found["button to last of six pages"] = time.perf_counter() - pressed
found["peak memory MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(json.dumps(found))
"""


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def page_answers() -> float:
    """Seconds from `make run` (`python app.py` where there is no make) until the page answers."""
    port = free_port()
    with tempfile.TemporaryDirectory() as library:
        begin = time.perf_counter()
        plain = [sys.executable, "app.py", "--port", str(port)]
        app = subprocess.Popen(
            ["make", "run", f"PORT={port}"] if shutil.which("make") else plain,
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"STORYBRUSH_LIBRARY": library}, start_new_session=True,
        )  # fmt: skip
        try:
            while time.perf_counter() - begin < 120:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                        if answer.status == 200:
                            return time.perf_counter() - begin
                except OSError:
                    time.sleep(0.05)
            raise TimeoutError("the page did not answer in 120 s")
        finally:
            os.killpg(app.pid, signal.SIGTERM)
            app.wait(30)


def whole_book() -> dict[str, float]:
    """Loading, a story and a book of six pages, with the app's modules in memory."""
    done = subprocess.run(
        [sys.executable, "-c", _BOOK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def colouring() -> dict[str, float]:
    """Strokes, variations and scans, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.colour"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


_BUSY = """
import time

while True:
    end = time.perf_counter() + 0.012
    while time.perf_counter() < end:
        sum(range(1000))
    time.sleep(0.004)
"""


@contextlib.contextmanager
def beside(programs: int) -> Iterator[None]:
    """That many others on this machine, each with work for 12 of 16 milliseconds."""
    others = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(programs)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    import torch

    options = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    options.add_argument("--busy", type=int, default=0, metavar="N", help="other programs at work")
    busy = options.parse_args().busy
    with beside(busy):
        found = {"page answers": page_answers()} | whole_book() | colouring()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}"
    machine += f", beside {busy} other programs" if busy else ""
    print(machine)
    for name, value in found.items():
        print(f"{name:28s} {value:8.2f}")
    print(json.dumps({"machine": machine, **{k: round(v, 3) for k, v in found.items()}}))


if __name__ == "__main__":
    main()
