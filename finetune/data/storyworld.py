"""The story world: stories with slots, filled in, and the scenes that their sentences show.

`stories/*.txt` hold our own stories (CC0) in the format of `stories/README.md`. Filling the slots
gives stories that hold together and, for every sentence, the scene of its picture, which
`pipelines.painter` draws. Whole stories, words in places and pairs of characters are held out, so
that every figure is measured on what no model has seen.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.reading import ONLY_HE, ONLY_SHE
from pipelines.scene import (
    CHARACTERS,
    PLACES,
    SKIES,
    TIMES,
    Item,
    Scene,
    article,
    describe_scene,
    parse_brief,
    plural,
    vocabulary,
)

STORIES = Path(__file__).parent / "stories"
OPEN_STORIES = STORIES / "open"

_HE = (
    "Pip Max Leo Tom Ben Oscar Finn Otto Milo Hugo Sam Jack Theo Felix Toby Gus Remy Barnaby "
    "Jasper Rufus Bruno Monty Archie Ned Oliver Casper Rory Wilbur"
).split()
_SHE = (
    "Luna Mia Lily Ella Rosie Daisy Nora Zoe Poppy Bella Hazel Ruby Molly Tilly Ivy Clara Olive "
    "Juno Willow Penny Maya Ada Flora Greta Hattie Pearl Stella Wanda"
).split()


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A story with slots. `slots` maps a name to the vocabulary words (or places) it may take."""

    title: str
    slots: dict[str, tuple[str, ...]]
    lines: tuple[tuple[str, str], ...]
    """(sentence, brief), both with slots."""
    requests: tuple[str, ...] = ()
    """What a person might type to get this story, with slots."""
    closed: frozenset[str] = frozenset()
    """Slots that take no word but their own choices."""


@dataclass(frozen=True)
class FilledStory:
    """A story with every slot filled."""

    title: str
    sentences: tuple[Sentence, ...]
    requests: tuple[str, ...]
    fillings: dict[str, str]
    """Slot name -> vocabulary word, place, or infinitive of an act."""

    @property
    def act(self) -> Act | None:
        """What is done in it, if it has a slot for that."""
        return acts().get(self.fillings.get("act", ""))


@dataclass(frozen=True)
class Act:
    """Something that a hero may want to do, and how it is painted."""

    kind: str
    """"skill" (can be learned, done all day), "make" (something is there in the end), or "goal"
    (once is enough)."""
    infinitive: str
    past: str
    gerund: str
    shown: str
    """What a brief says behind the hero: "with cake"; empty where nothing else is seen."""
    places: tuple[str, ...]
    """Where it can be done."""


