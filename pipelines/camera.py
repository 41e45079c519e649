"""How a picture moves from frame to frame."""

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
