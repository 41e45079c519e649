"""Device and precision, chosen once and passed on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import torch


def share_the_processor() -> None:
    """Let PyTorch's threads sleep while they wait, in a program that calls this before torch is
    imported; where the environment says otherwise, that holds.

    Spinning they are an eighth quicker on a machine that does nothing else, and take two to three
    times as long beside a browser, since each waits for another that does not get its turn.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" takes a GPU when there is one. Raises InvalidInput when `name` is not to be had."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise InvalidInput(
            f"The device “{name}” is not to be had here: use auto, cpu, cuda or mps."
        ) from e
    return device


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native: GPUs of 2020 on, CPUs with AVX512-BF16 or AMX."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return _cpu_has_bf16() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


@cache
def _usual() -> list[int]:
    """How many threads PyTorch computes with when nobody asks for one alone."""
    import torch

    return [torch.get_num_threads()]


def use_threads(count: int) -> None:
    """Compute with so many threads, in the thread that calls this."""
    import torch

    _usual()[0] = count
    torch.set_num_threads(count)


@contextmanager
def one_thread(*, if_few: bool = False) -> Iterator[None]:
    """Compute with one thread: for products so small that threads mostly wait for each other.

    Two share such work out a third quicker when the machine is idle, but where other programs run,
    a browser is enough, each product lasts until all threads have had their turn. With `if_few`
    that is so on machines with two cores alone, where the other one is the browser's.
    """
    import torch

    (many,) = _usual()
    if if_few and many > 2:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(many)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch says that memory ran out, on whatever device; those of cuBLAS
    and cuDNN say so by the names of their states."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    told = str(error).lower()
    signs = ("out of memory", "allocate memory", "status_alloc_failed")
    return isinstance(error, RuntimeError) and any(sign in told for sign in signs)


def free_memory() -> int | None:
    """Bytes that this process may still take without the system ending it, as Linux says: of the
    machine, and of the container it is in. None where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (free,) = (1024 * int(s.split()[1]) for s in lines if s.startswith("MemAvailable:"))
    except (OSError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, LookupError):  # "max", or no container
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(s.split() for s in (group / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(stat["inactive_file"]))
    return free


def _cpu_has_bf16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as f:
            flags = next((line for line in f if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
