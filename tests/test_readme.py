"""The README says what is so: its commands work, its links lead somewhere, its tree is whole."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.test_project import ROOT, clean_environment, needs_make, pins, repo_files, targets
from tests.tiny_colorizer import drawing

README = (ROOT / "README.md").read_text()


def front_matter() -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL)
    assert match, "README.md does not begin with front matter"
    return yaml.safe_load(match[1])


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


# Front matter


def test_front_matter_is_what_a_space_needs():
    given = front_matter()
    for key in ["title", "emoji", "license", "tags"]:
        assert given.get(key), key
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {given["colorFrom"], given["colorTo"]} <= colours
    assert given["sdk"] == "gradio"
    assert (ROOT / given["app_file"]).is_file()
    assert 0 < len(given["short_description"]) <= 60


def test_front_matter_agrees_with_the_requirements():
    given = front_matter()
    assert given["sdk_version"] == pins("requirements.txt")["gradio"]
    assert isinstance(given["python_version"], str), "3.11 without quotes is a number in YAML"
    assert tuple(map(int, given["python_version"].split("."))) >= (3, 11)


# Links


def anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    inside = [link for link in links if not link.startswith("https://")]
    assert inside
    broken = [
        link
        for link in inside
        if not (link[1:] in anchors() if link.startswith("#") else (ROOT / link).is_file())
    ]
    assert broken == []


# The tree


def tree() -> set[PurePosixPath]:
    """The paths in the section "What is where"; two spaces a level, folders end in a slash."""
    block = re.search(r"^## What is where\n+```\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert block, "README.md has no tree"
    paths, parents = set(), [PurePosixPath()]
    for line in block[1].splitlines():
        match = re.match(r"((?:  )*)(\S+)(?:  +\S|$)", line)
        assert match, f"README's tree: cannot read {line!r}"
        level = len(match[1]) // 2
        assert level < len(parents), f"README's tree: {line!r} stands in no folder"
        path = parents[level] / match[2]
        paths.add(path)
        del parents[level + 1 :]
        if match[2].endswith("/"):
            parents.append(path)
    return paths


def test_every_path_of_the_tree_exists():
    assert sorted(str(path) for path in tree() if not (ROOT / path).exists()) == []


def test_the_tree_has_every_top_level_file_and_every_module():
    files = repo_files()
    expected = {PurePosixPath(path.parts[0]) for path in files}
    expected |= {
        PurePosixPath(path)
        for path in files
        if path.parts[0] in {"ui", "pipelines", "storage", "finetune"}
        and path.suffix == ".py"
        and path.name != "__init__.py"
    }
    assert sorted(map(str, expected - tree())) == []


# Commands


def test_make_targets_exist():
    named = set(re.findall(r"\bmake ([a-z]+)\b(?=[ `\n])", "\n".join(code_spans())))
    assert {"run", "test"} <= named
    assert named <= targets()


def code_spans() -> Iterator[str]:
    yield from re.findall(r"`([^`\n]+)`", README)
    yield from re.findall(r"^```\w*\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_modules_exist():
    modules = set(re.findall(r"python -m ((?:pipelines|finetune)[.\w]*)", README))
    assert {"pipelines", "finetune.vqgan", "finetune.evaluate"} <= modules
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_options_of_the_app_are_those_it_has():
    told = set(re.findall(r"^\| `(--[\w-]+)` \|", README, re.MULTILINE))
    shown = subprocess.run(
        [sys.executable, "app.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    both = {"--help", "--no-share", "--no-models"}
    has = set(re.findall(r"(--[a-z][\w-]*)", shown.stdout)) - both
    assert told == has


def test_python_examples_run(tmp_path: Path):
    examples = code_blocks("python")
    assert len(examples) == 3
    drawing(256, 192).save(tmp_path / "drawing.jpg")
    # one after the other: another one reads what the first one wrote
    each = f"for code in {examples!r}: exec(code, {{'__name__': '__main__'}})"
    subprocess.run(
        [sys.executable, "-c", each],
        cwd=tmp_path,
        check=True,
        timeout=280,
        env=clean_environment(PYTHONPATH=str(ROOT)),
    )
    assert (tmp_path / "fox.png").stat().st_size > 10_000
    with Image.open(tmp_path / "coloured.png") as picture:
        assert picture.size == (256, 192)


def test_the_command_line_example_runs(tmp_path: Path):
    lines = "\n".join(code_blocks("sh")).splitlines()
    command = next(shlex.split(line) for line in lines if "-m pipelines" in line)
    assert command[0] == ".venv/bin/python"
    # the command as it stands, with little work: how well it paints is tested elsewhere
    little = ["--steps", "1", "--start", "noise", "--size", "128"]
    subprocess.run(
        [sys.executable, *command[1:], *little],
        cwd=tmp_path,
        check=True,
        timeout=280,
        env=clean_environment(PYTHONPATH=str(ROOT)),
    )
    names = {path.name for path in (tmp_path / "fox").iterdir()}
    pages = len(json.loads((tmp_path / "fox" / "book.json").read_text())["pages"])
    assert 4 <= pages <= 7  # six are asked for: a story may end a little sooner or later
    assert names == {f"page-{n + 1:02d}.png" for n in range(pages)} | {"book.json", "index.html"}


@needs_make
@pytest.mark.skipif(
    Path(sys.prefix).resolve() != (ROOT / ".venv").resolve()
    or not (ROOT / ".venv" / "requirements.txt.installed").exists(),
    reason="these tests were not started by `make test`, so `make run` would install packages",
)
def test_make_run_opens_the_page(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = clean_environment(STORYBRUSH_LIBRARY=str(tmp_path / "library"))
    with (tmp_path / "log").open("w+") as log:
        app = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            page = answer_of(f"http://127.0.0.1:{port}/", app)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(app.pid, signal.SIGINT)  # what Ctrl-C sends
            try:
                app.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(app.pid, signal.SIGKILL)
                app.wait()
        log.seek(0)
        assert "Storybrush" in page, log.read()


def answer_of(url: str, app: subprocess.Popen[bytes]) -> str:
    """What the app answers, "" if it ends or takes more than two minutes."""
    until = time.monotonic() + 120
    while app.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    return ""
