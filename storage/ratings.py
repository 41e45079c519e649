"""Blind ratings of coloured pictures, 1 to 5: kept in SQLite, reported as mean opinion scores.

    python -m storage.ratings report LIBRARY

FOLDER of results: `METHOD/PICTURE.png` for every method and picture, and `drawing/PICTURE.png`,
what was given to all of them (`python -m finetune.evaluate colorize` writes one). People see the
pictures in an order of their own and never a method's name. The report has mean and standard
deviation of each method and Welch's t-test between every two; people avoid the extremes, so a mean
of 4 is good.
"""

from __future__ import annotations

import argparse
import math
import random
import sqlite3
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pipelines.book import now
from pipelines.errors import AppError, InvalidInput, NotFound
from storage.database import BUSY_SECONDS, explained, transaction

FILE = "ratings.sqlite3"
DRAWING = "drawing"
SCORES = range(1, 6)
TERMS = 400
"""Of a continued fraction: enough for tens of thousands of ratings."""


def m001_ratings(db: sqlite3.Connection) -> None:
    """One row for every picture that somebody has rated; `rater` is a hash, never a name."""
    db.execute(
        """
        CREATE TABLE ratings (
            rater TEXT NOT NULL,
            picture TEXT NOT NULL,
            method TEXT NOT NULL,
            score INTEGER NOT NULL CHECK (score BETWEEN 1 AND 5),
            rated TEXT NOT NULL,
            PRIMARY KEY (rater, picture, method)
        )
        """
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_ratings,)
"""Applied once each, in this order, and remembered by name: append only, never rename."""


# --- what is rated -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One picture that somebody is asked about."""

    picture: str
    method: str
    drawing: Path
    """What was to be coloured."""
    coloured: Path


class Results:
    """A folder of results. Raises InvalidInput when there is nothing in it to rate."""

    def __init__(self, folder: Path) -> None:
        drawings = {file.stem: file for file in sorted((folder / DRAWING).glob("*.png"))}
        homes = sorted(p for p in folder.glob("*") if p.is_dir() and p.name != DRAWING)
        self.all = tuple(
            Result(name, home.name, drawing, home / f"{name}.png")
            for home in homes
            for name, drawing in drawings.items()
            if (home / f"{name}.png").is_file()
        )
        if not self.all:
            raise InvalidInput(
                f"There is nothing to rate in {folder}: name a folder that "
                "python -m finetune.evaluate colorize has written (runs/colorize/rating)."
            )

    def order(self, rater: str) -> tuple[Result, ...]:
        """Everything in an order of this person's own, the same each time."""
        mixed = list(self.all)
        random.Random(f"ratings {rater}").shuffle(mixed)
        return tuple(mixed)


# --- where ratings are kept ----------------------------------------------------------------------


