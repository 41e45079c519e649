"""Pictures with words: a folder of pictures with texts beside them, or a table that names both."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.data.documents import decode, delimiter_of
from finetune.data.folder import PICTURES, Gallery, digest_of, find_pictures, sort_out
from pipelines.errors import InvalidInput, StorageError
from pipelines.hub import short

PICTURE_COLUMNS = ("image", "picture", "file_name", "file", "filename", "path", "img")
TEXT_COLUMNS = ("caption", "text", "sentence", "prompt", "description", "label", "class")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Pair:
    """A picture and what it shows."""

    picture: Path
    text: str


@dataclass(frozen=True)
class Pairs:
    """Pairs to learn from and to test on; no picture of the test looks like a learned one."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    gallery: Gallery
    problems: tuple[tuple[str, str], ...] = ()
    """(picture, text or row, what is missing)."""

    def lines(self) -> list[str]:
        """For a person to read, before the training starts."""
        found = [f"{len(self.train)} pairs to learn from, {len(self.test)} held out for the test"]
        reasons: dict[str, list[str]] = {}
        for name, why in self.problems:
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            found.append(f"{why}: {len(names)} ({shown})")
        return found + self.gallery.lines()[1:]

    @property
    def fingerprint(self) -> str:
        """The same for the same pairs on the same sides."""
        words = (f"{p.picture.name}\t{p.text}" for p in (*self.train, *self.test))
        return digest_of([self.gallery.fingerprint, *words])


def read_pairs(source: Path, scratch: Path, seed: int = 0, *, classes: bool = False) -> Pairs:
    """Pairs of a folder or a table, sorted out and split by `seed`.

    A folder: each picture has its words in a .txt of the same name; with `classes` the folder that
    it lies in names its class, which takes the place of words. A table (csv, tsv, jsonl, parquet)
    names the picture, relative to its own folder, in a column such as `image` or `file_name` and
    the words in one such as `caption` or `text`; pictures inside a parquet are written to
    `scratch`.
    Raises InvalidInput when there is no such thing, or nothing in it can be learned from.
    """
    problems: list[tuple[str, str]] = []
    if source.is_dir():
        tables = [source / f"pages{s}" for s in TABLES] + [source / f"metadata{s}" for s in TABLES]
        table = next((t for t in tables if t.is_file() and not classes), None)
        found = list(_of_table(table, scratch, problems) if table is not None
                     else _of_folder(source, problems, classes))  # fmt: skip
    elif source.suffix.lower() in TABLES and source.is_file():
        found = list(_of_table(source, scratch, problems))
    else:
        raise InvalidInput(
            f"{source} is neither a folder nor a table ({', '.join(TABLES)}): name a folder of "
            "pictures with a .txt beside each, or a table that names pictures and captions."
        )
    if not found:
        some = "; ".join(f"{name}: {why}" for name, why in problems[:3])
        raise InvalidInput(f"No picture in {source} has words{f' ({some})' if some else ''}.")
    gallery = sort_out([p.picture for p in found], seed, twins=True)
    learned, held_out = set(gallery.train), set(gallery.test)
    return Pairs(
        tuple(p for p in found if p.picture in learned),
        tuple(p for p in found if p.picture in held_out),
        gallery,
        tuple(problems),
    )


def _of_folder(folder: Path, problems: list[tuple[str, str]], classes: bool) -> Iterator[Pair]:
    pictures = find_pictures(folder)
    for picture in pictures:
        if classes:
            inside = picture.parent != folder
            text = re.sub(r"[\W_]+", " ", picture.parent.name).strip() if inside else ""
            missing = "pictures outside any class"
        else:
            text = _words(picture.with_suffix(".txt"), problems)
            missing = "pictures without words"
        if text:
            yield Pair(picture, text)
        else:
            problems.append((picture.name, missing))
    if not classes:
        named = {p.with_suffix("") for p in pictures}
        problems += [(t.name, "words without a picture") for t in sorted(folder.rglob("*.txt"))
                     if t.with_suffix("") not in named]  # fmt: skip


