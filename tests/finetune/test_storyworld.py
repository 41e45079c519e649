"""The story world: stories with slots, their fillings, scenes, and what is held out."""

import random
import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.storyworld import (
    Captioned,
    Skeleton,
    acts,
    fill,
    held_out,
    names_its_subject,
    open_skeletons,
    parse_skeletons,
    prompt_of,
    random_scene,
    sample_scene,
    sample_story,
    skeletons,
    split_of,
    stream_scenes,
)
from finetune.data.wider import bodies, made_for_few, wider_slots
from pipelines.errors import InvalidInput
from pipelines.scene import article, parse_brief, plural, vocabulary

seeds = st.integers(0, 2**32).map(random.Random)

# A part that somebody lends: an aeroplane's wings, a riddle's fingers.
DRESSED = frozenset({"The {hero} who could not say S", "At the back of the V"})

SMALL = """\
# The {hero} and {a thing}
@ hero: fox owl; friend: bear hen; thing: kite drum
? a {hero} with {a thing}
A {hero} named {Name} met {a friend}. | hero near friend @lake day
{He} showed {his} {thing} to the {friend}, and {fhe} liked {thing}s. | hero with thing @lake night
"""


def test_a_story_is_parsed_and_filled() -> None:
    (skeleton,) = parse_skeletons(SMALL)
    assert skeleton.slots["hero"] == ("fox", "owl")
    story = fill(skeleton, random.Random(1))
    hero, friend, thing = (story.fillings[k] for k in ("hero", "friend", "thing"))
    assert story.title.startswith(f"The {hero} and a {thing}")
    assert re.match(rf"An? {hero} named [A-Z]\w+ met a {friend}\.", story.sentences[0].text)
    assert f"{thing}s." in story.sentences[1].text
    assert story.sentences[1].brief == f"{hero} with {thing} @lake night"


@pytest.mark.parametrize("text", ["no title | fox @lake day", "# A title and nothing else"])
def test_a_story_without_title_or_sentences_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no title or no sentences"):
        parse_skeletons(text)


def test_an_unknown_word_in_a_slot_is_named() -> None:
    with pytest.raises(InvalidInput, match="zorblax"):
        parse_skeletons("# T\n@ hero: zorblax\nHi. | hero @lake day")


def test_an_unknown_slot_is_named() -> None:
    (skeleton,) = parse_skeletons("# T\n@ hero: fox\nHi {nobody}. | hero @lake day")
    with pytest.raises(InvalidInput, match="nobody"):
        fill(skeleton, random.Random(0))


def test_every_story_can_be_filled() -> None:
    """No slot is left open, every brief is one the painter reads, every sentence ends."""
    rng = random.Random(0)
    for skeleton in (*skeletons(), *open_skeletons(), *open_skeletons()):
        story = fill(skeleton, rng)
        assert 4 <= len(story.sentences) <= 12
        assert len(set(story.fillings.values())) == len(story.fillings)
        for s in story.sentences:
            assert "{" not in s.text + s.brief, skeleton.title
            assert re.search(r"[.!?]\"?$", s.text), s.text
            parse_brief(s.brief)
        assert story.requests


ACTING = """\
# The {hero} who wanted to {act}
@ hero: fox fish bird robot; act: skill goal
? a {hero} {acting} {in there}
A {hero} wanted to {act}. | hero @lake day
Then {in there} the {hero} {acted}. | hero act + owl @there day
"""


@settings(deadline=None)
@given(seeds)
def test_an_act_is_told_in_its_forms_and_done_where_it_can_be(rng: random.Random) -> None:
    (skeleton,) = parse_skeletons(ACTING)
    story = fill(skeleton, rng)
    act = acts()[story.fillings["act"]]
    assert story.sentences[0].text.endswith(f"wanted to {act.infinitive}.")
    assert story.sentences[1].text.endswith(f" {act.past}.")
    assert act.gerund in story.requests[0]
    assert parse_brief(story.sentences[1].brief).place in act.places
    assert act.shown in story.sentences[1].brief


@settings(deadline=None)
@given(seeds)
def test_nobody_dreams_of_what_they_are_or_do_anyway(rng: random.Random) -> None:
    (skeleton,) = parse_skeletons(ACTING)
    fillings = fill(skeleton, rng).fillings
    done, hero = fillings["act"], fillings["hero"]
    assert hero not in f"{done} {acts()[done].shown}".split()
    assert (hero, done.split()[0]) not in {("bird", "fly"), ("fish", "swim")}


def test_every_act_can_be_painted() -> None:
    for act in acts().values():
        for place in act.places:
            parse_brief(f"fox {act.shown} @{place} day")


def test_open_stories_tell_what_is_asked_for() -> None:
    """Whatever of its slots a request names, the sentences name, too."""
    rng = random.Random(0)
    for skeleton in open_skeletons():
        story = fill(skeleton, rng)
        told = " ".join(s.text for s in story.sentences)
        for slot, word in story.fillings.items():
            forms = [word.replace("_", " ")]
            if slot == "act":
                forms += [acts()[word].past, acts()[word].gerund]
            if word in vocabulary() or slot == "act":
                asked = any(form in request for form in forms for request in story.requests)
                named = any(re.search(rf"\b{form}", told, re.IGNORECASE) for form in forms)
                many = plural(word).replace("_", " ") in told
                assert named or many or not asked, (skeleton.title, slot, word)


