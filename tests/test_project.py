"""What holds the repository together: set-up, pins, weights, and what must not be in it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "pipelines" / "weights"
MEGABYTE = 1_000_000

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def repo_files() -> list[Path]:
    """Every file of the repository, relative to ROOT: what git knows or would add."""
    git = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if git.returncode == 0:
        return [Path(name) for name in git.stdout.split("\0") if (ROOT / name).is_file()]
    # not a git checkout: everything but what tools leave behind
    left = {".git", ".venv", "__pycache__", "library", "runs", "build"}
    left |= {".pytest_cache", ".ruff_cache", ".hypothesis", ".gradio"}
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [path for path in paths if left.isdisjoint(path.parts)]


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what a surrounding `make test` put into it."""
    ours = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS", "PORT", "PYTHON", "TESTED"}
    return {key: value for key, value in os.environ.items() if key not in ours} | more


def pins(name: str) -> dict[str, str]:
    """Package -> version of a requirements file. Fails on a line that is not an exact pin."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        line = line.partition("#")[0].strip()
        if not line or line == "-r requirements.txt":
            continue
        pin = line.partition(";")[0].strip()  # where it is needed
        match = re.fullmatch(r"([\w.-]+)(\[[\w,-]+\])?==([\w.]+)", pin)
        assert match, f"{name}: {line!r} is not pinned as name==version"
        found[match[1]] = match[3]
    return found


# Requirements


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_pins_are_the_versions_these_tests_run_with(name: str):
    for package, version in pins(name).items():
        installed = metadata.version(package).partition("+")[0]  # 2.13.0+cpu is 2.13.0
        assert installed == version, f"{package}: {name} says {version}, here is {installed}"


def test_dev_requirements_include_those_of_the_app():
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert pins("requirements.txt").keys().isdisjoint(pins("requirements-dev.txt"))


# Makefile


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_makefile_has_its_targets():
    assert targets() >= {"help", "setup", "run", "test", "check", "bench", "format"}


@needs_make
def test_make_run_passes_port_and_options_on():
    shown = subprocess.run(
        ["make", "-n", "run", "PORT=7861", "ARGS=--share"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    assert shown.stdout.splitlines()[-1].split() == [
        *(".venv/bin/python", "app.py", "--port", "7861", "--share")
    ]


@needs_make
def test_make_help_lists_every_target():
    shown = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True, env=clean_environment()
    )
    assert set(re.findall(r"^  make (\w+)", shown.stdout, re.MULTILINE)) == targets()


STAND_IN = """#!/bin/sh
# Stands in for Python: makes a "venv" of itself, and notes what it is asked to install.
case "$*" in
    *ensurepip*) exit {ensurepip} ;;
    -c*|--version) exit 0 ;;
    "-m venv"*) mkdir -p .venv/bin && cp "{itself}" .venv/bin/python ;;
    "-m pip install"*) echo "$*" >> pip.log; [ ! -e no-network ] ;;
    *) echo "ran $*" ;;
