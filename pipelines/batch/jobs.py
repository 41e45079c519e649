"""What a file of requests asks for: a book a line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipelines.book import MAX_TITLE
from pipelines.errors import InvalidInput
from pipelines.presets import MAX_SEED, PictureConfig, StoryConfig
from pipelines.reading import check_words, split_sentences
from pipelines.storybook import sentences_of

MAX_JOBS = 100_000
"""Lines of one file."""

_STORY = {f.name for f in fields(StoryConfig)} - {"words", "seed"}
_PICTURE = {f.name for f in fields(PictureConfig)} - {"seed"}
_OWN = {"words", "pages", "seed", "author", "title", "text"}
_KINDS: dict[str, str] = dict.fromkeys(_OWN, "str") | {"pages": "int"}
_KINDS |= {f.name: str(f.type) for f in (*fields(StoryConfig), *fields(PictureConfig))}
"""Types of a line's values, as the classes spell them."""
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "text"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "tuple[str, ...]": (list, "a list of texts"),
}
"""What JSON has for each of them, and how it is called."""


@dataclass(frozen=True)
class Job:
    """One book to make."""

    number: int
    """Its line in the file, from 1."""
    line: str
    digest: str
    """SHA-256 of everything that was asked for, the seed and the models included."""
    story: StoryConfig
    picture: PictureConfig
    title: str = ""
    """"": the story's own."""
    author: str = ""
    text: str = ""
    """The story, where it need not be written any more."""

    @property
    def pages(self) -> int:
        """How many pages it will have, as far as that is known."""
        return len(split_sentences(self.text)) if self.text else self.story.sentences

    @property
    def folder(self) -> str:
        """A name for its folder that every system takes."""
        slug = re.sub(r"[^\w]+", "-", self.story.words, flags=re.ASCII).strip("-").lower()[:40]
        return f"{self.number:04d}-{slug.strip('-') or 'book'}"


@dataclass(frozen=True)
class Refused:
    """A line that cannot be made a book of."""

    number: int
    line: str
    reason: str


def read_jobs(
    path: Path, defaults: PictureConfig, models: Mapping[str, str] | None = None
) -> tuple[list[Job], list[Refused]]:
    """The jobs of a file, and the lines that are none.

    A line is a JSON object, `{"words": "a fox who wanted to fly", "pages": 6, "seed": 3}`, or the
    words alone. Further keys: `title`, `author`, `text` (a story that is to be painted as it is),
    and every field of StoryConfig and PictureConfig; what a line leaves out is as in `defaults`,
    but for the drafts of a story, of which it then is one. `models` are those that were named
    instead of the embedded ones: other models make other books, with the same seed.
    Without a seed it follows from the line and its number, so that the same file makes the same
    books. Empty lines and those that begin with # are left out.

    Raises: InvalidInput when the file cannot be read or holds nothing to do.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text: {error}.") from error
    # Not splitlines: JSON may hold U+2028, which is no end of a line in JSON Lines.
    lines = [line.strip() for line in text.split("\n")]
    asked = [(n, line) for n, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not 0 < len(asked) <= MAX_JOBS:
        raise InvalidInput(
            f"{path} asks for {len(asked)} books; it may ask for 1 to {MAX_JOBS}: "
            'write one a line, as {"words": "a fox who wanted to fly"}.'
        )
    jobs: list[Job] = []
    refused: list[Refused] = []
    for number, line in asked:
        try:
            jobs.append(_job(number, line, defaults, models or {}))
        except InvalidInput as error:
            refused.append(Refused(number, line, str(error)))
    return jobs, refused


def _values(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {"words": line}
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"This line is no JSON: {error}.") from error
    unknown = sorted(values.keys() - _STORY - _PICTURE - _OWN)
    if unknown:
        raise InvalidInput(
            f"There is no setting “{unknown[0]}”: those of a line are "
            f"{', '.join(sorted(_STORY | _PICTURE | _OWN))}."
        )
    return values


def _job(number: int, line: str, defaults: PictureConfig, models: Mapping[str, str]) -> Job:
    values = _values(line)
    for name, value in values.items():
        _check_kind(name, value)
    written = json.dumps(
        {**defaults.to_settings(), "seed": None, **values}, sort_keys=True, ensure_ascii=False
    )
    if re.search(r"[\ud800-\udfff]", written):
        raise InvalidInput(
            "This line has half of a character, as “\\ud83d” without “\\ude00” is: no file of a "
            "book can hold that."
        )
    seed = values.get("seed")
    if seed is None:
        own = hashlib.sha256(f"{number} {written}".encode()).digest()
        seed = int.from_bytes(own[:8], "big") % (MAX_SEED + 1)
    title, author, text = (values.get(name, "").strip() for name in ("title", "author", "text"))
    words = values.get("words", "").strip() or title or text[:60]
    story: dict[str, Any] = {"drafts": 1}
    story |= {name: values[name] for name in _STORY & values.keys()}
    asked = f"{seed} {written}" + (json.dumps(dict(models), sort_keys=True) if models else "")
    if "pages" in values:
        story["sentences"] = values["pages"]
    if "ban" in story:
        story["ban"] = tuple(story["ban"])
    picture = {name: values[name] for name in _PICTURE & values.keys()}
    job = Job(
        number,
        line,
        hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest(),
        StoryConfig(check_words(words), seed=seed, **story),
        PictureConfig.from_settings({**defaults.to_settings(), **picture, "seed": seed}),
        title[:MAX_TITLE],
        author[:MAX_TITLE],
        " ".join(text.split()),
    )
    if job.picture.start == "picture":
        raise InvalidInput("A book of a batch cannot begin from a picture: choose another start.")
    if job.picture.start == "noise" and picture.get("pull"):
        raise InvalidInput("A start of noise has no picture to pull towards: leave out “pull”.")
    if job.text:
        sentences_of(job.text)
    return job


def _check_kind(name: str, value: object) -> None:
    """Raises InvalidInput for a value of another type than its setting has."""
    kind = _KINDS[name]
    if kind.endswith(" | None"):
        if value is None:
            return
        kind = kind.removesuffix(" | None")
    types, told = _TYPES[kind]
    fits = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
    if isinstance(value, list):
        fits = fits and all(isinstance(part, str) for part in value)
    if not fits:
        raise InvalidInput(f"“{name}” is to be {told}, not {json.dumps(value)[:40]}.")
