"""Words and scenes: reading what people type, and what a sentence's picture shows."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.banned import find_banned, unsuitable
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.reading import (
    MAX_REQUEST,
    PLACE_WORDS,
    SYNONYMS,
    brief_of,
    cast_of,
    check_words,
    known_word,
    places_asked,
    split_sentences,
    stand_ins,
)
from pipelines.scene import (
    PLACES,
    RELATIONS,
    SKIES,
    TIMES,
    Item,
    Scene,
    article,
    describe,
    parse_brief,
    plural,
    vocabulary,
)

words = st.sampled_from(sorted(vocabulary()))
relations = st.sampled_from(("+", *RELATIONS))


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    first = Item(draw(words), draw(st.integers(1, 5)), "")
    rest = draw(st.lists(st.builds(Item, words, st.integers(1, 5), relations), max_size=4))
    return Scene(
        (first, *rest),
        draw(st.sampled_from(sorted(PLACES))),
        draw(st.sampled_from(TIMES)),
        tuple(draw(st.lists(st.sampled_from(SKIES), unique=True, max_size=3))),
    )


# check_words


@pytest.mark.parametrize(
    "given_, cleaned",
    [
        ("a fox", "a fox"),
        ("  a \t fox\nflies ", "a fox flies"),
        ("a\x00 fox\x1b[31m", "a fox [31m"),
        ("月の猫", "月の猫"),
        ("שועל קטן", "שועל קטן"),
        ("हिन्दी", "हिन्दी"),
        ("fox 🦊", "fox 🦊"),
        ("Cafe\u0301", "Café"),
    ],
)
def test_a_request_is_cleaned(given_: str, cleaned: str) -> None:
    assert check_words(given_) == cleaned


@pytest.mark.parametrize("given_", ["", "   ", "\n\t", "🦊🦊", "123 !?", "\x00\x01"])
def test_a_request_without_letters_is_refused(given_: str) -> None:
    with pytest.raises(InvalidInput, match="words"):
        check_words(given_)


def test_a_request_may_be_long_but_not_endless() -> None:
    assert len(check_words("a" * MAX_REQUEST)) == MAX_REQUEST
    with pytest.raises(InvalidInput, match="10000"):
        check_words("a" * 10_000)


@settings(deadline=None)
@given(st.text(max_size=MAX_REQUEST))
def test_what_passes_is_one_clean_line_and_passes_again(text: str) -> None:
    try:
        cleaned = check_words(text)
    except InvalidInput:
        return
    assert cleaned == cleaned.strip() != ""
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in cleaned)
    assert check_words(cleaned) == cleaned


# split_sentences


@pytest.mark.parametrize(
    "text, sentences",
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Mr. Fox met Dr. Owl. They sang.", ["Mr. Fox met Dr. Owl.", "They sang."]),
        ('"Stop!" cried the hen. She ran.', ['"Stop!" cried the hen.', "She ran."]),
        ('"Stop. Wait," he said. Then he ran.', ['"Stop. Wait," he said.', "Then he ran."]),
        ("“Who are you?” asked the owl.", ["“Who are you?” asked the owl."]),
        ("Well... maybe not. Yes.", ["Well... maybe not.", "Yes."]),
        ("He met J. Smith. And I. And you.", ["He met J. Smith.", "And I.", "And you."]),
        ("No end", ["No end"]),
        ("The answer was no. He is no. 5 here.", ["The answer was no.", "He is no. 5 here."]),
        ("猫は月へ。 犬も。", ["猫は月へ。", "犬も。"]),
        ("狐狸想飞。他跑到山上！", ["狐狸想飞。", "他跑到山上！"]),
        (
            "狐は「はい。飛びたい！」と言った。犬も。",
            ["狐は「はい。飛びたい！」と言った。", "犬も。"],
        ),
        ("", []),
        ("   ", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@settings(deadline=None)
@given(st.text(alphabet='abc ABC.!?"“”… 。！「」\n', max_size=120))
def test_splitting_loses_nothing(text: str) -> None:
    pieces = split_sentences(text)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(p == p.strip() != "" for p in pieces)


# briefs


@settings(deadline=None)
@given(scenes())
def test_a_scene_survives_being_written_and_read(scene: Scene) -> None:
    assert parse_brief(str(scene)) == scene


@settings(deadline=None)
@given(scenes())
def test_every_scene_can_be_described(scene: Scene) -> None:
    said = describe(str(scene))
    assert PLACES[scene.place] in said
    assert "_" not in said.split(",")[0]


def test_what_is_left_out_of_a_brief_has_a_default() -> None:
    assert parse_brief("fox") == Scene((Item("fox", 1, ""),), "garden", "day", ())
    assert parse_brief("fox owl").items[1] == Item("owl", 1, "+")
    assert parse_brief("99*fox").items[0].count == 5


@pytest.mark.parametrize(
    "brief",
    ["", "@lake night", "zorblax", "fox @nowhere", "x*fox", "9" * 5000 + "*fox", "fox @lake owl"],
    ids=lambda brief: brief[-12:],
)
def test_a_brief_that_makes_no_sense_is_refused(brief: str) -> None:
    with pytest.raises(InvalidInput):
        parse_brief(brief)


def test_description_reads_like_english() -> None:
    assert describe("fox near owl @lake night moon") == (
        "a fox near an owl, by the lake, at night, under the moon"
    )
    assert describe("3*mouse with grapes @room day").startswith("three mice with some grapes")


@pytest.mark.parametrize(
    "word, many", [("fox", "foxes"), ("mouse", "mice"), ("fairy", "fairies"), ("toy", "toys")]
)
def test_plurals(word: str, many: str) -> None:
    assert plural(word) == many


@pytest.mark.parametrize(
    "word, a", [("owl", "an"), ("fox", "a"), ("unicorn", "a"), ("umbrella", "an"), ("one", "a")]
)
def test_articles(word: str, a: str) -> None:
    assert article(word) == a


@settings(deadline=None)
@given(words)
def test_every_word_and_its_plural_are_known(word: str) -> None:
    assert known_word(word) == word
    if "_" not in word:
        assert known_word(plural(word)) == word


@pytest.mark.parametrize(
    "said, word",
    [
        ("puppies", "dog"),
        ("mum", "woman"),
        ("policemen", "police_officer"),
        ("oxen", "ox"),
        ("hares", "rabbit"),
        ("trex", "tyrannosaurus"),
        ("knight", "knight"),
        ("teeth", "tooth"),
    ],
)
def test_everyday_words_are_known(said: str, word: str) -> None:
    assert known_word(said) == word


@pytest.mark.parametrize("verb", ["saw", "fly", "watch", "well", "sweet", "orange"])
def test_words_with_a_commoner_meaning_name_nothing(verb: str) -> None:
    assert known_word(verb) is None


def test_synonyms_lead_to_the_vocabulary_and_hide_none_of_it() -> None:
    assert set(SYNONYMS.values()) <= set(vocabulary())
    assert not set(SYNONYMS) & set(vocabulary())


@pytest.mark.parametrize(
    "said, word",
    [("axolotl", "frog"), ("corgis", "dog"), ("sombrero", "hat"), ("submarine", "ship"),
     ("washerwoman", "woman"), ("ravioli", "spaghetti")],
)  # fmt: skip
def test_the_nearest_kind_stands_in_for_what_nobody_painted(said: str, word: str) -> None:
    assert known_word(said) == word


def test_stand_ins_hide_nothing_and_suit_children() -> None:
    found = stand_ins()
    assert len(found) > 4000
    assert set(found.values()) <= set(vocabulary())
    assert set(found).isdisjoint(vocabulary())
    assert found.items() >= SYNONYMS.items()
    extra = set(found) - set(SYNONYMS)
    assert extra.isdisjoint(PLACE_WORDS)
    assert not [w for w in extra if find_banned(w.replace("_", " "), unsuitable())]


@pytest.mark.parametrize(
    "text, brief",
    [
        ("Axolotls dance in the snow.", "frog @snow day"),
        ("Holly ran to the lake.", "girl @lake day"),  # no tree
        ("The axolotl met Mac by the river.", "frog @river day"),  # no coat
    ],
)
def test_given_names_are_no_kinds_of_things(text: str, brief: str) -> None:
    assert brief_of(text) == brief


# brief_of


@pytest.mark.parametrize(
    "text, brief",
    [
        ("The fox sat by the lake at night.", "fox @lake night"),
        ("Two owls flew over the castle.", "2*owl above castle @sky day"),
        ("In the castle a frog sang to the queen.", "frog + queen @castle_hall day"),
        ("A knight walked into the cold old castle.", "knight @castle_hall day"),
        ("A knight saw a castle by the sea.", "knight + castle @beach day"),
        ("A boy went to school with his dog.", "boy with dog @school day"),
        ("Near the chair a fox met a cat near a bed.", "fox + cat + chair + bed @forest day"),
        ("It rained on the rabbit in the garden.", "rabbit @garden day rain"),
        ("A puppy found a red balloon.", "dog + balloon @forest day"),
        ("A star fell into the lake.", "star @lake day"),
        ("The fox slept under the stars.", "fox @forest night stars"),
        ("Two policemen sat in a police car.", "2*police_officer in police_car @village day"),
        ("Nothing at all is said.", "girl @village day"),
    ],
)
def test_a_brief_is_read_from_a_sentence(text: str, brief: str) -> None:
    assert brief_of(text) == brief


def test_names_and_pronouns_are_looked_up_before() -> None:
    before = [Sentence("A fox named Pip sat by the lake.", "fox @lake night")]
    assert brief_of("Pip saw a kite.", before) == "fox + kite @lake night"
    assert brief_of("She laughed.", before) == "fox @lake night"
    assert cast_of(["A fox named Pip met Tom the bear."]) == {"Pip": "fox", "Tom": "bear"}


def test_a_brief_before_that_cannot_be_read_is_passed_over() -> None:
    before = [Sentence("A fox.", "fox @cave day"), Sentence("Hm.", "not a brief")]
    assert brief_of("He slept.", before) == "fox @cave day"


@pytest.mark.parametrize(
    "text, place",
    [
        ("A fox lived under the sea.", "underwater"),
        ("A fox lived by the sea.", "beach"),
        ("A mouse sat on the moon.", "space"),
        ('"Good night," said the mouse to the moon.', "garden"),
    ],
)
def test_three_words_may_be_a_place_of_their_own(text: str, place: str) -> None:
    assert parse_brief(brief_of(text)).place == place


@pytest.mark.parametrize(
    "request_text, places",
    [
        ("a football match in the forest", {"forest"}),
        ("an elephant at the market", {"market"}),
        ("two fish under the sea", {"underwater"}),
        ("a walk through the deep snow", {"snow"}),
        ("a fox who loved the sea", set[str]()),
        ("a fox", set[str]()),
    ],
)
def test_where_a_request_puts_its_story(request_text: str, places: set[str]) -> None:
    assert places_asked(request_text) == places


@settings(deadline=None)
@given(st.text(max_size=300), st.lists(st.text(max_size=60), max_size=3))
def test_any_text_gets_a_brief_that_can_be_read(text: str, before: list[str]) -> None:
    parse_brief(brief_of(text, [Sentence(b) for b in before]))
