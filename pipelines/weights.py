"""Weight files: safetensors with a config beside them, checked against their SHA-256.

`pipelines/weights/SHA256SUMS` (in `sha256sum`'s format) lists every embedded file; a file that is
missing or differs is refused with its name and hash. Training lists what it writes there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.durable import write_whole
from pipelines.errors import ModelUnavailable, StorageError

if TYPE_CHECKING:
    from torch import Tensor, nn

EMBEDDED = Path(__file__).parent / "weights"
MAX_FILE = 9_500_000
"""Bytes: larger models are written in several files (a Space takes smaller files as they are)."""
LISTED = (".json", ".safetensors", ".txt")
"""Endings of the embedded files that have a hash; cards have none."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _known_hashes() -> dict[str, str]:
    """Of every embedded file, by its path under EMBEDDED."""
    sums = EMBEDDED / "SHA256SUMS"
    if not sums.exists():
        return {}
    lines = sums.read_text(encoding="ascii").split("\n")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}


def _embedded_name(path: Path) -> str | None:
    """The path under EMBEDDED; None of what lies elsewhere."""
    try:
        return path.resolve().relative_to(EMBEDDED.resolve()).as_posix()
    except ValueError:
        return None


def list_hashes(path: Path) -> None:
    """List the file, or all files of the folder, in SHA256SUMS as they are now.

    Whoever writes embedded files ends with it, else they are refused. Others are not listed.
    """
    changed = _embedded_name(path)
    if changed is None:
        return
    root = EMBEDDED.resolve()
    place = root / changed
    hashes = {n: h for n, h in _known_hashes().items() if not (root / n).is_relative_to(place)}
    for file in (place, *place.rglob("*")):
        if file.is_file() and file.suffix in LISTED:
            hashes[file.relative_to(root).as_posix()] = sha256(file)
    lines = (f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    write_whole(EMBEDDED / "SHA256SUMS", "".join(lines).encode())


def _shipped(folder: Path) -> list[Path]:
    """The weight files of an embedded model, there or not; of another model none."""
    home = _embedded_name(folder)
    files = [Path(name) for name in _known_hashes()]
    return [
        folder / f.name
        for f in files
        if f.parent.as_posix() == home and f.match("model-*.safetensors")
    ]


def check_file(path: Path) -> Path:
    """The path, when the file is there and, if embedded, is the one that is listed.

    Raises ModelUnavailable that names the file and, if it is embedded, its hash.
    """
    expected = _known_hashes().get(_embedded_name(path) or "")
    if not path.is_file():
        known = f" (SHA-256 {expected})" if expected else ""
        raise ModelUnavailable(
            f"The model file {path}{known} is missing. Embedded weights come with the source: get "
            "it again (git checkout -- pipelines/weights), or name a folder that holds the model."
        )
    if expected is not None and (actual := sha256(path)) != expected:
        raise ModelUnavailable(
            f"The model file {path} is damaged: its SHA-256 is {actual}, {expected} was expected. "
            "Get it again: git checkout -- pipelines/weights."
        )
    return path


_SCALE = ".scale"
"""Behind the name of an int8 tensor: the step of each of its rows, float16."""


def quantise(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix or kernel (R, ...) -> int8 of the same shape and the step of each row, (R,) float16.

    Rounded to 1/127 of the row's largest value, so the error is about 1% of a weight.
    """
    import torch

    rows = tensor.float().flatten(1)
    step = (rows.abs().amax(1) / 127).clamp_min(1e-7).half()
    whole = (rows / step.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return whole.view(tensor.shape), step


def dequantise(whole: Tensor, step: Tensor) -> Tensor:
    """The float32 tensor that `quantise` was given, nearly."""
    return whole.float() * step.float().view(-1, *[1] * (whole.dim() - 1))


def save_model(model: nn.Module, config: Any, folder: Path, *, int8: bool = False) -> None:
    """Write `config.json` and safetensors, in files of at most MAX_FILE bytes.

    float16; with `int8` the large matrices take half of that (see `quantise`). What is there is
    replaced once all is written. Raises StorageError when it cannot be.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float16)
        entry = {name: tensor.contiguous()}
        if int8 and tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() >= 4096:
            whole, step = quantise(value.detach().cpu())
            entry = {name: whole.contiguous(), name + _SCALE: step}
        added = sum(t.nbytes for t in entry.values())
        if size + added > MAX_FILE and shards[-1]:
            shards.append({})
            size = 0
        shards[-1] |= entry
        size += added
    values = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    written = {folder / f"model-{n:02d}.safetensors": shard for n, shard in enumerate(shards, 1)}
    fresh = {path: path.with_suffix(".tmp") for path in (*written, folder / "config.json")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, shard in written.items():
            save_file(shard, fresh[path])
            fresh[path].chmod(0o644)  # the library writes files that only their maker may read
        text = json.dumps(values, indent=2) + "\n"
        fresh[folder / "config.json"].write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as e:
        for path in fresh.values():
            with suppress(OSError):
                path.unlink()
        raise StorageError(
            f"The model could not be written to {folder} ({e}): free some disk space and run the "
            "same command again. What was there is untouched."
        ) from e
    for path, made in fresh.items():
        os.replace(made, path)
    for old in {*folder.glob("model-*.safetensors")} - {*written}:
        old.unlink()
    list_hashes(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder. Raises ModelUnavailable."""
    path = check_file(folder / "config.json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ModelUnavailable(f"The file {path} is not the config of a model: {e}.") from e
    if not isinstance(values, dict):
        raise ModelUnavailable(f"The file {path} is not the config of a model.")
    return values


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """Around a constructor: a config that it cannot take raises ModelUnavailable."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise ModelUnavailable(
            f"The config in {folder} belongs to another kind of model: {e!r}."
        ) from e


def load_weights(model: nn.Module, folder: Path, *, without: str = "") -> None:
    """Fill `model` from `model-*.safetensors` of a folder, but for the weights that have `without`
    in their name, if it is given.

    Raises ModelUnavailable that names what is missing, damaged or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = {*folder.glob("model-*.safetensors"), *_shipped(folder)}
    files = sorted(found) or [folder / "model-01.safetensors"]
    state: dict[str, Tensor] = {}
    for path in files:
        try:
            state |= load_file(check_file(path))
        except SafetensorError as e:
            raise ModelUnavailable(
                f"The model file {path} is damaged (SHA-256 {sha256(path)}): {e}. Get it again."
            ) from e
    for name in [n for n in state if n + _SCALE in state]:
        state[name] = dequantise(state[name], state.pop(name + _SCALE))
    try:
        model.load_state_dict({n: t for n, t in state.items() if not without or without not in n})
    except RuntimeError as e:
        raise ModelUnavailable(
            f"The weights in {folder} belong to another model (or a file is missing): {e}"
        ) from e
