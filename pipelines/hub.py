"""Public models by hub name or folder: this machine first, then the hub, then words that help."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pipelines.errors import ModelUnavailable

Model = TypeVar("Model")

CONNECT_SECONDS = 4.0
SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def load_named(
    name: str, what: str, load: Callable[[bool], Model], *, needs: str, instead: str
) -> Model:
    """A model by folder or hub name. `load(local)` reads it: first from this machine alone.

    For the messages: `what` kind of model it is, what a folder of it `needs`, and what to use
    `instead`.
    Raises: ModelUnavailable, at once where no hub is reached.
    """
    try:
        return load(True)
    except MemoryError:
        raise
    except ImportError as e:
        raise _lacks_a_package(name, e) from e
    except Exception as e:  # the readers of the formats raise whatever they stumble over
        if is_path(name) and not os.path.exists(name):
            raise ModelUnavailable(
                f"There is nothing at “{name}”, where a {what} should be: check the path, or use "
                f"{instead}."
            ) from e
        if is_path(name):
            raise ModelUnavailable(
                f"“{name}” holds no {what} that can be read ({short(e)}). It needs {needs}; if "
                "these are there, a file may be only half downloaded: get it again."
            ) from e
        if not hub_reached():
            reason = "no model hub is reached from here"
            raise ModelUnavailable(advice(name, what, reason, instead)) from e
    try:
        return load(False)
    except MemoryError:
        raise
    except ImportError as e:
        raise _lacks_a_package(name, e) from e
    except Exception as e:  # whatever the hub's client raises: network, access, unknown name
        raise ModelUnavailable(advice(name, what, short(e), instead)) from e


def _lacks_a_package(name: str, error: ImportError) -> ModelUnavailable:
    return ModelUnavailable(
        f"“{name}” needs a Python package that is not installed here ({short(error)}). Install all "
        "that the app needs: pip install -r requirements.txt."
    )


def complete(loaded: tuple[Model, dict[str, Any]]) -> Model:
    """A model that `from_pretrained(..., output_loading_info=True)` of transformers or diffusers
    has read. Raises ValueError when weights are missing, which those would draw at random."""
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{len(missing)} of its weights are missing, such as {missing[0]}")
    return model


def models_folder() -> Path:
    """Where files of models may lie to be named by their file names alone:
    `$XDG_DATA_HOME/storybrush/models`, else `~/.local/share/storybrush/models`."""
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share"
    return base / "storybrush" / "models"


def located(name: str) -> str:
    """A name as it is, or the path of what it names: `~` is the home folder, and what is not here
    may lie in `models_folder()`.

    Raises: ModelUnavailable for what cannot even be looked for: it is too long, or in a folder that
    may not be read.
    """
    try:
        here = Path(os.path.expanduser(name))  # unlike Path's own, leaves an unknown “~name” alone
        if here.exists() or here.is_absolute():
            return str(here)
        kept = models_folder() / name
        return str(kept) if kept.exists() else name
    except OSError as e:
        shown = name if len(name) <= 80 else f"{name[:80]}…"
        raise ModelUnavailable(
            f"There is no model to be found by “{shown}” ({e.strerror or e}): give the path of one "
            "that may be read here, or a name on the hub."
        ) from e


def is_path(name: str) -> bool:
    """Whether a name means something on this machine, there or not, rather than on the hub."""
    if os.path.exists(name) or name.startswith(("/", "./", "../")):
        return True
    return os.sep in name and name.count("/") != 1


def bare(name: str) -> str:
    """A name as recipes, which travel, have it: without the folders of this machine."""
    return Path(name).name if is_path(located(name)) else name


def is_home(name: str) -> bool:
    """Whether a name is a folder of models that belong together, as `finetune.vqgan` and its
    siblings write them: its VQGAN lies in `vqgan`."""
    return bool(name) and os.path.isfile(os.path.join(located(name), "vqgan", "config.json"))


def short(error: Exception) -> str:
    """The first line of an error, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def advice(name: str, what: str, reason: str, instead: str) -> str:
    """Why a model is not to be had, and how to bring it here."""
    folder = Path(name).name
    return (
        f"The {what} “{name}” is not on this machine, and {reason}. On a machine with internet run "
        f"“hf download {name} --local-dir {folder}”, copy that folder here and give its path; or "
        f"use {instead}."
    )


def hub_reached() -> bool:
    """Whether the hub may be asked: not switched off, and its machine answers (or a proxy does)."""
    if any(os.environ.get(v, "").upper() in ("1", "TRUE", "YES", "ON") for v in SWITCHES):
        return False
    if any(os.environ.get(v) for v in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
