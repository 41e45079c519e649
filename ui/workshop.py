"""What all visitors share (models, library, queue) and how one visitor is told from another."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gradio as gr
from gradio.utils import get_upload_folder

from pipelines.errors import AppError
from storage.base import Library
from ui.colour_models import Colourists
from ui.desk import Desks
from ui.jobs import Jobs

if TYPE_CHECKING:
    from pipelines.story import StoryPipeline
    from pipelines.vqgan_clip import VQGANCLIPPipeline

log = logging.getLogger(__name__)

QUIET: Any = {"show_progress": "hidden", "api_visibility": "private"}
"""How events are bound: the page shows progress in its own way, and there is no API yet."""


@dataclass(frozen=True)
class Workshop:
    """Everything that outlives a visit. `writer` and `painter` load a model on their first call."""

    writer: Callable[[], StoryPipeline]
    painter: Callable[[], VQGANCLIPPipeline]
    library: Library
    jobs: Jobs = field(default_factory=Jobs)
    desks: Desks = field(default_factory=Desks)
    colourists: Colourists = field(default_factory=Colourists)

    def warm(self) -> None:
        """Load the models ahead of the first story; what goes wrong is said when they are used."""
        begin = time.monotonic()
        try:
            self.writer()
            self.painter()
        except AppError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("The models could not be loaded ahead of time")
        else:
            log.info("Models ready after %.1f s", time.monotonic() - begin)


def session_of(request: gr.Request) -> str:
    """One visit: a tab in a browser until it is closed or loaded again."""
    return str(request.session_hash)


def a_secret(given: object = None) -> str:
    """What a browser keeps to show that its work is its own: as given, or else a new one."""
    known = isinstance(given, str) and re.fullmatch(r"[0-9a-f]{32}", given)
    return str(given) if known else secrets.token_hex(16)


def owner_of(secret: object) -> str:
    """SHA-256 of a browser's secret; a browser that kept none owns nothing it could ask for again.

    Never "", which is the administrator.
    """
    return hashlib.sha256(a_secret(secret).encode()).hexdigest()


def clicked_number(event: gr.EventData) -> int | None:
    """The number that a button of `markup.button_js` carried; None for anything else."""
    value = clicked(event)
    return int(value) if value.isdecimal() and len(value) < 6 else None


def clicked(event: gr.EventData) -> str:
    """The text that a button of `markup.button_js` carried; "" for anything else."""
    data = event._data
    value = data.get("value") if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def file_for_browser(data: bytes, name: str) -> Path:
    """Keep bytes where Gradio serves files from; the folder is named by their hash.

    A file that is there already may be on its way to a browser: it is never written again.
    """
    folder = Path(get_upload_folder()) / hashlib.sha256(data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        unfinished = folder / secrets.token_hex(8)
        unfinished.write_bytes(data)
        unfinished.replace(path)
    return path


def url_of(path: Path) -> str:
    """Where the browser finds such a file, relative to the page."""
    return "gradio_api/file=" + quote(str(path))


def picture_url(png: bytes, name: str = "page.png") -> str:
    """Address of a picture as it is: the PNG with its recipe inside."""
    return url_of(file_for_browser(png, name))


def paced(seconds: float) -> Iterator[bool]:
    """Endless answers to "is it time again?", so that events do not flood the browser."""
    last = 0.0
    while True:
        due = time.monotonic() - last >= seconds
        if due:
            last = time.monotonic()
        yield due
