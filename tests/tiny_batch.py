"""Models for a batch at a size that a test can afford; other processes load them, too."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.batch.work import Models
from pipelines.errors import InvalidInput
from pipelines.events import Draft, Sentence
from pipelines.presets import StoryConfig
from tests import tiny

QUICK = {"steps": 1, "cutouts": 1, "candidates": 1, "width": 128, "height": 128, "enlarge": False}


@dataclass(frozen=True)
class TinyModels(Models):
    deadly: str = ""
    """A file: where it is not there yet, loading the painter makes it and kills the process."""

    def writer(self) -> Any:
        return write

    def painter(self) -> Any:
        if self.deadly and not Path(self.deadly).exists():
            Path(self.deadly).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return tiny.pipeline()


def write(config: StoryConfig) -> list[Draft]:
    """Stories in no time. One word is too much for it."""
    if config.words == "ghost":
        raise InvalidInput("There are no ghosts.")
    sentences = tuple(
        Sentence(f"{config.words} {n + 1}.", "fox @forest day") for n in range(config.sentences)
    )
    return [Draft(config.words, sentences, config.seed or 0, "quick")]
