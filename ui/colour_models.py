"""The three colour models, loaded when they are first needed and not before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.colorize.paintstorch import PaintsTorchPipeline
    from pipelines.colorize.stablepaint import StablePaintPipeline
    from pipelines.colorize.stenciltorch import StencilTorchPipeline


@cache
def load_paintstorch() -> PaintsTorchPipeline:
    """Raises ModelUnavailable."""
    from pipelines.colorize.paintstorch import PaintsTorchPipeline

    return PaintsTorchPipeline.from_pretrained("embedded")


@cache
def load_stenciltorch() -> StencilTorchPipeline:
    """Raises ModelUnavailable."""
    from pipelines.colorize.stenciltorch import StencilTorchPipeline

    return StencilTorchPipeline.from_pretrained("embedded")


@cache
def load_stablepaint() -> StablePaintPipeline:
    """Raises ModelUnavailable."""
    from pipelines.colorize.stablepaint import StablePaintPipeline

    return StablePaintPipeline.from_pretrained("embedded")


@dataclass(frozen=True)
class Colourists:
    """Who colours: while one draws, within a mask, and in variations."""

    live: Callable[[], PaintsTorchPipeline] = load_paintstorch
    stencil: Callable[[], StencilTorchPipeline] = load_stenciltorch
    variations: Callable[[], StablePaintPipeline] = load_stablepaint
