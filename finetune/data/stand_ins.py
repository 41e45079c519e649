"""What the painter shows for words that it does not know: `python -m finetune.data.stand_ins`.

WordNet says what kind of thing a word names: an axolotl is a salamander, which is an amphibian. Of
a word that nobody painted the nearest kind that somebody did stands in, a frog. What the command
writes, `pipelines/assets/stand_ins.txt`, is read by `pipelines.scene`.

    python -m finetune.data.stand_ins --wordnet /usr/share/wordnet --texts FOLDER ...

WordNet is Debian's package wordnet-base. `--texts` are jsonl files with texts, which tell words
that people use from those of a botanist.

Source: WordNet 3.0 (Miller 1995; Fellbaum 1998), whose notice the file carries.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from pipelines.banned import find_banned, unsuitable
from pipelines.errors import InvalidInput
from pipelines.reading import PLACE_WORDS, STAND_INS, SYNONYMS, singulars
from pipelines.scene import ASSETS, is_character, vocabulary
from pipelines.story_requests import FUNCTION_WORDS
from pipelines.weights import EMBEDDED

ANIMAL, ARTIFACT, BODY, FOOD, OBJECT, PERSON, PLANT = "05 06 08 13 17 18 20".split()
"""Of WordNet's lexicographer files."""
KINDS = {
    "land": {ANIMAL}, "small": {ANIMAL}, "flying": {ANIMAL}, "sea": {ANIMAL}, "people": {PERSON},
    "magic": set[str](), "thing": {ARTIFACT, FOOD, PLANT, OBJECT, BODY},
    "big": {ARTIFACT, PLANT, OBJECT}, "other": {ARTIFACT, FOOD, PLANT, OBJECT},
}  # fmt: skip
"""Class of a painted word -> in which files its meaning is."""
NO_KIND = frozenset(
    """baby ball bone book box boy church circus clown dinosaur door egg fire gift girl guard heart
    house island judge key king letter log man milk music nest newspaper picture planet prince
    princess puzzle queen satellite school scientist shell shield sign singer star statue wheel
    window woman worm""".split()
)
"""Painted words whose first meaning, or what falls under it, is something else."""
MEANINGS = """
    antelope/1 deer, ape/1 gorilla, aquatic_bird/1 duck, aquatic_mammal/1 seal, arachnid/1 spider,
    amphibian/3 frog, big_cat/1 leopard, bird_of_prey/1 eagle, bovine/1 ox, canine/2 wolf,
    cephalopod/1 octopus, cetacean/1 whale, crocodilian_reptile/1 crocodile, crustacean/1 crab,
    dinosaur/1 dinosaur, domestic_fowl/1 hen, edentate/1 sloth, equine/1 horse, feline/1 cat,
    gallinaceous_bird/1 hen, insect/1 beetle, lagomorph/1 rabbit, larva/1 caterpillar,
    marsupial/1 kangaroo, mollusk/1 snail, musteline_mammal/1 otter, mythical_monster/1 dragon,
    ornithischian/1 dinosaur, pachyderm/1 elephant, pigeon/1 dove, primate/2 monkey,
    procyonid/1 raccoon, reptile/1 lizard, rodent/1 mouse, saurischian/1 dinosaur, seabird/1 dove,
    swine/1 pig, viverrine/1 otter, wading_bird/1 flamingo, worm/1 worm,
    boy/1 boy, girl/1 girl, king/1 king, man/1 man, queen/2 queen, woman/1 woman,
    aircraft/1 airplane, ball/1 ball, bell/1 bell, book/1 book, book/2 book,
    bowed_stringed_instrument/1 violin, box/1 box, brass/2 trumpet, building/1 house, coin/1 coin,
    computer/1 computer, doll/1 nesting_doll, dwelling/1 house, footwear/1 shoe, footwear/2 shoe,
    garment/1 shirt, gown/1 dress, headdress/1 hat, hosiery/1 socks, house/1 house,
    jewelry/1 ring, keyboard_instrument/1 piano, light/2 lamp, motor_vehicle/1 car, necklace/1 gem,
    overgarment/1 coat, painting/1 picture, percussion_instrument/1 drum, postcard/1 letter,
    sculpture/1 statue, seat/3 chair, skyscraper/1 tower, sledge/1 sled, spacecraft/1 rocket,
    spatula/1 spoon, stringed_instrument/1 guitar, television_receiver/1 television,
    timepiece/1 clock, tire/1 wheel, trouser/1 trousers, vessel/2 ship, wind_instrument/1 flute,
    berry/1 blueberries, beverage/1 cup, bun/1 bread, citrus/1 tangerine,
    cruciferous_vegetable/1 broccoli, dessert/1 pudding, edible_fruit/1 apple, edible_nut/1 peanut,
    leafy_vegetable/1 broccoli, pasta/2 spaghetti, root_vegetable/1 carrot, stew/1 soup,
    sweet/3 candy, conifer/1 pine_tree, fungus/1 mushroom, jewel/1 gem, log/1 log, rock/1 rock
"""
"""Meanings ("word/which of its meanings") -> what stands in for all that falls under them."""
CALLINGS = """
    adventurer/1 athlete/1 cousin/1 craftsman/1 employee/1 expert/1 leader/1 mariner/1 merchant/1
    musician/1 performer/1 preserver/3 professional/1 relative/1 ruler/2 scholar/1 servant/1
    student/1 traveler/1 worker/1 writer/1
""".split()
"""People of these kinds are a woman or a man, in turn where the word does not say which."""
NOBODY = ("hominid/1", "weapon/1", "alcohol/1")
"""Nothing that falls under these has a stand-in."""
OWN = {
    "football": "ball", "volleyball": "ball", "sombrero": "hat", "burrito": "taco", "tortilla":
    "pancakes", "sparrowhawk": "eagle", "harmonica": "flute", "wombat": "koala", "soccer_ball":
    "ball", "beach_ball": "ball", "tennis_ball": "ball", "snowball": "ball", "marble": "ball",
    "beluga": "whale", "seahorse": "fish", "sea_horse": "fish", "sea_lion": "seal",
    "allosaurus": "tyrannosaurus", "pterodactyl": "dinosaur", "pterosaur": "dinosaur",
    "postman": "man", "waiter": "man", "drummer": "man", "waitress": "woman", "lemonade": "cup",
    "matchbox": "box", "snowdrop": "flower", "bluebell": "flower", "violet": "flower", "iris":
    "flower", "laptop": "computer", "smartphone": "telephone", "phone": "telephone", "drone":
    "helicopter", "submarine": "ship", "digger": "tractor", "bulldozer": "tractor", "excavator":
    "tractor", "caravan": "van", "librarian": "woman", "stool": "chair", "bench": "chair",
    "armchair": "chair", "couch": "sofa", "hammock": "bed", "cradle": "bed", "bunk": "bed",
    "sandcastle": "castle", "igloo": "hut", "treehouse": "hut", "cardigan": "shirt", "pyjamas":
    "shirt", "pajamas": "shirt", "apron": "dress", "tutu": "dress", "slippers": "slipper",
    "wellies": "boot", "bracelet": "ring", "flagon": "jar", "jug": "teapot", "pitcher":
    "teapot", "thermos": "cup", "juice": "cup", "smoothie": "cup", "milkshake": "cup",
    "yoghurt": "pudding", "yogurt": "pudding", "jelly": "pudding", "jam": "honey", "marmalade":
    "honey", "syrup": "honey", "butter": "cheese", "omelette": "pancakes", "crepe": "pancakes",
    "cereal": "bowl", "salad": "bowl", "sushi": "fish", "noodles": "spaghetti", "lettuce":
    "broccoli", "cabbage": "broccoli", "cauliflower": "broccoli", "spinach": "broccoli",
    "radish": "carrot", "parsnip": "carrot", "turnip": "carrot", "beetroot": "carrot", "plum":
    "peach", "apricot": "peach", "nectarine": "peach", "grapefruit": "tangerine", "raspberry":
    "strawberry", "blackberry": "blueberries", "papaya": "mango", "pomegranate": "apple", "fig":
    "pear", "wand": "magic_wand", "spyglass": "telescope", "binoculars": "telescope",
    "wristwatch": "clock", "stopwatch": "clock", "trombone": "trumpet", "tuba": "trumpet",
    "bugle": "trumpet", "clarinet": "flute", "oboe": "flute", "recorder": "flute", "tambourine":
    "drum", "xylophone": "piano", "cello": "violin", "ukulele": "guitar", "lute": "guitar",
    "postcard": "letter", "envelope": "letter", "diary": "book", "dictionary": "book",
    "encyclopedia": "book", "photo": "picture", "photograph": "picture", "portrait": "picture",
    "spade": "shovel", "snorkel": "glasses", "goggles": "glasses", "pushchair": "wheelchair",
    "pram": "wheelchair", "hovercraft": "boat", "anemone": "coral", "clam": "shell", "oyster":
    "shell", "mussel": "shell", "locket": "gem", "pearl": "gem", "crystal": "gem", "amber":
    "gem", "asteroid": "rock", "meteorite": "rock", "snowflake": "star", "firework":
    "party_popper", "fireworks": "party_popper", "cocoon": "egg", "library": "house", "museum":
    "house", "bakery": "house", "restaurant": "house", "theatre": "house", "theater": "house",
    "cinema": "house", "cafe": "house", "kennel": "hut", "greenhouse": "garden_house",
    "steeple": "church", "cathedral": "church", "chapel": "church",
    "mosque": "house", "temple": "pagoda", "ape": "gorilla", "husbandman": "farmer",
}  # fmt: skip
"""Chosen by hand, where WordNet thinks of another meaning, or of none."""
NONE = frozenset(
    """aba ade agua amora ancestor ani annon architecture author babe bachelor bearer bearskin
    beater beef bling bogy bones boyfriend breaker building calculus caller candidate catcher
    charger chit coach comic compote coquette cords cows cracker critic crone damosel dealer
    defender doppler drawers drawing duplicidentata entire expert flipper fop foreigner fresher
    gipsy gob godchild grandchild greens guest gypsy hag hanger human human_being humans
    instructions intruder ironing keeper laundry leader liza lucy lunger mankind mender mending
    minx offspring organ painting parent passenger passerby performer preserves progeny
    protector prowler pupil quack racker raisin reader savage scrubs seizing seller shades
    shooter sibling silks sir spinster spouse stable stalls stays stole stranger sweeper tablet
    tanner thrower trunks uke uncle_sam visitor vocabulary washer watch weeds whistle woof
    worker""".split()
)
"""Nothing stands in for these: too wide, or no thing at all as people use them."""
UNSUITED = re.compile(
    r"offensive|disparag|slur|vulgar|obscen|derogat|insult|prostitut|sexual|contempt|intercourse|"
    r"genital|excre|drunk|alcohol|liquor|whisk|cocktail|\bbeer|\bwines?\b|\bgun\b|firearm|bomb|"
    r"missile|weapon|torture|execution|nazi|racist|condom|intoxicat|narcotic|tobacco|cigar|"
    r"distilled|brandy|\brum\b|\bgin\b|brew|armed|warship|military|warfare|corpse|coffin|burial|"
    r"lingerie|underwear|undergarment|brassiere|contracept|homosexual|criminal|thief|slave|insane|"
    r"religious|muslim|islam|hindu|jewish|christian|bishop|clergy|priest|\bnun\b|parasit|gambl"
)
"""A word that WordNet explains with one of these has no stand-in in a book for children."""
DEEPEST = 12
"""How many kinds above a word are looked at."""
MOSTLY, FIRST = 0.7, 0.6
"""Share of a word's uses, in the texts that WordNet counted, that are nouns, and of those with the
first meaning."""