def _words(path: Path, problems: list[tuple[str, str]]) -> str:
    """One line of words out of a text file; "" when there is none."""
    if not path.is_file():
        return ""
    try:
        text, encoding = decode(path.read_bytes())
    except Exception as e:  # a binary file under the name of a text
        problems.append((path.name, f"words that cannot be read: {short(e)}"))
        return ""
    if not encoding.startswith("utf"):
        problems.append((path.name, f"not UTF-8, read as {encoding}"))
    return " ".join(text.split())[:2000]


def _of_table(path: Path, scratch: Path, problems: list[tuple[str, str]]) -> Iterator[Pair]:
    empty, named = True, False
    for n, row in enumerate(_rows(path, problems), 1):
        empty = False
        name = f"row {n}"
        shown = _column(row, PICTURE_COLUMNS)
        named = named or any(c in row for c in PICTURE_COLUMNS)
        if shown is None and named:
            problems.append((name, "rows that name no picture"))
            continue
        if shown is None:
            raise InvalidInput(
                f"{path}, row {n}, names no picture: a column must be called one of "
                f"{', '.join(PICTURE_COLUMNS)} (there are {', '.join(map(str, row))})."
            )
        texts = _captions(row)
        if row.get("split") in ("test", "validation") and path.stem == "pages":
            continue  # held out by whoever made the set
        if not texts:
            problems.append((name, "pictures without words"))
            continue
        picture = _picture(shown, path, scratch, n)
        if picture is None:
            problems.append((name, "words whose picture is missing"))
        else:
            yield from (Pair(picture, text) for text in texts)
    if empty:
        raise InvalidInput(f"{path} has no rows.")


def _captions(row: Mapping[str, Any]) -> list[str]:
    """The words of a row, each on one line; data sets of photographs have several in a list."""
    told = next((row[c] for c in TEXT_COLUMNS if row.get(c)), "")
    lines = (" ".join(str(t or "").split()) for t in (told if isinstance(told, list) else [told]))
    return [line[:2000] for line in lines if line]


def _column(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[c] for c in names if c in row), None)


def _picture(shown: Any, table: Path, scratch: Path, number: int) -> Path | None:
    """The picture of a row as a file: named, or with its bytes inside as `datasets` keeps it."""
    data = shown if isinstance(shown, bytes) else None
    if isinstance(shown, dict):
        data, shown = shown.get("bytes"), shown.get("path")
    if data:
        suffix = Path(str(shown)).suffix if isinstance(shown, str) else ""
        suffix = suffix if suffix.lower() in PICTURES else ".png"
        file = scratch / "pictures" / f"{table.stem}-{number:07d}{suffix}"
        try:
            if not file.is_file() or file.read_bytes() != data:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
        except OSError as e:
            raise StorageError(f"{file} cannot be written ({e.strerror}): free some disk.") from e
        return file
    if not isinstance(shown, str) or not shown:
        return None
    file = table.parent / shown
    return file if file.is_file() else None


def _json_row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _rows(path: Path, problems: list[tuple[str, str]]) -> Iterator[Mapping[str, Any]]:
    """Rows of a table; lines of jsonl that are none are told. Raises InvalidInput when the whole is
    damaged."""
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(batch_size=256):
                    yield from batch.to_pylist()
            return
        text, _ = decode(path.read_bytes())
        if kind in (".csv", ".tsv"):
            csv.field_size_limit(max(csv.field_size_limit(), len(text)))
            reader = csv.DictReader(io.StringIO(text, newline=""),
                                    delimiter=delimiter_of(text, path))  # fmt: skip
            yield from reader
            return
        found, broken = 0, list[tuple[str, str]]()
        for n, line in enumerate(text.split("\n"), 1):
            row = _json_row(line) if line.strip() else {}
            if row is None:
                broken.append((f"line {n}", "lines that are no JSON"))
            elif line.strip():
                found += 1
                yield row
        if broken and not found:
            json.loads(text)  # says why
            raise ValueError(text[:80])
        problems += broken
    except InvalidInput:
        raise
    except Exception as e:  # each reader raises its own for a damaged file
        raise InvalidInput(f"{path} is no {kind[1:]}, or damaged ({short(e)}).") from e
