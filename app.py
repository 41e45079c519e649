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
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pipelines.device import share_the_processor
from pipelines.errors import AppError
from pipelines.presets import MAX_SIDE, MIN_SIDE, PRESETS, picture_defaults
from pipelines.reading import MAX_REQUEST

if TYPE_CHECKING:
    from ui.model_work import Training
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
        type=preset,
        choices=tuple(PRESETS),
        default=env("STORYBRUSH_PRESET", default="embedded"),
        help="set of models (now: %(default)s)",
    )
    for name, what in (("story", "language model"), ("vqgan", "VQGAN"), ("clip", "CLIP")):
        options.add_argument(
            f"--{name}",
            default=env(f"STORYBRUSH_{name.upper()}"),
            metavar="NAME",
            help=f"another {what} than the preset's: a hub name, a folder or a file",
        )
    options.add_argument(
        "--library",
        default=env("STORYBRUSH_LIBRARY"),
        metavar="FOLDER",
        help="where books are kept: a folder, sqlite:///folder, firebase://bucket or memory:// "
        "(otherwise ~/.local/share/storybrush)",
    )
    options.add_argument(
        "--auth",
        type=credentials,
        default=env("STORYBRUSH_AUTH") or None,
        metavar="USER:PASSWORD",
        help="ask everybody for this name and password",
    )
    options.add_argument(
        "--colour-model",
        default=env("STORYBRUSH_COLOUR"),
        metavar="NAMES",
        help="Stable Diffusion and a ControlNet for line art, to paint variations at full size: "
        "a folder, two names with a comma between, or public",
    )
    options.add_argument(
        "--rating",
        default=env("STORYBRUSH_RATING"),
        metavar="FOLDER",
        help="show a page to rate coloured drawings on, blind; the folder is one that "
        "python -m finetune.evaluate colorize wrote",
    )
    asked = env("STORYBRUSH_MODELS").lower()
    options.add_argument(
        "--models",
        action=argparse.BooleanOptionalAction,
        default=asked in yes if asked else None,
        help="show a page to train models of one's own on (otherwise: where only this computer "
        "gets in)",
    )
    public = options.add_argument_group("where the app stands open to everybody")
    public.add_argument(
        "--review",
        action="store_true",
        default=env("STORYBRUSH_REVIEW").lower() in yes,
        help="books wait until the administrator lets them onto the shelf",
    )
    public.add_argument(
        "--admin",
        default=env("STORYBRUSH_ADMIN"),
        metavar="SECRET",
        help="the administrator's secret, better given as STORYBRUSH_ADMIN: others can read "
        "the options of a running program",
    )
    public.add_argument(
        "--ban",
        default=env("STORYBRUSH_BAN"),
        metavar="FILE",
        help="words that nobody gets to use here, one on each line",
    )
    for name, default, unit in LIMITS:
        public.add_argument(
            f"--max-{name}",
            # What widgets and pipelines bound by themselves can only be lowered.
            type=partial(
                positive,
                least=BOUNDED.get(name, 1),
                most=int(default) if name in BOUNDED else None,
            ),
            default=env(f"STORYBRUSH_MAX_{name.replace('-', '_').upper()}", default=default)
            or None,
            metavar="N",
            help=f"{unit} (now: %(default)s)" if default else unit,
        )
    return options


UPLOAD = 20
OWN_UPLOAD = 2000
"""Megabytes of a file, in general and where models of one's own may be trained."""

LIMITS = (
    ("jobs", "100", "jobs in line, of all visitors"),
    ("jobs-each", "4", "jobs in line of one visitor"),
    (
        "upload",
        "",
        f"megabytes of a file that is handed in (otherwise {UPLOAD}, and {OWN_UPLOAD} "
        "where models of one's own are trained on a computer of one's own)",
    ),
    ("request", str(MAX_REQUEST), "characters of a request for a story"),
    ("words", "400", "words of a story"),
    ("side", str(MAX_SIDE), "pixels of a picture's longer side while it is painted"),
    ("steps", "500", "steps a page"),
)
"""`--max-NAME`: default and what it counts."""