@dataclass(frozen=True)
class Meaning:
    """A synset of nouns."""

    words: tuple[str, ...]
    """As they are written."""
    above: tuple[str, ...]
    """Its kinds: keys of `WordNet.meanings`."""
    gloss: str
    file: str
    """Number of the lexicographer's file."""


class WordNet:
    """The nouns of WordNet's database files (their format: man wndb).

    Raises InvalidInput when a folder holds none.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "data.noun").exists():
            raise InvalidInput(
                f"{folder} holds no WordNet: install Debian's wordnet-base, or name the folder "
                "that has data.noun and index.noun."
            )
        self.meanings = dict(map(_meaning, _lines(folder, "data.noun")))
        self.of: dict[str, list[str]] = {}
        """Word -> its meanings, the most usual first."""
        for line in _lines(folder, "index.noun"):
            word, _, _, pointers, *rest = line.split()
            self.of[word] = rest[int(pointers) + 2 :]
        self.elsewhere = {
            line.split(" ", 1)[0]
            for part in ("verb", "adj", "adv")
            for line in _lines(folder, f"index.{part}")
        }
        """Words that are not only nouns."""
        self.uses: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Word -> part of speech ("1": noun) -> how often it was counted."""
        self.nouns: Counter[tuple[str, int]] = Counter()
        """Word and which of its meanings -> how often."""
        for line in (folder / "cntlist.rev").read_text(encoding="ascii").splitlines():
            key, number, count = line.split()
            word, rest = key.split("%")
            self.uses[word][rest[0]] += int(count)
            if rest[0] == "1":
                self.nouns[word, int(number)] += int(count)

    def meaning(self, which: str) -> str:
        """ "fish/1" -> its key."""
        word, number = which.split("/")
        return self.of[word][int(number) - 1]

    def above(self, key: str) -> Iterable[str]:
        """The meaning itself and its kinds, the nearest first."""
        seen, front = {key}, [key]
        for _ in range(DEEPEST):
            yield from front
            front = [k for f in front for k in self.meanings[f].above if k not in seen]
            seen |= set(front)

    def usual(self, word: str) -> str | None:
        """The meaning of a word that mostly has that one, else None. What an animal is comes before
        its fur and its flesh."""
        keys = self.of[word]
        number = 1
        if re.search(r"\b(?:fur|flesh|pelt|skin|meat|leather)\b", self.meanings[keys[0]].gloss):
            animals = (n for n, k in enumerate(keys, 1) if self.meanings[k].file == ANIMAL)
            number = next(animals, 1)
        counts = self.uses[word]
        total, nouns = counts.total(), counts["1"]
        if total and nouns / total < MOSTLY:
            return None
        if nouns and self.nouns[word, number] / nouns < FIRST:
            return None
        if word in self.elsewhere and total < 2 or not total and len(keys) > 3:
            return None
        return keys[number - 1]


