"""Words and scenes: what a sentence's picture shows, in words the painter knows.

A *brief* is one line of a small grammar, shared with the stories that the models learned from::

    fox near owl + 3*star_word on big_word @lake night moon stars
    └ subjects and relations ┘            └place└time └ skies

`Scene` is its parsed form. Nothing here needs torch.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.errors import InvalidInput
from pipelines.events import Sentence

ASSETS = Path(__file__).parent / "assets"

MAX_REQUEST = 500
"""Longest request for a story, in characters."""

RELATIONS = (
    "beside", "near", "under", "on", "behind", "in", "above", "holding", "inside", "with",
)  # fmt: skip
TIMES = ("day", "night", "sunset")
SKIES = ("rain", "snow", "rainbow", "clouds", "storm", "stars", "moon", "sun", "wind")

CHARACTERS = frozenset({"land", "small", "flying", "sea", "magic", "people"})
"""Classes of words that act in stories; the others are things and big things."""

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

# Words that people use for what the painter has under another name.
_SYNONYMS = {
    "bunny": "rabbit", "hare": "rabbit", "kitten": "cat", "kitty": "cat", "puppy": "dog",
    "pup": "dog", "hound": "dog", "calf": "cow", "bull": "cow", "lamb": "sheep", "pony": "horse",
    "foal": "horse", "piglet": "pig", "cub": "bear", "ape": "gorilla", "alligator": "crocodile",
    "crow": "bird", "raven": "bird", "robin": "bird", "sparrow": "bird", "pigeon": "dove",
    "duckling": "duck", "gosling": "goose", "chicken": "hen", "toad": "frog", "tortoise": "turtle",
    "rat": "mouse", "mole": "mouse", "beetle": "ladybug", "moth": "butterfly", "bumblebee": "bee",
    "grandma": "grandmother", "granny": "grandmother", "nana": "grandmother", "grandpa":
    "grandfather", "grandad": "grandfather", "mother": "woman", "mum": "woman", "mom": "woman",
    "father": "man", "dad": "man", "sister": "girl", "daughter": "girl", "brother": "boy",
    "son": "boy", "child": "girl", "king": "prince", "queen": "princess", "knight": "prince",
    "chef": "cook", "baker": "cook", "nurse": "doctor", "painter": "artist", "fireman":
    "firefighter", "spaceman": "astronaut", "hero": "superhero", "monster": "troll", "giant":
    "troll", "dino": "dinosaur", "android": "robot", "sorcerer": "wizard", "magician": "wizard",
    "present": "gift", "parcel": "gift", "book": "book", "bear's": "bear", "jewel": "gem",
    "diamond": "gem", "treasure": "coin", "money": "coin", "gold": "coin", "spaceship": "rocket",
    "plane": "airplane", "bike": "bicycle", "lorry": "truck", "home": "house", "cottage": "house",
    "cabin": "hut", "palace": "castle", "tower": "castle", "stone": "rock", "boulder": "rock",
    "torch": "flashlight", "blossom": "flower", "daisy": "flower", "sunflower": "flower",
    "seed": "seedling", "sprout": "seedling", "plant": "seedling", "cap": "hat", "fir":
    "pine_tree", "pine": "pine_tree", "oak": "tree", "palm": "palm_tree", "ufo": "flying_saucer",
    "biscuit": "cookie", "doughnut": "donut", "teddy": "teddy_bear", "doll": "teddy_bear",
    "song": "music", "tune": "music", "wand": "magic_wand", "sledge": "sled", "campfire": "fire",
    "flame": "fire", "lightbulb": "lightbulb", "mushrooms": "mushroom", "toadstool": "mushroom",
    "shoe": "boot", "brush": "paintbrush", "crayons": "crayon", "tractor": "tractor",
    "yacht": "boat", "rowboat": "canoe", "sailboat": "boat", "clown": "circus", "kettle": "teapot",
}  # fmt: skip

_PLACE_WORDS = {
    "forest": "forest", "wood": "forest", "woods": "forest", "jungle": "jungle", "rainforest":
    "jungle", "beach": "beach", "shore": "beach", "sand": "beach", "island": "beach", "sea":
    "beach", "ocean": "beach", "waves": "beach", "coast": "beach", "snow": "snow", "snowy": "snow",
    "ice": "snow", "icy": "snow", "winter": "snow", "desert": "desert", "dune": "desert", "dunes":
    "desert", "river": "river", "stream": "river", "brook": "river", "bank": "river", "bridge":
    "river", "lake": "lake", "pond": "lake", "city": "city", "street": "city", "town": "city",
    "skyscraper": "city", "village": "village", "farm": "farm", "barn": "farm", "farmyard": "farm",
    "barnyard": "farm", "field": "farm", "fields": "farm", "orchard": "farm", "mountain":
    "mountains", "mountains": "mountains", "hill": "mountains", "hills": "mountains", "peak":
    "mountains", "cliff": "mountains", "garden": "garden", "meadow": "garden", "yard": "garden",
    "lawn": "garden", "park": "garden", "room": "room", "kitchen": "room", "bedroom": "room",
    "indoors": "room", "bathroom": "room", "attic": "room", "cellar": "room", "table": "room",
    "sofa": "room", "space": "space", "planet": "space", "mars": "space", "galaxy": "space",
    "orbit": "space", "underwater": "underwater", "reef": "underwater", "seabed": "underwater",
    "coral": "underwater", "seaweed": "underwater", "cave": "cave", "cavern": "cave", "den": "cave",
    "tunnel": "cave", "burrow": "cave", "playground": "playground", "swing": "playground",
    "slide": "playground", "sandpit": "playground", "seesaw": "playground", "market": "market",
    "shop": "market", "stall": "market", "store": "market", "fair": "market", "school": "school",
    "classroom": "school", "lesson": "school", "hall": "castle_hall", "throne": "castle_hall",
    "castle": "castle_hall", "palace": "castle_hall", "road": "road", "path": "road", "lane":
    "road", "track": "road", "sky": "sky", "flew": "sky", "flying": "sky", "soared": "sky",
}  # fmt: skip
_CLASS_PLACES = {
    "sea": "underwater", "people": "village", "magic": "forest", "flying": "garden",
    "small": "garden", "land": "forest", "thing": "room", "big": "village",
}  # fmt: skip

_TIME_WORDS = {
    "night": "night", "nights": "night", "midnight": "night", "moonlight": "night", "dark": "night",
    "starlight": "night", "bedtime": "night", "nightfall": "night", "moonlit": "night",
    "stars": "night", "moon": "night", "sunset": "sunset", "evening": "sunset", "dusk": "sunset",
    "twilight": "sunset", "morning": "day", "noon": "day", "afternoon": "day", "dawn": "day",
    "sunrise": "day", "breakfast": "day", "lunch": "day", "sunshine": "day", "sunny": "day",
}  # fmt: skip
_SKY_WORDS = {
    "rain": "rain", "rained": "rain", "raining": "rain", "rainy": "rain", "raindrops": "rain",
    "drizzle": "rain", "snowed": "snow", "snowing": "snow", "snowflake": "snow", "snowflakes":
    "snow", "rainbow": "rainbow", "cloud": "clouds", "clouds": "clouds", "cloudy": "clouds",
    "storm": "storm", "thunder": "storm", "lightning": "storm", "star": "stars", "stars": "stars",
    "moon": "moon", "moonlight": "moon", "sun": "sun", "sunny": "sun", "sunshine": "sun",
    "wind": "wind", "windy": "wind", "breeze": "wind", "gust": "wind",
}  # fmt: skip
_RELATION_WORDS = {
    "on": "on", "onto": "on", "upon": "on", "atop": "on", "under": "under", "beneath": "under",
    "below": "under", "behind": "behind", "above": "above", "over": "above", "inside": "inside",
    "into": "in", "in": "in", "holding": "holding", "carrying": "holding", "carried": "holding",
    "held": "holding", "with": "with", "beside": "beside",
}  # fmt: skip
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "many": 3, "some": 2, "several": 3}


@cache
def vocabulary() -> dict[str, dict[str, str]]:
    """Every word the painter can draw -> {"class", "emoji", "codepoint"}."""
    return json.loads((ASSETS / "vocab.json").read_text(encoding="utf-8"))["words"]


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
            if word not in vocabulary() or (count and not count.isdecimal()) or place:
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
        "clownfish": "clownfish", "squid": "squid", "octopus": "octopuses", "elf": "elves",
        "scarf": "scarves", "glasses": "glasses", "gloves": "gloves", "music": "music",
        "grapes": "grapes", "cherries": "cherries", "pancakes": "pancakes",
    }  # fmt: skip
    if word in irregular:
        return irregular[word]
    if re.search(r"(s|x|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


_UNCOUNTED = frozenset({"glasses", "gloves", "music", "grapes", "cherries", "pancakes", "fire"})


def article(word: str) -> str:
    """ "a" or "an", as the word's sound asks."""
    vowel = re.match(r"[aeiou]", word) and not re.match(r"(uni|use|eu|one\b)", word)
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
    """`describe` for a parsed scene."""
    words = ""
    for n, item in enumerate(scene.items):
        if n:
            words += " and " if item.relation == "+" else f" {item.relation} "
        words += noun(item)
    tail = [PLACES[scene.place], _TIME_PHRASES[scene.time], *(_SKY_PHRASES[s] for s in scene.skies)]
    return ", ".join([words, *tail])


