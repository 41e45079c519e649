"""When the bench of many visitors counts as failed."""

from __future__ import annotations

import pytest

from tests.bench.visitors import MOST_SLOWER, well


@pytest.mark.parametrize(
    "errors, slower, status",
    [(0, 0.1, 0), (0, -0.1, 0), (1, 0.1, 1), (0, MOST_SLOWER + 0.01, 1)],
)
def test_errors_and_a_slow_book_are_told_by_the_exit_status(
    errors: int, slower: float, status: int
) -> None:
    assert well({"errors": errors, "slower": slower}) == status
