"""The embedded byte-level BPE tokenizer that all embedded text models share."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pipelines.weights import EMBEDDED, check_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, END, TITLE, SENTENCE, BRIEF, NEW = "<pad>", "<end>", "<title>", "<s>", "<brief>", "<new{}>"
NEW_WORDS = tuple(NEW.format(n) for n in (1, 2, 3))
"""Stand-ins for words of a request that no model knows; the typed word is put back afterwards."""

SPECIALS = (PAD, END, TITLE, SENTENCE, BRIEF, *NEW_WORDS)
"""In this order their ids are 0, 1, 2, ..."""

PAD_ID, END_ID = 0, 1
TEXT_LENGTH = 48
"""Longest prompt of the picture models, in tokens."""


@cache
def load_tokenizer() -> Tokenizer:
    """Raises ModelUnavailable."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(check_file(EMBEDDED / "tokenizer.json")))


def prompt_ids(prompt: str) -> list[int]:
    """Tokens of a picture prompt, cut to TEXT_LENGTH with END as the last one."""
    return [*load_tokenizer().encode(prompt).ids[: TEXT_LENGTH - 1], END_ID]
