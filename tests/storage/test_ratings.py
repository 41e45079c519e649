"""Ratings are kept once a person and picture, shown blind, and reported as scipy would."""

from __future__ import annotations

import math
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import special, stats

from pipelines.errors import InvalidInput, StorageError
from storage.local import LocalLibrary
from storage.memory import MemoryLibrary
from storage.ratings import (
    FILE,
    MIGRATIONS,
    Ratings,
    Results,
    Survey,
    incomplete_beta,
    main,
    opinions,
    report,
    welch,
)

ODD = ("a.png", "b.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures by two methods, of which the second lacks one."""
    for home in ("drawing", "ours", "theirs"):
        (tmp_path / "results" / home).mkdir(parents=True)
        for name in ODD:
            Image.new("RGB", (8, 8)).save(tmp_path / "results" / home / name)
    (tmp_path / "results" / "theirs" / "b.png").unlink()
    return tmp_path / "results"


def test_everything_is_shown_once_in_an_order_of_one_s_own(folder: Path, tmp_path: Path) -> None:
    survey = Survey.open(folder, LocalLibrary(tmp_path / "library"))
    assert len(survey.results.all) == 3
    orders = {survey.results.order(f"rater {n}") for n in range(20)}
    assert len(orders) > 2
    order = survey.results.order("ada")
    assert order == survey.results.order("ada")
    seen = list[int]()
    while (position := survey.position("ada")) is not None:
        seen.append(position)
        survey.rate("ada", position, 4)
    assert seen == [0, 1, 2]
    assert survey.position("bob") == 0
    assert (tmp_path / "library" / FILE).is_file()
    with pytest.raises(InvalidInput, match="gone"):
        survey.rate("ada", 3, 4)


def test_a_library_without_a_folder_keeps_them_beside_the_results(folder: Path) -> None:
    Survey.open(folder, MemoryLibrary()).rate("ada", 0, 5)
    assert sum(map(len, Ratings(folder).scores().values())) == 1


def test_a_second_thought_replaces_the_first(folder: Path, tmp_path: Path) -> None:
    ratings, first = Ratings(tmp_path), Results(folder).all[0]
    ratings.add("ada", first, 2)
    ratings.add("ada", first, 5)
    ratings.add("bob", first, 1)
    (kept,) = Ratings(tmp_path).scores().values()
    assert sorted(kept) == [1, 5]
    for odd in (0, 6):
        with pytest.raises(InvalidInput, match="1 to 5"):
            ratings.add("ada", first, odd)


def test_migrations_are_applied_once_and_named(tmp_path: Path) -> None:
    for _ in range(2):
        Ratings(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM migrations")]
    assert names == [m.__name__ for m in MIGRATIONS] == ["m001_ratings"]


def test_what_cannot_be_kept_or_rated_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("no database at all, and long enough to be looked at " * 20)
    with pytest.raises(StorageError):
        Ratings(tmp_path)
    with pytest.raises(InvalidInput, match="evaluate colorize"):
        Results(tmp_path)


scores = st.lists(st.integers(1, 5), min_size=2, max_size=40)


def scipy_s(a: list[int], b: list[int]) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)  # on equal scores
        return stats.ttest_ind(a, b, equal_var=False)


@given(scores, scores)
def test_welch_is_scipy_s(a: list[int], b: list[int]) -> None:
    mine = welch(a, b)
    if len({*a}) == 1 and len({*b}) == 1:
        assert math.isnan(mine.p)
        return
    theirs = scipy_s(a, b)
    assert mine.t == pytest.approx(theirs.statistic, rel=1e-9, abs=1e-12)
    assert mine.p == pytest.approx(theirs.pvalue, rel=1e-8, abs=1e-12)
    assert mine.freedom == pytest.approx(theirs.df, rel=1e-9)


@given(st.floats(0.3, 20_000), st.floats(0.3, 50), st.floats(0, 1))
def test_the_beta_function_is_scipy_s(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-6, abs=1e-9)


def test_the_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert "no ratings" in capsys.readouterr().err
    assert report({}) == "Nothing has been rated yet."
    ratings, results = Ratings(tmp_path), Results(folder)
    for n, rater in enumerate(("ada", "bob", "eve")):
        for one in results.all:
            ratings.add(rater, one, 4 + n % 2 if one.method == "ours" else 2)
    assert main(["report", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "| ours | 6 | 4.33 | 0.52 |" in text
    assert "| theirs | 3 | 2.00 | 0.00 |" in text
    p = scipy_s([4, 4, 5, 5, 4, 4], [2, 2, 2]).pvalue
    assert f"{p:.4f} |" in text
    assert [o.method for o in opinions(ratings.scores())] == ["ours", "theirs"]
    assert "too few" in report({"one": [3], "two": [4, 5]})
