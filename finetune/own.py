"""What the commands share that train picture models on somebody's own pictures.

All three write beside each other: `--out mine` makes `mine/vqgan`, `mine/clip` and
`mine/code_transformer`, and `VQGANCLIPPipeline.from_pretrained("mine")` takes what is there.
"""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from finetune.distributed import processes, rank
from finetune.footprint import Footprint
from finetune.training import as_json, ask_to_stop, checkpointing_option, note
from pipelines.device import is_out_of_memory
from pipelines.durable import write_whole
from pipelines.errors import AppError, InvalidInput, OutOfMemory, StorageError
from pipelines.weights import EMBEDDED

log = logging.getLogger(__name__)

SHOWN = 8
"""Columns of a grid of samples."""


def own_options(p: argparse.ArgumentParser, source: str, what: str) -> None:
    """`--pictures` or `--pairs`, and what goes with it."""
    own = p.add_argument_group("your own pictures")
    own.add_argument(source, type=Path, metavar="FOLDER", help=what)
    own.add_argument(
        "--base", help="start from this model (embedded, or a folder), otherwise from scratch"
    )
    own.add_argument(
        "--peak",
        type=float,
        default=0.0,
        help="learning rate; 0: what suits, a quarter with --base",
    )
    own.add_argument(
        "--dry-run", action="store_true", help="say what is in the data and what the run takes"
    )


def refuse_own(args: argparse.Namespace, source: str, *names: str) -> None:
    """Of a run without `source`: raises InvalidInput for `--base` and those of `names` that were
    given, as they only go with it. Such a run would train the shipped model."""
    given = [f"--{n.replace('_', '-')}" for n in ("base", *names) if getattr(args, n)]
    if given:
        raise InvalidInput(f"{', '.join(given)}: only with {source}, so name your own with it.")


def own_place(out: Path, *others: Path | str | None) -> Path:
    """The folder for a model of one's own, resolved; what lies there may be replaced.

    Raises InvalidInput, before anything is trained, unless it is new, empty or written by these
    commands, or when it is one of the `others`, in one or around one: what is read, and the
    checkpoints. Names of the hub are no paths, and None is nothing.
    """
    place = out.expanduser().resolve()
    if place.exists() and not place.is_dir():
        raise InvalidInput(f"{out} is a file: name a folder for your models.")
    if _overlap(place, EMBEDDED.resolve()):
        raise InvalidInput(
            f"Name a folder for your models, as in --out my-models: {out} is for those that come "
            "with Storybrush."
        )
    for other in (Path(o).expanduser() for o in others if o is not None):
        if (other.exists() or other.is_absolute()) and _overlap(place, other.resolve()):
            raise InvalidInput(
                f"--out {out} and {other} lie in each other: name another folder with --out, "
                "which may be new."
            )
    if place.is_dir() and any(place.iterdir()) and not _written_here(place):
        raise InvalidInput(
            f"{out} holds other files than a model that was trained here, and would be replaced: "
            "name another folder with --out, which may be new."
        )
    return place


def _overlap(a: Path, b: Path) -> bool:
    return a.is_relative_to(b) or b.is_relative_to(a)


def _written_here(folder: Path) -> bool:
    """Whether these commands have written a model there."""
    weights = (folder / "config.json", folder / "model-01.safetensors")
    return (folder / "training.json").is_file() or all(p.is_file() for p in weights)


@dataclass(frozen=True)
class Home:
    """Where a run's model and its checkpoints go."""

    model: Path
    runs: Path

    def samples(self, name: str) -> Path:
        """The file of a grid of samples."""
        return self.runs / "samples" / f"{name}.png"


def home_of(args: argparse.Namespace, name: str, default_out: Path) -> Home:
    """Of the model `name`; the shipped weights are never written over.

    Raises InvalidInput when no folder is named for the models, or one that `own_place` refuses.
    """
    if args.out == default_out:
        raise InvalidInput("Name a folder for your models, as in --out my-models.")
    if args.out.exists() and not args.out.is_dir():
        raise InvalidInput(f"{args.out} is a file: name a folder for your models.")
    base = Path(args.base) / name if args.base else None
    base = base if base is None or base.exists() else Path(args.base)
    model = own_place(args.out / name, base, args.pictures if "pictures" in args else args.pairs)
    runs = args.runs if args.runs != Path("runs") else args.runs / args.out.resolve().name
    return Home(model, runs)


def base_folder(base: str | None, name: str) -> Path | None:
    """Folder of the model `name` to start from; None: from scratch.

    `base` is "embedded", a folder of models, or the folder of that very model.
    Raises InvalidInput.
    """
    if base is None:
        return None
    whole = EMBEDDED if base == "embedded" else Path(base)
    for folder in (whole / name, whole):
        if (folder / "config.json").is_file():
            return folder
    raise InvalidInput(f"There is no {name} in {base}: name “embedded” or a folder of models.")


def peak_of(args: argparse.Namespace, scratch: float, begun: object = None) -> float:
    """The learning rate that was asked for, or what suits: `scratch` is that of a fresh model,
    which has no `--base` and is not `begun`."""
    return args.peak or (scratch if args.base is None and begun is None else scratch / 4)


