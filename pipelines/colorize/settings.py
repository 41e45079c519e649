"""Settings of the colour models, with their bounds; anything out of bounds raises InvalidInput."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import InvalidInput
from pipelines.presets import MAX_SEED, check_range, check_seed

SAMPLERS: dict[str, str] = {
    "ddim": "DDIM: the same seed gives the same picture at any number of steps",
    "dpm": "DPM-Solver++: good pictures in half the steps",
}


@dataclass(frozen=True)
class StablePaintConfig:
    """How variations are painted."""

    variations: int = 4
    """Pictures painted side by side, each from a seed of its own."""
    steps: int = 12
    corruption: float = 1.0
    """How far a variation may stray: share of noise in the start, 0 = the hints as they are, 1 =
    free."""
    guidance: float = 2.0
    """Classifier-free guidance on the hints; 1 = none."""
    sampler: str = "ddim"
    """A key of SAMPLERS."""
    seed: int | None = None
    """Of the first variation; None: drawn once and kept with the pictures."""
    preview_every: int = 2
    """Steps between previews."""

    def __post_init__(self) -> None:
        check_range("Variations", self.variations, 1, 8)
        check_range("Steps", self.steps, 1, 100)
        check_range("Corruption", self.corruption, 0.0, 1.0)
        check_range("Guidance", self.guidance, 1.0, 10.0)
        if self.sampler not in SAMPLERS:
            raise InvalidInput(
                f"There is no sampler “{self.sampler}”: choose {' or '.join(SAMPLERS)}."
            )
        check_seed(self)
        check_range("Preview every", self.preview_every, 1, 100)


def variation_seeds(first: int, count: int) -> tuple[int, ...]:
    """The seeds of variations side by side: `first` and those that follow it."""
    return tuple((first + k) % (MAX_SEED + 1) for k in range(count))
