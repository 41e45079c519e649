"""How many threads compute, what a GPU can do, and how memory that runs out is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pipelines import device
from pipelines.device import one_thread, use_threads


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    use_threads(2)
    yield
    use_threads(before)


def test_one_thread_for_a_while(two_threads: None) -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
        with one_thread():
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_one_thread_where_there_are_few(two_threads: None) -> None:
    with one_thread(if_few=True):
        assert torch.get_num_threads() == 1
    use_threads(3)
    with one_thread(if_few=True):
        assert torch.get_num_threads() == 3
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_an_error_gives_the_threads_back(two_threads: None) -> None:
    with pytest.raises(ValueError, match="mine"), one_thread():
        raise ValueError("mine")
    assert torch.get_num_threads() == 2


def test_bfloat16_that_is_emulated_is_not_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert not device.fast_bf16(torch.device("cuda"))


@pytest.mark.parametrize(
    "told, short",
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_what_want_of_memory_is(told: str, short: bool) -> None:
    assert device.is_out_of_memory(RuntimeError(told)) is short
    assert not device.is_out_of_memory(ValueError(told))


def test_memory_that_is_free() -> None:
    free = device.free_memory()
    assert free is None or free > 2**20
