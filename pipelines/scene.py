"""Words and scenes: what a sentence's picture shows, in words the painter knows.

A *brief* is one line of a small grammar, shared with the stories that the models learned from::

    fox near owl + 3*star_word on big_word @lake night moon stars
    └ subjects and relations ┘            └place└time └ skies

`Scene` is its parsed form. Nothing here needs torch.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.errors import InvalidInput

ASSETS = Path(__file__).parent / "assets"

RELATIONS = (
    "beside", "near", "under", "on", "behind", "in", "above", "holding", "inside", "with",
)  # fmt: skip
TIMES = ("day", "night", "sunset")
SKIES = ("rain", "snow", "rainbow", "clouds", "storm", "stars", "moon", "sun", "wind")

CHARACTERS = frozenset({"land", "small", "flying", "sea", "magic", "people"})
"""Classes of words that act in stories; the others are things, big things, and "other": what is
painted when it is asked for, but fills no slot of a story that could take any thing."""

PLACES = {
    "forest": "in the forest",
    "jungle": "in the jungle",
    "beach": "on the beach",
    "snow": "in the snow",
    "desert": "in the desert",
    "river": "by the river",
    "lake": "by the lake",
    "city": "in the city",
    "village": "in the village",
    "farm": "on the farm",
    "mountains": "in the mountains",
    "garden": "in the garden",
    "room": "in a room",
    "space": "in space",
    "underwater": "under the sea",
    "cave": "in a cave",
    "playground": "on the playground",
    "market": "at the market",
    "school": "at school",
    "castle_hall": "in the castle",
    "road": "on the road",
    "sky": "in the sky",
}
"""The places the painter knows, each with its phrase."""

_TIME_PHRASES = {"day": "by day", "night": "at night", "sunset": "at sunset"}
_SKY_PHRASES = {
    "rain": "in the rain",
    "snow": "in falling snow",
    "rainbow": "under a rainbow",
    "clouds": "under clouds",
    "storm": "in a storm",
    "stars": "under the stars",
    "moon": "under the moon",
    "sun": "in the sun",
    "wind": "in the wind",
}


@cache
def vocabulary() -> dict[str, dict[str, str]]:
    """Every word the painter can draw -> {"class", "emoji", "codepoint"}."""
    return json.loads((ASSETS / "vocab.json").read_text(encoding="utf-8"))["words"]


def is_character(word: str) -> bool:
    """Whether a vocabulary word is somebody who acts in stories."""
    return vocabulary()[word]["class"] in CHARACTERS


@dataclass(frozen=True)
class Item:
    """`count` of a vocabulary word; `relation` ties it to what stands before it.

    The first item has relation ""; "+" joins another subject.
    """

    word: str
    count: int = 1
    relation: str = "+"


@dataclass(frozen=True)
class Scene:
    """What one picture shows."""

    items: tuple[Item, ...]
    place: str = "garden"
    time: str = "day"
    skies: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The brief: the inverse of `parse_brief`."""
        parts: list[str] = []
        for n, item in enumerate(self.items):
            if n:
                parts.append(item.relation)
            parts.append(f"{item.count}*{item.word}" if item.count > 1 else item.word)
        return " ".join([*parts, "@" + self.place, self.time, *self.skies])


def parse_brief(brief: str) -> Scene:
    """Read a brief. Raises InvalidInput that names the word it cannot place."""
    items: list[Item] = []
    place, time, skies = "", "day", list[str]()
    relation = ""
    for token in brief.split():
        if token.startswith("@"):
            place = token[1:]
            if place not in PLACES:
                raise InvalidInput(f"“{place}” is no place the painter knows: {', '.join(PLACES)}.")
        elif place and token in TIMES:
            time = token
        elif place and (token in SKIES or token == "clear"):
            skies += [token] if token != "clear" and token not in skies else []
        elif token == "+" or token in RELATIONS:
            relation = token
        else:
            count, _, word = token.rpartition("*")
            if word not in vocabulary() or not re.fullmatch(r"\d{0,9}", count) or place:
                raise InvalidInput(f"“{token}” is no word the painter knows.")
            items.append(Item(word, min(max(int(count or 1), 1), 5), relation if items else ""))
            relation = "+"
    if not items:
        raise InvalidInput("Say at least one thing that the picture shows.")
    return Scene(tuple(items), place or "garden", time, tuple(skies))


def plural(word: str) -> str:
    """English plural of a vocabulary word."""
    irregular = {
        "mouse": "mice", "goose": "geese", "man": "men", "woman": "women", "wolf": "wolves",
        "leaf": "leaves", "sheep": "sheep", "fish": "fish", "deer": "deer", "moose": "moose",
        "clownfish": "clownfish", "squid": "squid", "pufferfish": "pufferfish",
        "starfish": "starfish", "shrimp": "shrimp", "bison": "bison", "ox": "oxen",
        "mosquito": "mosquitoes", "tooth": "teeth", "potato": "potatoes", "tomato": "tomatoes",
        "mango": "mangoes", "volcano": "volcanoes", "dice": "dice", "octopus": "octopuses",
        "elf": "elves", "scarf": "scarves", "child": "children", "calf": "calves",
        "dwarf": "dwarves", "hero": "heroes", "superhero": "superheroes", "thief": "thieves",
        "knife": "knives",
    }  # fmt: skip
    if word in irregular:
        return irregular[word]
    if word in _UNCOUNTED:
        return word
    if re.search(r"(s|x|ch|sh)$", word):
        return word + "es"
    if re.search(r"[a-z](?<!hu|er)man$", word):  # neither humans nor Germans
        return word[:-3] + "men"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


_UNCOUNTED = frozenset(
    """glasses gloves music grapes cherries pancakes fire socks trousers headphones maracas
    sunglasses ballet_shoes scissors blueberries popcorn soap fries spaghetti bubbles broccoli coral
    bread honey milk soup cheese corn""".split()
)  # fmt: skip
"""Words that take "some" and have no other plural."""


def article(word: str) -> str:
    """ "a" or "an", as the word's sound asks."""
    vowel = re.match(r"[aeiou]|hour|honest", word) and not re.match(r"(uni|use|eu|one\b)", word)
    return "an" if vowel else "a"


def noun(item: Item) -> str:
    """ "a fox", "three owls", "some grapes"."""
    word = item.word.replace("_", " ")
    if item.count > 1:
        number = {2: "two", 3: "three", 4: "four", 5: "five"}[item.count]
        return f"{number} {plural(word)}"
    return f"some {word}" if word in _UNCOUNTED else f"{article(word)} {word}"


def describe(brief: str) -> str:
    """The brief in plain words: "a fox near an owl, by the lake, at night, under the moon".

    Raises InvalidInput as `parse_brief`.
    """
    return describe_scene(parse_brief(brief))


def describe_scene(scene: Scene) -> str:
    """`describe` for a parsed scene; of an empty one only the place, "by the lake, at night"."""
    words = ""
    for n, item in enumerate(scene.items):
        if n:
            words += " and " if item.relation == "+" else f" {item.relation} "
        words += noun(item)
    tail = [PLACES[scene.place], _TIME_PHRASES[scene.time], *(_SKY_PHRASES[s] for s in scene.skies)]
    return ", ".join([words, *tail] if words else tail)