BOUNDED = {"request": 1, "words": 20, "side": MIN_SIDE, "steps": 1}
"""Those that can only be lowered, and how far: less than any setting has is none."""

SHORTEST_SECRET = 8

KEEP_ALIVE = 75
"""Seconds that a connection may be idle: longer than proxies (usually 60) and visitors keep one, or
they would send a click down a connection that is just being closed, and get no answer."""

MAX_MEGAPIXELS = 40
"""Of a picture that is handed in, wherever."""


def positive(text: str, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` on, up to `most`."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"give a whole number from {least} on, not “{text}”")
    if most is not None and int(text) > most:
        raise argparse.ArgumentTypeError(f"{most} is the most that there can be, not {text}")
    return int(text)


def preset(name: str) -> str:
    """The name of a preset; argparse holds no default, as from the environment, against choices."""
    if name not in PRESETS:
        raise argparse.ArgumentTypeError(f"“{name}” is none: choose {', '.join(PRESETS)}")
    return name


def credentials(text: str) -> tuple[str, str]:
    """ "user:password" in two; the password may hold colons."""
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError("give it as user:password")
    return user, password


def for_one_computer(options: argparse.Namespace) -> bool:
    """Whether nobody else gets in: no public address, no password to share, no Space, and nobody
    who watches over others. A proxy that lets them in is not to be seen from here."""
    local = options.host in ("127.0.0.1", "localhost", "::1")
    watched = options.auth or options.review or options.admin
    return local and not (options.share or watched or os.environ.get("SPACE_ID"))


def upload_limit(options: argparse.Namespace, *, training: bool) -> int:
    """Megabytes of a file that is handed in: what was asked for, else what suits the place."""
    if options.max_upload is not None:
        return options.max_upload
    return OWN_UPLOAD if training and for_one_computer(options) else UPLOAD


def own_models(options: argparse.Namespace, library: Any) -> Training | None:
    """What the page of one's own models works with; None where it is switched off."""
    from pipelines.hub import models_folder
    from storage.local import LocalLibrary
    from ui.model_shelf import ModelShelf
    from ui.model_work import Training

    if not (for_one_computer(options) if options.models is None else options.models):
        return None
    here = isinstance(library, LocalLibrary)
    # What is named now wins over what was chosen on the page before.
    named = (("writer", options.story), ("painter", options.vqgan))
    shelf = ModelShelf(
        library.folder / "models" if here else models_folder(), [k for k, name in named if name]
    )
    # Visitors from elsewhere must not name folders of this computer.
    return Training(shelf, anywhere=for_one_computer(options))


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


def stay_on_this_machine(preset: str, *named: str) -> None:
    """Defaults for the libraries that would otherwise call home. Set before they are imported.

    The hub is asked only for a preset of public models, or for models that are `named`.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if preset == "embedded" and not any(named):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="storybrush-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # How soon it is noticed that a visitor has left; their job ends then.
    os.environ.setdefault("GRADIO_HEARTBEAT_INTERVAL", "3")


def serve(options: argparse.Namespace) -> None:
    """Open the page and stay until stopped. Raises AppError when that cannot be done."""
    check_port(options.host, options.port)
    named = (options.story, options.vqgan, options.clip, options.colour_model)
    stay_on_this_machine(options.preset, *named)
    share_the_processor()

    launch(workshop(options), options)


def workshop(options: argparse.Namespace, **others: Any) -> Workshop:
    """Models, library and rules as the options say; `others` are set besides.

    Raises: AppError when something the options name is not to be had.
    """
    from storage.base import open_library
    from storage.ratings import Survey
    from ui import zerogpu
    from ui.colour_models import colourists
    from ui.jobs import Jobs
    from ui.model_process import ModelProcess, Painter, Writer
    from ui.review import open_waiting
    from ui.rules import Rules, read_ban_list
    from ui.workshop import Workshop

    if options.admin and len(options.admin) < SHORTEST_SECRET:
        raise AppError(f"The administrator's secret needs {SHORTEST_SECRET} characters or more.")
    if options.review and not options.admin:
        raise AppError("--review needs an administrator: choose a secret and set STORYBRUSH_ADMIN.")
    banned = read_ban_list(Path(options.ban)) if options.ban else ()
    library = open_library(options.library)

    training = own_models(options, library)

    models = ModelProcess()

    def writer() -> Any:
        own = training.shelf.in_use("writer") if training else None
        if own is None:
            return models.model(Writer(options.story or options.preset, banned))
        # Recipes travel, and name no folders of this machine.
        return models.model(Writer(str(own.folder), banned, own.name, own.version))

    def painter() -> Any:
        own = training.shelf.in_use("painter") if training else None
        if own is None:
            return models.model(Painter(options.preset, options.vqgan, options.clip))
        return models.model(Painter("embedded", str(own.folder), options.clip, own.version))

    parts: dict[str, Any] = {
        "writer": writer,
        "painter": painter,
        "models": models,
        "painting": picture_defaults(options.preset, options.vqgan),
        "library": library,
        "jobs": Jobs(options.max_jobs, options.max_jobs_each),
        "rules": Rules(
            options.max_request, options.max_words, options.max_side, options.max_steps, banned
        ),
        "waiting": open_waiting(options.library, library) if options.review else None,
        "admin": options.admin,
        "colourists": colourists(options.colour_model),
        "survey": Survey.open(options.rating, library) if options.rating else None,
        "training": training,
        "near": options.models is None,
        "upload": upload_limit(options, training=training is not None),
    }
    if zerogpu.lent():
        parts |= zerogpu.models(
            options.preset, banned, story=options.story, vqgan=options.vqgan, clip=options.clip
        )
    return Workshop(**parts | others)


def end_once() -> None:
    """The first Ctrl-C or SIGTERM is a KeyboardInterrupt, so that whoever stops us leaves nothing
    behind; those that come while the app closes are not heard, or they would end it midway."""
    both = (signal.SIGINT, signal.SIGTERM)

    def terminate(number: int, frame: FrameType | None) -> None:
        for other in both:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in both:
        signal.signal(number, terminate)


def launch(shop: Workshop, options: argparse.Namespace) -> None:
    """Show the page over a workshop until Ctrl-C or SIGTERM."""
    from PIL import Image
    from starlette.middleware import Middleware

    from ui.doorkeeper import Doorkeeper
    from ui.page import build
    from ui.served_files import keep_swept
    from ui.theme import head, theme

    end_once()
    # Pillow opens twice as much before it refuses.
    Image.MAX_IMAGE_PIXELS = MAX_MEGAPIXELS * 10**6 // 2
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    demo = build(shop)
    # For the owner's own models alone; who comes through another server is perhaps not the owner.
    through = UPLOAD * 10**6 if shop.near and options.max_upload is None else None
    largest = (shop.upload or UPLOAD) * 10**6
    door = Middleware(Doorkeeper, board=shop.news, largest=largest, forwarded=through)
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
        max_file_size=largest,
        blocked_paths=shop.private_folders(),
        app_kwargs={"middleware": [door]},
        state_session_capacity=1000,
        prevent_thread_lock=True,
        quiet=True,
    )
    demo.server.config.timeout_keep_alive = KEEP_ALIVE
    print(f"Storybrush is open at {demo.local_url} (Ctrl-C ends it)", flush=True)
    # The page answers already; now the models may take the processor.
    threading.Thread(target=shop.warm, name="warm", daemon=True).start()
    closed = threading.Event()
    keep_swept(closed)
    try:
        closed.wait()
    except KeyboardInterrupt:
        print("Storybrush is closing.", flush=True)
    finally:
        closed.set()
        demo.close(verbose=False)
        shop.close()


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
