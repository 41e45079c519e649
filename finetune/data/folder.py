"""Anybody's pictures: found in a folder, looked at, told apart, split, and held as squares."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from finetune import distributed
from finetune.data.curation import SAME, examine, upright
from pipelines.errors import InvalidInput, StorageError
from pipelines.paper import flat
from pipelines.weights import sha256

PICTURES = frozenset(".png .jpg .jpeg .webp .bmp .gif .tif .tiff .avif .ppm".split())
UNFIT = ("cannot be read", "too small", "too narrow", "nearly empty")
"""Faults for which a picture is left out; the others (grey, blurred, ...) are a matter of taste."""
HELD_OUT = 0.1
"""Share of the pictures that are kept for the test."""
MOST_HELD_OUT = 500


@dataclass(frozen=True)
class Gallery:
    """Picture files to learn from and to test on, and what was left out and why.

    No picture of the test looks like one of those that are learned.
    """

    train: tuple[Path, ...]
    test: tuple[Path, ...]
    refused: tuple[tuple[str, str], ...] = ()
    """(file, reason)."""
    alike: int = 0
    """Pictures that look like another one."""

    def lines(self) -> list[str]:
        """For a person to read, before the training starts."""
        found = [
            f"{len(self.train)} pictures to learn from, {len(self.test)} held out for the test"
            + (f"; {self.alike} look like another one, and stay on its side" if self.alike else "")
        ]
        reasons: dict[str, list[str]] = {}
        for file, why in self.refused:
            reasons.setdefault(why.split(":")[0], []).append(Path(file).name)
        for why, files in sorted(reasons.items(), key=lambda r: -len(r[1])):
            shown = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
            found.append(f"left out, {why}: {len(files)} ({shown})")
        return found

    @property
    def fingerprint(self) -> str:
        """The same for the same pictures on the same sides, whatever their files are called."""
        return digest_of([digest_of(_contents(side)) for side in (self.train, self.test)])


def digest_of(parts: Iterable[str]) -> str:
    """Of lines in this order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _contents(files: Sequence[Path]) -> list[str]:
    """The SHA-256 of each; hashing leaves Python's lock, so threads help."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return list(pool.map(sha256, files))


def find_pictures(folder: Path) -> list[Path]:
    """Picture files of a folder and of the folders in it, in the order of their names.

    Raises InvalidInput when there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}: name a folder of pictures.")
    found = [
        p
        for p in sorted(folder.rglob("*"))
        if p.suffix.lower() in PICTURES
        and p.is_file()
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    if not found:
        raise InvalidInput(f"There is no picture in {folder} ({', '.join(sorted(PICTURES))}).")
    return found


def sort_out(files: Sequence[Path], seed: int = 0, *, twins: bool = False) -> Gallery:
    """Look at every picture once, leave out what is of no use, and hold some out by `seed`.

    Pictures that look alike form a group, and a group is never cut by the split. Which are held out
    depends on what the files hold, not on their names, order and number of copies: a VQGAN and the
    models beside it, of the same pictures, are tested on the same ones. Of files that are the same
    byte for byte the first is kept; all of them with `twins` (the same picture may have several
    captions). Raises InvalidInput when fewer than two different pictures are left.
    """
    refused: list[tuple[str, str]] = []
    fit: dict[Path, int] = {}
    for file, hash_, fault in _look(list(dict.fromkeys(files))):
        if fault.startswith(UNFIT):
            refused.append((str(file), fault))
        else:
            fit[file] = hash_
    content = dict(zip(fit, _contents([*fit]), strict=True))
    kept, hashes = list[Path](), list[int]()
    seen: dict[str, Path] = {}
    for file, hash_ in fit.items():
        first = seen.setdefault(content[file], file)
        if first != file and not twins:
            refused.append((str(file), f"the same file as another: {first.name}"))
            continue
        kept.append(file)
        hashes.append(hash_)
    groups = _groups(np.array(hashes, np.uint64))
    members: dict[int, list[Path]] = {}
    for file, group in zip(kept, groups, strict=True):
        members.setdefault(group, []).append(file)
    if len(members) < 2:
        some = "; ".join(f"{Path(f).name}: {why}" for f, why in refused[:3])
        raise InvalidInput(
            f"Of {len(files)} pictures {len(members)} can be learned from, and at least two "
            f"different ones are needed{f' ({some})' if some else ''}."
        )
    different = [{content[file] for file in group} for group in members.values()]
    different.sort(key=lambda group: digest_of([str(seed), min(group)]))
    wanted = min(max(round(HELD_OUT * len(seen)), 1), MOST_HELD_OUT)
    test: set[str] = set()
    for group in different[:-1]:  # one is always left to learn from
        if len(test) >= wanted:
            break
        if len(group) <= max(2 * wanted, 1):  # a crowd of copies is no test
            test |= group
    test = test or different[0]
    held_out = {file for file in kept if content[file] in test}
    return Gallery(
        tuple(f for f in kept if f not in held_out),
        tuple(f for f in kept if f in held_out),
        tuple(refused),
        len(kept) - len(members),
    )


def _look(files: Sequence[Path]) -> list[tuple[Path, int, str]]:
    """(file, hash, fault) of each, in order; decoding leaves Python's lock, so threads help."""
    with warnings.catch_warnings(), ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        found = list(pool.map(_examine, files))
    return [(file, *one) for file, one in zip(files, found, strict=True)]


def _examine(file: Path) -> tuple[int, str]:
    try:
        one = examine(str(file))
    except Image.DecompressionBombWarning:
        return 0, f"cannot be read: more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels"
    return one.hash, one.fault


def _groups(hashes: NDArray[np.uint64]) -> list[int]:
    """A number for each picture: the same for those that look alike, or like one in between."""
    group = np.arange(len(hashes))
    for n in range(1, len(hashes)):
        near = np.bitwise_count(hashes[:n] ^ hashes[n]) <= SAME
        if near.any():
            joined = np.unique(group[:n][near])
            group[: n + 1][np.isin(group[: n + 1], joined)] = joined[0]
            group[n] = joined[0]
    return group.tolist()


def square(path: Path, side: int) -> NDArray[np.uint8]:
    """The middle of a picture, (side, side, 3); transparent parts become white."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * side, 2 * side))
        whole = flat(upright(image))
    return np.asarray(ImageOps.fit(whole, (side, side), Image.Resampling.LANCZOS))


def squares(files: Sequence[Path], side: int, cache: Path, name: str) -> NDArray[np.uint8]:
    """(N, side, side, 3) of the files, mapped from `cache`, where they are cut once.

    `name` tells this set from others that are kept there; other pictures, even under the same
    names, are cut anew. Raises StorageError.
    """
    digest = digest_of(_contents(files))
    path, note = cache / f"{name}-{side}.npy", cache / f"{name}-{side}.json"
    with distributed.first_alone():
        if _note(note) != digest:
            cache.mkdir(parents=True, exist_ok=True)
            note.unlink(missing_ok=True)
            shape = (len(files), side, side, 3)
            fresh = path.with_suffix(".tmp")  # whoever has mapped the old file keeps it
            out = _mapped(fresh, shape)
            with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
                for n, picture in enumerate(pool.map(lambda f: square(f, side), files)):
                    out[n] = picture
            out.flush()
            os.replace(fresh, path)
            note.write_text(json.dumps(digest), encoding="utf-8")  # last: the file is whole
    return np.load(path, mmap_mode="r")


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A new file of that shape, all of its room taken: a disk that fills up while pages of a map
    are written kills the process. Raises StorageError."""
    try:
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as e:
        path.unlink(missing_ok=True)
        raise StorageError(
            f"There is no room for {math.prod(shape) / 1e6:,.0f} MB of cut pictures in "
            f"{path.parent} ({e.strerror}): free some disk space, or name another disk with --runs."
        ) from e
    return out


def uncut(count: int, side: int, cache: Path, name: str) -> int:
    """Bytes that `squares` of so many files will add to the disk; 0 where they lie there."""
    size, path = count * side * side * 3, cache / f"{name}-{side}.npy"
    return 0 if path.is_file() and path.stat().st_size >= size else size


def _note(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return ""


class Order:
    """Which examples a step takes: each once an epoch, in an order drawn by the seed."""

    def __init__(self, size: int, seed: int, batch: int = 1) -> None:
        """An epoch ends before a last batch that is not full: no `batch` holds one twice."""
        self.size, self.seed = size, seed
        self._each = max(size // batch * batch, 1)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def ids(self, step: int, count: int) -> torch.Tensor:
        """(count,) int64 of step `step` (from 0), whatever was asked before."""
        return torch.stack([self._at(n) for n in range(step * count, (step + 1) * count)])

    def _at(self, number: int) -> torch.Tensor:
        epoch, place = divmod(number, self._each)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.size, generator=generator)
        return self._order[place]