# --- reading what people type -------------------------------------------------------------


def check_words(words: str) -> str:
    """The request for a story, cleaned: one line, no control characters.

    Raises InvalidInput when nothing that can be read is left, or when it is too long.
    """
    text = unicodedata.normalize("NFC", words)
    # Joiners and marks stay (scripts need them); control and unassigned characters do not.
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Co") else c for c in text)
    text = re.sub(r"\s+", " ", text).strip()
    if not text:
        raise InvalidInput("Type a few words first: who is the story about, and what happens?")
    if not any(unicodedata.category(c)[0] == "L" for c in text):
        raise InvalidInput("Please use words: emoji, digits and signs alone do not tell a story.")
    if len(text) > MAX_REQUEST:
        raise InvalidInput(
            f"A request may have {MAX_REQUEST} characters, and this one has {len(text)}: "
            "shorten it to the few words that matter."
        )
    return text


_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "st", "prof", "sr", "jr", "vs", "etc", "no", "e.g", "i.e", "capt"}
)
_SENTENCE_END = re.compile(r"""([.!?…。！？]+["'”’»)\]]*)(\s+|$)""")


def split_sentences(text: str) -> list[str]:
    """Sentences of a text. Abbreviations, initials, quotes and ellipses do not end one.

    A quotation followed by its speaker ('"Stop!" cried the hen.') stays in one piece.
    """
    sentences: list[str] = []
    begin = 0
    for match in _SENTENCE_END.finditer(text):
        before = text[begin : match.start()].rsplit(None, 1)
        last = before[-1].lower().lstrip("\"'“‘(") if before else ""
        mark, rest = match.group(1), text[match.end() :]
        if mark == "." and (last in _ABBREVIATIONS or re.fullmatch(r"[a-z]", last) and last != "i"):
            continue
        if rest and re.match(r"[a-z]", rest):  # the speaker, or an ellipsis in mid-sentence
            continue
        # An open quotation goes on: keep "One. Two," in one piece unless it grows long.
        piece = text[begin : match.end(1)].strip()
        quoting = piece.count("“") > piece.count("”") or piece.count('"') % 2 == 1
        if quoting and len(piece) < 160:
            continue
        sentences.append(piece)
        begin = match.end()
    tail = text[begin:].strip()
    return [s for s in [*sentences, tail] if s]