def _lines(folder: Path, name: str) -> Iterable[str]:
    text = (folder / name).read_text(encoding="ascii")
    return (line for line in text.splitlines() if not line.startswith(" "))  # the licence is


def _meaning(line: str) -> tuple[str, Meaning]:
    head, gloss = line.split(" | ", 1)
    key, file, _, count, *rest = head.split()
    n = 2 * int(count, 16)
    pointers = rest[n + 1 :]
    above = (pointers[k + 1] for k in range(0, len(pointers) - 1, 4) if pointers[k] == "@")
    return key, Meaning(tuple(rest[:n:2]), tuple(above), gloss.strip(), file)


def painted_meanings(wordnet: WordNet) -> dict[str, str]:
    """Key of a meaning -> the painted word that stands in for all that falls under it."""
    painted: dict[str, str] = {}
    for word, entry in vocabulary().items():
        if word in NO_KIND:
            continue
        files = KINDS[entry["class"]]
        fits = (k for k in wordnet.of.get(word, ()) if wordnet.meanings[k].file in files)
        if (key := next(fits, None)) is not None:
            painted.setdefault(key, word)
    for line in MEANINGS.split(","):
        which, word = line.split()
        painted.setdefault(wordnet.meaning(which), word)
    return painted


def stand_ins(wordnet: WordNet, counts: Mapping[str, int], lexicon: Set[str]) -> dict[str, str]:
    """Word, its parts joined by "_" -> the painted word that stands in for it, sorted.

    counts: how often words stand in texts, in lower case. lexicon: of the story writer, whose
    words are left as they are.
    """
    painted = painted_meanings(wordnet)
    callings = {wordnet.meaning(which) for which in CALLINGS}
    nobody = {wordnet.meaning(which) for which in NOBODY}
    taken = {*vocabulary(), *SYNONYMS, *PLACE_WORDS, *FUNCTION_WORDS, *(w.lower() for w in lexicon)}
    found: dict[str, str] = {}
    either = 0
    for word in sorted(wordnet.of):
        if (
            word in OWN
            or word in NONE
            or not taken.isdisjoint(singulars(word))
            or not re.fullmatch(r"[a-z]{3,22}(_[a-z]{2,22})?", word)
        ):
            continue
        if (key := wordnet.usual(word)) is None:
            continue
        meaning = wordnet.meanings[key]
        if UNSUITED.search(f"{word} {meaning.gloss}".lower()):
            continue
        kinds = list(wordnet.above(key))
        instead = next((painted[k] for k in kinds if k in painted), "")
        person = meaning.file == PERSON
        if not nobody.isdisjoint(kinds) or not _usual(word, meaning, wordnet, counts, instead):
            continue
        if not instead and person and not callings.isdisjoint(kinds):
            hers = re.search(r"(?:ess|woman|maid|wife|girl)$", word) is not None
            his = word.endswith(("man", "son", "groom"))
            instead = ("woman", "man")[either % 2 if not hers | his else int(not hers)]
            either += not hers | his
        if instead and not find_banned(word.replace("_", " "), unsuitable()):
            found[word] = instead
    settled = vocabulary().keys() | SYNONYMS.keys()
    chosen = {w: instead for w, instead in OWN.items() if w not in settled}
    return dict(sorted((found | chosen).items()))


