"""What the story writer is trained on: a request, and the story it asks for.

A story of the story world is given a length (openings and endings are added, or neighbours
joined), words for its slots that may be wider than its author listed, and a request such as
people type: its author's, its title, keywords, "a fox and an owl by the lake". In some of them
words become the placeholders of unknown words.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

from finetune.data.storyworld import (
    FilledStory,
    Skeleton,
    acts,
    fill,
    given_names,
    of_split,
    open_of_split,
    open_skeletons,
    skeletons,
)
from finetune.data.wider import made_for_few, wider_slots
from pipelines.scene import PLACES, TIMES, plural, vocabulary
from pipelines.story_requests import FUNCTION_WORDS, normal_form, prompt_of
from pipelines.tokenizer import BRIEF, END, NEW_WORDS, SENTENCE

LENGTHS = range(4, 13)
OPEN = 0.6
"""Share of examples that are open stories (`open_skeletons`)."""

# Each fits every story that begins with its hero; "[place]" is where the first sentence is.
_NAMED_OPENINGS = (
    "Once upon a time, {a hero} named {Name} lived [place].",
    "This is the story of {a hero} named {Name}.",
    "There once was {a hero} whose name was {Name}.",
)
_OPENINGS = (
    "Once upon a time there was {a hero} who lived [place].",
    "This is the story of {a hero}.",
    "There once was {a hero} like no other.",
)
_NO_HOME = frozenset("sky road room school market playground castle_hall space".split())
# Sentence, who is shown, time and skies; they come behind a last sentence by day or at sunset.
_ENDINGS = (
    ("That night the {hero} dreamed about it all over again.", "hero", "night moon"),
    ('"What a day!" said the {hero}, and yawned.', "hero", "sunset"),
)
_ENDINGS_FOR_TWO = (
    (
        "Side by side the {hero} and the {friend} watched the sun go down.",
        "hero + friend",
        "sunset",
    ),
    ('"What a day!" said the {hero} to the {friend}.', "hero beside friend", "sunset"),
    ("The {hero} and the {friend} still laugh when they think of it.", "hero + friend", "day"),
)
_AFTERWARDS = (
    ("Soon the {hero} was fast asleep.", "hero", "night stars"),
    ('"Good night," said the {hero} to the moon.', "hero", "night moon"),
)


@dataclass(frozen=True)
class Example:
    """One story to learn."""

    request: str
    story: FilledStory

    def __str__(self) -> str:
        """The whole sequence that the writer learns."""
        body = "".join(f"{SENTENCE}{s.text}{BRIEF}{s.brief}" for s in self.story.sentences)
        return f"{prompt_of(self.request, len(self.story.sentences))}{self.story.title}{body}{END}"


# --- length ------------------------------------------------------------------------------


def _setting(brief: str) -> tuple[str, str]:
    """Place and time of a brief with slots; the place may be a slot's name."""
    place = re.search(r"@(\w+)", brief)
    time = next((t for t in brief.split() if t in TIMES), "day")
    return place[1] if place else "garden", time


def _place_phrase(place: str) -> str:
    return PLACES.get(place) or "{in " + place + "}"


def _opened(story: Skeleton, rng: random.Random) -> Skeleton:
    """With a sentence in front that introduces the hero."""
    place, time = _setting(story.lines[0][1])
    named = any("{Name}" in text for text, _ in story.lines)
    openings = _NAMED_OPENINGS if named else _OPENINGS
    slot_or_no_home = place in _NO_HOME or place not in PLACES
    opening = rng.choice(openings[1:] if slot_or_no_home else openings)
    front = (opening.replace("[place]", _place_phrase(place)), f"hero @{place} {time}")
    first, brief = story.lines[0]
    first = re.sub(r"\{A hero\}(?:,? (?:named|called) \{Name\})?", "The {hero}", first)
    first = re.sub(r"\{a hero\}(?:,? (?:named|called) \{Name\})?", "the {hero}", first)
    first = re.sub(r"\b([Aa]) \{hero\}", lambda m: ("The" if m[1] == "A" else "the") + " {hero}",
                   first)  # fmt: skip
    return replace(story, lines=(front, (first, brief), *story.lines[1:]))


def _opens(story: Skeleton) -> bool:
    """Whether a sentence about the hero can stand in front: not where the story begins with
    "once" or with another character."""
    first, brief = story.lines[0]
    told = re.search(r"\{(?:[aA] )?[hH]ero\}|\{Name\}", first)
    return bool(told) and brief.startswith("hero") and not re.match(r"Once|There|This is", first)


