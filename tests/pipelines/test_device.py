"""How many threads compute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pipelines import device
from pipelines.device import one_thread


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "_threads", lambda: 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_for_a_while(two_threads: None) -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
        with one_thread():
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_an_error_gives_the_threads_back(two_threads: None) -> None:
    with pytest.raises(ValueError, match="mine"), one_thread():
        raise ValueError("mine")
    assert torch.get_num_threads() == 2
