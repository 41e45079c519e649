"""Which words a story's slot may take beyond those its author listed.

A wider slot teaches the writer that most stories can be told of most heroes, but a story that
speaks of beaks, hooves or sizes is true of some bodies only. So a slot opens to the kinds of which
it holds two (large animals, small ones, birds, children ...), and to nothing where the story's
words are about a body, a voice, a way of moving, or a size, or where its author closed it with `!`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cache

from finetune.data.storyworld import Skeleton
from pipelines.scene import PLACES, vocabulary

ACTING = ("hero", "friend", "second")
LEAST = 4
"""Slots with fewer choices were made for just these."""

_LARGE = frozenset(
    """lion tiger elephant horse cow giraffe zebra hippo camel gorilla rhino moose bear crocodile
    deer llama donkey wolf panda kangaroo bison mammoth ox water_buffalo buffalo leopard orangutan
    polar_bear boar bull ram""".split()
)
_CHILDREN = frozenset("boy girl prince princess child".split())
_BIRDS = frozenset(
    """bird owl duck rooster hen swan goose parrot peacock flamingo eagle dove penguin crow
    turkey dodo""".split()
)
_LEGLESS = frozenset("snake snail worm caterpillar".split())
# Those whom few stories fit unless they were written for them.
_SPECIAL = frozenset(
    """baby snowman ghost genie mermaid skeleton alien santa vampire zombie tyrannosaurus phoenix
    housefly mosquito scorpion dodo starfish orangutan guard""".split()
)


def _of(*classes: str) -> frozenset[str]:
    return frozenset(w for w, v in vocabulary().items() if v["class"] in classes)


@cache
def bodies() -> dict[str, frozenset[str]]:
    """A pattern of words for a part of the body -> the vocabulary's words that have it."""
    people, land, small = _of("people", "magic"), _of("land"), _of("small")
    flying, sea = _of("flying"), _of("sea")
    hooved = frozenset(
        """horse cow pig sheep goat giraffe zebra hippo camel llama rhino donkey moose deer unicorn
        bison ox water_buffalo boar ram elephant""".split()
    )
    birds = (flying - {"butterfly", "bee", "bat", "mosquito", "housefly"}) | {"chick"}
    climbers = frozenset(
        "monkey gorilla raccoon bear koala sloth panda otter squirrel mouse hedgehog mole".split()
    )
    return {
        r"beaks?|feathers?|plumage": birds,
        r"wings?": flying | {"dragon", "fairy", "ladybug", "chick", "beetle", "unicorn"},
        r"fins?|flippers?|gills": sea | {"penguin", "mermaid", "otter"},
        r"trunk": frozenset({"elephant", "mammoth"}),
        r"paws?|whiskers": land - hooved - {"gorilla", "crocodile"} | climbers | {"seal"},
        r"fur|furry": land - {"elephant", "hippo", "rhino", "crocodile", "pig"} | climbers,
        r"hoof|hooves": hooved,
        r"shell": frozenset("turtle snail crab lobster hermit_crab oyster".split()),
        r"horns?|antlers?": hooved | {"dragon", "snail", "troll", "dinosaur"},
        r"mane": frozenset("lion horse unicorn zebra donkey".split()),
        r"wool|fleece": frozenset("sheep llama ram".split()),
        r"fingers?|thumbs?|hands?": people | climbers,
        r"beard|braids?|apron|sleeves?|trousers": people,
        r"claws?|pincers?": (land | birds | sea | small | {"dragon", "dinosaur"}) - hooved,
        r"prickles|spines?|spikes": frozenset("hedgehog dinosaur dragon porcupine".split()),
        r"humps?": frozenset({"camel"}),
        r"tusks?": frozenset("elephant mammoth boar walrus".split()),
        r"pouch": frozenset({"kangaroo"}),
        r"tentacles?": frozenset("octopus squid jellyfish".split()),
    }


