"""Texts made fit to learn from, and a report of what was cut, changed and refused, and why.

Boilerplate goes (Project Gutenberg's header, footer and transcribers' notes; lines that recur in
most documents), lines are joined to paragraphs, and texts that are too short, in another language,
no prose, or there already are refused.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from finetune.data.documents import NOTE, Document

SHORTEST = 20
"""Words of the shortest text that is kept, unless asked otherwise."""
LONGEST_WORD = 200
"""Letters: what has a longer word is data, not prose."""
RECURRING, AMONG = 0.5, 6
"""A line in more than this share of at least so many documents is boilerplate."""
JUDGED = 12
"""Words from which on a language can be told."""
EXAMPLES = 5

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
"""Letters of scripts that put no space between words: Thai, Lao, Burmese, Khmer, kana, Chinese."""
LETTERS = 2
"""Such letters that count as a word."""

_START = re.compile(
    r"^\W{0,3}\s*START OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT).*$", re.MULTILINE | re.I
)
_END = re.compile(
    r"^\W{0,3}\s*(?:END OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)"
    r"|End of (?:the )?Project Gutenberg).*",
    re.MULTILINE | re.I | re.DOTALL,
)
_NOTES = re.compile(
    r"^(?:Produced by|E-?text prepared by|This e(?:book|text) was produced).*(?:\n.+)*"
    r"|^\[?\s*Transcriber['’]s? notes?\b.*(?:\n.+)*",
    re.MULTILINE | re.I,
)
_BRACKETS = re.compile(
    r"\[(?:Illustration|Footnote|Sidenote)\b[^\]]*\]|\[(?:\d{1,3}|Pg \d+)\]", re.I
)
_PAGE_NUMBER = re.compile(r"^\s*(?:page )?\d{1,4}\s*$", re.MULTILINE | re.I)
_EMPHASIS = re.compile(r"(?<!\w)_([^_\n]{1,200})_(?!\w)")


@dataclass
class CleaningReport:
    """What became of the documents of one source."""

    source: str
    read: int = 0
    kept: int = 0
    words: int = 0
    """Of the documents that were kept."""
    refused: Counter[str] = field(default_factory=Counter[str])
    changed: Counter[str] = field(default_factory=Counter[str])
    where: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The first few places of each reason."""
    near_duplicates: int = 0
    """Documents that share half of their words' runs with another; all on one side of a split."""

    def refuse(self, where: str, why: str) -> None:
        """Count a text that is not taken (or, with NOTE, one that was only changed)."""
        of = self.changed if why.startswith(NOTE) else self.refused
        why = why.removeprefix(NOTE).strip()
        of[why] += 1
        places = self.where.setdefault(why, [])
        if len(places) < EXAMPLES:
            places.append(where)

    def lines(self) -> list[str]:
        """For a person to read."""
        told = [f"{self.source}: {self.kept} of {self.read} texts kept, {self.words:,} words"]
        for title, found in (("refused", self.refused), ("changed", self.changed)):
            for why, count in found.most_common():
                places = ", ".join(self.where[why][:2])
                told.append(f"  {title} {count}: {why}" + (f" ({places})" if places else ""))
        if self.near_duplicates:
            told.append(f"  {self.near_duplicates} near-duplicates, kept on one side of the split")
        return told

    def values(self) -> dict[str, Any]:
        """For a file of JSON."""
        counted = {"refused": dict(self.refused), "changed": dict(self.changed)}
        return {**vars(self), **counted}


def without_boilerplate(text: str) -> str:
    """A text without Project Gutenberg's header, footer, notes, marks of pictures and pages."""
    starts = list(_START.finditer(text))
    if starts:
        text = text[starts[-1].end() :]
    text = _END.sub("", text)
    text = _NOTES.sub("", _BRACKETS.sub("", text))
    return _EMPHASIS.sub(r"\1", _PAGE_NUMBER.sub("", text))