@cache
def acts() -> dict[str, Act]:
    """What heroes may do, by its infinitive: "bake a cake"."""
    found: dict[str, Act] = {}
    for line in (OPEN_STORIES / "acts.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            kind, infinitive, past, gerund, shown, places = (p.strip() for p in line.split("|"))
            found[infinitive] = Act(kind, infinitive, past, gerund, shown, tuple(places.split()))
    return found


def parse_skeletons(text: str) -> list[Skeleton]:
    """Stories with slots from the text of a file. Raises InvalidInput that names the story."""
    stories: list[Skeleton] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        title, slots, closed = "", dict[str, tuple[str, ...]](), set[str]()
        lines, requests = list[tuple[str, str]](), list[str]()
        for line in block.splitlines():
            if line.startswith("# "):
                title = line[2:].strip()
            elif line.startswith("@ "):
                for part in filter(str.strip, line[2:].split(";")):
                    name, _, classes = part.partition(":")
                    slot = name.strip().removeprefix("!")
                    slots[slot] = _choices(classes.split(), title)
                    closed |= {slot} if "!" in name else set()
            elif line.startswith("? "):
                requests.append(line[2:].strip())
            elif "|" in line:
                sentence, _, brief = line.rpartition("|")
                lines.append((sentence.strip(), brief.strip()))
        if not title or not lines:
            raise InvalidInput(f"The story “{title or block[:40]}” has no title or no sentences.")
        stories.append(Skeleton(title, slots, tuple(lines), tuple(requests), frozenset(closed)))
    return stories


_NOT_OUTSIDE = frozenset("room school castle_hall cave sky space underwater".split())
_WIDE_PLACES = {
    "anywhere": tuple(PLACES),
    "outside": tuple(p for p in PLACES if p not in _NOT_OUTSIDE),
}
"""Names for many places at once."""


def _choices(classes: Sequence[str], title: str) -> tuple[str, ...]:
    words: list[str] = []
    for c in classes:
        of_class = [w for w, v in vocabulary().items() if v["class"] == c]
        of_class = of_class or [a.infinitive for a in acts().values() if a.kind == c]
        of_class = of_class or list(_WIDE_PLACES.get(c, ()))
        if of_class:
            words += of_class
        elif c in vocabulary() or c in PLACES:
            words.append(c)
        else:
            raise InvalidInput(f"“{c}” in the slots of “{title}” is no class, act, word or place.")
    return tuple(words)


def _read(folder: Path) -> tuple[Skeleton, ...]:
    files = sorted(folder.glob("*.txt"))
    return tuple(s for f in files for s in parse_skeletons(f.read_text(encoding="utf-8")))


@cache
def skeletons() -> tuple[Skeleton, ...]:
    """Every story of the repository that is told of what its author thought of, in a fixed order.
    Pictures are learned from these."""
    return _read(STORIES)


@cache
def open_skeletons() -> tuple[Skeleton, ...]:
    """Stories that are true of nearly anything: of any act, thing or place that is asked for. From
    these the writer learns to tell what a request says."""
    return tuple(map(_apart, _read(OPEN_STORIES)))


def _apart(story: Skeleton) -> Skeleton:
    """Without the words for a slot that the story itself speaks of: its owl is not the hero."""
    told = " ".join([*(f"{text} {brief}" for text, brief in story.lines), story.title])
    said = set(_BRIEF_WORD.findall(re.sub(r"\{[^}]*\}", " ", told).lower()))
    slots = {
        name: tuple(c for c in choices if c not in said) or choices
        for name, choices in story.slots.items()
    }
    return replace(story, slots=slots)


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:4])


def given_names() -> tuple[str, ...]:
    """Every name that a character may bear."""
    return (*_HE, *_SHE)


def split_of(skeleton: Skeleton) -> str:
    """ "test" for about 5% of stories, by the hash of their text, else "train"."""
    return "test" if _hash("story", skeleton.lines[0][0]) % 20 == 0 else "train"


def held_out(scene: Scene) -> bool:
    """Whether a scene is kept from training: 5% of (word, place) and of (word, word) pairs."""
    words = vocabulary()
    names = [i.word for i in scene.items]
    if any(_hash("place", w, scene.place) % 20 == 0 for w in names):
        return True
    actors = sorted({w for w in names if words[w]["class"] in CHARACTERS})
    return any(_hash("pair", a, b) % 20 == 0 for n, a in enumerate(actors) for b in actors[n + 1 :])


# --- filling in --------------------------------------------------------------------------


def _gender(word: str, rng: random.Random, other: str | None) -> str:
    if word in ONLY_SHE:
        return "she"
    if word in ONLY_HE:
        return "he"
    # Two characters with the same pronoun make ambiguous lines: give them different ones.
    if other is not None:
        return "he" if other == "she" else "she"
    return rng.choice(("he", "she"))


def _same_gender(one: str, other: str) -> bool:
    """Whether two words are both only "he" or both only "she"."""
    return any(one in g and other in g for g in (ONLY_HE, ONLY_SHE))


