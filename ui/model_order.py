"""What somebody wants to be taught, checked, and the commands of `finetune` that do it.

The commands run as processes of their own: nothing of `finetune` is imported here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.errors import InvalidInput, StorageError
from pipelines.presets import check_range
from ui.model_shelf import KINDS, ModelShelf, check_name

ROOT = Path(__file__).parents[1]

LEARNS: dict[str, str] = {
    "all": "All of it",
    "top": "The two upper blocks",
    "lora": "Small adapters beside it (LoRA)",
}
LANGUAGES: dict[str, str] = {"en": "English", "any": "Any language"}

TEXTS = tuple(".txt .md .epub .csv .tsv .jsonl .json .parquet .zip".split())
PICTURES = tuple(".png .jpg .jpeg .webp .bmp .gif .tif .tiff .avif .zip".split())
"""What the page offers to choose; the commands judge for themselves."""

PAINTER_RATE = 1e-4
"""For small batches on what can paint already: at three times as much it first forgets."""
ADVERSARY_MINUTES = 120
"""A discriminator, which begins from nothing, is of no use to runs that are shorter."""

MOST_FILES = 20_000
MOST_BYTES = 4 * 2**30
"""Of everything that is handed in, ZIPs unpacked."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "writer": ("accelerate", "psutil", "py3langid"),
    "painter": ("psutil", "scikit-image"),
}
"""What training needs besides `requirements.txt`, by kind."""
MODULES = {"scikit-image": "skimage"}
"""Where a package's module has another name."""


