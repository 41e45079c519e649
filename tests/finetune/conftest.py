"""What tests of training share."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from finetune import training


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by 50 ms whenever a run looks at it, however slow the machine is."""
    ticks = count()
    clock = SimpleNamespace(monotonic=lambda: 0.05 * next(ticks))
    monkeypatch.setattr(training, "time", clock)