esac
"""


class Checkout:
    """A copy of the Makefile in a folder with a space, with a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a check out"
        self.folder.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        shutil.copy(ROOT / "Makefile", self.folder)
        (self.folder / "requirements.txt").write_text("gradio==6.0\n")
        (self.folder / "requirements-dev.txt").write_text("-r requirements.txt\npytest==9.0\n")
        for name in ["sh", "make", "cat", "cksum", "rm", "cp", "mkdir", "awk"]:
            program = shutil.which(name)
            assert program, f"{name} is not installed"
            (self.bin / name).symlink_to(program)

    def add_python(self, name: str, *, ensurepip: bool = True) -> None:
        path = self.bin / name
        path.write_text(STAND_IN.format(itself=path, ensurepip=0 if ensurepip else 1))
        path.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=clean_environment(PATH=str(self.bin)),
        )

    def installed(self) -> list[str]:
        """The requirements files that pip was asked for since the last call."""
        log = self.folder / "pip.log"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return [word for word in lines if word.startswith("requirements")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@needs_make
def test_make_run_sets_up_once_and_again_when_the_requirements_change(checkout: Checkout):
    checkout.add_python("python3")
    first = checkout.make("run", "PORT=7861")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == "ran app.py --port 7861"
    assert checkout.installed() == ["requirements.txt"]

    assert checkout.make("run").stdout == "ran app.py\n"
    assert checkout.installed() == []

    (checkout.folder / "requirements.txt").write_text("gradio==6.1\n")
    assert checkout.make("run").returncode == 0
    assert checkout.installed() == ["requirements.txt"]


@needs_make
def test_make_test_also_installs_what_tests_need(checkout: Checkout):
    checkout.add_python("python3")
    assert checkout.make("test").stdout.splitlines()[-1] == "ran -m pytest"
    assert checkout.installed() == ["requirements-dev.txt"]  # which includes the other
    assert checkout.make("run").stdout == "ran app.py\n"
    assert checkout.make("test").stdout == "ran -m pytest\n"
    assert checkout.installed() == []

    (checkout.folder / "requirements.txt").write_text("gradio==6.1\n")
    assert checkout.make("run").returncode == 0
    assert checkout.make("test").returncode == 0
    assert checkout.installed() == ["requirements.txt", "requirements-dev.txt"]


@needs_make
def test_a_failed_installation_is_tried_again(checkout: Checkout):
    checkout.add_python("python3")
    (checkout.folder / "no-network").touch()
    failed = checkout.make("run")
    assert failed.returncode != 0
    assert "package index" in failed.stderr
    assert "ran app.py" not in failed.stdout
    (checkout.folder / "no-network").unlink()
    assert checkout.make("run").returncode == 0
    assert checkout.installed() == ["requirements.txt"] * 2


@needs_make
def test_make_says_what_is_missing(checkout: Checkout):
    none = checkout.make("run")
    assert none.returncode != 0
    assert "Python 3.11 or newer" in none.stderr
    assert "apt-get install python3 python3-venv" in none.stderr

    checkout.add_python("python3", ensurepip=False)
    no_venv = checkout.make("run")
    assert no_venv.returncode != 0
    assert "apt-get install python3-venv" in no_venv.stderr
    assert not (checkout.folder / ".venv").exists()

    checkout.add_python("python3.13")  # another Python that has all it takes
    assert checkout.make("run").returncode == 0


@needs_make
def test_make_takes_the_python_it_is_told(checkout: Checkout):
    checkout.add_python("my-python")
    assert checkout.make("run").returncode != 0
    assert checkout.make("run", f"PYTHON={checkout.bin / 'my-python'}").returncode == 0


# Continuous integration


def test_ci_runs_the_tests_and_the_checks():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "make test" in text
    assert "make check" in text
    subprocess.run(["bash", "-n", script], check=True)


# Weights


def weight_files() -> list[Path]:
    """What models are loaded from: everything in pipelines/weights but cards and checksums."""
    files = sorted(path for path in WEIGHTS.rglob("*") if path.is_file())
    return [path for path in files if path.suffix != ".md" and path.name != "SHA256SUMS"]


def test_weights_are_small_enough_for_a_space_without_lfs():
    sizes = {path.name: path.stat().st_size for path in weight_files()}
    assert sizes, "pipelines/weights holds no weights"
    assert max(sizes.values()) < 10 * MEGABYTE, sizes
    assert sum(sizes.values()) < 100 * MEGABYTE, sizes


def test_every_weight_file_has_its_checksum():
    lines = (WEIGHTS / "SHA256SUMS").read_text().splitlines()
    listed = {name.removeprefix("*"): sha for sha, _, name in (x.partition("  ") for x in lines)}
    found = {
        path.relative_to(WEIGHTS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in weight_files()
    }
    assert listed == found


def test_every_model_has_a_card():
    """README.md in the model's folder: its data and licence, and the commands that made it."""
    folders = {path.parent for path in weight_files() if path.suffix == ".safetensors"}
    assert folders, "pipelines/weights holds no .safetensors"
    for folder in sorted(folders):
        card = folder / "README.md"
        assert card.is_file(), f"{folder} has no model card"
        text = card.read_text()
        for word in ["licence", "python -m finetune."]:
            assert word in text.lower(), f"{card} does not say {word!r}"


# What must not be in it


def test_no_file_names_a_folder_of_the_machine_it_was_written_on():
    # absolute paths only: "and/or/work/" is no such folder
    pattern = re.compile(rb"(?<![\w.:/-])/(?:work|root)/[\w.]")
    found = []
    for path in repo_files():
        content = (ROOT / path).read_bytes()
        if b"/work/" in content or b"/root/" in content:  # the pattern alone is slow in weights
            found += [f"{path}: {match[0].decode()}..." for match in pattern.finditer(content)]
    assert found == []


def test_importing_the_app_does_not_import_torch():
    code = "import app, sys; sys.exit('torch is imported' if 'torch' in sys.modules else 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=clean_environment())
