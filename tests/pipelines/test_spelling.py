"""Words go on only to words that there are."""

from __future__ import annotations

import random
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.spelling import Spelling
from pipelines.story import StoryPipeline
from pipelines.story_decoding import token_texts
from pipelines.tokenizer import load_tokenizer

WORDS = frozenset("a an and ant fox foxes foxglove the nine don t s penguin".split())
SPELLING = Spelling(WORDS, token_texts())


def ids(text: str) -> list[int]:
    return load_tokenizer().encode(text).ids


def may_follow(text: str, piece: str) -> bool:
    token = token_texts().index(piece)
    return SPELLING.mask(ids(text))[token].item() == 0.0


@pytest.mark.parametrize(
    "text, piece, allowed",
    [
        ("the fox", "es", True),
        ("the fox", " and", True),
        ("the fox", ",", True),
        ("the foxg", ".", False),  # a word that has only begun
        ("the fox", "ing", False),
        ("a", "N", False),  # "aNine"
        ("a ", "N", True),
        ("fo", "X", False),
        ("FO", "X", True),
        ("The", "s", False),
        ("don", "'t", True),
        ("don't", " a", True),
        ("1", "0", True),
        ('"', "the", True),
    ],
)
def test_what_may_follow_a_word(text: str, piece: str, allowed: bool) -> None:
    assert may_follow(text, piece) == allowed


def test_the_word_that_has_begun_is_known_by_its_letters() -> None:
    assert SPELLING.unfinished(ids("the Foxg")) == "Foxg"
    assert SPELLING.unfinished(ids("the fox, ")) == ""
    assert SPELLING.unfinished([]) == ""


@given(st.integers(0, 2**32))
def test_whatever_is_drawn_is_made_of_known_words(seed: int) -> None:
    rng = random.Random(seed)
    tokens = list[int]()
    for _ in range(24):
        allowed = (SPELLING.mask(tokens) == 0.0).nonzero()[:, 0].tolist()
        assert allowed, "no way on"
        tokens.append(rng.choice(allowed))
    unfinished = SPELLING.unfinished(tokens)
    text = load_tokenizer().decode(tokens, skip_special_tokens=False)
    text = re.sub(r"<\w+>", " ", text)
    words = re.findall("[a-z]+", text.lower())
    assert set(words[:-1] if unfinished else words) <= WORDS
    assert any(word.startswith(unfinished.lower()) for word in WORDS)


def test_every_word_can_be_written_whole() -> None:
    for word in WORDS:
        for form in (word, word.capitalize(), word.upper(), f" {word}"):
            tokens = ids(form)
            for n, token in enumerate(tokens):
                assert SPELLING.mask(tokens[:n])[token] == 0.0, (form, n)


def test_the_shipped_writer_may_write_its_own_stories() -> None:
    """What it learned from is not kept from it."""
    from finetune.data.requests import sample_example

    words = StoryPipeline.from_pretrained("embedded").words
    rng = random.Random(7)
    for _ in range(200):
        story = sample_example(rng, "train").story
        text = re.sub(
            r"<new\d>s?", " ", " ".join([story.title, *(s.text for s in story.sentences)])
        )
        assert set(re.findall("[a-z]+", text.lower())) <= words


def test_a_mask_is_for_every_token() -> None:
    assert SPELLING.mask([]).shape == torch.Size([len(token_texts())])
