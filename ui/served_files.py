"""Files that browsers fetch: pictures, exports and films, each under the hash of what it holds.

They lie where Gradio serves files from, and stay as long as somebody may still look at them.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from gradio.utils import get_upload_folder

log = logging.getLogger(__name__)

KEEP_FILES = 24 * 3600
"""Seconds for which a file stays after it was last shown; books in the library stay for good."""
SWEEP_EVERY = 3600

_HASH = re.compile(r"[0-9a-f]{64}")
_SUFFIXES = {".png": "image/png", ".webp": "image/webp"}
_one_at_a_time = threading.Lock()


def file_for_browser(data: bytes, name: str) -> Path:
    """Keep bytes where Gradio serves files from; the folder is named by their hash.

    A file that is there already may be on its way to a browser: it is never written again.
    Raises OSError where there is no room.
    """
    folder = Path(get_upload_folder()) / hashlib.sha256(data).hexdigest()
    path = folder / name
    with _one_at_a_time:  # or the file is swept away between the look and the touch
        if path.exists():
            path.touch()
            return path
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / secrets.token_hex(8)
        try:
            unfinished.write_bytes(data)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
    return path


def url_of(path: Path) -> str:
    """Where the browser finds such a file, relative to the page."""
    return "gradio_api/file=" + quote(str(path))


def picture_url(data: bytes, name: str = "page.png") -> str:
    """Address of a picture as it is: the PNG with its recipe inside.

    On a full disk the picture goes to the page itself: it can still be seen, and saved from there.
    """
    try:
        return url_of(file_for_browser(data, name))
    except OSError as error:
        log.warning("A picture could not be laid out for browsers: %s", error.strerror)
        kind = _SUFFIXES[Path(name).suffix]
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def sweep(now: float, keep: float = KEEP_FILES) -> int:
    """Remove what was last shown more than `keep` seconds before `now`: how many files those were.

    Gradio sweeps away what came through its own components only.
    """
    found = 0
    with suppress(FileNotFoundError):
        for folder in Path(get_upload_folder()).iterdir():
            if not _HASH.fullmatch(folder.name):
                continue
            with _one_at_a_time, suppress(OSError):
                times = [file.stat().st_mtime for file in folder.iterdir()]
                if max([*times, folder.stat().st_mtime]) < now - keep:
                    shutil.rmtree(folder)
                    found += len(times)
    return found


def keep_swept(closed: threading.Event) -> threading.Thread:
    """Sweep now and every hour, until the app is closed."""

    def work() -> None:
        while True:
            found = sweep(time.time())
            if found:
                log.info("Removed %d files that nobody looks at any more", found)
            if closed.wait(SWEEP_EVERY):
                return

    thread = threading.Thread(target=work, name="sweep", daemon=True)
    thread.start()
    return thread