def test_who_an_open_story_speaks_of_is_not_its_hero() -> None:
    rng = random.Random(1)
    for skeleton in open_skeletons():
        said = re.sub(r"\{[^}]*\}", " ", " ".join(brief for _, brief in skeleton.lines))
        fillings = fill(skeleton, rng).fillings
        for slot in {"hero", "friend", "second"} & fillings.keys():
            assert fillings[slot] not in said.split(), (skeleton.title, slot)


@settings(deadline=None)
@given(seeds)
def test_articles_fit(rng: random.Random) -> None:
    story = sample_story(rng)
    text = " ".join([story.title, *(s.text for s in story.sentences)])
    for noun in (w.replace("_", " ") for w in story.fillings.values() if w in vocabulary()):
        wrong = "a" if article(noun) == "an" else "an"
        assert not re.search(rf"\b{wrong} {noun}\b", text, re.IGNORECASE)


def test_whole_stories_are_held_out() -> None:
    test = [s for s in skeletons() if split_of(s) == "test"]
    assert 0.03 < len(test) / len(skeletons()) < 0.08
    train_lines = {s.lines[0][0] for s in skeletons() if split_of(s) == "train"}
    assert not train_lines & {s.lines[0][0] for s in test}


@settings(deadline=None)
@given(seeds)
def test_training_never_shows_a_held_out_combination(rng: random.Random) -> None:
    assert not held_out(sample_scene(rng, "train").scene)


def test_combinations_are_held_out_in_both_orders() -> None:
    rng = random.Random(3)
    pairs = 0
    for _ in range(2000):
        scene = random_scene(rng)
        if len(scene.items) > 1:
            pairs += held_out(scene)
            turned = scene.__class__(scene.items[::-1], scene.place, scene.time, scene.skies)
            assert held_out(turned) == held_out(scene)
    assert pairs > 0


def test_the_same_seed_gives_the_same_scenes() -> None:
    one, two = (list(islice(stream_scenes(7), 20)) for _ in range(2))
    assert one == two
    assert one != list(islice(stream_scenes(8), 20))


@settings(deadline=None)
@given(seeds)
def test_prompts_name_what_is_painted(rng: random.Random) -> None:
    captioned = sample_scene(rng)
    prompt = prompt_of(captioned, rng)
    first = captioned.scene.items[0]
    if first.count == 1:
        assert first.word.replace("_", " ") in prompt.lower()


def test_a_sentence_with_a_pronoun_does_not_name_its_subject() -> None:
    scene = parse_brief("fox @lake night")
    assert names_its_subject(Captioned(scene, "The fox slept."))
    assert not names_its_subject(Captioned(scene, "She slept."))


def _owners(skeleton: Skeleton, part: str) -> set[str]:
    """Slots of which a story says that their words have a part of the body."""
    told = " ".join(t for t, _ in skeleton.lines)
    of = {"hero": "his|His", "friend": "fhis|Fhis"}
    named = {"hero": "hero|Hero|Name", "friend": "friend|Friend|Fname"}
    return {
        slot
        for slot in of.keys() & skeleton.slots
        if re.search(rf"\{{(?:{of[slot]})\}} (?:\w+ ){{0,2}}(?:{part})\b", told)
        or re.search(rf"\{{(?:{named[slot]})\}}'s (?:\w+ ){{0,2}}(?:{part})\b", told)
    }


@pytest.mark.parametrize("part", list(bodies()))
def test_nobody_has_a_part_that_the_body_lacks(part: str) -> None:
    """No fox with a beak: neither as the author wrote it nor with wider slots."""
    for skeleton in skeletons():
        for slot in _owners(skeleton, part):
            wrong = set(wider_slots(skeleton).slots[slot]) - bodies()[part]
            assert not wrong or skeleton.title in DRESSED, (skeleton.title, slot, sorted(wrong))


def test_slots_open_to_their_own_kinds_and_never_when_closed() -> None:
    told = SMALL.replace("fox owl", "fox rabbit cat raccoon")
    (open_,) = parse_skeletons(told)
    (closed,) = parse_skeletons(told.replace("@ hero", "@ !hero"))
    (bodily,) = parse_skeletons(told.replace("met {a friend}.", "wagged {his} tail."))
    wide = wider_slots(open_).slots["hero"]
    assert {"fox", "dog"} <= set(wide)
    assert not {"whale", "elephant", "owl", "girl"} & set(wide)
    assert wider_slots(closed).slots == closed.slots
    assert closed.closed == {"hero"}
    assert wider_slots(bodily).slots == bodily.slots
    assert made_for_few(bodily)
    assert not made_for_few(open_)


def test_nobody_is_given_a_place_to_drown_or_dry_in() -> None:
    """Those that open to other words do not live under the sea, unless they did before."""
    sea = {w for w, v in vocabulary().items() if v["class"] == "sea"}
    for skeleton in skeletons():
        wide = wider_slots(skeleton)
        for slot, words in wide.slots.items():
            if len(words) > len(skeleton.slots[slot]):
                briefs = [b for _, b in skeleton.lines if re.search(rf"\b{slot}\b", b)]
                wet = any("@underwater" in b for b in briefs)
                new = set(words) - set(skeleton.slots[slot])
                assert not new - sea if wet else new <= sea or not new & sea, skeleton.title


@settings(deadline=None)
@given(seeds)
def test_hero_and_friend_go_by_different_pronouns(rng: random.Random) -> None:
    (skeleton,) = parse_skeletons(SMALL.replace("fox owl", "girl hen boy").replace("bear", "boy"))
    assert set(fill(skeleton, rng).fillings.values()) != {"girl", "hen", "kite"}
