"""A local library of 100,000 books: `python -m tests.bench.library`. The last line is JSON.

What the Gallery asks for to show a page of its shelf: a page of 24 books, how many there are, the
styles, and the stamp. Milliseconds, the median of several runs with the file in memory; nothing is
asserted, because figures depend on the machine. Only the list is made, without pages or pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.book import Book, Page
from storage import index
from storage.database import transaction
from storage.local import LocalLibrary

STYLES = "storybook watercolour pencil crayon oil paper".split()
SENTENCES = 8
WORDS = 12

CASES: dict[str, tuple[int, str, str]] = {
    "newest": (0, "", ""),
    "page 2000": (48_000, "", ""),
    "last page": (10**9, "", ""),
    "a style": (0, "", "pencil"),
    "a word in every third book": (0, "fox", ""),
    "that word and a style": (0, "fox", "pencil"),
    "a word in one book": (0, "quagga", ""),
    "a word in no book": (0, "xylophonist", ""),
    "two letters": (0, "fo", ""),
    "one letter": (0, "f", ""),
    "two characters of Chinese": (0, "神話", ""),
    "three words": (0, "fox the lantern", ""),
    "a word in the oldest books": (0, "dinosaur", ""),
    "a character of Chinese in the oldest books": (0, "狐", ""),
}
"""What is asked for: offset, search, style."""


def fill(folder: Path, books: int) -> LocalLibrary:
    """A library whose list has so many books of about 600 characters each."""
    draw = random.Random(1)
    syllables = "fo la ri ne tor mi sha bel gu do pen wi ka lu est in or an el".split()
    common = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(3000)]
    common[:2] = ["the", "and"]
    weights = [1 / (n + 3) for n in range(len(common))]
    sentences = [" ".join(draw.choices(common, weights, k=WORDS)) for _ in range(20_000)]
    library = LocalLibrary(folder)
    with library._database.open() as db, transaction(db):
        # The texts are indexed at the end, all at once, as when a library is made anew.
        (trigger,) = db.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'books_after_insert'"
        ).fetchone()
        db.execute("DROP TRIGGER books_after_insert")
        for n in range(books):
            day = f"{draw.randint(2020, 2026)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
            texts = draw.choices(sentences, k=SENTENCES)
            texts[0] += " fox" * (n % 3 == 0) + " lantern" * (n % 7 == 0)
            texts[1] += " quagga 神話" * (n == books // 2)
            texts[2] += f" dinosaur 狐{chr(0x4E00 + n % 5000)}" * (day < "2020-04")
            book = Book(
                "Fox" if n % 3 == 0 else "Owl",
                tuple(map(Page, texts)),
                id=f"{draw.getrandbits(64):016x}",
                style=draw.choice(STYLES),
                created=f"{day}T00:00:00.{n:06d}",
            )
            index.put(db, book, "0" * 16)
        db.execute(trigger)
        db.execute("INSERT INTO books_text (books_text) VALUES ('rebuild')")
    return library


def milliseconds(act: Callable[[], object], runs: int) -> float:
    """The median time of a call, the first one left out."""
    act()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def measure(library: LocalLibrary, runs: int) -> dict[str, float]:
    """Milliseconds of a page of results and its count, and of styles and stamp."""
    found: dict[str, float] = {}
    for name, (offset, search, style) in CASES.items():
        count = partial(library.count, search=search, style=style)
        total = count()
        begin = min(offset, max(total - 24, 0))
        page = partial(library.list, offset=begin, search=search, style=style)
        found[f"{name}: page"] = milliseconds(page, runs)
        found[f"{name}: count ({total})"] = milliseconds(count, runs)
    found["styles"] = milliseconds(library.styles, runs)
    found["stamp"] = milliseconds(library.stamp, runs)
    return found


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.bench.library", description=__doc__)
    options.add_argument("--books", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        library = fill(Path(folder), chosen.books)
        filled = time.perf_counter() - begin
        size = (Path(folder) / "library.sqlite3").stat().st_size / 1e6
        found = measure(library, chosen.runs)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, SQLite {sqlite3.sqlite_version}"
    print(f"{machine}; {chosen.books} books in {filled:.0f} s, {size:.0f} MB")
    for name, value in found.items():
        print(f"{name:45s} {value:8.1f} ms")
    rounded = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({"machine": machine, "books": chosen.books, "ms": rounded}))


if __name__ == "__main__":
    main()
