"""What painting variations says while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ColourProgress:
    """One denoising step of all variations together.

    `previews` are PIL RGB, one a variation, set on some steps and always on the last. `eta` is in
    seconds.
    """

    step: int
    of: int
    previews: tuple[Image, ...] | None = None
    eta: float | None = None


@dataclass(frozen=True)
class Variations:
    """The finished pictures, PIL RGB of the line art's size, and the seed of each."""

    pictures: tuple[Image, ...]
    seeds: tuple[int, ...]
