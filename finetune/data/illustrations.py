"""Pictures to learn colouring from, with their line art and flat colours, kept on disk.

    python -m finetune.data.illustrations FOLDER --out SET --workers 4

prepares a folder of pictures and reports which were refused and why. A set holds `pictures.npy`
(N, 256, 256, 3) uint8, `linearts.npy` (N, 256, 256) uint8, drawn and worn as scans and photos of
drawings are, `simplified.npy` (N, 256, 256, 3) uint8, `things.npy` (N, 16, 16) int16 (what each
cell shows, as `finetune.data.scenes.tags` counts; -1 where nobody knows) and `index.jsonl`. The
same command on a finished set of the same pictures does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from finetune.data.curation import curate
from finetune.data.pages import read_pages
from finetune.data.picture_sources import SIDE, UNKNOWN, ClipArt, Pictures, Source, StoryWorld
from finetune.data.scans import wear
from finetune.data.scenes import CELLS
from finetune.data.simplify import flatten
from finetune.data.strokes import Cell, recolour, simulate_hints, simulate_mask
from pipelines.colorize.drawing import clean
from pipelines.colorize.hints import CELL
from pipelines.colorize.lineart import draw_lines
from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIGMAS = (0.3, 0.4, 0.5)
"""Of XDoG. Source: the linearts of PaintsTorch."""

WORN = 0.6
"""Share of line art that is drawn again and photographed; the rest is as XDoG drew it."""

CLEANED = 0.7
"""Share of the worn line art that is cleaned afterwards, as the app does with what it is given."""

ENDINGS = frozenset(".png .jpg .jpeg .webp .bmp .tif .tiff .gif .avif .ppm".split())

INDEX, FACTS = "index.jsonl", "made-with.json"
"""Of a set: a row for each item, and what the set was made with."""


def draw_line_art(rgb: NDArray[np.uint8], *, strength: float, sigma: float) -> NDArray[np.uint8]:
    """Lines of a square picture (H, H, 3), drawn at its size and brought to (SIDE, SIDE)."""
    scale = max(1.0, len(rgb) / SIDE / 1.5)
    lines = draw_lines(rgb, strength=strength, sigma=sigma, scale=scale)
    if len(lines) != SIDE:
        lines = np.asarray(cv2.resize(lines, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return lines


def make_item(
    seed: int, n: int, sources: Sequence[Source]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Item `n` of a set: what each of its files holds (see _ARRAYS), and its row of the index."""
    rng = random.Random(f"{seed} {n}")
    source = rng.choices(sources, [s.share for s in sources])[0]
    drawn = source.draw(n, rng)
    large = np.asarray(drawn.picture)
    picture = np.asarray(drawn.picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    # Drawn at the size there is, lines are finer at SIDE than those drawn at SIDE.
    base = large if rng.random() < 0.5 else picture
    strength = rng.uniform(*source.strength)
    lines = draw_line_art(base, strength=strength, sigma=rng.choice(SIGMAS))
    kind = rng.random()
    if kind < WORN:
        lines = wear(lines, np.random.default_rng(rng.getrandbits(64)))
        if kind < WORN * CLEANED:
            lines = clean(lines)
    things = np.full((CELLS, CELLS), UNKNOWN, np.int16)
    if drawn.things is not None:
        middles = (2 * np.arange(CELLS) + 1) * len(drawn.things) // (2 * CELLS)
        things = drawn.things[np.ix_(middles, middles)]
    arrays = {
        "pictures.npy": picture, "linearts.npy": lines, "simplified.npy": flatten(picture),
        "things.npy": things,
    }  # fmt: skip
    return arrays, {**drawn.row, "n": n}


# --- making a set -------------------------------------------------------------------------


def build(
    folder: Path,
    sources: Sequence[Source],
    count: int,
    *,
    seed: int = 0,
    workers: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> IllustrationSet:
    """Make a set of `count` items in `folder`; the same whatever the number of workers.

    `facts` are JSON values that tell it from others: `facts_of` reads them again.

    Raises: InvalidInput when there is nothing to draw from.
    """
    if not sources or count < 1:
        raise InvalidInput("A set needs at least one source of pictures and one item.")
    folder.mkdir(parents=True, exist_ok=True)
    # Whatever set was here is gone from now on, also for who comes back after an interruption.
    for name in (INDEX, FACTS):
        (folder / name).unlink(missing_ok=True)
    for name, (dtype, shape) in _ARRAYS.items():
        np.lib.format.open_memmap(
            folder / name, mode="w+", dtype=dtype, shape=(count, *shape)
        ).flush()
    chunks = [(folder, tuple(sources), seed, n, min(n + 32, count)) for n in range(0, count, 32)]
    rows: list[dict[str, Any]] = []
    with tqdm(total=count, desc="illustrations", unit="picture", mininterval=2) as bar:
        for made in _mapped(chunks, workers):
            rows += made
            bar.update(len(made))
    lines = [json.dumps(row, ensure_ascii=False) for row in sorted(rows, key=lambda r: r["n"])]
    if facts is not None:
        (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    # Written last: its presence says that the folder is whole.
    fresh = folder / f"{INDEX}.tmp"
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fresh.replace(folder / INDEX)
    return IllustrationSet(folder)


def facts_of(folder: Path) -> dict[str, Any] | None:
    """What a finished set was made with; None where there is no such set, or nobody knows."""
    if not (folder / INDEX).is_file():
        return None
    try:
        return json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


_ARRAYS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "pictures.npy": (np.uint8, (SIDE, SIDE, 3)),
    "linearts.npy": (np.uint8, (SIDE, SIDE)),
    "simplified.npy": (np.uint8, (SIDE, SIDE, 3)),
    "things.npy": (np.int16, (CELLS, CELLS)),
}
"""Type and shape of an item in each file of a set."""

Chunk = tuple[Path, tuple[Source, ...], int, int, int]


def _mapped(chunks: list[Chunk], workers: int) -> Iterator[list[dict[str, Any]]]:
    if workers <= 1:
        yield from map(_make_chunk, chunks)
        return
    # Fresh processes: forking a process that runs threads, as torch's do, may hang.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_make_chunk, chunks)


def _make_chunk(chunk: Chunk) -> list[dict[str, Any]]:
    folder, sources, seed, start, stop = chunk
    cv2.setNumThreads(1)  # the workers share the cores out already
    files = {name: np.load(folder / name, mmap_mode="r+") for name in _ARRAYS}
    rows: list[dict[str, Any]] = []
    for n in range(start, stop):
        arrays, row = make_item(seed, n, sources)
        for name, array in arrays.items():
            files[name][n] = array
        rows.append(row)
    return rows


class IllustrationSet:
    """A set on disk, mapped into memory.

    Raises: InvalidInput when the folder holds none, or one that was not finished.
    """

    def __init__(self, folder: Path) -> None:
        index = folder / INDEX
        if not index.exists():
            raise InvalidInput(
                f"{folder} holds no finished set of illustrations: make one with "
                "python -m finetune.data.illustrations."
            )
        self.folder = folder
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self.linearts = np.load(folder / "linearts.npy", mmap_mode="r")
        self.simplified = np.load(folder / "simplified.npy", mmap_mode="r")
        with index.open(encoding="utf-8") as lines:
            self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.digest = hashlib.sha256(index.read_bytes()).hexdigest()[:16]
        """The same for the same items."""
        self.things: NDArray[np.int16] = np.broadcast_to(
            np.int16(UNKNOWN), (len(self.rows), CELLS, CELLS)
        )
        if (folder / "things.npy").exists():  # older sets have none
            self.things = np.load(folder / "things.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rows)


# --- batches ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColourBatch:
    """What a model trains on: float tensors. Pictures are RGB."""

    lineart: Tensor
    """(B, 1, 256, 256) in [-1, 1], 1 = paper."""
    picture: Tensor
    """(B, 3, 256, 256) in [-1, 1]."""
    simplified: Tensor
    """(B, 3, 256, 256) in [-1, 1], flat colours."""
    hints: Tensor
    """(B, 4, 64, 64): RGB in [-1, 1], 0 where there is no hint, and a mask in {0, 1}."""
    mask: Tensor
    """(B, 1, 256, 256) in {0, 1}, 1 = colour here."""
    things: Tensor
    """(B, 16, 16) int64: what each cell shows, -1 where nobody knows."""


@dataclass(frozen=True)
class ByteBatch:
    """The same as bytes, a quarter of the size: what workers should send, and GPUs receive."""

    lineart: NDArray[np.uint8]
    picture: NDArray[np.uint8]
    simplified: NDArray[np.uint8]
    hints: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    """(B, H, W) or (B, H, W, 3); hints (B, 4, H/4, W/4); masks in {0, 1}, the rest in [0, 255]."""
    things: NDArray[np.int16]
    """(B, H/16, W/16)."""

    def on(self, device: str | torch.device) -> ColourBatch:
        """As float tensors on a device."""
        import torch  # here, so that the processes that make a set start without it

        def signed(pixels: NDArray[np.uint8]) -> Tensor:
            return torch.from_numpy(pixels).to(device).float().mul_(1 / 127.5).sub_(1)

        hints = torch.from_numpy(self.hints).to(device).float()
        hints[:, :3].mul_(1 / 127.5).sub_(1).mul_(hints[:, 3:])
        return ColourBatch(
            lineart=signed(self.lineart)[:, None],
            picture=signed(self.picture).permute(0, 3, 1, 2),
            simplified=signed(self.simplified).permute(0, 3, 1, 2),
            hints=hints,
            mask=torch.from_numpy(self.mask).to(device).float()[:, None],
            things=torch.from_numpy(self.things).to(device).long(),
        )


Regimes = Mapping[str, float]
"""Shares of the kinds of hints, by their names in `simulate_hints`."""

REGIMES: Regimes = {"none": 0.15, "sparse": 0.55, "full": 0.1, "coarse": 0.2}
"""What a model learns from that paints."""

RECOLOURED = 0.35
"""Share of items with sparse or coarse hints in which some things change their colours."""


def batch(
    data: IllustrationSet, rng: np.random.Generator, count: int, *, regimes: Regimes = REGIMES
) -> ColourBatch:
    """`byte_batch` as float tensors on the CPU."""
    return byte_batch(data, rng, count, regimes=regimes).on("cpu")


def byte_batch(
    data: IllustrationSet, rng: np.random.Generator, count: int, *, regimes: Regimes = REGIMES
) -> ByteBatch:
    """`count` items drawn from a set, half of them mirrored, with hints and masks of their own."""
    made = ByteBatch(
        lineart=np.empty((count, SIDE, SIDE), np.uint8),
        picture=np.empty((count, SIDE, SIDE, 3), np.uint8),
        simplified=np.empty((count, SIDE, SIDE, 3), np.uint8),
        hints=np.empty((count, 4, SIDE // CELL, SIDE // CELL), np.uint8),
        mask=np.empty((count, SIDE, SIDE), np.uint8),
        things=np.empty((count, CELLS, CELLS), np.int16),
    )
    drawn = rng.choice(list(regimes), size=count, p=list(regimes.values())).tolist()
    for k, its in enumerate(drawn):
        n = int(rng.integers(len(data)))
        way = slice(None, None, -1 if rng.random() < 0.5 else 1)
        made.lineart[k], made.things[k] = data.linearts[n][:, way], data.things[n][:, way]
        picture, flat = made.picture[k], made.simplified[k]
        picture[:], flat[:] = data.pictures[n][:, way], data.simplified[n][:, way]
        sure: tuple[Cell, ...] = ()
        if its in ("sparse", "coarse") and rng.random() < RECOLOURED:
            sure = recolour(picture, flat, rng)
        made.hints[k] = simulate_hints(flat, rng, regime=its, sure=sure)
        made.mask[k] = simulate_mask(flat, rng)
    return made


# --- the command --------------------------------------------------------------------------


def pictures_in(folder: Path, split: str = "train") -> tuple[str, ...]:
    """The coloured pictures of a folder, by its pages.jsonl where it has one.

    Raises: InvalidInput when there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}: name folders of pictures.")
    if (folder / "pages.jsonl").exists():
        pages = read_pages(folder, split)
        found = tuple(dict.fromkeys(str(page.picture) for page in pages))
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
        found = tuple(map(str, files))
    if not found:
        kinds = ", ".join(e[1:] for e in sorted(ENDINGS))
        raise InvalidInput(f"There is no picture to learn from in {folder} ({kinds}).")
    return found


def others_in(folder: Path) -> Counter[str]:
    """How many files of other kinds a folder holds, by ending; none where pages.jsonl lists what
    counts."""
    if (folder / "pages.jsonl").exists():
        return Counter()
    return Counter(
        p.suffix.lower() or "no ending"
        for p in folder.rglob("*")
        if p.is_file() and p.suffix.lower() not in ENDINGS and not p.name.startswith(".")
    )


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m finetune.data.illustrations",
        description="Make a set of illustrations with line art and flat colours to train on.",
    )
    command.add_argument("folders", nargs="*", type=Path, help="folders of pictures")
    command.add_argument("--as-is", action="store_true", help="take every picture, unexamined")
    command.add_argument("--out", type=Path, required=True, help="folder of the set")
    command.add_argument("--count", type=int, help="items; by default two for every picture")
    command.add_argument("--pictures", type=float, default=45, help="share of the folders")
    command.add_argument("--storyworld", type=float, default=0, help="share of painted scenes")
    command.add_argument("--clipart", type=float, default=0, help="share of clip art")
    command.add_argument("--split", default="train", help="of scenes, and of pages.jsonl")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--workers", type=int, default=1, help="processes")
    return command


def main(arguments: Sequence[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    try:
        make(args)
    except InvalidInput as error:
        raise SystemExit(str(error)) from error


def make(args: argparse.Namespace) -> None:
    """The command, its arguments read. Raises InvalidInput."""
    files = tuple(f for folder in args.folders for f in pictures_in(folder, args.split))
    others = sum((others_in(folder) for folder in args.folders), Counter[str]())
    if others:
        told = ", ".join(f"{n} {ending}" for ending, n in others.most_common())
        print(f"Files that are no pictures which can be read here: {told}. "
              "Export photos of other kinds (HEIC, RAW) as JPEG.")  # fmt: skip
    facts = {
        "files": fingerprint(files), "as_is": args.as_is, "count": args.count, "seed": args.seed,
        "split": args.split,
        "shares": [args.pictures if files else 0, args.storyworld, args.clipart],
    }  # fmt: skip
    if facts_of(args.out) == facts:
        ready = len(IllustrationSet(args.out))
        print(f"{args.out} is ready: {ready} items of these pictures and this seed. "
              "Delete the folder to make them anew.")  # fmt: skip
        return
    if files and not args.as_is:
        curation = curate(files, workers=args.workers)
        print(curation.report())
        args.out.mkdir(parents=True, exist_ok=True)
        refused = "".join(f"{file}\t{why}\n" for file, why in curation.refused)
        (args.out / "refused.tsv").write_text(refused, encoding="utf-8")
        files = curation.kept
        if not files:
            raise InvalidInput(
                "None of the pictures is fit to learn from (see above); --as-is takes them all."
            )
    sources: list[Source] = []
    if files:
        sources.append(Pictures(files, args.pictures))
    if args.storyworld > 0:
        sources.append(StoryWorld(args.storyworld, args.split))
    if args.clipart > 0:
        sources.append(ClipArt(args.clipart))
    count = args.count or 2 * len(files)
    build(args.out, sources, count, seed=args.seed, workers=args.workers, facts=facts)


def fingerprint(files: Sequence[str]) -> str:
    """The same for the same files, as long as nobody has written to them."""
    digest = hashlib.sha256()
    for path in map(Path, files):
        state = path.stat() if path.exists() else None
        digest.update(f"{path}:{state and (state.st_size, state.st_mtime_ns)};".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
