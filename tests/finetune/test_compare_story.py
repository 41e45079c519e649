"""Two writers side by side: the figures, and the page."""

import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import compare_story
from finetune.compare_story import (
    Story,
    compare,
    figures_of,
    kinds_of,
    page_of,
    paintable,
    repetition,
    surprise,
    table_lines,
    text_alone,
)
from finetune.evaluate_story import main
from finetune.gpt2 import build, encode_example, save
from finetune.writers import Writer
from pipelines.errors import InvalidInput
from pipelines.tokenizer import load_tokenizer
from tests.finetune.test_gpt2 import TINY
from tests.finetune.test_texts import prose


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    found = list[str]()
    for seed in (0, 1):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp(f"writer{seed}")
        save(build(TINY), TINY, folder)
        found.append(str(folder))
    return found[0], found[1]


def test_what_a_figure_counts() -> None:
    assert paintable("Two foxes ran.")
    assert paintable("The puppy slept.")  # another name of the dog
    assert not paintable("It was over at last.")
    assert repetition("a b c d e") == 0.0
    assert repetition("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert repetition("one two") == 0.0
    told = figures_of([Story("T", ["A fox ran.", "It hid."]), Story("T", ["I kill you."])])
    assert told["paintable sentences"] == pytest.approx(1 / 3)
    assert told["words a sentence"] == pytest.approx(8 / 3)
    assert told["distinct-1"] == 1.0
    assert figures_of([])["distinct-2"] == 0.0


def test_banned_words_are_counted_by_story() -> None:
    from pipelines.banned import unsuitable

    bad = Story("T", [f"The {unsuitable()[0]} ran."])
    assert figures_of([bad, Story("T", ["A fox ran."])])["stories with banned words"] == 0.5


def test_only_the_words_of_a_story_are_measured() -> None:
    ids, skip = encode_example(random.Random(3))
    alone = text_alone(ids, skip)
    kept = load_tokenizer().decode([t for t, a in zip(ids, alone, strict=True) if a])
    assert not any(alone[:skip])
    assert "@" not in kept
    assert kept.count(".") + kept.count("!") + kept.count("?") >= 4


def test_surprise_is_that_of_the_words(writers: tuple[str, str]) -> None:
    writer = Writer.load(writers[0])
    sequences = [encode_example(random.Random(n)) for n in range(3)]
    found = surprise(writer, sequences)
    assert surprise(writer, sequences, batch=1).perplexity == pytest.approx(found.perplexity)
    assert 3000 < found.perplexity < 12000  # a model that knows nothing: about the vocabulary
    with pytest.raises(InvalidInput, match="held-out"):
        surprise(writer, [])


def test_kinds_are_told_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "movie_plots.jsonl").write_text("{}")
    (tmp_path / "own").mkdir()
    folders = [str(tmp_path), str(tmp_path / "own")]
    kinds = kinds_of(folders, ["stories", "plots"])
    assert [k.kind for k in kinds] == ["plots", "own"]
    # Taught without recipes it is read without: joined rows would be other texts, learned in part.
    assert [k.recipe for k in kinds_of(folders)] == [None, None]


def test_two_writers_side_by_side(
    writers: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    rows = [f'{n},"{prose(n, 80)}"' for n in range(14)]
    (texts / "all.csv").write_text("\n".join(["text,tale", *rows]))  # read as it was taught

    def quickly(self: Writer, model: Any, words: str, **more: Any) -> tuple[str, list[str]]:
        return "A <b>", [f"The fox & {words} {more['seed']}."]

    monkeypatch.setattr(Writer, "tell", quickly)
    page = tmp_path / "page" / "compare.html"
    monkeypatch.setattr(
        sys, "argv",
        ["x", "--before", writers[0], "--after", writers[1], "--data", str(texts), "--held-out",
         "4", "--page", str(page), "--text", "tale", "--language", "any"],
    )  # fmt: skip
    main()
    told = capsys.readouterr().out
    assert "| perplexity texts |" in told
    assert "| perplexity story world |" in told
    assert '"after stories with banned words": 0.0' in told
    html = page.read_text(encoding="utf-8")
    assert html.count("<div class='pair'>") == len(compare_story.PROMPTS)
    assert "A &lt;b&gt;" in html
    assert "<mark>fox</mark> &amp; " in html
    assert "The <mark>fox</mark> &amp; a <mark>fox</mark> who wants to fly 0." in html


def test_a_writer_differs_from_itself_in_nothing(writers: tuple[str, str]) -> None:
    found = compare(writers[0], writers[0], prompts=(), held_out=2)
    assert all(a == b for a, b in found.figures.values())
    assert "+0%" in "\n".join(table_lines(found))
    assert "better" not in page_of(found).split("</style>")[1]
