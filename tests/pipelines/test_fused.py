"""Blocks that take fewer calls give what the plain ones give, at every size."""

from __future__ import annotations

import pytest
import torch

from pipelines.colorize.fused import available, fused
from pipelines.colorize.live import LivePainter
from tests import tiny_colorizer
from tests.tiny import CPU

pytestmark = pytest.mark.skipif(not available(CPU), reason="this PyTorch comes without oneDNN")


@pytest.mark.parametrize("inputs", [1, 4])
def test_results_agree_whatever_size_came_first(inputs: int) -> None:
    model = tiny_colorizer.generator(inputs)
    quick = fused(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    for height, width in ((64, 32), (48, 80), (64, 32)):
        seen = torch.rand((1, inputs, height, width), generator=generator) * 2 - 1
        hints = torch.rand((1, 4, height // 4, width // 4), generator=generator)
        with torch.inference_mode():
            expected, found = model(seen, hints), quick(seen, hints)
        assert expected.std() > 0.05
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_it_is_used_where_numbers_are_float32() -> None:
    model = tiny_colorizer.generator()
    assert LivePainter(model, low_precision=False)._works is not model
    assert LivePainter(model, low_precision=True)._works is model
    assert not available(torch.device("meta"))