def _closed(story: Skeleton, count: int, rng: random.Random) -> Skeleton:
    """With `count` (1 or 2) sentences behind that bring the story home."""
    place, time = _setting(story.lines[-1][1])
    two = "friend" in story.slots and "friend" in story.lines[-1][1]
    tail = [rng.choice(_ENDINGS_FOR_TWO if two else _ENDINGS), rng.choice(_AFTERWARDS)][:count]
    lines = list(story.lines)
    for text, who, then in tail:
        later, *skies = then.split()
        time = max(time, later, key=("day", "sunset", "night").index)
        lines.append((text, " ".join([who, f"@{place}", time, *(skies if time == later else [])])))
    return replace(story, lines=tuple(lines))


def _closes(story: Skeleton) -> bool:
    """Whether an evening can follow: not behind a night, nor behind an end in after years."""
    text, brief = story.lines[-1]
    after = re.search(r"\b(night|sleep|asleep|slept|bed|dream\w*|ever|every|always|now|since)\b",
                      text, re.IGNORECASE)  # fmt: skip
    return _setting(brief)[1] != "night" and not after


def _lower_start(text: str) -> str:
    if text.startswith("{"):
        return re.sub(r"^\{(?:He|His|Fhe|Fhis|A \w+)\}", lambda m: m[0].lower(), text)
    return text if re.match(r"I\b", text) else text[0].lower() + text[1:]


def _joined(story: Skeleton, count: int) -> Skeleton:
    """With `count` pairs of neighbours made into one page, the shortest first."""
    lines = list(story.lines)
    for _ in range(count):
        k = min(range(1, len(lines) - 1), key=lambda i: len(lines[i][0]) + len(lines[i + 1][0]))
        (a, first), (b, second) = lines[k], lines[k + 1]
        plain = '"' not in a + b and a.endswith(".") and not b.startswith("{Name}")
        if plain and len((a + b).split()) < 26:
            start = _lower_start(b)
            link = ", " if re.match(r"(so|but|and|then|until)\b", start) else ", and "
            text = a[:-1] + link + start
        else:
            text = f"{a} {b}"
        lines[k : k + 2] = [(text, max(first, second, key=len))]
    return replace(story, lines=tuple(lines))


def with_length(story: Skeleton, sentences: int, rng: random.Random) -> Skeleton | None:
    """The story told in so many sentences; None when that would stretch or squeeze it too far."""
    more = sentences - len(story.lines)
    if more <= 0:
        return _joined(story, -more) if more >= -2 else None
    room = ("hero" in story.slots) * (_opens(story) + 2 * _closes(story))
    if more > room:
        return None
    after = min(more, 2) if _closes(story) else 0
    if after and _opens(story) and (more > 2 or rng.random() < 0.5):
        after = more - 1
    if more > after:
        story = _opened(story, rng)
    return _closed(story, after, rng) if after else story


@cache
def _by_length(stories: tuple[Skeleton, ...], sentences: int) -> tuple[Skeleton, ...]:
    return tuple(s for s in stories if len(s.lines) == sentences)


def _of_length(sentences: int, stories: tuple[Skeleton, ...], rng: random.Random) -> Skeleton:
    """One of them in so many sentences: most are told as they were written, as every stretch or
    squeeze costs some of the sense."""
    for _ in range(30):
        off = rng.choices((0, -1, 1, -2, 2), (80, 8, 7, 3, 2))[0]
        near = _by_length(stories, sentences + off)
        if near and (story := with_length(rng.choice(near), sentences, rng)) is not None:
            return story
    return rng.choice(stories)  # there are none of about that length


# --- words -------------------------------------------------------------------------------


def widened(story: Skeleton, rng: random.Random) -> Skeleton:
    """Some of the slots open to every word that fits."""
    wide = wider_slots(story)
    slots = {k: wide.slots[k] if rng.random() < 0.8 else v for k, v in story.slots.items()}
    return replace(story, slots=slots)


def named(story: Skeleton, rng: random.Random) -> Skeleton:
    """With the hero's given name in it: where the hero comes in, and in some places after."""
    if any("{Name}" in text for text, _ in story.lines):
        return story
    hero = re.compile(r"\{([aA]) hero\}|\b([Tt]he) \{hero\}")
    begun = False

    def put(match: re.Match[str]) -> str:
        nonlocal begun
        if not begun:
            begun = True
            return f"{match[0]} named {{Name}}" if match[1] else "{Name} the {hero}"
        return "{Name}" if match[2] and rng.random() < 0.4 else match[0]

    return replace(story, lines=tuple((hero.sub(put, text), brief) for text, brief in story.lines))


def _somewhere(text: str, place: str) -> str:
    """A request with its place, unless it speaks of a place already."""
    stated = re.search(r"\b(?:in|at|on|by|under|into) (?:the|a|\{)", text)
    return text if stated else f"{text} {place}"


_ASIDES = ("a story about {}", "{}", "{}", "a tale of {}", "{} please", "tell me about {}")


