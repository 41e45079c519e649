"""The prompt grammar of VQGAN+CLIP tools: `a fox:1:0.2 | text:-0.5 ^ a fox at night`.

`|` separates prompts that guide together, `^` the phases of a story that follow one another. After
a prompt may stand its weight (below 0 pushes away) and the distance at which it stops to pull. A
backslash makes `|`, `^`, `:` or itself an ordinary character.

Only prompts that a person writes as such are read this way. The sentences of a story are plain
text, whatever characters they hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import InvalidInput

MAX_PROMPTS = 32
"""Prompts of a story, all phases together."""
MAX_WEIGHT = 100.0
NEVER = -math.inf
"""The stop of a prompt that pulls all the way."""

_TOKEN = re.compile(r"\\[\\|^:]|.", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|-inf")


@dataclass(frozen=True)
class Prompt:
    """Words that a picture is brought close to, or kept away from.

    `weight` is in [-100, 100]. `stop` is a squared great-circle distance, halved, of which a
    prompt with a negative weight has the negative; closer than that it does not pull any more.
    """

    text: str
    weight: float = 1.0
    stop: float = NEVER

    def __post_init__(self) -> None:
        if not -MAX_WEIGHT <= self.weight <= MAX_WEIGHT:
            raise InvalidInput(
                f"The weight of a prompt must be from -100 to 100, not {self.weight}."
            )
        if math.isnan(self.stop) or self.stop == math.inf:
            raise InvalidInput(f"A prompt stops at a distance such as 0.2, not at {self.stop}.")


Story = tuple[tuple[Prompt, ...], ...]
"""Phases in order, each the prompts that guide together."""


def parse(text: str) -> Story:
    """The phases of a text; () when it says nothing. Raises: InvalidInput."""
    phases = [
        tuple(_prompt(part) for part in _split(phase, "|") if "".join(part).strip())
        for phase in _split(_TOKEN.findall(text), "^")
    ]
    story = tuple(phase for phase in phases if phase)
    count = sum(map(len, story))
    if count > MAX_PROMPTS:
        raise InvalidInput(f"A picture may have {MAX_PROMPTS} prompts, not {count}.")
    return story


def write(story: Story) -> str:
    """The text of which `parse` makes this story."""
    return " ^ ".join(" | ".join(map(_written, phase)) for phase in story)


def phase_at(story: Sequence[object], step: int, steps: int) -> int:
    """Which phase guides step `step`, from 1 to `steps`: each has an equal share of them."""
    return (step - 1) * len(story) // max(steps, 1)


def _split(tokens: list[str], at: str) -> list[list[str]]:
    """Cut at the tokens that are `at`; an escaped one is another token."""
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _prompt(tokens: list[str]) -> Prompt:
    """Text, and up to two numbers that end it; a colon before anything else is text."""
    fields = _split(tokens, ":")
    numbers: list[float] = []
    while len(fields) > 1 and len(numbers) < 2:
        last = "".join(fields[-1]).strip()
        if not _NUMBER.fullmatch(last):
            break
        numbers.insert(0, float(last))
        fields.pop()
    text = ":".join("".join(t[-1] for t in field) for field in fields).strip()
    if not text:
        raise InvalidInput(f"There are no words before “{''.join(tokens).strip()}”.")
    return Prompt(text, *numbers)


def _written(prompt: Prompt) -> str:
    parts = [re.sub(r"([\\|^:])", r"\\\1", prompt.text)]
    if prompt.weight != 1.0 or prompt.stop != NEVER:
        parts.append(_number(prompt.weight))
    if prompt.stop != NEVER:
        parts.append(_number(prompt.stop))
    return ":".join(parts)


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
