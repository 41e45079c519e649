"""Files for browsers: laid out once, swept away in time, and a full disk."""

from __future__ import annotations

import base64
import errno
import os
import threading
from pathlib import Path

import gradio as gr
import pytest

from ui import served_files
from ui.messages import explain
from ui.served_files import KEEP_FILES, file_for_browser, picture_url, sweep, url_of

NOW = 2_000_000_000.0


@pytest.fixture(autouse=True)
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, data: bytes) -> int:
        path.touch()  # a name still fits in
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", write)


def shown_last(path: Path, seconds_ago: float) -> None:
    for entry in (path, path.parent):
        os.utime(entry, (NOW - seconds_ago, NOW - seconds_ago))


def test_a_file_is_written_once() -> None:
    path = file_for_browser(b"one", "page.png")
    written = path.stat().st_ino
    assert file_for_browser(b"one", "page.png") == path
    assert (path.stat().st_ino, path.read_bytes()) == (written, b"one")
    assert file_for_browser(b"two", "page.png") != path


def test_what_nobody_looks_at_is_swept_away() -> None:
    old, fresh = file_for_browser(b"old", "a.png"), file_for_browser(b"fresh", "b.png")
    shown_last(old, KEEP_FILES + 1)
    shown_last(fresh, KEEP_FILES - 1)
    assert sweep(NOW) == 1
    assert not old.parent.exists()
    assert fresh.exists()
    assert sweep(NOW) == 0


def test_what_is_shown_again_stays() -> None:
    path = file_for_browser(b"page", "a.png")
    shown_last(path, KEEP_FILES + 1)
    file_for_browser(b"page", "a.png")  # touched by the clock of today, which is before NOW
    assert sweep(path.stat().st_mtime + KEEP_FILES - 1) == 0
    assert path.exists()


def test_only_its_own_folders_are_swept(served: Path) -> None:
    other = served / "library" / "books.sqlite"
    other.parent.mkdir()
    other.write_bytes(b"")
    shown_last(other, 10 * KEEP_FILES)
    assert sweep(NOW) == 0
    assert other.exists()


def test_there_may_be_nothing_to_sweep(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(served / "not there"))
    assert sweep(NOW) == 0


@pytest.mark.usefixtures("full_disk")
def test_on_a_full_disk_a_picture_is_still_seen(served: Path) -> None:
    address = picture_url(b"pixels", "cover.webp")
    kind, _, data = address.partition(";base64,")
    assert (kind, base64.b64decode(data)) == ("data:image/webp", b"pixels")
    assert not [file for file in served.rglob("*") if file.is_file()]


def test_a_picture_has_an_address() -> None:
    path = file_for_browser(b"pixels", "page.png")
    assert picture_url(b"pixels") == url_of(path)


@pytest.mark.usefixtures("full_disk")
def test_on_a_full_disk_an_export_says_so() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        file_for_browser(b"book", "book.pdf")
    told = explain(caught.value)
    assert isinstance(told, gr.Error)
    assert "disk is full" in told.message


def test_the_sweeper_begins_at_once_and_ends_with_the_app() -> None:
    path = file_for_browser(b"old", "a.png")
    os.utime(path, (0, 0))
    os.utime(path.parent, (0, 0))
    closed = threading.Event()
    sweeper = served_files.keep_swept(closed)
    closed.set()
    sweeper.join(10)
    assert not sweeper.is_alive()
    assert not path.exists()
