"""Words that stories and pictures leave out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

from pipelines.scene import ASSETS, plural


@cache
def unsuitable() -> tuple[str, ...]:
    """Words that no story has, whatever is asked for."""
    lines = (ASSETS / "banned.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def ban_list(own: Iterable[str] = ()) -> tuple[str, ...]:
    """The unsuitable words and a person's own, as `plain` writes them."""
    mine = (plain(word) for word in own)
    return tuple(dict.fromkeys([*(w for w in mine if w), *unsuitable()]))


def plain(text: str) -> str:
    """Lower case, one kind of every letter, no invisible characters, one space between words.

    Source: NFKC_Casefold of the Unicode Standard, section 3.13.
    """
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", folded.casefold())).strip()


@lru_cache(maxsize=64)  # a server meets ever new ban lists
def _ban_pattern(banned: tuple[str, ...]) -> re.Pattern[str]:
    forms = {f for w in banned for f in (w, plural(w), w + "s")}
    return re.compile("|".join(map(_alone, sorted(forms, key=lambda f: (-len(f), f)))))


_UNSPACED = (
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
"""Letters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han."""


def _alone(form: str) -> str:
    """A pattern of a word that is not part of another, where its script has a way to tell."""
    before = "" if re.match(_UNSPACED, form) else r"(?<!\w)"
    after = "" if re.search(_UNSPACED + r"\Z", form) else r"(?:['’]s)?(?!\w)"
    return before + re.escape(form) + after


def find_banned(text: str, banned: tuple[str, ...]) -> str | None:
    """The first banned word (or its plural) in a text, however that is written; as `plain` writes
    it. None when there is none. `banned` are words as `ban_list` has them."""
    match = _ban_pattern(banned).search(plain(text)) if banned else None
    return match[0] if match else None