def tidy(text: str) -> str:
    """One form for letters, spaces and line ends; hard-wrapped lines joined to paragraphs.

    >>> tidy("A  fox\\r\\nran.")
    'A fox\\nran.'
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = text.replace("\f", "\n\n").replace("\xad", "").replace("\ufeff", "")
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    text = re.sub(r"[^\S\n]+", " ", text)
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(p for p in map(_joined, paragraphs) if p)


def _joined(paragraph: str) -> str:
    """Lines of a printed page become one; lines of a verse or of speech stay."""
    lines = [s for line in paragraph.split("\n") if (s := line.strip())]
    if len(lines) > 1 and all(len(line) >= 45 for line in lines[:-1]):
        return re.sub(r"(?<=[a-z])- (?=[a-z])", "", " ".join(lines))
    return "\n".join(lines)


def _recurring(documents: Sequence[Document]) -> set[str]:
    """Lines of several words that stand in most documents."""
    if len(documents) < AMONG:
        return set()
    seen = Counter[str]()
    for d in documents:
        seen.update({s for line in d.text.split("\n") if len((s := line.strip()).split()) > 3})
    return {line for line, n in seen.items() if n > RECURRING * len(documents)}


def word_count(text: str) -> int:
    """Words of a text; in scripts without spaces every LETTERS letters are one.

    >>> word_count("a red fox"), word_count("从前有一只狐狸。")
    (3, 3)
    """
    rest, letters = _UNSPACED.subn(" ", text)
    return len(re.findall(r"\S*\w\S*", rest) if letters else rest.split()) + letters // LETTERS


def fingerprint(text: str) -> str:
    """The same for texts that differ in case, signs and spaces alone."""
    return hashlib.sha256(" ".join(re.findall(r"\w+", text.casefold())).encode()).hexdigest()


def language_of(text: str) -> str:
    """The likeliest language, as ISO 639-1. Source: Lui & Baldwin 2012 (langid.py)."""
    import py3langid

    return str(py3langid.classify(text[:600])[0])


def _flaw(document: Document, language: str, shortest: int) -> str | None:
    """Why a tidied text is refused, None when it is kept."""
    count = word_count(document.text)
    if any(len(word) > LONGEST_WORD for word in _UNSPACED.sub(" ", document.text).split()):
        return "it is data, not prose: a line without spaces"
    if count < shortest:
        return f"it is too short (fewer than {shortest} words)"
    letters = sum(c.isalpha() or unicodedata.category(c)[0] in "MZ" or c.isspace()
                  for c in document.text)  # fmt: skip
    if letters < 0.7 * len(document.text):
        return "it is data, not prose: mostly digits and signs"
    if language and count >= JUDGED and (found := language_of(document.text)) != language:
        return f"its language is “{found}”, not “{language}” (--language any takes all)"
    return None


def clean(
    documents: Iterable[Document],
    report: CleaningReport,
    *,
    language: str = "en",
    shortest: int = SHORTEST,
) -> list[Document]:
    """The documents that are fit, cleaned, in their order; `report` is told about the rest.

    `language` "" takes every language.
    """
    tidied = list[Document]()
    for d in documents:
        report.read += 1
        plain = without_boilerplate(d.text)
        if len(plain) < len(d.text):
            report.refuse(d.origin, f"{NOTE} boilerplate, marks or page numbers cut")
        tidied.append(replace(d, text=tidy(plain)))
    recurring = _recurring(tidied)
    kept, seen = list[Document](), dict[str, str]()
    for d in tidied:
        if recurring:
            lines = d.text.split("\n")
            left = [line for line in lines if line.strip() not in recurring]
            if len(left) < len(lines):
                report.refuse(d.origin, f"{NOTE} lines cut that recur in most texts")
                d = replace(d, text=tidy("\n".join(left)))
        why = _flaw(d, language, shortest)
        key = fingerprint(d.text)
        if why is None and key in seen:
            report.refuse(f"{d.origin} is {seen[key]}", "it is there twice")
        elif why is not None:
            report.refuse(d.origin, why)
        else:
            seen[key] = d.origin
            kept.append(d)
            report.words += word_count(d.text)
    report.kept = len(kept)
    return kept