def _worth_wishing(act: Act, hero: str) -> bool:
    """Whether a hero is not, or does not do, so anyway: no bird dreams of flying."""
    said = set(_BRIEF_WORD.findall(f"{act.infinitive} {act.shown}"))
    of = vocabulary()[hero]["class"] if hero in vocabulary() else ""
    natural = {"flying": "fly", "sea": "swim"}.get(of)
    return hero not in said and natural not in said


_FORMS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
}


_BEFORE_SLOT = re.compile(r"\b([Aa]) \{(\w+)\}")
_MANY = re.compile(r"\{(\w+)\}s\b")
_SLOT = re.compile(r"\{([^{}]+)\}")
_BRIEF_WORD = re.compile(r"\b\w+\b")


def fill(skeleton: Skeleton, rng: random.Random) -> FilledStory:
    """One story: a random word for every slot, all different."""
    fillings: dict[str, str] = {}
    for name, choices in skeleton.slots.items():
        free = [c for c in choices if c not in fillings.values()] or list(choices)
        if name == "act":
            free = [c for c in free if _worth_wishing(acts()[c], fillings.get("hero", ""))] or free
        if name == "friend":  # two of one gender make "he" and "she" ambiguous
            free = [c for c in free if not _same_gender(c, fillings.get("hero", ""))] or free
        fillings[name] = rng.choice(free)
    gender = {"hero": _gender(fillings.get("hero", ""), rng, None)}
    gender["friend"] = _gender(fillings.get("friend", ""), rng, gender["hero"])
    if fillings.get("friend") in ONLY_HE | ONLY_SHE and fillings.get("hero") not in (
        ONLY_HE | ONLY_SHE
    ):
        gender["hero"] = "he" if gender["friend"] == "she" else "she"
    names = {who: rng.choice(_SHE if gender[who] == "she" else _HE) for who in ("hero", "friend")}
    while names["friend"] == names["hero"]:
        names["friend"] = rng.choice(_SHE if gender["friend"] == "she" else _HE)

    def word(slot: str) -> str:
        return fillings[slot].replace("_", " ")

    act = acts().get(fillings.get("act", ""))
    shown = dict(fillings)
    if act:
        free = [p for p in act.places if p not in fillings.values()] or list(act.places)
        shown |= {"act": act.shown, "there": rng.choice(free)}

    def put(match: re.Match[str]) -> str:
        key = match.group(1)
        if act and key in ("acted", "acting"):
            return act.past if key == "acted" else act.gerund
        if key == "Name":
            return names["hero"]
        if key == "Fname":
            return names["friend"]
        low = key.lower()
        if low in _FORMS["he"]:
            form = _FORMS[gender["hero"]][low]
            return form.capitalize() if key[0].isupper() else form
        if low.startswith("f") and low[1:] in _FORMS["he"]:
            form = _FORMS[gender["friend"]][low[1:]]
            return form.capitalize() if key[0].isupper() else form
        first, _, slot = key.partition(" ")
        if slot and first.lower() == "a":
            noun = word(slot)
            return f"{article(noun).capitalize() if first == 'A' else article(noun)} {noun}"
        if slot and first == "in":
            return PLACES[shown[slot]]
        if key in fillings:
            return word(key)
        if low in fillings:
            return word(low).capitalize()
        raise InvalidInput(f"“{{{key}}}” in “{skeleton.title}” is no slot.")

    def text(template: str) -> str:
        done = _BEFORE_SLOT.sub(r"{\1 \2}", template)  # "a {hero}" -> a or an
        done = _MANY.sub(lambda m: _plural_of(m[1], fillings), done)
        return _SLOT.sub(put, done)

    def brief(template: str) -> str:
        return str(parse_brief(_BRIEF_WORD.sub(lambda m: shown.get(m[0], m[0]), template)))

    sentences = tuple(Sentence(text(s), brief(b)) for s, b in skeleton.lines)
    requests = tuple(text(r) for r in skeleton.requests)
    title = text(skeleton.title)
    return FilledStory(title[0].upper() + title[1:], sentences, requests, fillings)