def facts_of(args: argparse.Namespace, data: str, **more: Any) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    return {"data": data, "base": args.base or "", "seed": args.seed, **more}


def check_room(out: Path, size: int) -> None:
    """Raises StorageError where a model of `size` bytes would not fit."""
    from finetune.checkpoints import free_disk  # transformers' Trainer: slow

    free = free_disk(out)
    if size > free:
        raise StorageError(
            f"The model takes about {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free where "
            f"{out} is: free some space, or name another disk with --out."
        )


def tell(lines: Sequence[str], taken: Footprint, device: torch.device, home: Home, dry: bool) -> (
    bool
):  # fmt: skip
    """Say what is in the data and what the run takes -> whether to go on.

    Raises OutOfMemory or StorageError when the run, or what it writes, would not fit.
    """
    said = [*lines, taken.line(device, home.runs)]
    note("data", lines=said)
    check_room(home.model, taken.written)
    if dry:
        if rank() == 0:
            print("\n".join(said))
        return False
    if rank() == 0:
        for line in said:
            log.info(line)
    taken.check(device, home.runs)
    return True


def set_options(p: argparse.ArgumentParser) -> None:
    """`--data SET`, and what goes with a set of illustrations."""
    p.add_argument("--data", type=Path, required=True, metavar="SET",
                   help="a set made by finetune.data.illustrations")  # fmt: skip
    p.add_argument("--base", help="start from this model (embedded, or a folder)")
    checkpointing_option(p)
    p.add_argument(
        "--dry-run", action="store_true", help="say what is in the set and what the run takes"
    )


def tell_set(
    count: int, args: argparse.Namespace, taken: Footprint, device: torch.device,
    what: str = "illustrations",
) -> bool:  # fmt: skip
    """As `tell`, of a run that learns from a set of `count` illustrations, or `what` they are."""
    batch = args.batch * processes()
    lines = [
        f"{count:,} {what} to learn from",
        f"{'' if args.minutes is None else 'at most '}{args.steps:,} steps of {batch}: each about "
        f"{batch * args.steps / count:,.0f} times",
    ]
    return tell(lines, taken, device, Home(args.out, args.runs), args.dry_run)


def save_grid(rows: Sequence[Sequence[Image.Image]], path: Path, side: int = 128) -> None:
    """Pictures in rows, the first SHOWN of each."""
    columns = min(SHOWN, max(map(len, rows)))
    page = Image.new("RGB", (columns * side, len(rows) * side), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row[:columns]):
            page.paste(picture.resize((side - 4, side - 4)), (x * side, y * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def finish(home: Home, save: Callable[[Path], None], told: dict[str, Any]) -> None:
    """`save` the model into its folder and write, beside it, how it was made and what it can
    (`training.json`).

    `told` holds "figures" and, of a model that had a base, those "before".
    """
    if rank() > 0:
        return
    save(home.model)
    write_whole(home.model / "training.json", f"{as_json(told, indent=2)}\n".encode())
    before = told.get("before", {})
    note("done", folder=home.model, figures=told["figures"])
    for name, value in told["figures"].items():
        was = f" (before {before[name]:.3f})" if name in before else ""
        log.info("%s %.3f%s", name, value, was)
    log.info("wrote %s; %s", home.model, how_to_try(home.model))


def how_to_try(model: Path) -> str:
    """What to type to paint with a model of one's own; a VQGAN brings what lies beside it."""
    whole = model.parent
    if (whole / "vqgan" / "config.json").is_file():
        return f"try it: python app.py --vqgan {whole}"
    if model.name == "clip":
        return f"try it: python app.py --clip {model}"
    return f"to try it, put the VQGAN whose codes it writes beside it, as {whole / 'vqgan'}"


def in_words(error: BaseException, memory: str) -> BaseException:
    """What went wrong, for a person; `memory`: what helps where memory ran out. What is not
    foreseen stays as it is."""
    from safetensors import SafetensorError

    if isinstance(error, AppError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory(f"Memory ran out: {memory}. The last checkpoint is kept.")
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return StorageError(f"{where}{error.strerror}. {_AGAIN}")
    if isinstance(error, SafetensorError) and "os error" in str(error):
        return StorageError(f"The model could not be written ({error}). {_AGAIN}")
    return error


_AGAIN = "Put that right, and run the same command again: it goes on from the last checkpoint."


def guarded(job: Callable[[], None]) -> None:
    """Run a command: errors in the user's words, and SIGTERM ends it with a checkpoint."""
    signal.signal(signal.SIGTERM, ask_to_stop)
    try:
        job()
    except KeyboardInterrupt:
        raise SystemExit("Stopped; the same command goes on from the last checkpoint.") from None
    except Exception as e:
        said = in_words(
            e, "lower --batch, add --gradient-checkpointing, or close what else takes memory"
        )
        if not isinstance(said, AppError):
            raise
        raise SystemExit(str(said)) from e
