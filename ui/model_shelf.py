"""Models of one's own: where they lie, what they are called, and which of them the app uses."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import InvalidInput, NotFound, StorageError

KINDS: dict[str, str] = {"writer": "story writer", "painter": "picture maker"}

CARD = "model.json"
"""What is known of a model: in its folder, and written last."""
SAMPLES = "samples.png"
"""Held-out pictures above what a picture maker makes of them."""
IN_USE = "in-use.json"
NAME = re.compile(r"[^\W_](?:[\w -]{0,38}[\w-])?")
"""Letters and digits of any script, with spaces and hyphens between."""


@dataclass(frozen=True)
class OwnModel:
    """One model, as its card tells of it."""

    name: str
    kind: str
    """A key of KINDS."""
    folder: Path
    card: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def slug(self) -> str:
        """The name of its folder, by which buttons know it."""
        return self.folder.name

    @property
    def version(self) -> int:
        """Another number for another model of the same name. Raises: NotFound."""
        try:
            return (self.folder / CARD).stat().st_mtime_ns
        except OSError as error:
            raise NotFound(f"“{self.name}” is gone: choose another in “Your models”.") from error


def check_name(text: str) -> str:
    """A name that can be a folder's on every system. Raises: InvalidInput."""
    name = " ".join(text.split())
    if not name:
        raise InvalidInput("Give your model a name, such as “Grandmother's tales” or “Foxes”.")
    plain = name.replace("'", "").replace("’", "")
    if not NAME.fullmatch(plain) or len(name) > 40:
        raise InvalidInput(
            f"“{name[:60]}” cannot be a name here: take up to 40 letters, digits, spaces and "
            "hyphens, beginning with a letter or digit."
        )
    return name


def slug_of(name: str) -> str:
    """The folder's name for a name that `check_name` has passed."""
    return re.sub(r"[\s]+", "-", re.sub(r"['’]", "", name)).casefold()


class ModelShelf:
    """The models in a folder, which is made with the first one. Safe to call from any thread."""

    def __init__(self, folder: Path, ignore: Sequence[str] = ()) -> None:
        """What was in use when the app was closed is again, but for the kinds in `ignore`."""
        self.folder = folder
        self._lock = threading.RLock()
        self._used = {k: s for k, s in self._read_used().items() if k not in ignore}
        self.models: tuple[OwnModel, ...] = ()
        """Newest first, as of the last `refresh`."""
        self.refresh()

    def refresh(self) -> None:
        """Look at the folder again."""
        found = list[OwnModel]()
        for path in sorted(self.folder.glob(f"*/{CARD}")):
            card = _read(path)
            if card.get("kind") in KINDS and isinstance(card.get("name"), str):
                found.append(OwnModel(card["name"], card["kind"], path.parent, card))
        found.sort(key=lambda m: str(m.card.get("created", "")), reverse=True)
        self.models = tuple(found)

    def get(self, slug: str) -> OwnModel:
        """Raises: NotFound."""
        for model in self.models:
            if model.slug == slug and (model.folder / CARD).is_file():
                return model
        raise NotFound("This model is gone: open this page again.")

    def refuse_taken(self, name: str) -> None:
        """Raises: InvalidInput when a model of that name, or another file, is there already."""
        if (self.folder / slug_of(name)).exists():
            raise InvalidInput(
                f"There is a model “{name}” already: choose another name, or delete that one first."
            )

    def add(self, name: str, kind: str, built: Path, card: Mapping[str, Any]) -> OwnModel:
        """Take in a folder that training has written; it is moved here whole.

        Raises: InvalidInput when the name is taken; StorageError.
        """
        with self._lock:
            self.refuse_taken(name)
            home = self.folder / slug_of(name)
            text = json.dumps({**card, "name": name, "kind": kind}, indent=1, ensure_ascii=False)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                (built / CARD).write_text(text + "\n", encoding="utf-8")
                os.replace(built, home)
            except OSError as error:
                raise StorageError(
                    f"“{name}” could not be put into {self.folder} ({error.strerror}): free some "
                    "space there, and press “Keep it” again."
                ) from error
            self.refresh()
            return self.get(home.name)

    def delete(self, slug: str) -> None:
        """Remove a model for good; if it was in use, the app's own is again. Raises: NotFound."""
        with self._lock:
            model = self.get(slug)
            if self.used(model.kind) == slug:
                self.use(model.kind, "")
            grave = self.folder / f".{slug}.{secrets.token_hex(4)}"
            try:
                os.replace(model.folder, grave)  # at once, whatever happens next
            except OSError as error:
                raise StorageError(
                    f"“{model.name}” could not be deleted ({error.strerror})."
                ) from error
            shutil.rmtree(grave, ignore_errors=True)
            self.refresh()

    def zipped(self, slug: str) -> bytes:
        """A ZIP of the folder, for `--story` or `--vqgan` elsewhere. Raises: NotFound."""
        model = self.get(slug)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # weights do not shrink
            for path in sorted(p for p in model.folder.rglob("*") if p.is_file()):
                archive.write(path, f"{slug}/{path.relative_to(model.folder).as_posix()}")
        return out.getvalue()

    # --- what the app uses ---------------------------------------------------------------

    def used(self, kind: str) -> str:
        """Slug of the model that the app uses; "" for the app's own."""
        return self._used.get(kind, "")

    def use(self, kind: str, slug: str) -> None:
        """From now on the whole app uses this model; "": the app's own. Raises: NotFound."""
        with self._lock:
            if slug:
                kind = self.get(slug).kind
            self._used[kind] = slug
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = self.folder / (IN_USE + ".new")
            fresh.write_text(json.dumps(self._used) + "\n", encoding="utf-8")
            os.replace(fresh, self.folder / IN_USE)

    def in_use(self, kind: str) -> OwnModel | None:
        """The model in use; None: the app's own. Raises: NotFound."""
        with self._lock:
            slug = self.used(kind)
            try:
                return self.get(slug) if slug else None
            except NotFound as error:
                raise NotFound(
                    f"The {KINDS[kind]} of yours that was in use is gone: open “Your models” and "
                    "choose another."
                ) from error

    def _read_used(self) -> dict[str, str]:
        used = _read(self.folder / IN_USE)
        return {
            k: s for k, s in used.items()
            if k in KINDS and isinstance(s, str) and (self.folder / s / CARD).is_file()
            and Path(s).name == s
        }  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """A file of JSON; {} for one that is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