def singulars(token: str) -> list[str]:
    """What a token may be the plural (or possessive) of, itself first."""
    forms = [token]
    for ending, instead in (
        ("'s", ""),
        ("’s", ""),
        ("ies", "y"),
        ("ves", "f"),
        ("es", ""),
        ("s", ""),
    ):
        if token.endswith(ending) and len(token) > len(ending) + 2:
            forms.append(token[: -len(ending)] + instead)
    irregular = {"mice": "mouse", "geese": "goose", "men": "man", "women": "woman",
                 "children": "child", "wolves": "wolf", "elves": "elf"}  # fmt: skip
    return [*forms, irregular[token]] if token in irregular else forms


def known_word(token: str) -> str | None:
    """The vocabulary word that a token of text names, None if it names none."""
    words = vocabulary()
    for form in singulars(token.lower()):
        if form in words:
            return form
        if form in _SYNONYMS and _SYNONYMS[form] in words:
            return _SYNONYMS[form]
    return None


_NAMED = re.compile(
    r"\b([a-z]+(?: [a-z]+)?),? (?:was )?(?:named|called) ([A-Z]\w+)"
    r"|\b([A-Z]\w+) the ([a-z]+)\b|\b[Tt]he ([a-z]+) ([A-Z][a-z]+)\b"
)