@dataclass(frozen=True)
class Order:
    """What is to be trained, and how."""

    kind: str
    """A key of KINDS."""
    name: str
    base: str = ""
    """Slug of a model of one's own to go on from, or the whole path of another folder that holds
    one; "": the embedded one."""
    minutes: float = 10.0
    steps: int = 0
    """0: as many as fit into the minutes."""
    rate: float = 0.0
    """Peak learning rate; 0: what suits the model."""
    batch: int = 0
    """Texts or pictures a step; 0: 8 texts, 4 pictures."""
    learns: str = "all"
    """A key of LEARNS, for story writers."""
    language: str = "en"
    """A key of LANGUAGES, for story writers."""
    use: bool = True
    """Whether the app uses the model as soon as it is ready."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput("Choose what is to learn: a story writer or a picture maker.")
        object.__setattr__(self, "name", check_name(self.name))
        check_range("Minutes", self.minutes, 0.1, 24 * 60)
        check_range("Steps", self.steps, 0, 1_000_000)
        check_range("Learning rate", self.rate, 0.0, 0.1)
        check_range("Batch", self.batch, 0, 256)
        if self.learns not in LEARNS or self.language not in LANGUAGES:
            raise InvalidInput("These settings are not known here: load the page again.")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Order:
        """The inverse of `to_json`. Raises: InvalidInput."""
        try:
            return cls(**{f.name: values[f.name] for f in fields(cls)})
        except (KeyError, TypeError) as error:
            raise InvalidInput("This order cannot be read.") from error


@dataclass(frozen=True)
class Places:
    """Where the files of the training lie, in a folder of its own."""

    home: Path

    @property
    def data(self) -> Path:
        """What was handed in; the command calls it by this name."""
        return self.home / "texts"

    @property
    def out(self) -> Path:
        """The finished model."""
        return self.home / "out"

    @property
    def runs(self) -> Path:
        """Checkpoints and grids of samples."""
        return self.home / "runs"

    @property
    def events(self) -> Path:
        return self.home / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.home / "log.txt"

    @property
    def order(self) -> Path:
        return self.home / "order.json"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    def result(self, kind: str) -> Path:
        """What is there once a model was written whole."""
        return self.out / ("vqgan" if kind == "painter" else "") / "training.json"


def command(
    order: Order, places: Places, shelf: ModelShelf, *, steps: int = 0, dry: bool = False,
    finish: bool = False,
) -> list[str]:  # fmt: skip
    """The command line. `finish` writes the model from the last checkpoint, without more ado.

    Raises: NotFound when the base is gone.
    """
    base = base_of(order, shelf)
    minutes = 0.01 if finish else order.minutes
    common = ["--base", base, "--out", str(places.out), "--runs", str(places.runs), "--events",
              str(places.events), "--minutes", f"{minutes:g}"]  # fmt: skip
    common += ["--dry-run"] if dry else []
    if order.kind == "painter":
        batch, rate = order.batch or 4, order.rate or PAINTER_RATE
        more = ["--batch", str(batch), "--save-every", "20", "--report-every", "2"]
        more += ["--peak", str(rate), "--sharpen-peak", str(rate)]
        more += ["--adversary-from", "1"] if order.minutes < ADVERSARY_MINUTES else []
        if order.steps:
            more += ["--steps", str(order.steps), "--sharpen-steps", str(max(order.steps // 3, 1))]
        return [sys.executable, "-m", "finetune.vqgan", "--pictures", str(places.data),
                *common, *more]  # fmt: skip
    more = ["--batch", str(order.batch or 8), "--language", order.language]
    more += ["--evaluations", str(looks(order.minutes)), "--steps", str(order.steps or steps)]
    more += ["--rate", str(order.rate)] if order.rate else []
    more += {"all": [], "top": ["--train-top", "2"], "lora": ["--lora", "8"]}[order.learns]
    return [sys.executable, "-m", "finetune.gpt2", "--data", str(places.data), *common, *more]


def base_of(order: Order, shelf: ModelShelf, *, anywhere: bool = True) -> str:
    """What the command begins from; `anywhere`: folders beside the shelf may be named.

    Raises: NotFound, InvalidInput.
    """
    if not order.base:
        return "embedded"
    folder = Path(os.path.expanduser(order.base))
    if anywhere and folder.is_absolute():
        if not folder.is_dir():
            raise InvalidInput(f"There is no folder {order.base} to begin from.")
        return str(folder)
    model = shelf.get(order.base)
    if model.kind != order.kind:
        raise InvalidInput("That model is of another kind: choose another to go on from.")
    return str(model.folder)


def looks(minutes: float) -> int:
    """How often a writer looks at held-out text and tells a story on the way."""
    return round(min(max(minutes, 4), 20))


def fitting_steps(planned: int, seconds: float, minutes: float) -> int:
    """Steps of a writer that fit into the minutes, at `seconds` each: twice as many epochs as
    the command has `planned` at most, for then it would know the texts by heart."""
    working = 0.9 * 60 * minutes - 3.0 * looks(minutes)  # samples and checkpoints take time, too
    return max(min(int(working / max(seconds, 1e-3)), 2 * planned), 4)


# --- packages ----------------------------------------------------------------------------


def missing(order_kind: str, learns: str = "all", language: str = "en") -> list[str]:
    """Packages that must be installed first, with their versions, as pip takes them."""
    wanted = list(PACKAGES[order_kind])
    if order_kind == "writer":
        wanted = [p for p in wanted if p != "py3langid" or language != "any"]
        wanted += ["peft"] if learns == "lora" else []
    importlib.invalidate_caches()  # they may have been installed a moment ago
    gone = [p for p in wanted if importlib.util.find_spec(MODULES.get(p, p)) is None]
    return [_pinned(package) for package in gone]


def install_line(packages: Sequence[str]) -> str:
    """What to type."""
    return f"{sys.executable} -m pip install {' '.join(packages)}"


def _pinned(package: str) -> str:
    """With the version that this project was tested with."""
    try:
        lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    except OSError:
        return package
    found = re.search(rf"^{re.escape(package)}==\S+", lines, re.MULTILINE)
    return found[0] if found else package


# --- what is handed in -------------------------------------------------------------------


def take_in(files: Sequence[Path], into: Path) -> int:
    """Move handed-in files into a folder, ZIPs unpacked -> how many files lie there.

    Files of the same name get folders of their own, so that their names stay as they are.
    Raises: InvalidInput, StorageError.
    """
    if not all(path.is_file() for path in files):  # taken in before, by an attempt that failed
        raise InvalidInput("Your files are no longer here: hand them in again.")
    into.mkdir(parents=True)
    count, size = 0, 0
    for path, archive in _sources(files):
        names = archive.infolist() if archive else [None]
        for info in names:
            name = _short(PurePosixPath(info.filename).name if info else path.name)
            if info and (info.is_dir() or _hidden(info.filename)):
                continue
            count += 1
            size += info.file_size if info else path.stat().st_size
            _refuse_too_much(count, size, into)
            target = into / name
            if target.exists():
                target = into / str(count) / name
                target.parent.mkdir()
            try:
                if archive and info:
                    with archive.open(info) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out)
                else:
                    shutil.move(path, target)
            except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
                raise InvalidInput(
                    f"“{path.name}” cannot be unpacked ({error}): make the ZIP again, without a "
                    "password."
                ) from error
            except OSError as error:
                raise StorageError(
                    f"“{name}” could not be kept ({error.strerror}): free some space where "
                    f"{into.parent} is."
                ) from error
    if not count:
        raise InvalidInput("There is nothing in it: drop texts or pictures, or a ZIP of them.")
    return count


def _sources(files: Sequence[Path]) -> Iterator[tuple[Path, zipfile.ZipFile | None]]:
    for path in files:
        if path.suffix.lower() != ".zip":
            yield path, None
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                yield path, archive
        except zipfile.BadZipFile as error:
            raise InvalidInput(f"“{path.name}” is no ZIP, or damaged: make it again.") from error
        path.unlink(missing_ok=True)


def _short(name: str) -> str:
    """A name that every disk takes; a picture and its words are still called alike."""
    end = PurePosixPath(name).suffix[:20]
    return name.removesuffix(end).encode()[:200].decode(errors="ignore") + end


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(p.startswith(".") or p == "__MACOSX" for p in parts) or not parts


def _refuse_too_much(count: int, size: int, into: Path) -> None:
    if count > MOST_FILES:
        raise InvalidInput(f"These are more than {MOST_FILES:,} files: choose some of them.")
    if size > MOST_BYTES:
        raise InvalidInput(
            f"This is more than {MOST_BYTES // 2**30} GB: choose some of it, or train in a "
            "terminal (README.md tells how)."
        )
    if size > shutil.disk_usage(into).free:
        raise StorageError(f"There is no space left for this where {into.parent} is: free some.")
