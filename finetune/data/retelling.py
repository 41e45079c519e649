"""Any text as the embedded story writer reads it, so that it keeps its grammar and its pictures.

The embedded writer does not go on from plain text. Its sequences are

    {request} (7)<title>{title}<s>{sentence}<brief>{what its picture shows}<s>...<end>

and the app asks it in that form, takes the sentences as pages and paints the briefs. A plain text
becomes such sequences like this:

- it is cut into runs of 4 to 12 whole sentences, no sentence left out or told twice; a sentence
  that is longer than the writer may write is ended at a comma or semicolon before;
- curly quotes, dashes and ellipses take the plain form that the tokenizer was made for;
- the brief of each sentence is read from its words and from those before it
  (`pipelines.reading.brief_of`), as the app does for sentences that a person types;
- the request is what a person might have typed for this run: the title, who is in it and where, or
  its first words; words that the writer will not know are left out, as the app would put
  placeholders for them;
- each run ends with <end>, as the request says how many sentences it has.

The lexicon, by which the app tells known words from placeholders, is that of the base and the words
that the new texts use often.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from finetune.data.documents import Document
from pipelines.book import MAX_TITLE
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.reading import brief_of, split_sentences
from pipelines.scene import PLACES, article, parse_brief
from pipelines.story_requests import FUNCTION_WORDS, normal_form, prompt_of
from pipelines.tokenizer import BRIEF, END, SENTENCE, SPECIALS, TITLE, load_tokenizer

LONGEST = 60
"""Tokens of a sentence; the app ends one at 64."""
RUN = (4, 12)
"""Sentences in a sequence, as many as the app asks for."""
NEW_WORDS = 4000
"""At most so many words join the lexicon."""
OFTEN = 3
"""In so many texts a word must stand to join it."""
REMEMBERED = 8
"""Sentences before that a brief looks back on."""

_PLAIN = str.maketrans({
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "–": "-", "—": " - ",
    "…": "...", "\xa0": " ", "<": "(", ">": ")",
})  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Some sentences of a text in a row, as the embedded writer reads them."""

    request: str
    title: str
    sentences: tuple[Sentence, ...]

    def __str__(self) -> str:
        body = "".join(f"{SENTENCE}{s.text}{BRIEF}{s.brief}" for s in self.sentences)
        return f"{prompt_of(self.request, len(self.sentences))}{self.title}{body}{END}"


def plain(text: str) -> str:
    """Straight quotes, no dashes, one space between words.

    >>> plain("“Oh”—she said…")
    '"Oh" - she said...'
    """
    return " ".join(text.translate(_PLAIN).split())


def _tokens(text: str) -> int:
    return len(load_tokenizer().encode(text).ids)


def short_sentences(text: str) -> list[str]:
    """Sentences of at most LONGEST tokens that hold every word of the text in its order."""
    paragraphs = re.split(r"\n+", text)
    return [s for p in paragraphs for whole in split_sentences(plain(p)) for s in _shorter(whole)]


def _shorter(sentence: str) -> Iterator[str]:
    words = sentence.split()
    if len(words) < 4 or _tokens(sentence) <= LONGEST:
        yield sentence
        return
    middle = len(words) / 2
    # The best place is a semicolon near the middle, then a comma, then any word.
    cut = min(
        range(1, len(words) - 1),
        key=lambda n: abs(n + 1 - middle) + (0 if words[n][-1] in ";:" else
                                            4 if words[n][-1] == "," else 20),
    ) + 1  # fmt: skip
    first = " ".join(words[:cut]).rstrip(",;: -")
    rest = " ".join(words[cut:]).lstrip("- ")
    yield from _shorter(first + ("" if first.endswith((".", "!", "?")) else "."))
    yield from _shorter(rest[:1].upper() + rest[1:])


def widened_lexicon(base: AbstractSet[str], documents: Iterable[Document]) -> list[str]:
    """The lexicon of the base and the words that stand in at least OFTEN of the texts, sorted."""
    seen = Counter[str]()
    for d in documents:
        seen.update(set(re.findall(r"(?<![\w'])[a-z]{3,}(?![\w'])", plain(d.text))))
    often = [w for w, n in seen.most_common() if n >= OFTEN and w not in base]
    return sorted({*base, *often[:NEW_WORDS]})


def runs(document: Document, lexicon: AbstractSet[str], seed: int = 0) -> Iterator[Run]:
    """A text as sequences, the same for the same seed; every sentence stands in exactly one."""
    rng = random.Random(f"{seed} {document.origin} {document.text[:80]}")
    texts = short_sentences(document.text)
    title = _title(document, texts)
    told = list[Sentence]()
    begin = 0
    while begin < len(texts):
        left = len(texts) - begin
        count = rng.randint(*RUN)
        if left <= RUN[1]:
            count = left
        elif left - count < RUN[0]:
            count = left - RUN[0]
        piece = list[Sentence]()
        for text in texts[begin : begin + count]:
            sentence = Sentence(text, brief_of(text, [*told, *piece][-REMEMBERED:]))
            piece.append(sentence)
        asked = _request(title if not begin else "", piece, lexicon, rng)
        yield Run(asked, title, tuple(piece))
        told = [*told, *piece][-REMEMBERED:]
        begin += count


def _title(document: Document, sentences: Sequence[str]) -> str:
    """The text's own title, else its first words."""
    title = plain(document.title).strip(" .,:;-")
    if not title and sentences:
        title = " ".join(sentences[0].split()[:6]).strip(" .,:;-\"'")
    words = title[:MAX_TITLE].split()
    while len(words) > 1 and _tokens(" ".join(words)) > 14:
        words.pop()
    return " ".join(words) or "A story"


def _request(
    title: str, piece: Sequence[Sentence], lexicon: AbstractSet[str], rng: random.Random
) -> str:
    """What a person might type to get these sentences."""
    kind = rng.random()
    if title and kind < 0.4:
        asked = title
    elif kind < 0.8:
        asked = _who_and_where(piece)
    else:
        asked = " ".join(piece[0].text.split()[: rng.randint(3, 8)])
    names = {w for w in lexicon if w[:1].isupper()}
    form = normal_form(asked, names)
    known = [w for w in form.replace(",", " ,").split() if w in lexicon or w in names or w == ","]
    if all(w in FUNCTION_WORDS or w == "," for w in known):
        return "a story"
    return normal_form(" ".join(known).replace(" ,", ","), names)


def _who_and_where(piece: Sequence[Sentence]) -> str:
    shown, place = list[str](), ""
    for s in piece:
        try:
            scene = parse_brief(s.brief)
        except InvalidInput:
            continue
        shown += [i.word for i in scene.items if i.word not in shown]
        place = place or PLACES[scene.place]
    things = [f"{article(w)} {w.replace('_', ' ')}" for w in shown[:2]]
    return " ".join([" and ".join(things), place])


def encode(run: Run, longest: int) -> list[tuple[list[int], int]]:
    """Tokens of a run, and how many at the start are not learned; in two where it is too long."""
    ids = load_tokenizer().encode(str(run)).ids
    if len(ids) > longest and len(run.sentences) > 1:
        half = len(run.sentences) // 2
        parts = (run.sentences[:half], run.sentences[half:])
        return [e for p in parts for e in encode(Run(run.request, run.title, p), longest)]
    return [(ids[:longest], ids.index(SPECIALS.index(TITLE)) + 1)]