# Words that are true of some heroes only: bodies, voices, ways of moving, sizes, habits.
_TELLING = re.compile(
    r"\b(?:"
    + r"beaks?|feathers?|wings?|fins?|flippers?|trunk|tails?|paws?|whiskers|fur|furry|hoof|hooves"
    + r"|shells?|horns?|antlers?|mane|wool|woolly|fleece|fingers?|thumbs?|hands?|beard|sleeves?"
    + r"|claws?|pincers?|prickles|prickly|spines?|spikes|humps?|tusks?|pouch|tentacles?|stripes?"
    + r"|spots?|scales|necks?|legs|arms|ears|pockets?|webbed|fly|flew|flies|flying|flapped|flap"
    + r"|fluttered|swam|swim|swimming|dived|jump\w*|leap\w*|hop|hopped|hopping|gallop|galloped"
    + r"|slither\w*|crawl\w*"
    + r"|crept|creep|waddled|pounced|laid|hatch\w*|nests?|burrow|web|moo|mooed|baa|quack\w*|roar\w*"
    + r"|growl\w*|bark\w*|woof|meow\w*|miaow|purr\w*|neigh\w*|hoot\w*|oink\w*|cluck\w*|croak\w*"
    + r"|buzz\w*|hiss\w*|squeak\w*|howl\w*|chirp\w*|honk\w*|tiny|huge|enormous|giant|tall|tallest"
    + r"|biggest|smallest|heavy|heaviest|slow|slowest|slowly|hay|grass for|milked|knight|king"
    + r"|queen|soldier|grandson|granddaughter|grandchild\w*|egg-laying"
    + r")\b"
)


def _kind(word: str) -> str:
    """What a word can stand in for: finer than its class."""
    of = vocabulary()[word]["class"]
    if word in _SPECIAL or word in _LEGLESS:
        return word
    if of == "land":
        return "large" if word in _LARGE else "middling"
    if of == "people":
        return "child" if word in _CHILDREN else "grown"
    if of == "flying":
        return "bird" if word in _BIRDS else "winged"
    return of


@cache
def _of_kind() -> dict[str, tuple[str, ...]]:
    kinds: dict[str, tuple[str, ...]] = {}
    for word in vocabulary():
        kinds[_kind(word)] = (*kinds.get(_kind(word), ()), word)
    return kinds


@cache
def wider_slots(story: Skeleton) -> Skeleton:
    """The story with every slot that may open wide open; itself where none may."""
    told = [story.title, *(t for t, _ in story.lines), *story.requests]
    plain = re.sub(r"\{[^}]*\}", " ", " ".join(told)).lower()
    if _TELLING.search(plain):
        return story
    slots = dict(story.slots)
    for name, choices in story.slots.items():
        if name not in ACTING or name in story.closed or len(choices) < LEAST:
            continue
        if choices[0] in PLACES or _spoken(choices, plain):
            continue
        kinds = Counter(map(_kind, choices))
        wet = any("@underwater" in brief for _, brief in story.lines)
        if (wet or "sea" in kinds) and set(kinds) != {"sea"}:
            continue
        wide = (w for k, n in kinds.items() if n > 1 for w in _of_kind()[k])
        slots[name] = tuple(dict.fromkeys([*choices, *wide]))
    return replace(story, slots=slots)


def made_for_few(story: Skeleton) -> bool:
    """Whether a story is true of its own heroes only: an unknown one would get their beaks."""
    plain = re.sub(r"\{[^}]*\}", " ", " ".join(t for t, _ in story.lines)).lower()
    return len(story.slots.get("hero", ())) < LEAST or _TELLING.search(plain) is not None


def _spoken(choices: tuple[str, ...], plain: str) -> bool:
    """Whether the text speaks of one of the words by name."""
    said = set(re.findall(r"[a-z]+", plain))
    names = {w.split("_")[-1] for w in choices}
    return bool(said & (names | {w + "s" for w in names}))
