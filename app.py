"""Storybrush's page: options, launch. `python app.py --help` lists the options.

Gradio is imported after the options are read, and torch not before a model is needed.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from pipelines.errors import AppError
from pipelines.presets import PRESETS

if TYPE_CHECKING:
    from ui.workshop import Workshop

PORT = 7860


def parser() -> argparse.ArgumentParser:
    """The options; each has an environment variable, and the option wins."""

    def env(*names: str, default: str = "") -> str:
        return next((os.environ[n] for n in names if os.environ.get(n)), default)

    yes = ("1", "true", "yes", "on")
    options = argparse.ArgumentParser(
        prog="app.py",
        description="Storybrush: a few words become an illustrated storybook.",
        epilog="Every option can be set in the environment, too: STORYBRUSH_PORT=7861.",
    )
    options.add_argument(
        "--host",
        default=env("STORYBRUSH_HOST", "GRADIO_SERVER_NAME", default="127.0.0.1"),
        help="address to listen on; 0.0.0.0 lets other machines in (now: %(default)s)",
    )
    options.add_argument(
        "--port",
        type=int,
        default=env("STORYBRUSH_PORT", "GRADIO_SERVER_PORT", "PORT", default=str(PORT)),
        help="port to listen on (now: %(default)s)",
    )
    options.add_argument(
        "--share",
        action=argparse.BooleanOptionalAction,
        default=env("STORYBRUSH_SHARE", "GRADIO_SHARE").lower() in yes,
        help="make a public address through gradio.live: the one thing that leaves this machine",
    )
    options.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default=env("STORYBRUSH_PRESET", default="embedded"),
        help="set of models (now: %(default)s)",
    )
    options.add_argument(
        "--library",
        default=env("STORYBRUSH_LIBRARY"),
        metavar="FOLDER",
        help="where books are kept: a folder, sqlite:///folder or memory:// "
        "(otherwise ~/.local/share/storybrush)",
    )
    options.add_argument(
        "--auth",
        type=credentials,
        default=env("STORYBRUSH_AUTH") or None,
        metavar="USER:PASSWORD",
        help="ask everybody for this name and password",
    )
    return options


def credentials(text: str) -> tuple[str, str]:
    """ "user:password" in two; the password may hold colons."""
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("give it as user:password")
    return user, password


def check_port(host: str, port: int) -> None:
    """Raises AppError when nothing can listen there, with what to do instead."""
    if not 0 < port < 65536:
        raise AppError(f"A port is a number from 1 to 65535, not {port}.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AppError(
                f"Port {port} is taken, maybe by a Storybrush that already runs: open "
                f"http://{host}:{port} or choose another port, as in: PORT={port + 1} make run"
            ) from error
        raise AppError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from error


def stay_on_this_machine(preset: str) -> None:
    """Defaults for the libraries that would otherwise call home. Set before they are imported."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if preset == "embedded":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="storybrush-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # How soon it is noticed that a visitor has left; their job ends then.
    os.environ.setdefault("GRADIO_HEARTBEAT_INTERVAL", "3")


def serve(options: argparse.Namespace) -> None:
    """Open the page and stay until stopped. Raises AppError when that cannot be done."""
    check_port(options.host, options.port)
    stay_on_this_machine(options.preset)

    from pipelines import storybook
    from storage.base import open_library
    from ui.workshop import Workshop

    shop = Workshop(
        writer=partial(storybook.load_story, options.preset),
        painter=partial(storybook.load_pictures, options.preset),
        library=open_library(options.library),
    )
    launch(shop, options)


def launch(shop: Workshop, options: argparse.Namespace) -> None:
    """Show the page over a workshop until Ctrl-C or SIGTERM."""
    from ui.page import build
    from ui.theme import head, theme

    def terminate(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)  # so that whoever stops us leaves nothing behind
    demo = build(shop)
    demo.launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        auth=options.auth,
        theme=theme(),
        head=head(),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        max_file_size="20mb",
        state_session_capacity=1000,
        prevent_thread_lock=True,
        quiet=True,
    )
    print(f"Storybrush is open at {demo.local_url} (Ctrl-C ends it)", flush=True)
    # The page answers already; now the models may take the processor.
    threading.Thread(target=shop.warm, name="warm", daemon=True).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("Storybrush is closing.", flush=True)
    finally:
        demo.close(verbose=False)
        shop.jobs.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when stopped by the user, 1 when the page could not be opened."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        serve(parser().parse_args(arguments))
    except AppError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
