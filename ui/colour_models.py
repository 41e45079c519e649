"""The colour models, loaded when they are first needed and not before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipelines.errors import AppError, InvalidInput

if TYPE_CHECKING:
    from pipelines.colorize.controlnet import ControlNetPipeline
    from pipelines.colorize.paintstorch import PaintsTorchPipeline
    from pipelines.colorize.planning import ColourPlanner
    from pipelines.colorize.stablepaint import StablePaintPipeline
    from pipelines.colorize.stenciltorch import StencilTorchPipeline

log = logging.getLogger(__name__)

Model = TypeVar("Model")


def _once(load: Callable[[], Model]) -> Callable[[], Model]:
    """Load on the first call; whoever calls meanwhile waits for it."""
    lock, kept = threading.Lock(), cache(load)

    @wraps(load)
    def locked() -> Model:
        with lock:
            return kept()

    return locked


@_once
def load_paintstorch() -> PaintsTorchPipeline:
    """Raises ModelUnavailable."""
    from pipelines.colorize.paintstorch import PaintsTorchPipeline

    return PaintsTorchPipeline.from_pretrained("embedded")


@_once
def load_stenciltorch() -> StencilTorchPipeline:
    """Raises ModelUnavailable."""
    from pipelines.colorize.stenciltorch import StencilTorchPipeline

    return StencilTorchPipeline.from_pretrained("embedded")


@_once
def load_stablepaint() -> StablePaintPipeline:
    """Raises ModelUnavailable."""
    from pipelines.colorize.stablepaint import StablePaintPipeline

    return StablePaintPipeline.from_pretrained("embedded")


@_once
def load_planner() -> ColourPlanner:
    """Raises ModelUnavailable."""
    from pipelines.colorize.planning import ColourPlanner

    return ColourPlanner.from_pretrained("embedded")


@cache
def load_full(base: str, controlnet: str) -> ControlNetPipeline:
    """Names on the hub or folders; "" takes the public one. Raises ModelUnavailable."""
    from pipelines.colorize import controlnet as module

    return module.ControlNetPipeline.from_pretrained(
        base or module.BASE, controlnet or module.CONTROLNET
    )


@dataclass(frozen=True)
class Colourists:
    """Who colours: while one draws, within a mask, and in variations; and who chooses the colours
    of what has no stroke."""

    live: Callable[[], PaintsTorchPipeline] = load_paintstorch
    stencil: Callable[[], StencilTorchPipeline] = load_stenciltorch
    variations: Callable[[], StablePaintPipeline] = load_stablepaint
    planner: Callable[[], ColourPlanner] = load_planner
    full: Callable[[], ControlNetPipeline] | None = None
    """Paints variations at full size, where that is configured."""

    def warm(self) -> None:
        """Load what the first drawing needs, meanwhile; what goes wrong is said when it is used."""
        threading.Thread(target=self._warm, name="warm colours", daemon=True).start()

    def _warm(self) -> None:
        try:
            self.live()
            self.planner()
        except AppError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("The colour models could not be loaded ahead of time")


def colourists(full: str = "") -> Colourists:
    """The embedded models and, if named, one for variations at full size beside them.

    `full`: "" for none; "public" for the public checkpoints; "BASE,CONTROLNET", each a name on the
    hub or a folder; or one folder as diffusers writes a ControlNet pipeline.

    Raises: InvalidInput.
    """
    if not full.strip():
        return Colourists()
    if full.strip() == "public":
        return Colourists(full=lambda: load_full("", ""))
    base, comma, net = (part.strip() for part in full.partition(","))
    if not comma:
        net = str(Path(base) / "controlnet")
        if not Path(net).is_dir():
            raise InvalidInput(
                f"There is no ControlNet for line art in “{base}”: name a folder that has one in "
                "its subfolder controlnet, or both models with a comma between: BASE,CONTROLNET"
            )
    if not (base and net):
        raise InvalidInput("Name both models with a comma between: BASE,CONTROLNET")
    return Colourists(full=lambda: load_full(base, net))
