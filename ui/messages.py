"""The one place where errors become messages on the page."""

from __future__ import annotations

import errno
import functools
import html
import inspect
import logging
import secrets
import traceback
from collections.abc import Callable
from typing import Any

import gradio as gr

from pipelines.errors import AppError, InvalidInput

log = logging.getLogger(__name__)


def explain(error: Exception) -> gr.Error:
    """What ends the event, once the visitor has been told. The unexpected is logged with an id."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, InvalidInput):
        gr.Warning(html.escape(str(error)))  # nothing broke: advice, not an alarm
        return gr.Error(visible=False, print_exception=False)
    if isinstance(error, AppError):
        text = html.escape(str(error))
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "The disk is full. Make room on it, then try again: what was saved is still there."
    else:
        run = secrets.token_hex(3)
        # The frames and the kind of error, but not its message: it may quote what was typed.
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("run %s failed: %s\n%s", run, type(error).__name__, frames)
        text = f"That should not have happened. The server's log tells more under run {run}."
    return gr.Error(text, duration=15, print_exception=False)


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let an event handler (function or generator) fail with a message instead of a traceback."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any) -> Any:
            try:
                yield from handler(*args)
            except Exception as error:
                raise explain(error) from error

        return stream

    @functools.wraps(handler)
    def call(*args: Any) -> Any:
        try:
            return handler(*args)
        except Exception as error:
            raise explain(error) from error

    return call
