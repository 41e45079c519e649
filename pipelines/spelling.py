"""Which tokens may come next, so that a writer of subwords spells no word that there is not.

A small writer sometimes puts pieces of two words together ("penguininzed") or leaves a space out
("aNine"): a sixth of its stories had such a word. Here a word goes on only to one that is known.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence, Set
from functools import lru_cache

import torch
from torch import Tensor

_LETTERS_AT_END = re.compile(r"[A-Za-z]*$")


class Spelling:
    """Words, as the tokens that spell them: small, with a capital, or in capitals."""

    def __init__(self, words: Set[str], pieces: Sequence[str]) -> None:
        """`words` of letters, a to z, alone; `pieces` are the texts of all tokens, spaces
        included."""
        self._known = frozenset(word.lower() for word in words)
        self._sorted = sorted(self._known)
        self._pieces = pieces
        ends = [_LETTERS_AT_END.search(piece) for piece in pieces]
        self._tails = [end[0] if end else "" for end in ends]
        begun = [self._begins(tail.lower()) for tail in self._tails]
        apart = [not piece[:1].isascii() or not piece[:1].isalpha() for piece in pieces]
        self._fresh = _mask(begun)
        self._after_word = _mask([a and b for a, b in zip(apart, begun, strict=True)])
        self._no_token = torch.full_like(self._fresh, float("-inf"))
        self._inner: dict[str, list[int]] = {}
        for token, piece in enumerate(pieces):
            if piece and piece == self._tails[token]:
                self._inner.setdefault(piece, []).append(token)
        self._going_on = lru_cache(maxsize=4096)(self._find_going_on)

    def mask(self, tokens: Sequence[int]) -> Tensor:
        """Added to the logits (V,) after these tokens: 0, or minus infinity where a word would come
        of it that is not known."""
        tail = self.unfinished(tokens)
        if not tail:
            return self._fresh
        known = tail.lower() in self._known
        mask = (self._after_word if known else self._no_token).clone()
        mask[self._going_on(tail)] = 0.0
        return mask

    def unfinished(self, tokens: Sequence[int]) -> str:
        """The letters that the last word has so far, as they are; "" where none is begun."""
        letters = ""
        for token in reversed(tokens):
            tail = self._tails[token]
            letters = tail + letters
            if len(tail) < len(self._pieces[token]):
                break
        return letters

    def _begins(self, letters: str) -> bool:
        """Whether a word begins so, as they all do with nothing."""
        at = bisect_left(self._sorted, letters)
        return at < len(self._sorted) and self._sorted[at].startswith(letters)

    def _find_going_on(self, letters: str) -> list[int]:
        """The tokens with which a word goes on, or ends, that has begun so."""
        small, parts = letters.lower(), set[str]()
        for word in self._sorted[bisect_left(self._sorted, small) :]:
            if not word.startswith(small):
                break
            parts.update(word[len(small) : end] for end in range(len(small) + 1, len(word) + 1))
        if letters.isupper():
            parts |= {part.upper() for part in parts}
        return [token for part in parts for token in self._inner.get(part, ())]


def _mask(allowed: Sequence[bool]) -> Tensor:
    return torch.zeros(len(allowed)).masked_fill(~torch.tensor(allowed), float("-inf"))