def _usual(
    word: str, meaning: Meaning, wordnet: WordNet, counts: Mapping[str, int], instead: str
) -> bool:
    """Whether people may type the word, and its parts do not say the same without it."""
    written = next((w for w in meaning.words if w.lower() == word), word)
    if written != word and (meaning.file != ANIMAL or "_" in word):
        return False  # a name, or Latin
    person = meaning.file == PERSON
    if person and counts.get(word, 0) < 2:
        return False
    first, _, last = word.partition("_")
    if last:
        said = _painted(last) == instead and _painted(first) is None
        return not said and min(counts.get(first, 0), counts.get(last, 0)) >= 3
    plant = meaning.file == PLANT  # few gardeners know what all of those are
    return not plant or counts.get(word, 0) > 0 or wordnet.uses[word]["1"] > 0


def _painted(word: str) -> str | None:
    """The painted word that a word names, as it was before there was this file."""
    return word if word in vocabulary() else SYNONYMS.get(word)


def count_words(files: Sequence[Path]) -> Counter[str]:
    """How often words that have no capital stand in the strings of jsonl files."""
    counts = Counter[str]()
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                texts = (v for v in json.loads(line).values() if isinstance(v, str))
                counts.update(w for text in texts for w in re.findall(r"\b[a-z]+\b", text))
    return counts


