"""What is painted for words that nobody painted."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.data.stand_ins import WordNet, count_words, stand_ins, write
from pipelines import reading
from pipelines.errors import InvalidInput

# key, file, words, kinds, gloss: a few meanings as WordNet has them
MEANINGS = (
    ("00000001", "05", "animal", (), "a living organism that moves"),
    ("00000002", "05", "amphibian", ("00000001",), "cold-blooded vertebrate of land and water"),
    ("00000003", "05", "salamander", ("00000002",), "amphibian that resembles a lizard"),
    ("00000004", "05", "axolotl", ("00000003",), "larval salamander of mountain lakes of Mexico"),
    ("00000005", "05", "frog", ("00000002",), "tailless amphibian"),
    ("00000006", "05", "dog", ("00000001",), "a member of the genus Canis"),
    ("00000007", "05", "corgi", ("00000006",), "short-legged dog"),
    ("00000008", "05", "Ambystoma_mexicanum", ("00000003",), "an axolotl, in Latin"),
    ("00000009", "06", "marten", (), "the fur of a marten"),
    ("00000010", "05", "marten", ("00000006",), "a small animal, here a kind of dog"),
    ("00000011", "06", "hat", (), "headdress"),
    ("00000012", "06", "derby", ("00000011",), "a felt hat"),
    ("00000013", "06", "helm", ("00000011",), "what soldiers wear against a weapon"),
    ("00000014", "20", "tree", (), "a tall plant"),
    ("00000015", "20", "kapok", ("00000014",), "a tree of the tropics"),
    ("00000016", "20", "baobab", ("00000014",), "a thick tree"),
    ("00000017", "18", "worker", (), "who works"),
    ("00000018", "18", "glazier", ("00000017",), "sets glass"),
    ("00000019", "18", "roofer", ("00000017",), "mends roofs"),
    ("00000020", "18", "seamstress", ("00000017",), "sews"),
    ("00000021", "05", "bark_dog", ("00000006",), "the last word says what it is"),
)


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WordNet:
    data, index = ["  1 licence"], dict[str, list[str]]()
    for key, file, word, kinds, gloss in MEANINGS:
        pointers = " ".join(f"@ {kind} n 0000" for kind in kinds)
        line = f"{key} {file} n 01 {word} 0 {len(kinds):03d} {pointers}".rstrip()
        data.append(f"{line} | {gloss}  ")
        index.setdefault(word.lower(), []).append(key)
    (tmp_path / "data.noun").write_text("\n".join(data) + "\n")
    lines = (f"{w} n {len(ks)} 1 @ {len(ks)} 0 {' '.join(ks)}  " for w, ks in index.items())
    (tmp_path / "index.noun").write_text("  1 licence\n" + "\n".join(lines) + "\n")
    for part in ("verb", "adj", "adv"):
        (tmp_path / f"index.{part}").write_text("  1 licence\n")
    (tmp_path / "cntlist.rev").write_text("corgi%1:05:00:: 1 3\n")
    for name in ("MEANINGS", "CALLINGS", "NOBODY"):
        few = {"MEANINGS": "amphibian/1 frog", "CALLINGS": ["worker/1"], "NOBODY": ()}[name]
        monkeypatch.setattr(f"finetune.data.stand_ins.{name}", few)
    monkeypatch.setattr("finetune.data.stand_ins.OWN", {"submarine": "ship"})
    return WordNet(tmp_path)


COUNTS = {"baobab": 2, "glazier": 3, "roofer": 2, "seamstress": 2}


def test_the_nearest_kind_that_is_painted_stands_in(wordnet: WordNet) -> None:
    found = stand_ins(wordnet, COUNTS, set())
    assert found["axolotl"] == "frog"  # two kinds above it
    assert found["corgi"] == "dog"
    assert found["submarine"] == "ship"  # by hand
    assert list(found) == sorted(found)


def test_an_animal_comes_before_its_fur(wordnet: WordNet) -> None:
    assert stand_ins(wordnet, COUNTS, set())["marten"] == "dog"


def test_names_rare_plants_and_what_is_no_word_for_children_have_none(wordnet: WordNet) -> None:
    found = stand_ins(wordnet, COUNTS, set())
    assert {"ambystoma_mexicanum", "kapok", "helm", "animal"}.isdisjoint(found)
    assert found["baobab"] == "tree"  # people write of it
    assert "bark_dog" not in found  # "dog" says it


def test_words_of_the_writer_and_of_other_kinds_are_left_alone(
    wordnet: WordNet, tmp_path: Path
) -> None:
    assert "corgi" not in stand_ins(wordnet, COUNTS, {"corgi"})
    (tmp_path / "index.verb").write_text("derby v 1 0 1 0 00000012  \n")
    assert "derby" in stand_ins(wordnet, COUNTS, set())
    assert "derby" not in stand_ins(WordNet(tmp_path), COUNTS, set())


def test_women_and_men_take_turns_where_the_word_does_not_say(wordnet: WordNet) -> None:
    found = stand_ins(wordnet, COUNTS, set())
    assert {found["glazier"], found["roofer"]} == {"woman", "man"}
    assert found["seamstress"] == "woman"


def test_what_was_written_is_what_is_read(
    wordnet: WordNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = stand_ins(wordnet, COUNTS, set())
    write(found, tmp_path / reading.STAND_INS)
    monkeypatch.setattr(reading, "ASSETS", tmp_path)
    assert reading.stand_ins.__wrapped__() == found | reading.SYNONYMS


def test_a_folder_without_wordnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="wordnet-base"):
        WordNet(tmp_path)


def test_words_with_a_capital_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "Holly saw a holly.", "page": 3}\n')
    assert count_words([tmp_path / "texts.jsonl"]) == {"saw": 1, "a": 1, "holly": 1}
