"""Power cuts, full disks and several processes on one local library."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import StorageError
from storage.local import LocalLibrary
from tests.storage.books import OWNER, check_whole, make_book, version_of
from tests.storage.writer import SHARED


def start(*arguments: str | int | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.storage.writer", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: waiting for a disk proves nothing about kills."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK):
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            yield Path(folder)
    else:
        yield tmp_path


def test_killed_on_any_line_of_a_save_or_deletion(quick_folder: Path) -> None:
    with start("crash", quick_folder) as writer:
        out, _ = writer.communicate(timeout=200)
    assert writer.returncode == 0
    saves, deletions = map(int, out.split())
    assert saves > 80
    assert deletions > 20


def test_killed_at_any_time(tmp_path: Path) -> None:
    draw = random.Random(5)
    saved = 0
    for turn in range(4):
        with start("loop", tmp_path, 100 * turn + 1, 99) as writer:
            assert writer.stdout is not None
            saved = int(writer.stdout.readline())
            time.sleep(draw.uniform(0.0, 0.15))
            writer.kill()
            for line in writer.stdout:
                saved = int(line)
        library = LocalLibrary(tmp_path)
        versions = [version_of(b) for b in check_whole(tmp_path, library)]
        # What was reported as saved is there, at most one more save had begun.
        assert version_of(library.get(SHARED)) in (saved, saved + 1)
        assert saved in versions


def test_processes_write_at_once(tmp_path: Path) -> None:
    writers = [start("loop", tmp_path, first, 12) for first in (1000, 2000, 3000)]
    library = LocalLibrary(tmp_path)
    while any(w.poll() is None for w in writers):
        for summary in library.list(limit=100):
            version_of(library.get(summary.id))
        # Opening sweeps, and must leave alone what the others are just writing.
        library = LocalLibrary(tmp_path)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert len(check_whole(tmp_path, library)) == 3 * 12 + 1


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few books only."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("mounting a small tmpfs is not permitted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_runs_full(full_disk: Path) -> None:
    library = LocalLibrary(full_disk)
    saved: list[str] = []

    def fill() -> None:
        for n in range(200):
            library.save(make_book(id=f"{n:016x}", version=n))
            saved.append(f"{n:016x}")

    with pytest.raises(StorageError, match=r"disk is full.*Free some space"):
        fill()
    assert saved
    with pytest.raises(StorageError, match="disk is full"):
        library.save(make_book(id=saved[0], version=0, pages=99))
    assert sorted(b.id for b in check_whole(full_disk, LocalLibrary(full_disk))) == saved
    library.delete(saved[0], owner=OWNER)
    library.save(make_book(id="e" * 16))


@pytest.mark.parametrize("call", range(1, 8))
def test_no_space_at_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    library = LocalLibrary(tmp_path)
    library.save(make_book(version=1))
    real, left = os.fsync, call

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    for book in (make_book(version=2), make_book(id="e" * 16)):
        left = call
        with pytest.raises(StorageError, match="disk is full"):
            library.save(book)
    monkeypatch.undo()
    (book,) = check_whole(tmp_path, library)
    assert version_of(book) == 1