class Ratings:
    """The ratings in `folder`. Safe to call from any thread; failures raise StorageError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._open() as db, transaction(db):
            db.execute(
                "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied TEXT)"
            )
            applied = {name for (name,) in db.execute("SELECT name FROM migrations")}
            for migration in MIGRATIONS:
                if migration.__name__ not in applied:
                    migration(db)
                    db.execute("INSERT INTO migrations VALUES (?, ?)", (migration.__name__, now()))

    def add(self, rater: str, result: Result, score: int) -> None:
        """Keep a rating; a second one of the same picture replaces the first.

        Raises: InvalidInput for a score that is not from 1 to 5.
        """
        if score not in SCORES:
            raise InvalidInput(f"A rating is from {SCORES[0]} to {SCORES[-1]}, not {score}.")
        with self._open() as db, transaction(db):
            db.execute(
                "REPLACE INTO ratings VALUES (?, ?, ?, ?, ?)",
                (rater, result.picture, result.method, score, now()),
            )

    def rated_by(self, rater: str) -> set[tuple[str, str]]:
        """(picture, method) of everything that this person has rated."""
        with self._open() as db:
            query = "SELECT picture, method FROM ratings WHERE rater = ?"
            return set(db.execute(query, (rater,)))

    def scores(self) -> dict[str, list[int]]:
        """All scores by method, in order of the methods' names."""
        found = dict[str, list[int]]()
        with self._open() as db:
            for method, score in db.execute("SELECT method, score FROM ratings ORDER BY method"):
                found.setdefault(method, []).append(score)
        return found

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with explained(self.folder):
            db = sqlite3.connect(self.folder / FILE, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                yield db
            finally:
                db.close()


@dataclass(frozen=True)
class Survey:
    """What is shown, and where the answers go."""

    results: Results
    ratings: Ratings

    @classmethod
    def open(cls, folder: str | Path, library: object) -> Survey:
        """A folder of results, rated in the folder of a library, or beside the results where the
        library has none. Raises: InvalidInput, StorageError."""
        home = getattr(library, "folder", None)
        return cls(Results(Path(folder)), Ratings(home if isinstance(home, Path) else Path(folder)))

    def position(self, rater: str) -> int | None:
        """Which of this person's `order` comes next; None when that was all."""
        rated = self.ratings.rated_by(rater)
        order = enumerate(self.results.order(rater))
        return next((n for n, r in order if (r.picture, r.method) not in rated), None)

    def rate(self, rater: str, position: int, score: int) -> None:
        """Answer for one of this person's `order`. Raises: InvalidInput, StorageError."""
        order = self.results.order(rater)
        if position not in range(len(order)):
            raise InvalidInput("This picture is gone: load the page again.")
        self.ratings.add(rater, order[position], score)


# --- what they say -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opinion:
    """Mean opinion score of a method."""

    method: str
    count: int
    mean: float
    deviation: float
    """Standard deviation of the sample; 0 of a single score."""


def opinions(scores: dict[str, list[int]]) -> list[Opinion]:
    """The best first."""
    found = [
        Opinion(m, len(s), statistics.fmean(s), statistics.stdev(s) if len(s) > 1 else 0.0)
        for m, s in scores.items()
    ]
    return sorted(found, key=lambda o: (-o.mean, o.method))


@dataclass(frozen=True)
class Welch:
    """Result of a t-test; all are nan where a sample is too small or neither one varies."""

    t: float
    freedom: float
    """Degrees of freedom."""
    p: float
    """How likely such a difference is by chance, two-sided."""


def welch(a: Sequence[float], b: Sequence[float]) -> Welch:
    """Whether two samples have one mean, whatever their variances. Source: Welch 1947."""
    if min(len(a), len(b)) < 2:
        return Welch(math.nan, math.nan, math.nan)
    one, two = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if one + two == 0:
        return Welch(math.nan, math.nan, math.nan)
    t = (statistics.fmean(a) - statistics.fmean(b)) / math.sqrt(one + two)
    freedom = (one + two) ** 2 / (one**2 / (len(a) - 1) + two**2 / (len(b) - 1))
    return Welch(t, freedom, incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), a and b above 0, x in [0, 1].

    Source: its continued fraction (DLMF 8.17.22), evaluated from the far end.
    """
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # the fraction converges quickly on the other side only
        return 1 - incomplete_beta(b, a, 1 - x)
    value = 1.0
    for n in range(TERMS, 0, -1):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + term / value
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / (a * value)


def report(scores: dict[str, list[int]]) -> str:
    """Markdown: mean and deviation of every method, then Welch's t-test of every two."""
    if not scores:
        return "Nothing has been rated yet."
    ranked = opinions(scores)
    lines = ["| method | ratings | mean | deviation |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {o.method} | {o.count} | {o.mean:.2f} | {o.deviation:.2f} |" for o in ranked]
    lines += ["", "| Welch's t-test | t | degrees of freedom | p |", "| --- | ---: | ---: | ---: |"]
    for one, two in combinations([o.method for o in ranked], 2):
        w = welch(scores[one], scores[two])
        if math.isnan(w.p):
            lines.append(f"| {one} and {two} | | | too few ratings |")
        else:
            lines.append(f"| {one} and {two} | {w.t:.2f} | {w.freedom:.1f} | {w.p:.4f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 when there are no ratings."""
    p = argparse.ArgumentParser(prog="python -m storage.ratings")
    p.add_argument("what", choices=("report",), help="means, deviations and Welch's t-tests")
    p.add_argument("library", type=Path, help="the folder that holds " + FILE)
    args = p.parse_args(arguments)
    try:
        if not (args.library / FILE).is_file():
            raise NotFound(f"There are no ratings in {args.library}: {FILE} is not there.")
        print(report(Ratings(args.library).scores()))
    except AppError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
