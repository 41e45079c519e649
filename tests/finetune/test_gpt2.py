"""Training the story writer: what it learns from, and that it learns."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune import tokenizer
from finetune.data.corpora import CorpusStory
from finetune.data.requests import (
    LENGTHS,
    Example,
    lexicon,
    named,
    sample_example,
    widened,
    with_length,
    with_unknown_words,
)
from finetune.data.storyworld import fill, given_names, parse_skeletons, skeletons
from finetune.evaluate_story import distinct, hero_stays, requests, typed_requests
from finetune.gpt2 import (
    SKIPPED,
    batches,
    blend,
    build,
    collate,
    encode_example,
    encode_real,
    loss_of,
    read_weights,
    save,
    train,
)
from finetune.training import TrainStep
from pipelines import weights
from pipelines.events import Draft, Sentence
from pipelines.scene import parse_brief
from pipelines.story import StoryPipeline
from pipelines.story_requests import normal_form
from pipelines.story_restoring import join_placeholders
from pipelines.tokenizer import NEW_WORDS, SPECIALS, load_tokenizer

TINY: dict[str, Any] = {
    "vocab_size": load_tokenizer().get_vocab_size(),
    "n_positions": 512, "n_embd": 32, "n_layer": 1, "n_head": 2,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    "bos_token_id": None, "eos_token_id": 1,
}  # fmt: skip

REAL = [CorpusStory("The hen", "A hen sat. It rained. She sang. The sun came out. Yes. " * 4, "x")]

seeds = st.integers(0, 2**32).map(random.Random)


# What it learns from


@settings(deadline=None)
@given(seeds)
def test_an_example_is_a_whole_story(rng: random.Random) -> None:
    example = sample_example(rng)
    assert len(example.story.sentences) in LENGTHS
    text = str(example)
    assert re.match(rf"{re.escape(example.request)} \(\d+\)<title>", text)
    assert text.endswith("<end>")
    assert "{" not in text
    assert "[place]" not in text
    for s in example.story.sentences:
        assert re.search(r"[.!?]\"?$", s.text)
        parse_brief(s.brief)


@settings(deadline=None)
@given(seeds)
def test_requests_are_in_normal_form(rng: random.Random) -> None:
    example = sample_example(rng)
    assert example.request == normal_form(example.request, set(given_names()))


@settings(deadline=None)
@given(seeds)
def test_a_placeholder_of_the_request_is_in_the_story(rng: random.Random) -> None:
    example = with_unknown_words(sample_example(rng), rng)
    assert "<new1>" not in str(example.story.sentences) or "<new1>" in example.request
    assert not any(n in s.brief for n in NEW_WORDS for s in example.story.sentences)


WHISTLES = """\
# The fox who wanted to {act}
@ act: skill
? a fox who wanted to {act}
"I want to {act}," said a fox. | fox act @lake day
"""


def test_another_verb_can_stand_for_what_is_done_and_not_seen() -> None:
    (skeleton,) = parse_skeletons(WHISTLES)
    rng = random.Random(2)
    swapped = set[str]()
    for _ in range(200):
        story = fill(skeleton, rng)
        example = with_unknown_words(Example(story.requests[0], story), rng)
        if "to <new1>" in example.request:
            swapped.add(story.fillings["act"])
            assert example.request == "a fox who wanted to <new1>"
            assert example.story.sentences[0].text == '"I want to <new1>," said a fox.'
    assert {"dance", "whistle"} <= swapped
    assert not swapped & {"knit", "play the drum"}  # something of these is painted


@settings(deadline=None)
@given(seeds)
def test_tokens_give_the_text_back(rng: random.Random) -> None:
    for s in sample_example(rng).story.sentences:
        ids = load_tokenizer().encode(s.text).ids
        again = load_tokenizer().decode(ids, skip_special_tokens=False).strip()
        if "-<new" not in s.text:
            assert join_placeholders(again).replace(" ", "") == s.text.replace(" ", "")


@pytest.mark.parametrize("sentences", LENGTHS)
def test_a_story_is_stretched_or_squeezed(sentences: int) -> None:
    rng = random.Random(sentences)
    done = 0
    for skeleton in rng.sample(skeletons(), 500):
        told = with_length(skeleton, sentences, rng)
        if told is not None:
            done += 1
            assert len(fill(told, rng).sentences) == sentences
    assert done > 5


def test_a_name_is_brought_in() -> None:
    rng = random.Random(1)
    for skeleton in rng.sample(skeletons(), 100):
        told = named(skeleton, rng)
        if any(re.search(r"\{[aA] hero\}|\b[Tt]he \{hero\}", t) for t, _ in skeleton.lines):
            assert any("{Name}" in t for t, _ in told.lines)


@settings(deadline=None)
@given(seeds)
def test_wider_slots_keep_their_kind(rng: random.Random) -> None:
    story = widened(rng.choice(skeletons()), rng)
    fill(story, rng)


def test_the_lexicon_has_words_and_names() -> None:
    words = lexicon()
    assert {"fox", "wanted", "Mia", "teddy"} <= set(words)
    assert words == sorted(set(words))


# Batches


def test_the_request_and_padding_are_not_learned() -> None:
    rng = random.Random(0)
    one, two = encode_example(rng), encode_real(REAL, rng)
    tokens, targets = collate([one, two], 512)
    assert tokens.shape == targets.shape == (2, max(len(one[0]), len(two[0])))
    title = SPECIALS.index("<title>")
    assert tokens[0, one[1] - 1] == title
    assert (targets[0, : one[1]] == SKIPPED).all()
    assert (targets[0, one[1] : len(one[0])] == tokens[0, one[1] : len(one[0])]).all()
    assert (targets[1, len(two[0]) :] == SKIPPED).all()


def test_long_sequences_are_cut() -> None:
    tokens, _ = collate([(list(range(8, 100)), 3)], 20)
    assert tokens.shape == (1, 20)


def test_batches_go_on_where_they_were() -> None:
    source = batches(0, 0, 4, REAL, 512)
    all_ = [next(source) for _ in range(12)]
    later = batches(0, 9, 4, REAL, 512)
    for k in (9, 10, 11):
        assert torch.equal(next(later)[0], all_[k][0])


# Learning


def test_one_batch_can_be_overfitted() -> None:
    torch.manual_seed(0)
    model = build(TINY | {"n_embd": 64})
    tokens, targets = collate([encode_example(random.Random(k)) for k in range(2)], 512)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = loss_of(model, tokens, targets).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(model, tokens, targets).backward()
        optimizer.step()
    assert loss_of(model, tokens, targets).item() < 0.3 * first


def run(steps: int, runs: Path, **more: Any) -> tuple[list[TrainStep], Any]:
    events = list(
        train(steps, runs, torch.device("cpu"), config=TINY, stories=REAL, batch=2,
              save_every=2, report_every=1, **more)
    )  # fmt: skip
    return [e for e in events if isinstance(e, TrainStep)], events[-1]


@pytest.fixture(autouse=True)
def _short_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.gpt2.VALIDATION_STORIES", 4)


def test_a_run_that_was_broken_off_ends_the_same(tmp_path: Path) -> None:
    steps, whole = run(4, tmp_path / "whole")
    assert [s.step for s in steps] == [1, 2, 3, 4]
    assert "validation" in steps[-1].metrics
    broken = train(4, tmp_path / "broken", torch.device("cpu"), config=TINY, stories=REAL, batch=2,
                   save_every=2, report_every=1)  # fmt: skip
    for _ in range(3):
        next(broken)
    broken.close()  # type: ignore[attr-defined]
    steps, resumed = run(4, tmp_path / "broken")
    assert [s.step for s in steps] == [3, 4]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    steps, again = run(4, tmp_path / "broken")  # nothing is left to do
    assert steps == []
    for a, b in zip(resumed.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_writer_that_is_there_is_where_it_begins(tmp_path: Path) -> None:
    begun = build(TINY)
    _, end = run(1, tmp_path, begun=begun, peak=1e-9)
    assert any(p.std() > 0.01 for p in begun.parameters())
    for a, b in zip(begun.parameters(), end.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_share_of_the_writer_it_went_on_from_stays() -> None:
    def value(share: float) -> float:
        model, begun = build(TINY), build(TINY)
        for part, number in ((model, 1.0), (begun, 5.0)):
            for parameter in part.parameters():
                torch.nn.init.constant_(parameter, number)
        blend(model, begun, share)
        (found,) = {p.mean().item() for p in model.parameters()}
        return found

    assert [value(share) for share in (0.0, 0.25, 1.0)] == [1.0, 2.0, 5.0]


def test_the_shipped_writer_can_be_taught_on() -> None:
    embedded = weights.EMBEDDED / "story"
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(
            read_weights(embedded).eval()(ids),
            StoryPipeline.from_pretrained("embedded").model(ids),
        )


def test_what_is_saved_is_what_the_pipeline_loads(tmp_path: Path) -> None:
    model = build(TINY).eval()
    save(model, TINY, tmp_path)
    pipeline = StoryPipeline.from_pretrained(str(tmp_path))
    assert pipeline.lexicon == frozenset(lexicon())
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.allclose(pipeline.model(ids), model(ids), atol=2e-2)
    assert all(f.stat().st_size < 10_000_000 for f in tmp_path.iterdir())


def test_what_takes_the_place_of_the_embedded_writer_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path)
    folder = tmp_path / "story"
    folder.mkdir()
    (folder / "lexicon.txt").write_text("an older one")
    weights.list_hashes(tmp_path)
    save(build(TINY), TINY, folder)
    assert StoryPipeline.from_pretrained(str(folder)).lexicon == frozenset(lexicon())


def test_a_tokenizer_trained_anew_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text("an older one")
    weights.list_hashes(path)
    monkeypatch.setattr(tokenizer, "texts", lambda seed, stories: iter(["a fox"]))
    monkeypatch.setattr("sys.argv", ["tokenizer", "--size", "300", "--out", str(path)])
    tokenizer.main()
    assert "<title>" in weights.check_file(path).read_text()


# Figures


def test_distinct() -> None:
    assert distinct(["a b a b"]) == pytest.approx(2 / 3)
    assert distinct(["a b c", "a b d"], 3) == 1.0
    assert distinct([]) == 0.0


def test_whether_the_hero_stays() -> None:
    def story(*briefs: str) -> Draft:
        return Draft("T", tuple(Sentence("x.", b) for b in briefs), 0)

    assert hero_stays(story("fox @lake", "fox near owl @lake", "owl @lake"))
    assert not hero_stays(story("fox @lake", "owl @lake", "hen @lake", "cow @lake"))
    assert not hero_stays(story("kite @lake", "ball @lake"))


def test_requests_for_testing_have_no_placeholder_left() -> None:
    for words, sentences in requests(40, 0):
        assert "<" not in words
        assert sentences in LENGTHS


def test_requests_that_people_type_are_their_own() -> None:
    typed = typed_requests()
    assert len({words for words, _ in typed}) == len(typed) >= 60
    asked = {fill(s, random.Random(0)).requests for s in skeletons()}
    assert not {words for words, _ in typed} & {r for requests in asked for r in requests}