def write(found: Mapping[str, str], file: Path) -> None:
    """A line for each painted word: "frog: axolotl bell_toad ..."."""
    instead = defaultdict[str, list[str]](list)
    for word, painted in found.items():
        instead[painted].append(word)
    lines = [f"{painted}: {' '.join(words)}" for painted, words in sorted(instead.items())]
    file.write_text(NOTICE + "\n".join(lines) + "\n", encoding="utf-8")


NOTICE = """\
# What the painter shows for words that it does not know. Made by python -m finetune.data.stand_ins
# from WordNet, release 3.0. This software and database is being provided to you, the LICENSEE, by
# Princeton University under the following license. By obtaining, using and/or copying this software
# and database, you agree that you have read, understood, and will comply with these terms and
# conditions: Permission to use, copy, modify and distribute this software and database and its
# documentation for any purpose and without fee or royalty is hereby granted, provided that you
# agree to comply with the following copyright notice and statements, including the disclaimer, and
# that the same appear on ALL copies of the software, database and documentation, including
# modifications that you make for internal use or for distribution. WordNet 3.0 Copyright 2006 by
# Princeton University. All rights reserved. THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND
# PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED. BY WAY OF
# EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES OF
# MERCHANTABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE OR THAT THE USE OF THE LICENSED SOFTWARE,
# DATABASE OR DOCUMENTATION WILL NOT INFRINGE ANY THIRD PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR
# OTHER RIGHTS. The name of Princeton University or Princeton may not be used in advertising or
# publicity pertaining to distribution of the software and/or database. Title to copyright in this
# software, database and any associated documentation shall at all times remain with Princeton
# University and LICENSEE agrees to preserve same.
"""


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    p.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    p.add_argument("--texts", type=Path, nargs="+", required=True, help="jsonl files")
    p.add_argument("--out", type=Path, default=ASSETS / STAND_INS)
    args = p.parse_args()
    lexicon = (EMBEDDED / "story" / "lexicon.txt").read_text(encoding="utf-8").split()
    found = stand_ins(WordNet(args.wordnet), count_words(args.texts), set(lexicon))
    write(found, args.out)
    actors = sum(map(is_character, found.values()))
    print(f"{len(found):,} words, {actors:,} of them characters, in {args.out}")


if __name__ == "__main__":
    main()
