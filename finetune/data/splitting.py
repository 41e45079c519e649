"""Documents into train, validation and test, so that nothing of the test was learned.

A document is never cut by the split, and documents that share much of their words, or one of which
is in the other, go to the same side.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from finetune.data.cleaning import word_count
from finetune.data.documents import Document
from pipelines.errors import InvalidInput
from pipelines.reading import split_sentences

SHINGLE = 5
"""Words in a row that are compared."""
ALIKE = 0.5
"""Two documents are near-duplicates when the smaller one shares this part of its shingles."""
SAMPLED = 4
"""Of long documents every so-manyth shingle is compared, chosen by its hash."""
COMMON = 40
"""Shingles of more documents than this are formulas ("once upon a time there was"), or of many
variants of one text: only neighbours in the list are compared by them."""
HELD_OUT = 0.05
"""Share of documents for validation, and as much again for the test."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Documents of each side; `near_duplicates` is how many have a relative."""

    train: list[Document]
    validation: list[Document]
    test: list[Document]
    near_duplicates: int = 0


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def sketch(text: str) -> set[int]:
    """Hashes of a text's shingles; of a long text those that are 0 modulo SAMPLED.

    Source: Broder 1997, "On the resemblance and containment of documents", section 4.
    """
    words = re.findall(r"\w+", text.casefold())
    if len(words) < SHINGLE:
        return {_hash(" ".join(words))}
    runs = {_hash(" ".join(words[k : k + SHINGLE])) for k in range(len(words) - SHINGLE + 1)}
    sampled = {h for h in runs if h % SAMPLED == 0}
    return sampled if len(sampled) >= 16 else runs


def groups(documents: Sequence[Document]) -> list[int]:
    """For each document the number of its group: near-duplicates have the same one."""
    sketches = [sketch(d.text) for d in documents]
    holders = defaultdict[int, list[int]](list)
    for n, found in enumerate(sketches):
        for h in found:
            holders[h].append(n)
    shared = Counter[tuple[int, int]]()
    for ns in holders.values():
        shared.update(combinations(ns, 2) if len(ns) <= COMMON else pairwise(ns))
    parents = list(range(len(documents)))

    def root(n: int) -> int:
        while parents[n] != n:
            parents[n] = parents[parents[n]]
            n = parents[n]
        return n

    sampled = [sum(h % SAMPLED == 0 for h in found) for found in sketches]
    whole = [len(found) > n for found, n in zip(sketches, sampled, strict=True)]
    for (a, b), count in shared.items():
        # A sampled sketch and a whole one share only what both can hold.
        sizes = map(len, (sketches[a], sketches[b])) if whole[a] and whole[b] else (
            sampled[a], sampled[b])  # fmt: skip
        if count >= max(ALIKE * min(sizes), 1):
            parents[max(root(a), root(b))] = min(root(a), root(b))
    return [root(n) for n in range(len(documents))]


def split_documents(documents: Sequence[Document]) -> Split:
    """Each document to its side: as its row says, else by the hash of its group's first text.

    Few long documents are cut into parts at the ends of sentences first, so that each side has
    some. Raises InvalidInput when there is too little for three sides.
    """
    return next(split_sources([documents]))


def split_sources(sources: Sequence[Sequence[Document]]) -> Iterator[Split]:
    """The split of each source, as `split_documents` makes it; near-duplicates stay on one side
    in all of them, on that of the first source that has one.

    Raises InvalidInput at a source that has too little for three sides.
    """
    parts = [_enough(documents) for documents in sources]
    everything = [d for documents in parts for d in documents]
    of = groups(everything)
    members = defaultdict[int, list[int]](list)
    for n, g in enumerate(of):
        members[g].append(n)
    chance = {g: _hash(everything[ns[0]].text) / 2**64 for g, ns in members.items()}
    asked = {g: _asked([everything[n] for n in ns]) for g, ns in members.items()}
    decided, first = dict[int, str](), 0
    for documents in parts:
        mine = of[first : first + len(documents)]
        first += len(documents)
        before = {g: decided[g] for g in mine if g in decided}
        sides = {g: asked[g] for g in mine} | before
        told = any(d.split for d in documents)
        for side, below in (("test", HELD_OUT), ("validation", 2 * HELD_OUT)):
            if any(asked[g] == side for g in sides):
                continue
            free = sorted((chance[g], g) for g, s in sides.items()
                          if s in ("", "train") and g not in before)  # fmt: skip
            # Of rows that are said to be "train" some must still tell when to stop.
            free = (
                free if side == "validation" or not told else [f for f in free if not asked[f[1]]]
            )
            least = below - HELD_OUT
            chosen = [g for c, g in free if least <= c < below]
            if not chosen and side not in before.values():
                chosen = [g for _, g in free[:1]]
            if len(free) > 1:
                sides |= dict.fromkeys(chosen, side)
        decided |= {g: side or "train" for g, side in sides.items()}
        found: dict[str, list[Document]] = {side: [] for side in SPLITS}
        for d, g in zip(documents, mine, strict=True):
            found[decided[g]].append(replace(d, split=decided[g]))
        related = sum(len(members[g]) > 1 for g in mine)
        # Where an earlier source has taken all of one side, its texts stand for those of this one.
        if not before and not (found["train"] and found["validation"]):
            raise InvalidInput(
                "There is too little text to hold some of it back: bring at least three texts that "
                "differ, or one of a few thousand words."
            )
        yield Split(**found, near_duplicates=related)


def _asked(documents: Sequence[Document]) -> str:
    """The side that rows of one group ask for: what one of them holds out, none may teach."""
    asked = {d.split for d in documents}
    return next((s for s in ("test", "validation", "train") if s in asked), "")


FEW, PART = 12, 400
"""Fewer documents than this are cut into parts of so many words."""


def _enough(documents: Sequence[Document]) -> list[Document]:
    if len(documents) >= FEW:
        return list(documents)
    return [part for d in documents for part in (_parts(d) if not d.split else [d])]


def _parts(document: Document) -> list[Document]:
    """A long document in parts that end with a sentence; together they are the whole."""
    if word_count(document.text) < 2 * PART:
        return [document]
    parts, piece, words = list[str](), "", 0
    for paragraph in document.text.split("\n\n"):
        for unit in _units(paragraph):
            piece += unit
            words += word_count(unit)
            if words >= PART:
                parts.append(piece.strip())
                piece, words = "", 0
        piece += "\n\n"
    if piece.strip():
        parts.append(piece.strip())
    return [
        replace(document, text=text, origin=f"{document.origin}, part {n}")
        for n, text in enumerate(parts, 1)
    ]


def _units(paragraph: str) -> Iterator[str]:
    """What a part may end with: a sentence; of what has none, as verses and some transcripts, a
    line; of a line that is as long as a part, a word, or some letters where no spaces are."""
    for sentence in split_sentences(paragraph):
        if word_count(sentence) < PART:
            yield sentence + " "
            continue
        for line in sentence.splitlines(keepends=True):
            yield from [line] if word_count(line) < PART else _WORD.findall(line)
        yield " "


_WORD = re.compile(r"[^\s。！？]{1,200}[\s。！？]*|[\s。！？]+")