def _plural_of(slot: str, fillings: dict[str, str]) -> str:
    return plural(fillings[slot]).replace("_", " ") if slot in fillings else "{" + slot + "}s"


def sample_story(rng: random.Random, split: str = "train") -> FilledStory:
    """A story of a split: first which story, then how it is filled."""
    return fill(rng.choice(of_split(split)), rng)


@cache
def of_split(split: str) -> tuple[Skeleton, ...]:
    """The `skeletons` of a split."""
    return tuple(s for s in skeletons() if split_of(s) == split)


@cache
def open_of_split(split: str) -> tuple[Skeleton, ...]:
    """The `open_skeletons` of a split."""
    return tuple(s for s in open_skeletons() if split_of(s) == split)


# --- scenes and their words --------------------------------------------------------------


def random_scene(rng: random.Random) -> Scene:
    """Any words in any place: covers what the stories seldom show."""
    words = vocabulary()
    actors = [w for w, v in words.items() if v["class"] in CHARACTERS]
    things = [w for w, v in words.items() if v["class"] not in CHARACTERS]
    items = [Item(rng.choice(actors), 1, "")]
    kind = rng.random()
    if kind < 0.15:
        items = [Item(rng.choice(things), 1, "")]
    elif kind < 0.40:
        items.append(Item(rng.choice(actors), 1, rng.choice(("+", "near", "beside"))))
    elif kind < 0.80:
        relation = rng.choice(("near", "near", "holding", "with", "on", "under", "behind", "+"))
        items.append(Item(rng.choice(things), rng.choice((1, 1, 1, 2, 3)), relation))
    elif kind < 0.88:
        items = [Item(items[0].word, rng.choice((2, 3)), "")]
    skies = tuple(rng.sample(SKIES, 1)) if rng.random() < 0.3 else ()
    time = rng.choices(TIMES, (6, 3, 2))[0]
    return Scene(tuple(items), rng.choice(tuple(PLACES)), time, skies)


@dataclass(frozen=True)
class Captioned:
    """A scene and the sentence it belongs to ("" for a scene of no story)."""

    scene: Scene
    sentence: str = ""


def sample_scene(rng: random.Random, split: str = "train") -> Captioned:
    """A scene to paint. Train: stories and random scenes, nothing held out. Test: of test stories
    and of held-out words in places and pairs, half each."""
    told = rng.random() < (0.5 if split == "test" else 0.55)
    while True:
        if told:
            story = sample_story(rng, split)
            sentence = rng.choice(story.sentences)
            found = Captioned(parse_brief(sentence.brief), sentence.text)
            found = replace(found, scene=_short(found.scene))
            if split == "test" or not held_out(found.scene):
                return found
        else:
            scene = random_scene(rng)
            if held_out(scene) == (split == "test"):
                return Captioned(scene)


def _short(scene: Scene) -> Scene:
    """At most four pieces, so that each is large in the picture."""
    return replace(scene, items=scene.items[:4])


def names_its_subject(captioned: Captioned) -> bool:
    """Whether the sentence alone says who is in the picture."""
    first = captioned.scene.items[0].word.replace("_", " ")
    return first in captioned.sentence.lower()


def prompt_of(captioned: Captioned, rng: random.Random) -> str:
    """What a person or the app would ask for to get this picture: the description, the description
    and its sentence, or the sentence alone where it says enough."""
    text = describe_scene(captioned.scene)
    if not captioned.sentence:
        return text
    kind = rng.random()
    if kind < 0.4:
        return text
    if kind < 0.8 or not names_its_subject(captioned):
        return f"{text}. {captioned.sentence}"
    return captioned.sentence


def stream_scenes(seed: int, split: str = "train") -> Iterator[Captioned]:
    """Scenes for ever, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        yield sample_scene(rng, split)