def _request(story: Skeleton, rng: random.Random) -> str:
    """A request with slots."""
    hero, friend = "hero" in story.slots, "friend" in story.slots
    place = _place_phrase(_setting(rng.choice(story.lines)[1])[0])
    kind = rng.random()
    if "act" in story.slots and kind > 0.58:  # not for its hero alone: what is done is the story
        kind = rng.choice((0.0, 0.6, 0.7, 1.0))
    if not hero or kind < 0.50:
        text = rng.choice(story.requests)
    elif kind < 0.58:
        text = story.title
    elif kind < 0.66:
        text = rng.choice(story.requests)
        if "{hero}" in text and "{Name}" not in text:
            named = rng.choice(("{hero} named {Name}", "{hero} called {Name}", "{hero} {Name}"))
            text = text.replace("{hero}", named, 1)
            if rng.random() < 0.3:
                text = re.sub(r"^(a|the) \{hero\} (\w+ )?\{Name\}", "{Name} the {hero}", text)
    elif kind < 0.74:
        text = _somewhere(rng.choice(story.requests), place)
    elif kind < 0.80 and friend:
        text = rng.choice(
            (
                "a {hero} and a {friend}",
                "{hero} and {friend}",
                "the {hero} and the {friend}",
                "my {hero} and the {friend}",
            )
        )
        if rng.random() < 0.5:
            text += " " + place
    elif kind < 0.86:
        text = rng.choice(("a {hero}", "{hero}", "the {hero}", "a {hero} named {Name}",
                           "my {hero} {Name}", "{Name} the {hero}"))  # fmt: skip
        if rng.random() < 0.4:
            text += " " + place
    else:
        return ""  # keywords, read off the filled story
    if rng.random() < 0.15:
        text = rng.choice(_ASIDES).format(text) if "{}" not in text else text
    return text


def _corrupted(text: str, rng: random.Random) -> str:
    """The same request as somebody else would type it."""
    kind = rng.random()
    if kind < 0.12:
        return re.sub(r"^(a|an|the) ", "", text)
    if kind < 0.20:
        return re.sub(r"\b(a|an|the) ", "", text)
    if kind < 0.28:
        return re.sub(r"^(a|an) ", rng.choice(("the ", "my ", "one ")), text)
    if kind < 0.36:
        size = rng.choice(("little", "small", "brave", "young", "tiny", "big", "happy"))
        return re.sub(r"^(a|an|the) ", f"a {size} ", text)
    if kind < 0.44:
        return re.sub(r" who (was |is )?", " ", text, count=1)
    if kind < 0.50:
        return re.sub(r"\b(was|wanted|had|could)\b", _in_present, text)
    return text


def _in_present(match: re.Match[str]) -> str:
    return {"was": "is", "wanted": "wants", "had": "has", "could": "can"}[match[1]]


def _keywords(story: FilledStory, rng: random.Random) -> str:
    """One to four words of the story: its slots first, then what its pictures or title show."""
    slots = [w.replace("_", " ") for w in story.fillings.values() if w not in PLACES]
    briefs = " ".join(s.brief for s in story.sentences)
    told = " ".join(s.text for s in story.sentences).lower()
    shown = [w for w in dict.fromkeys(re.findall(r"[a-z_]{3,}", briefs)) if w in vocabulary()]
    shown = [w.replace("_", " ") for w in shown if w.replace("_", " ") in told]
    title = re.findall(r"[a-z]{4,}", story.title.lower())
    telling = [*shown, *(w for w in title if w not in FUNCTION_WORDS and _common()[w] < 120)]
    telling = [w for w in telling if w not in slots]
    first = slots[: rng.choice((0, 1, 1, 2))]
    rest = rng.sample(telling, min(len(telling), rng.choice((1, 1, 2)))) if telling else []
    words = list(dict.fromkeys([*first, *rest]))
    if rng.random() < 0.3:
        rng.shuffle(words)
    return rng.choice((", ", " ", " and ")).join(words)


@cache
def _common() -> Counter[str]:
    """How often each word stands in the stories."""
    text = " ".join(t for s in (*skeletons(), *open_skeletons()) for t, _ in s.lines).lower()
    return Counter(re.findall(r"[a-z]+", text))


def lexicon() -> list[str]:
    """The words that the writer knows: of requests, and of training stories said twice or more."""
    words = Counter[str]()
    done = " ".join(f"{a.infinitive} {a.past} {a.gerund}" for a in acts().values())
    words.update(2 * re.findall(r"[a-z]+", done))
    for s in (*of_split("train"), *open_of_split("train")):
        lines = [*(t for t, _ in s.lines), s.title]
        words.update(
            re.findall(r"[a-z]+(?:'[a-z]+)?", re.sub(r"\{[^}]*\}", " ", " ".join(lines)).lower())
        )
        asked = re.sub(r"\{[^}]*\}", " ", " ".join(s.requests)).lower()
        words.update(2 * re.findall(r"[a-z]+(?:'[a-z]+)?", asked))
    known = {w for w, n in words.items() if n >= 2}
    known |= {part for w in vocabulary() for part in w.split("_")} | set(given_names())
    return sorted(known)


