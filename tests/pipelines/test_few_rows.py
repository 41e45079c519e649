"""Products with weights read as bytes, beside PyTorch's own with the same weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines import few_rows
from pipelines.few_rows import MOST_ALIKE, MOST_ROWS, linear
from pipelines.gpt2 import Conv1D
from pipelines.weights import dequantise, quantise

reads_bytes = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="this processor reads float32",
)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every product that was made with bytes."""
    made: list[int] = []
    ordinary = few_rows._product

    def counted(rows: Tensor, *args: Tensor) -> Tensor:
        made.append(len(rows))
        return ordinary(rows, *args)

    monkeypatch.setattr(few_rows, "_product", counted)
    return made


def as_shipped(layer: nn.Module) -> nn.Module:
    """A layer whose weights come from an int8 file."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        weight.copy_(dequantise(*quantise(weight)))
    return layer.requires_grad_(False)


def layers(seed: int = 0) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    return {"linear": nn.Linear(96, 64), "conv1d": Conv1D(64, 96), "table": nn.Embedding(64, 96)}


def exact(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Embedding):
        return F.linear(x, layer.weight)
    return layer(x)


@reads_bytes
@pytest.mark.parametrize("name", layers())
def test_shipped_weights_give_the_same_but_for_the_rounding_of_rows(
    name: str, products: list[int]
) -> None:
    layer = as_shipped(layers()[name])
    x = torch.randn(2, 3, 96, generator=torch.Generator().manual_seed(1))
    found = linear(layer, x, inputs_first=name == "conv1d")
    wanted = exact(layer, x)
    assert products == [6]
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    # bfloat16 has 8 bits: 0.4% at most of each number that goes in or comes out
    assert (found - wanted).std() < 0.005 * wanted.std()


@pytest.mark.parametrize("name", layers())
def test_many_rows_other_weights_and_training_take_float32(name: str, products: list[int]) -> None:
    inputs_first = name == "conv1d"
    x = torch.randn(MOST_ROWS + 1, 96, generator=torch.Generator().manual_seed(1))
    shipped = as_shipped(layers()[name])
    own, trained = layers()[name].requires_grad_(False), layers()[name]
    for layer, rows in ((shipped, x), (own, x[:4]), (trained, x[:4])):
        found = linear(layer, rows, inputs_first=inputs_first)
        torch.testing.assert_close(found, exact(layer, rows))
    assert products == []


@reads_bytes
def test_weights_that_have_changed_are_read_anew(products: list[int]) -> None:
    layer, other = (as_shipped(layers(seed)["linear"]) for seed in (0, 1))
    x = torch.randn(4, 96)
    linear(layer, x)
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(linear(layer, x), linear(other, x))
    assert len(products) == 3


def test_nothing_is_kept_of_layers_that_are_gone() -> None:
    before = len(few_rows._packed)
    layer = as_shipped(layers()["linear"])
    linear(layer, torch.randn(1, 96))
    assert len(few_rows._packed) == before + 1
    del layer
    assert len(few_rows._packed) == before


@pytest.mark.skipif(not few_rows.computes_alike(torch.device("cpu")), reason="no such processor")
@pytest.mark.parametrize("shipped", [True, False])
@pytest.mark.parametrize("shape", [(960, 320), (320, 1280), (512, 320)])
def test_rows_are_alike_whatever_is_beside_them(shape: tuple[int, int], shipped: bool) -> None:
    torch.manual_seed(0)
    for layer in (nn.Linear(shape[1], shape[0]), Conv1D(*shape)):
        if shipped:
            as_shipped(layer)
        layer.requires_grad_(False)
        inputs_first = isinstance(layer, Conv1D)
        x = torch.randn(MOST_ALIKE, shape[1])
        whole = linear(layer, x, inputs_first=inputs_first, alike=True)
        assert (whole - exact(layer, x)).std() < 0.005 * whole.std()
        for begin, end in ((0, 1), (0, 8), (8, 16), (16, 40), (5, 21), (3, 6), (7, 17)):
            part = linear(layer, x[begin:end], inputs_first=inputs_first, alike=True)
            assert torch.equal(part, whole[begin:end])


def test_alike_is_read_anew_and_forgotten_too() -> None:
    layer, other = (layers(seed)["linear"].requires_grad_(False) for seed in (0, 1))
    x = torch.randn(4, 96)
    linear(layer, x, alike=True)
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(linear(layer, x, alike=True), exact(other, x))
    kept = len(few_rows._turned)
    del layer
    assert len(few_rows._turned) == kept - 1
