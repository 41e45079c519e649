"""Weights out of the files that others made, and nothing but weights: no code in them ever runs.

Three kinds of file hold tensors by name: safetensors, what `torch.save` wrote (plain, or by
PyTorch Lightning, which need not be installed), and TorchScript archives, of which only the list
of tensors is read. Whatever else such a file mentions becomes an `Inert` object.
"""

from __future__ import annotations

import mmap
import pickle
import threading
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.errors import ModelUnavailable
from pipelines.hub import models_folder, short

_LFS = b"version https://git-lfs.github.com/spec/"
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of `torch.save` began before they were archives: a number, pickled."""
_MAPPINGS = ("pytorch_lightning.utilities.parsing.AttributeDict",
             "lightning_fabric.utilities.data.AttributeDict",
             "lightning.fabric.utilities.data.AttributeDict",
             "collections.defaultdict")  # fmt: skip
"""Dictionaries by another name, in Lightning's checkpoints: what is put in needs a place."""
_allowing = threading.Lock()


class Inert:
    """Stands for an object of any class in a checkpoint. It keeps its state and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class InertMapping:
    """Stands for a dictionary of any class: a plain one is made in its stead."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


def read_state_dict(path: Path, what: str, source: str) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, in the precision of the file.

    For the messages: `what` should be in the file, and at which `source` it is to be had. Tensors
    may be views of the file itself: only those that are used are read.
    Raises: ModelUnavailable that names the file and says what is wrong with it.
    """
    kind = _kind(path, what, source)
    try:
        if kind == "safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        elif kind == "torchscript":
            found = _read_torchscript(path)
        else:
            found = _read_pickle(path, mapped=kind == "zip")
    except OSError as e:
        raise ModelUnavailable(f"{path} cannot be read: {e.strerror or e}.") from e
    except MemoryError:
        raise
    except Exception as e:  # zip, pickle and safetensors raise whatever they stumble over
        if kind == "old":
            raise ModelUnavailable(
                f"{path} is of an old format of torch.save, from before PyTorch 1.6, of which only "
                "plain weights are read here. Save its weights alone again with a newer PyTorch, "
                f"where you trust the file, or get a newer one: {source}."
            ) from e
        raise ModelUnavailable(
            f"{path} should be {what}, but cannot be read as one: it is damaged, only half "
            f"downloaded, or holds more than weights ({short(e)}). Get it again: {source}."
        ) from e
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    state: dict[str, Tensor] = {}
    if isinstance(found, dict):
        state = {str(k): v.detach() for k, v in found.items() if isinstance(v, Tensor)}
    if not state:
        raise ModelUnavailable(f"{path} holds no weights; it should be {what}. See {source}.")
    return state


def _kind(path: Path, what: str, source: str) -> str:
    """ "safetensors", "torchscript", "zip", "old" or "pickle". Raises ModelUnavailable."""
    try:
        with path.open("rb") as f:
            head = f.read(512)
    except OSError as e:
        raise ModelUnavailable(
            f"{path} cannot be read ({e.strerror or e}); it should be {what}. Get it ({source}) "
            f"and give its path, or put it into {models_folder()}."
        ) from e

    def refuse(found: str) -> ModelUnavailable:
        return ModelUnavailable(f"{path} is {found}, not {what}. Get it again: {source}.")

    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        raise refuse("an empty file")
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise refuse("a web page (the server sent a page instead of the file)")
    if text.startswith(_LFS):
        raise refuse("a note of Git LFS that stands for the file (“git lfs pull” brings it)")
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise refuse("only the beginning of a file (half a download)")
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except Exception as e:  # zipfile raises more than BadZipFile over a damaged table
            raise refuse("a damaged archive") from e
        return "torchscript" if any(n.endswith("/constants.pkl") for n in names) else "zip"
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors"
    if head.startswith(_OLD):
        return "old"
    if head.startswith(b"\x80"):
        return "pickle"
    raise refuse("another kind of file")


def _read_pickle(path: Path, *, mapped: bool) -> Any:
    """What `torch.save` wrote, read by PyTorch's own reader of weights.

    Classes that it does not know are let in as `Inert` (mappings as dictionaries), so that the
    callbacks and settings which Lightning saves beside the weights need not be there.
    """
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path) if mapped else []
    stand_ins: list[Any] = [
        (InertMapping if name in _MAPPINGS else Inert, name) for name in unknown
    ]
    with _allowing, torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive by their dotted names."""
    with path.open("rb") as f:
        content = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
    with zipfile.ZipFile(path) as archive:
        (data,) = [i for i in archive.infolist() if i.filename.endswith("/data.pkl")]
        root = data.filename.removesuffix("data.pkl")
        storages = {
            i.filename.removeprefix(root + "data/"): _storage(content, i)
            for i in archive.infolist()
            if i.filename.startswith(root + "data/")
        }
        module = _ArchiveReader(archive.read(data), storages).load()
    found: dict[str, Tensor] = {}

    def gather(item: Any, prefix: str) -> None:
        for name, value in vars(item).items():
            if isinstance(value, Tensor):
                found[prefix + name] = value
            elif isinstance(value, Inert):
                gather(value, f"{prefix}{name}.")

    gather(module, "")
    return found


def _storage(content: mmap.mmap, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of an entry that is stored as it is, as those of PyTorch are."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{info.filename} is compressed")
    head = content[info.header_offset : info.header_offset + 30]
    begin = info.header_offset + 30
    begin += int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return memoryview(content)[begin : begin + info.file_size]


class _ArchiveReader(pickle.Unpickler):
    """Reads the objects of a TorchScript archive. It calls the two functions below and no other:
    modules become `Inert`, and a name that is not listed here is refused."""

    def __init__(self, data: bytes, storages: dict[str, memoryview]) -> None:
        super().__init__(BytesIO(data))
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith(("__torch__.", "torch.jit._pickle")):
            return Inert
        if module == "torch" and name.endswith("Storage"):
            return _StorageKind(name)
        known = {"collections.OrderedDict": OrderedDict,
                 "torch._utils._rebuild_tensor_v2": _tensor,
                 "torch._utils._rebuild_parameter": _parameter}  # fmt: skip
        try:
            return known[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Tensor:
        _, kind, key, _, count = pid
        return torch.frombuffer(self._storages[key], dtype=kind.dtype, count=count)


class _StorageKind:
    """The dtype of a storage: torch.HalfStorage holds float16."""

    def __init__(self, name: str) -> None:
        kinds = {"Half": torch.float16, "BFloat16": torch.bfloat16, "Float": torch.float32,
                 "Double": torch.float64, "Long": torch.int64, "Int": torch.int32,
                 "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
                 "Bool": torch.bool}  # fmt: skip
        self.dtype = kinds[name.removesuffix("Storage")]


def _tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object
) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _parameter(data: Tensor, *rest: object) -> Tensor:
    return data
