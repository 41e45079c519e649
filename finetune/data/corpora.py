"""Real stories for language: the JSON lines of `stories_text`.

The folder is built from openly licensed sources (African Storybook, Book Dash, Pratham Books: CC BY
4.0; Project Gutenberg and FairytaleQA tales: public domain; TinyStories: CDLA-Sharing-1.0) and
stays outside the repository. Each line: {"text", "title", "source", "split", "words_per_sentence",
"sensitive", ...}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import InvalidInput


@dataclass(frozen=True)
class CorpusStory:
    title: str
    text: str
    source: str


def read_stories(folder: Path, split: str) -> Iterator[CorpusStory]:
    """Stories in simple language (at most 14 words a sentence) without sensitive words.

    Raises InvalidInput when the folder holds no such file.
    """
    files = [folder / "stories.jsonl", folder / "tinystories.jsonl"]
    if not any(f.exists() for f in files):
        raise InvalidInput(f"{folder} has no stories.jsonl or tinystories.jsonl: name its folder.")
    for file in filter(Path.exists, files):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["split"] != split or row.get("sensitive"):
                    continue
                if float(row.get("words_per_sentence") or 10) > 14:
                    continue
                yield CorpusStory(row.get("title") or "", row["text"], row["source"])
