"""The Rate tab: blind, once each, and figures only when all is rated."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from storage.memory import MemoryLibrary
from storage.ratings import Survey
from ui.rating import ANSWER, page


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "browser"))
    for home, colour in (("drawing", "white"), ("quick-one", "red"), ("slow-one", "blue")):
        (tmp_path / "results" / home).mkdir(parents=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / "results" / home / "fox.png")
    return Survey.open(tmp_path / "results", MemoryLibrary())


def test_no_page_tells_who_painted_before_all_are_rated(survey: Survey) -> None:
    for n in range(2):
        html = page(survey, "ada")
        assert f"Picture {n + 1} of 2" in html
        for secret in ("quick-one", "slow-one", "fox"):
            assert secret not in html
        assert html.count("data-rate=") == 5
        answer = ANSWER.fullmatch(f"{n}:4")
        assert answer is not None
        survey.rate("ada", int(answer[1]), int(answer[2]))
    html = page(survey, "ada")
    assert "Thank you" in html
    assert "<td>quick-one</td><td>1</td><td>4.00</td>" in html
    assert "too few ratings" in html
    assert "Picture 1 of 2" in page(survey, "bob")


@pytest.mark.parametrize("odd", ["", "1", "1:6", "x:3", "-1:3", "1:3; DROP TABLE"])
def test_odd_answers_are_not_read(odd: str) -> None:
    assert ANSWER.fullmatch(odd) is None
