"""How a picture moves from frame to frame, and how a camera glides over one that is finished."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.presets import check_range


@dataclass(frozen=True)
class Camera:
    """How the picture moves from frame to frame."""

    frames: int = 60
    steps: int = 4
    """VQGAN+CLIP steps on each frame."""
    zoom: float = 1.02
    """Above 1 comes closer."""
    pan_x: float = 0.0
    pan_y: float = 0.0
    """Pixels to the right and down."""
    turn: float = 0.0
    """Degrees, clockwise."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("Frames", self.frames, 2, 1000),
            ("Steps a frame", self.steps, 0, 100),
            ("Zoom", self.zoom, 0.8, 1.25),
            ("Pan", self.pan_x, -64, 64),
            ("Pan", self.pan_y, -64, 64),
            ("Turn", self.turn, -45, 45),
        ):
            check_range(name, value, low, high)


View = tuple[float, float, float, float]
"""What a camera sees of a picture: left, top, right, bottom, as shares of its sides."""


@dataclass(frozen=True)
class Glide:
    """A steady way from one view of a picture to another of the same shape."""

    begin: View
    end: View

    def at(self, time: float) -> View:
        """The view at a time in [0, 1]."""
        a, b, c, d = (
            p + (q - p) * min(max(time, 0.0), 1.0)
            for p, q in zip(self.begin, self.end, strict=True)
        )
        return a, b, c, d


WHOLE: View = (0.0, 0.0, 1.0, 1.0)
CLOSER = 1.12
"""How much larger a picture appears at the near end of a glide."""

TOWARDS = ((0.5, 0.35), (0.15, 0.5), (0.85, 0.5), (0.5, 0.75))
"""Where glides come closer, one after another: the place in the picture, across and down."""


def glide(index: int) -> Glide:
    """A gentle move for picture `index` (from 0) of several: closer, then back, elsewhere each."""
    seen = 1 / CLOSER
    x, y = ((1 - seen) * place for place in TOWARDS[index % len(TOWARDS)])
    near = (x, y, x + seen, y + seen)
    return Glide(WHOLE, near) if index % 2 == 0 else Glide(near, WHOLE)
