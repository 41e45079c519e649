"""From what a writer wrote to drafts: sentences that end, briefs that fit, the best first.

Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pipelines.banned import find_banned
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.presets import StoryConfig
from pipelines.reading import (
    ONLY_HE,
    ONLY_SHE,
    PLACE_WORDS,
    brief_of,
    known_word,
    places_asked,
)
from pipelines.scene import Item, Scene, is_character, parse_brief, vocabulary
from pipelines.story_requests import Request
from pipelines.story_restoring import mentions, replace_word, restore
from pipelines.tokenizer import NEW_WORDS

_ENDS = re.compile(r"[.!?…。！？][\"'”’»)\]]*$")

COHERENT = -0.2
"""Mean log-likelihood of a token in nats: a story that holds together has about -0.1, one that has
lost its thread -0.3 and less."""
LIKELIHOOD = 10.0
"""What each nat below COHERENT costs."""
SURE = -0.1
UNSURE = 3.0
"""What each nat below SURE costs: between the two, sentences are each right and do not always go
together."""
SMOOTH, BROKEN = -0.3, -0.5
"""Of the least likely sentence after the first: most stories have none below SMOOTH; below BROKEN
the story goes over into another one there."""
FREE = -0.4
"""Of the first sentence, which may say what it likes, but not so much."""
ASTRAY = -0.35
"""Of a last sentence, which is left out below it: a story that was over went on."""
STUMBLE = 6.0
"""What each nat below SMOOTH or FREE costs."""
TWO_IN_ONE = 1.5
"""What it costs when two characters seem to be one, and a stammer ("Mia the queen, Mia the
queen")."""
MISFIT = 2.0
"""What each part of a body costs that the hero does not have: "I have a beak", said by a fox, is
noticed before anything that the story does well."""
THERE = 1.5
"""What it is worth that the whole story is where the request puts it ("in the forest")."""
ABOUT_IT = 1.0
"""What it is worth that title and first sentence name all of the request: such a story is about it,
and does not only come by it."""
STRANGE_TITLE = 2.0
"""What each word of a title costs that the painter knows and the story does not tell of."""
UNTOLD = 1.5
"""What it costs, besides what the mention is worth, that the sentences do not name a character or
thing of the request: a grandma without her magic teapot is not what was asked for."""


@dataclass(frozen=True)
class Written:
    """What a writer wrote, still in its own words (with placeholders).

    `briefs` may be shorter than `sentences`, and any of them empty or wrong.
    """

    title: str
    sentences: tuple[str, ...]
    briefs: tuple[str, ...] = ()
    log_likelihood: float = 0.0
    """Mean of its tokens, in nats."""
    likelihoods: tuple[float, ...] = ()
    """The same of each sentence; empty where nobody knows."""


@dataclass(frozen=True)
class Candidate:
    """A finished story and how good it is; scores compare within one request only."""

    title: str
    sentences: tuple[Sentence, ...]
    score: float
    mentions: int
    """Content words of the request that it names."""
    likelihood: float = 0.0
    """Mean log-likelihood of its tokens, in nats."""
    weakest: float = 0.0
    """The same of its least likely sentence but the first."""

    def holds(self, coherent: float = COHERENT) -> bool:
        """Whether it goes together from start to end, as far as its writer knows: on the whole, and
        by the same measure from each sentence to the next."""
        return self.likelihood > coherent and self.weakest > coherent + BROKEN - COHERENT

    @property
    def text(self) -> str:
        return " ".join(s.text for s in self.sentences)


def ends_properly(sentence: str) -> bool:
    """Whether a sentence ends in a full stop, ! or ?, perhaps inside closing quotes."""
    return _ENDS.search(sentence) is not None


def named_in(text: str) -> list[str]:
    """The painter's words that a text names, in order, each once."""
    tokens = re.findall(r"[A-Za-z]+(?:['’]s)?", text)
    found = list[str]()
    for n, token in enumerate(tokens):
        pair = f"{token}_{tokens[n + 1]}".lower() if n + 1 < len(tokens) else ""
        found += [w for w in (pair if pair in vocabulary() else None, known_word(token)) if w]
    return list(dict.fromkeys(found))


def _parsed(brief: str) -> Scene | None:
    try:
        return parse_brief(brief)
    except InvalidInput:
        return None


def shown_for(written: Written, request: Request) -> dict[str, str]:
    """What the briefs show for each placeholder: words that the story itself never names."""
    told = set(named_in(" ".join([request.text, written.title, *written.sentences])))
    found: dict[str, str] = {}
    for new in NEW_WORDS:
        if new not in request.put_back:
            continue
        shown = Counter[str]()
        for text, brief in zip(written.sentences, written.briefs, strict=False):
            scene = _parsed(brief) if new in text else None
            items = scene.items if scene else ()
            shown.update(i.word for i in items if i.word not in told)
        best = next((w for w, _ in shown.most_common() if w not in found.values()), None)
        if best:
            found[new] = best
    return found


def fitting_briefs(written: Written, request: Request) -> list[str]:
    """A brief for every sentence: the writer's own where it fits its sentence, otherwise one read
    from the words. Words that stand as unknown ones, and that the painter knows, are painted.

    It fits when it parses, shows someone or something that the story has named so far (or the
    stand-in of an unknown word), and someone whom this very sentence names, if it names anybody.
    """
    instead = shown_for(written, request)
    briefs = list(written.briefs)
    meant = {n: w for n, t in request.put_back.items() if n in NEW_WORDS and (w := known_word(t))}
    for new, word in meant.items():
        if shown := instead.get(new):
            briefs = [re.sub(rf"(?<![\w@]){shown}(?!\w)", word, b) for b in briefs]
        instead[new] = word
    before: list[Sentence] = []
    told = set(instead.values()) | set(named_in(f"{request.text} {written.title}"))
    for n, raw in enumerate(written.sentences):
        text = raw
        for new, word in instead.items():
            text = text.replace(new, word.replace("_", " "))
        here = named_in(text)
        told |= set(here)
        scene = _parsed(briefs[n]) if n < len(briefs) else None
        if scene is not None:
            for new, word in meant.items():
                scene = _showing(scene, word, here) if new in raw else scene
            shown = {i.word for i in scene.items}
            actors = {w for w in here if is_character(w)}
            if not shown & told or (actors and not shown & actors):
                scene = None
        brief = str(_short(scene)) if scene else brief_of(text, before)
        before.append(Sentence(text, brief))
    return [s.brief for s in before]


def _showing(scene: Scene, word: str, named: Sequence[str]) -> Scene:
    """The scene with this word in it, in the place of a thing that its sentence does not name."""
    items = list(scene.items)
    if all(item.word != word for item in items):
        for n, item in enumerate(items):
            if item.word not in named and not is_character(item.word):
                items[n] = replace(item, word=word)
                break
    return replace(scene, items=tuple(items))


def _short(scene: Scene) -> Scene:
    """No piece twice, and no more than the painter can place."""
    once: dict[str, Item] = {}
    for item in scene.items:
        once.setdefault(item.word, item)
    return Scene(tuple(once.values())[:4], scene.place, scene.time, scene.skies)


def given_to_hero(written: Written, request: Request) -> Written:
    """The story with its main character changed to the one that was asked for, where that one
    does not come up in it. The picture of an unknown hero shows the story's own."""
    asked = [w for w in named_in(request.text) if is_character(w)]
    hero = asked[0] if asked else next((n for n in NEW_WORDS if n in request.put_back), None)
    told = " ".join(written.sentences)
    if hero is None or hero.replace("_", " ") in told or hero in named_in(told):
        return written
    scenes = (_parsed(b) for b in written.briefs)
    shown = Counter(i.word for s in scenes if s for i in s.items if is_character(i.word))
    named = set(named_in(told))
    main = next((w for w, _ in shown.most_common() if w in named and w not in asked), None)
    if main is None or "_" in main:
        return written

    def change(text: str) -> str:
        return replace_word(text, main, hero.replace("_", " "))

    briefs = written.briefs
    if hero not in NEW_WORDS:
        briefs = tuple(re.sub(rf"(?<![\w@]){main}\b", hero, b) for b in briefs)
    return Written(
        change(written.title),
        tuple(map(change, written.sentences)),
        briefs,
        written.log_likelihood - CHANGED,
        written.likelihoods,
    )


def _asked_hero(request: Request) -> str | None:
    """The painter's word for the first character that was asked for."""
    return next((w for w in named_in(request.text) if is_character(w)), None)


def with_fitting_title(written: Written, request: Request) -> Written:
    """The story, its title naming the hero who was asked for instead of somebody of whom the story
    does not tell: "The zombie who was always late", of an elephant."""
    hero = _asked_hero(request)
    told, title = (set(named_in(t)) for t in (" ".join(written.sentences), written.title))
    strangers = [w for w in title - told if is_character(w) and "_" not in w]
    if hero not in told or hero in title or len(strangers) != 1:
        return written
    hero_named = replace_word(written.title, strangers[0], hero.replace("_", " "))
    return replace(written, title=hero_named)


CHANGED = 0.08
"""What a change of hero costs, in nats a token: a story that was written for the hero is better."""

_WINGED = frozenset({"dragon", "fairy", "phoenix"})
_PARTS: dict[str, frozenset[str]] = {
    part: frozenset(classes.split())
    for parts, classes in (
        ("beak feathers", "flying"),
        ("wing wings", "flying"),
        ("fin fins", "sea"),
        ("paw paws fur whiskers hoof hooves antlers claw claws", "land small"),
        ("tail", "land small flying sea"),
    )
    for part in parts.split()
}
"""Parts of a body -> the classes of those who have it."""
_OWNED = re.compile(
    rf"\b(?:my|his|her|have|has|had)(?: \w+){{0,4}}? ({'|'.join(_PARTS)})\b", re.IGNORECASE
)


_STOCK = re.compile(
    r"^.What a day!. said|dreamed? about it all over again|^Soon .{1,40} fast asleep\.$|"
    r"still laugh when they think of it|^.Good night,. said .{1,40} to the moon"
)
"""The last sentences with which stories are made longer in training, too often to be liked."""


def misfits(text: str, request: Request) -> int:
    """How many parts of a body the story speaks of as someone's own that the hero who was asked
    for does not have: such a story was made for another one."""
    hero = _asked_hero(request)
    if hero is None or hero in _WINGED:
        return 0
    named = {part.lower() for part in _OWNED.findall(text)}
    return sum(vocabulary()[hero]["class"] not in _PARTS[part] for part in named)


_SPEAKER = re.compile(r'[,.!?]" \w+ (?:the|a|an) (\w+)')


def self_talk(texts: Sequence[str]) -> int:
    """How often one character speaks in two sentences on end: seldom more than a friend who was
    given the hero's name. In our own stories one dialogue in twenty has it."""
    speakers = [found[1] if (found := _SPEAKER.search(text)) else None for text in texts]
    return sum(one is not None and one == other for one, other in pairwise(speakers))


def talking_things(texts: Sequence[str], request: Request) -> int:
    """In how many sentences a thing speaks that is not who the story was asked for about."""
    speakers = (known_word(found[1]) for text in texts if (found := _SPEAKER.search(text)))
    return sum(not is_character(w) and w not in request.drawn[:1] for w in speakers if w)


_INTRODUCED = re.compile(r"\b(?:a|an) ([a-z]+)\b", re.IGNORECASE)


def doubles(texts: Sequence[str]) -> int:
    """How often a character is introduced ("a fox") that was introduced before: two of a kind are
    told apart by nobody."""
    met = [
        word
        for text in texts
        for word in dict.fromkeys(found.lower() for found in _INTRODUCED.findall(text))
        if word in vocabulary() and is_character(word)
    ]
    return len(met) - len(set(met))


_SEXES = (
    ("he", re.compile(r"\b(?:he|him|his|himself)\b", re.IGNORECASE)),
    ("she", re.compile(r"\b(?:she|her|hers|herself)\b", re.IGNORECASE)),
)


def two_sexes(texts: Sequence[str]) -> bool:
    """Whether someone is "he" and "she", or a woman is "he": told of in the sentences up to the one
    that names somebody else, where nobody else can be meant."""
    alone = list[str]()
    who = list[str]()
    for text in texts:
        who = list(dict.fromkeys([*who, *filter(is_character, named_in(text))]))
        if len(who) > 1:
            break
        alone.append(text)
    said = {sex for sex, words in _SEXES if words.search(" ".join(alone))}
    hero = who[0] if who else ""
    wrong = "he" if hero in ONLY_SHE else "she" if hero in ONLY_HE else ""
    return len(said) > 1 or wrong in said


_BEARER = re.compile(r"\b(\w+) (?:named|called) ([A-Z]\w*)|\b([A-Z]\w*) the (\w+)")


def namesakes(texts: Sequence[str]) -> int:
    """How many names two kinds of characters bear: "a fox named Hattie and a hen named Hattie"."""
    kinds = dict[str, set[str]]()
    for kind, name, other, also in _BEARER.findall(" ".join(texts)):
        if (word := known_word(kind or also)) and is_character(word):
            kinds.setdefault(name or other, set()).add(word)
    return sum(len(found) > 1 for found in kinds.values())


_STAMMER = re.compile(r"\b(\w+ (?:the|a|an) \w+)\W+\1\b")


def echoes(texts: Sequence[str]) -> int:
    """How many sentences say again what the one before has said: most of their pairs of words."""
    pairs = [set(pairwise(re.findall(r"\w+", text.casefold()))) for text in texts]
    return sum(
        len(here) > 3 and len(before & here) > 0.65 * len(here) for before, here in pairwise(pairs)
    )


def alike(one: Candidate, other: Candidate) -> bool:
    """Whether two stories share most of their pairs of words: with other names in it, one of them
    is no second choice."""
    a, b = (set(pairwise(re.findall(r"\w+", c.text.casefold()))) for c in (one, other))
    return len(a & b) > 0.5 * min(len(a), len(b))


def finished(written: Written, request: Request, config: StoryConfig, asked: int) -> Candidate:
    """Give a story its briefs, the person's words, and a score; `asked` is the number of sentences
    aimed at. Sentences that do not end are left out."""
    written = with_fitting_title(given_to_hero(written, request), request)
    kept = [n for n, s in enumerate(written.sentences) if ends_properly(s)]
    while written.likelihoods and len(kept) > 4 and written.likelihoods[kept[-1]] < ASTRAY:
        kept.pop()
    briefs = fitting_briefs(written, request)
    sentences = tuple(
        Sentence(restore(written.sentences[n], request), briefs[n]) for n in kept
    )  # fmt: skip
    while len(sentences) > 4 and sum(len(s.text.split()) for s in sentences) > config.max_words:
        sentences = sentences[:-1]
    title = restore(written.title, request).rstrip(" .,:;")
    title = title[:1].upper() + title[1:]
    text = " ".join(s.text for s in sentences)
    named = [w for w in request.content if mentions(text, w)]
    score = _score(sentences, text, request, named, config, asked)
    if request.content and sentences:
        told = f"{title} {sentences[0].text}"
        begun = sum(mentions(told, w) for w in request.content)
        score += ABOUT_IT * begun / len(request.content)
    score -= STRANGE_TITLE * len(set(named_in(title)) - set(named_in(text)))
    score -= UNTOLD * len(untold(sentences, request))
    score += LIKELIHOOD * min(written.log_likelihood - COHERENT, 0.0)
    score += UNSURE * min(written.log_likelihood - SURE, 0.0)
    later = [written.likelihoods[n] for n in kept[1:]] if written.likelihoods else []
    weakest = min(later, default=0.0)
    first = written.likelihoods[kept[0]] if written.likelihoods and kept else 0.0
    score += STUMBLE * (min(weakest - SMOOTH, 0.0) + min(first - FREE, 0.0))
    named += [w for w in request.content if w not in named and mentions(title, w)]
    return Candidate(title, sentences, score, len(named), written.log_likelihood, weakest)


def untold(sentences: Sequence[Sentence], request: Request) -> list[str]:
    """The characters and things of a request that a story neither names nor takes place in."""
    text = " ".join(s.text for s in sentences)
    there = {scene.place for s in sentences if (scene := _parsed(s.brief))}
    there &= places_asked(restore(request.text, request).lower())
    return [
        w for w in request.drawn if not mentions(text, w) and PLACE_WORDS.get(w) not in there
    ]  # fmt: skip


def _score(
    sentences: Sequence[Sentence],
    text: str,
    request: Request,
    named: Sequence[str],
    config: StoryConfig,
    asked: int,
) -> float:
    """The larger the better; a perfect story has about 5.4 before what `finished` adds."""
    if not sentences:
        return -100.0
    words = text.casefold().split()
    pairs = list(pairwise(words))
    scenes = [_parsed(s.brief) for s in sentences]
    shown = Counter(i.word for s in scenes if s for i in s.items if is_character(i.word))
    asked_for = [w for w in named_in(request.text) if is_character(w)]
    most = shown[asked_for[0]] if asked_for else max(shown.values(), default=0)
    kept = most / len(sentences)
    told = [w for s in sentences for w in named_in(s.text)[:1]]
    score = (1.5 if asked_for else 0.6) * kept + 0.3 * len(told) / len(sentences)
    score += 0.5 * len(set(pairs)) / max(len(pairs), 1)
    if request.content:
        score += 1.5 * (request.content[0] in named)
        score += 2.5 * len(named) / len(request.content)
    if places := places_asked(restore(request.text, request).lower()):
        score += THERE * sum(s.place in places for s in scenes if s) / len(sentences)
    score -= MISFIT * misfits(text, request)
    texts = [s.text for s in sentences]
    score -= TWO_IN_ONE * (self_talk(texts) + doubles(texts) + namesakes(texts)) + echoes(texts)
    score -= talking_things(texts, request)
    score -= TWO_IN_ONE * (two_sexes(texts) + len(_STAMMER.findall(text)))
    score -= 0.35 * sum(bool(_STOCK.search(s.text)) for s in sentences[-2:])
    score -= 0.25 * abs(len(sentences) - asked) + (2.0 if len(sentences) < 4 else 0.0)
    score -= 1.5 * (len(sentences) - len({s.text for s in sentences}))
    score -= 0.4 * sum(s.text.count('"') % 2 for s in sentences)
    score -= 1.0 if not config.min_words <= len(words) <= config.max_words else 0.0
    return score + config.length_penalty * len(words) / 100


def is_clean(candidate: Candidate, banned: tuple[str, ...]) -> bool:
    """Whether no banned word stands in title or sentences."""
    return find_banned(f"{candidate.title} {candidate.text}", banned) is None


def without_banned(candidate: Candidate, banned: tuple[str, ...]) -> Candidate:
    """The story without the sentences (and the title) in which a banned word stands."""
    kept = tuple(s for s in candidate.sentences if find_banned(s.text, banned) is None)
    title = "A story" if find_banned(candidate.title, banned) else candidate.title
    return replace(candidate, title=title, sentences=kept)


def with_mention(candidate: Candidate, request: Request) -> Candidate:
    """The story, its title naming what the story forgot: words that no writer knows, and all of a
    request of which it has nothing."""
    told = f"{candidate.title} {candidate.text}"
    forgotten = [w for w in request.unknown if not mentions(told, w)]
    if candidate.mentions and not forgotten:
        return candidate
    about = " and ".join(forgotten) or restore(request.text, request)
    if not about:
        return candidate
    about = about if len(about) <= ABOUT else about[: ABOUT + 1].rsplit(" ", 1)[0][:ABOUT]
    title = f"{about[:1].upper()}{about[1:]}: {candidate.title}"
    return replace(candidate, title=title, mentions=max(candidate.mentions, 1))


ABOUT = 60
"""Letters of a title that name what a story forgot."""