def cast_of(texts: Sequence[str]) -> dict[str, str]:
    """Names in a story -> who bears them: "A fox named Pip" gives {"Pip": "fox"}."""
    cast: dict[str, str] = {}
    for text in texts:
        for m in _NAMED.finditer(text):
            kind, name = next(
                (k, n)
                for k, n in ((m[1], m[2]), (m[4], m[3]), (m[5], m[6]))
                if k is not None and n is not None
            )
            word = known_word(kind.replace(" ", "_")) or known_word(kind.split()[-1])
            if word:
                cast.setdefault(name, word)
    return cast


_SUBJECTS = frozenset({"he", "she", "they"})
_PRONOUNS = frozenset({"he", "she", "it", "they", "him", "her", "them", "i", "we", "his", "their"})


def brief_of(text: str, before: Sequence[Sentence] = ()) -> str:
    """What the picture of a sentence shows, read from its words and from the story before it.

    Who acts comes first; names and pronouns are looked up in the sentences before; place and
    time stay as they were until the story says otherwise.
    """
    last: Scene | None = None
    for sentence in reversed(before):
        try:
            last = parse_brief(sentence.brief)
            break
        except InvalidInput:
            continue
    cast = cast_of([*(s.text for s in before), text])
    words = vocabulary()
    tokens = re.findall(r"[A-Za-z]+(?:['’]s)?", text)
    lower = [t.lower() for t in tokens]

    found: dict[str, Item] = {}
    relation, count, place, pronoun = "", 1, "", False
    time, skies = "", list[str]()
    skip = False
    for n, token in enumerate(lower):
        if skip:
            skip = False
            continue
        pair = f"{token}_{lower[n + 1]}" if n + 1 < len(lower) else ""
        name = tokens[n].removesuffix("'s").removesuffix("’s")
        word = cast.get(name) or known_word(pair) or known_word(token)
        skip = word is not None and name not in cast and known_word(pair) == word and bool(pair)
        if token in _SKY_WORDS and (word is None or token == "star"):
            sky = _SKY_WORDS[token]
            skies += [sky] if sky not in skies else []
        time = _TIME_WORDS.get(token, time)
        if token in _PLACE_WORDS and not (place and token in ("table", "sand", "flew", "flying")):
            place = _PLACE_WORDS[token]
        if word is not None:
            many = 2 if token != word and token == plural(word) else 1
            if word not in found:
                found[word] = Item(word, max(count, many), relation or "+")
            relation, count = "", 1
        elif token in _RELATION_WORDS:
            relation = _RELATION_WORDS[token]
        elif token in _NUMBERS:
            count = _NUMBERS[token]
        pronoun |= token in _PRONOUNS

    actors = [w for w in found if words[w]["class"] in CHARACTERS]
    heroes = [i for i in last.items if words[i.word]["class"] in CHARACTERS] if last else []
    if last is not None and not actors and (pronoun or not found):
        found = {i.word: i for i in heroes[: 2 - pronoun] or last.items[:1]} | found
    elif heroes and len(actors) == 1 and lower and lower[0] in _SUBJECTS:  # "He met an owl."
        found = {heroes[0].word: heroes[0]} | found
    if not found:
        found = {"girl": Item("girl")}
    order = sorted(found.values(), key=lambda i: words[i.word]["class"] not in CHARACTERS)[:4]
    items = tuple(
        Item(i.word, i.count, "" if n == 0 else i.relation if i.relation != "" else "+")
        for n, i in enumerate(order)
    )
    if not place:
        place = last.place if last else _CLASS_PLACES[words[items[0].word]["class"]]
    if not time:
        time = last.time if last else "day"
    if skies and {"moon", "stars"} & set(skies) and time == "day":
        time = "night"
    return str(Scene(items, place, time, tuple(skies[:2])))