def spelling() -> list[str]:
    """Words of training stories that are not in the lexicon, as strings of letters ("don't" are
    two): what besides it the writer has learned to spell."""
    told = " ".join(
        t for s in (*of_split("train"), *open_of_split("train"))
        for t in (*(text for text, _ in s.lines), s.title)
    )  # fmt: skip
    words = set(re.findall(r"[a-z]+", re.sub(r"\{[^}]*\}", " ", told).lower()))
    return sorted(words - {w.lower() for w in lexicon()})


# --- unknown words -----------------------------------------------------------------------


def _unpainted_act(example: Example) -> str:
    """What is done in a story, where request and story say it in the same one form and nothing of
    it is painted: another verb can stand there. Else ""."""
    story = example.story
    act = story.act
    if act is None or act.shown:
        return ""
    told = " ".join([example.request, story.title, *(s.text for s in story.sentences)])
    said = {
        form
        for form in (act.infinitive, act.past, act.gerund)
        if re.search(rf"\b{form}\b", told, re.IGNORECASE)
    }
    return said.pop() if len(said) == 1 else ""


def _swap(text: str, word: str, new: str) -> str:
    """`word` and its plural as a placeholder."""
    one, many = _forms_of(word)
    if many is not None:
        text = many.sub(new + "s", text)
    text = one.sub(new, text)
    return text.replace(f"an {new}", f"a {new}").replace(f"An {new}", f"A {new}")


@cache
def _forms_of(word: str) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
    """Patterns of a noun and of its plural (None where that is the same)."""
    many = plural(word.replace(" ", "_")).replace("_", " ")
    one, several = (re.compile(rf"\b{re.escape(w)}\b", re.IGNORECASE) for w in (word, many))
    return one, several if many != word else None


def with_unknown_words(example: Example, rng: random.Random) -> Example:
    """Some of the request's words (slots, a given name, what it shares with the story) become
    `<new1>`, `<new2>` ...

    The briefs keep the words they had: a paintable stand-in of the same kind.
    """
    names = sorted(set(re.findall(r"\b[A-Z][a-z]+\b", example.request)) & set(given_names()))
    fillings = example.story.fillings.values()
    words = [w.replace("_", " ") for w in fillings if w in vocabulary()]
    words += filter(None, [_unpainted_act(example)])
    asked = [w for w in words if re.search(rf"\b{re.escape(w)}s?\b", example.request)]
    if names and rng.random() < 0.6:
        asked = [rng.choice(names), *asked[: rng.randint(0, 1)]]
    elif asked:
        rng.shuffle(asked)
        asked = asked[: rng.choice((1, 1, 1, 2))]
    if not asked or rng.random() < 0.2:
        said = " ".join(s.text for s in example.story.sentences)
        plain = re.findall(r"(?<![\w-])[a-z]{4,}(?![\w-])", example.request)
        plain = [w for w in plain if w not in FUNCTION_WORDS]
        act = example.story.act
        verbs = {f.split()[0] for f in (act.infinitive, act.past, act.gerund)} if act else set()
        taken = {*asked, *verbs}  # a verb has forms, what it is done to ("the drum") has none
        plain = [w for w in plain if w not in taken and re.search(rf"\b{w}\b", said)]
        asked = [*asked, *rng.sample(plain, min(1, len(plain)))]
    for new, word in zip(NEW_WORDS, asked, strict=False):
        story = example.story
        example = Example(
            _swap(example.request, word, new),
            replace(
                story,
                title=_swap(story.title, word, new),
                sentences=tuple(replace(s, text=_swap(s.text, word, new)) for s in story.sentences),
            ),
        )
    return example


def sample_example(rng: random.Random, split: str = "train") -> Example:
    """A story of a split with a request for it."""
    wide = rng.random() < OPEN
    stories = (open_of_split if wide else of_split)(split)
    if rng.random() < 0.55:
        skeleton = rng.choice(stories)
    else:
        skeleton = _of_length(rng.choice(LENGTHS), stories, rng)
    if not wide and rng.random() < 0.35:
        skeleton = widened(skeleton, rng)
    asked = _request(skeleton, rng)
    if "{Name}" in asked:
        skeleton = named(skeleton, rng)
    story = fill(replace(skeleton, requests=(asked,)), rng)
    request = story.requests[0] if asked else _keywords(story, rng)
    request = normal_form(_corrupted(request, rng), set(given_names()))
    example = Example(request, story)
    unknown = 0.08 if made_for_few(skeleton) else 0.4
    return with_unknown_words(example, rng) if rng.random() < unknown else example
