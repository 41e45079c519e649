"""From sources to what one run learns: read, cleaned, split, mixed, as sequences of tokens."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import Dataset

from finetune.data.cleaning import CleaningReport
from finetune.data.documents import Document
from finetune.data.recipes import Source, gather, shares_of
from finetune.gpt2 import encode_example
from finetune.writers import Sequence_, Writer
from pipelines.errors import InvalidInput

VALIDATED = 64
"""Held-out sequences that tell when to stop."""
FEWEST = 2
"""Sequences without which there is nothing to learn."""


class Sequences(Dataset[Sequence_]):
    """A list of sequences, as PyTorch's loaders want it."""

    def __init__(self, items: Sequence[Sequence_]) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sequence_:
        return self.items[index]


@dataclass(frozen=True)
class Lesson:
    """Everything that a run learns from."""

    writer: Writer
    """With the words of the texts in its lexicon."""
    train: Sequences
    validation: Sequences
    block: int
    """Tokens of the longest sequence that was made."""
    shares: dict[str, int] = field(default_factory=dict[str, int])
    """Sequences of each kind in an epoch."""
    reports: tuple[CleaningReport, ...] = ()

    @property
    def tokens(self) -> int:
        """Of an epoch."""
        return sum(len(ids) for ids, _ in self.train.items)

    @property
    def fingerprint(self) -> str:
        """The same for the same sequences in the same order."""
        digest = hashlib.sha256()
        for ids, skip in (*self.train.items, *self.validation.items):
            digest.update(f"{skip}:{ids};".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class LessonPlan:
    """How the texts become a lesson."""

    mix: tuple[float, ...] = ()
    """A weight for each source; none: each sequence once."""
    keep: float = 0.4
    """Share of the embedded writer's own stories among the sequences: what it could, it still can.
    A plain language model has none."""
    block: int = 512
    """Tokens of the longest sequence."""
    language: str = "en"
    """ISO 639-1; "" takes every language."""
    most: int = 0
    """So many sequences are wanted at most, those kept included; 0 = all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= 0.9:
            raise InvalidInput("--keep takes a share from 0 to 0.9.")
        if not all(0 <= weight < math.inf for weight in self.mix):
            raise InvalidInput("--mix takes weights from 0 up.")
        if self.block < 16:
            raise InvalidInput("--block takes 16 tokens or more.")


def lesson(writer: Writer, sources: Sequence[Source], plan: LessonPlan) -> Lesson:
    """Read, clean, split, tokenise and mix.

    Raises InvalidInput, with the report, when too little is left to learn from.
    """
    split = gather(sources, language=plan.language)
    train = [found.train for found, _ in split]
    writer = writer.taught([d for documents in train for d in documents])
    block = min(plan.block, writer.longest)
    keep = plan.keep if writer.embedded else 0.0
    most = math.ceil(plan.most * (1 - keep))
    read = [writer.read(d, block, seed=plan.seed, most=most) for d in train]
    wanted = shares_of([len(r) for r in read], plan.mix)
    rng = random.Random(f"{plan.seed} mix")
    chosen = [_drawn(r, n, rng) for r, n in zip(read, wanted, strict=True)]
    shares = {s.kind: len(c) for s, c in zip(sources, chosen, strict=True)}
    items = [e for c in chosen for e in c]
    rng.shuffle(items)
    items = items[:most] if most else items
    if len(items) < FEWEST:
        told = "\n".join(line for _, r in split for line in r.lines())
        raise InvalidInput(f"That is too little text: not {FEWEST} sequences to learn.\n{told}")
    if keep:
        own = round(len(items) * keep / (1 - keep))
        shares["story world"] = own
        items += [encode_example(random.Random(f"{plan.seed} keep {n}")) for n in range(own)]
        rng.shuffle(items)
    held_out = [_some(writer, found.validation, block, -(-VALIDATED // len(split)))
                for found, _ in split]  # fmt: skip
    return Lesson(
        writer, Sequences(items), Sequences([e for h in held_out for e in h]), block, shares,
        tuple(report for _, report in split),
    )  # fmt: skip


def _drawn(items: list[Sequence_], count: int, rng: random.Random) -> list[Sequence_]:
    """`count` of the sequences: each as often as every other, to one."""
    found = list[Sequence_]()
    while items and len(found) < count:
        again = list(items)
        rng.shuffle(again)
        found += again[: count - len(found)]
    return found


def _some(writer: Writer, documents: Sequence[Document], block: int, count: int) -> list[Sequence_]:
    """The first `count` sequences of held-out texts."""
    return writer.read(documents, block, most=count)[:count]


def report_values(found: Lesson) -> list[dict[str, Any]]:
    """The cleaning reports for a file of JSON."""
    return [r.values() for r in found.reports]
