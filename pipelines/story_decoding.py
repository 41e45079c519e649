"""How the embedded story writer's sequences are sampled: several candidates side by side, a token
at a time, each held to the grammar of a story::

    {request} (7)<title> The title<s> A sentence.<brief> fox near owl @lake night<s> ... <end>

Titles and sentences are sampled as the person set it; briefs, which the painter must understand,
at a low temperature and from its words alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipelines.device import one_thread
from pipelines.few_rows import linear
from pipelines.presets import StoryConfig
from pipelines.reader import Reader
from pipelines.scene import PLACES, RELATIONS, SKIES, TIMES, is_character, plural, vocabulary
from pipelines.spelling import Spelling
from pipelines.story_requests import Request, prompt_of
from pipelines.tokenizer import BRIEF, END, NEW_WORDS, SENTENCE, SPECIALS, load_tokenizer

if TYPE_CHECKING:
    from pipelines.gpt2 import GPT2Writer

BRIEF_TEMPERATURE = 0.3
OPENING = 8
"""Tokens of the first sentence (after those of the title) that are as lively as was asked."""
DISTINCT = 0.75
"""Share of the candidates that have a title of their own: a title says which story it is, and drawn
one by one, two of three would be the same. The others tell the likeliest of them again."""
SPARSE = 0.75
"""Once no more than this share of the candidates are unfinished, the others are not computed."""
SETTLED = 0.25
"""Later text has this share of the temperature: which story it is may vary, but it must hold
together."""
LONGEST_TITLE, LONGEST_SENTENCE, LONGEST_BRIEF = 16, 64, 28
"""In tokens; what has grown so long must end with its next token."""
SHORTEST_SENTENCE = 3
PENALISED = 96
"""The repetition penalty looks back so many tokens."""

_END, _S, _BRIEF = (SPECIALS.index(t) for t in (END, SENTENCE, BRIEF))
_NEW = tuple(SPECIALS.index(t) for t in NEW_WORDS)
_FORBIDDEN = float("-inf")


@dataclass(frozen=True)
class Alphabet:
    """Which tokens may stand where; each a bool tensor (V,)."""

    brief: Tensor
    """Pieces of the painter's words."""
    at: Tensor
    """Pieces that begin a brief's place."""
    begins: Tensor
    """Pieces that a title or a sentence may begin with: no small letter."""
    ends: Tensor
    """Pieces after which a sentence may end."""
    stops: tuple[int, ...]
    """The signs that end a sentence."""
    inner: Tensor
    """Pieces that go on with a word, and "s" is none: it may follow a placeholder."""
    telling: frozenset[int]
    """Whole words of four letters or more: what the repetition penalty is about."""


@cache
def token_texts() -> tuple[str, ...]:
    """What each token of the embedded tokenizer stands for."""
    tokenizer = load_tokenizer()
    size = range(tokenizer.get_vocab_size())
    return tuple(tokenizer.decode([i], skip_special_tokens=False) for i in size)


@lru_cache(maxsize=8)
def spelling_of(words: frozenset[str]) -> Spelling:
    """How the embedded tokenizer spells these words."""
    return Spelling(words, token_texts())


@cache
def alphabet() -> Alphabet:
    """Of the embedded tokenizer."""
    tokenizer = load_tokenizer()
    size = tokenizer.get_vocab_size()
    pieces = token_texts()
    painters = [*vocabulary(), *RELATIONS, *TIMES, *SKIES, "+", *(f"@{p}" for p in PLACES)]
    painters += [f"{n}*{w}" for n in range(2, 7) for w in vocabulary()]
    allowed = {i for e in tokenizer.encode_batch(painters) for i in e.ids}
    named = {i for e in tokenizer.encode_batch([w for w in vocabulary() if "_" not in w])
             if len(e.ids) == 1 for i in e.ids}  # fmt: skip

    def mask(test: list[bool]) -> Tensor:
        return torch.tensor(test)

    words = [p.strip() for p in pieces]
    return Alphabet(
        brief=mask([i in allowed for i in range(size)]),
        at=mask(["@" in p for p in pieces]),
        begins=mask([not w[:1].islower() for w in words]),
        ends=mask([w[-1:] in ".!?" or w[-2:] in ('."', '!"', '?"') for w in words])
        & mask([w != "" for w in words]),
        stops=tuple(i for i, p in enumerate(pieces) if p in (".", "!", "?")),
        inner=mask([p[:1].isalpha() and p != "s" for p in pieces]),
        telling=frozenset(
            i for i, (p, w) in enumerate(zip(pieces, words, strict=True))
            if p.startswith(" ") and w.isalpha() and len(w) >= 4 and i not in named
        ),
    )  # fmt: skip


@dataclass
class Manuscript:
    """One candidate as far as it is written."""

    title: list[int] = field(default_factory=list[int])
    sentences: list[list[int]] = field(default_factory=list[list[int]])
    """Tokens of each sentence; the last may be unfinished."""
    briefs: list[list[int]] = field(default_factory=list[list[int]])
    log_likelihoods: list[list[float]] = field(default_factory=lambda: [[]])
    """Of each token of the title and of each sentence, in nats."""
    ended: bool = False

    @property
    def phase(self) -> str:
        if not self.sentences:
            return "title"
        return "sentence" if len(self.briefs) < len(self.sentences) else "brief"

    @property
    def tokens(self) -> int:
        """How many of them are text."""
        return len(self.title) + sum(map(len, self.sentences))

    def likelihood(self) -> float:
        """Mean of all tokens of the text, in nats."""
        return sum(map(sum, self.log_likelihoods)) / max(self.tokens, 1)

    def likelihoods(self) -> list[float]:
        """Of each sentence: mean of its tokens, in nats."""
        return [sum(tokens) / max(len(tokens), 1) for tokens in self.log_likelihoods[1:]]

    def text(self) -> tuple[str, list[str]]:
        """Title and sentences, still with placeholders."""
        return _decode(self.title), [t for s in self.sentences if (t := _decode(s))]

    def brief(self, index: int) -> str:
        """What the model wants to be painted for a sentence, "" if it has not said so."""
        return _decode(self.briefs[index]) if index < len(self.briefs) else ""

    def read(self, token: int) -> None:
        """Take the next token."""
        phase = self.phase
        if token == _END:
            self.ended = True
        elif token == _S:
            self.sentences.append([])
            self.log_likelihoods.append([])
        elif token == _BRIEF:
            self.briefs.append([])
        elif phase == "title":
            self.title.append(token)
        elif phase == "sentence":
            self.sentences[-1].append(token)
        else:
            self.briefs[-1].append(token)


def _decode(ids: list[int]) -> str:
    return load_tokenizer().decode(ids, skip_special_tokens=False).strip()


def length_asked(config: StoryConfig) -> int:
    """Sentences to aim at: as asked, unless the words asked for mean more or fewer (about 13 words
    stand in one)."""
    most = max(4, config.max_words // 13)
    least = min(12, -(-config.min_words // 13))
    return max(min(config.sentences, most), least)


class Grammar:
    """What may come next in a manuscript."""

    def __init__(
        self, request: Request, config: StoryConfig, words: frozenset[str] = frozenset()
    ) -> None:
        """`words`: all that may be written besides those of the request; none means any."""
        self.config = config
        asked = frozenset(re.findall("[a-z]+", request.text.lower()))
        self.spelling = spelling_of(words | asked) if words else None
        self.asked = length_asked(config)
        size = load_tokenizer().get_vocab_size()
        text = torch.zeros(size)
        text[: len(SPECIALS)] = _FORBIDDEN
        self._new = [t for t, w in zip(_NEW, NEW_WORDS, strict=True) if w in request.put_back]
        # A space of its own stands before placeholders only.
        self._space = load_tokenizer().token_to_id("Ġ")
        if self._new:
            text[self._new] = 0.0
        else:
            text[self._space] = _FORBIDDEN
        self._text = text
        self._begin = text.clone()
        self._begin[~alphabet().begins] = _FORBIDDEN
        self._text_after_new = text.clone()
        self._text_after_new[[self._space, *self._new]] = _FORBIDDEN
        self._text_after_new[alphabet().inner] = _FORBIDDEN
        self._brief = torch.full((size,), _FORBIDDEN)
        self._brief[alphabet().brief] = 0.0

    def mask(self, m: Manuscript) -> Tensor:
        """Added to the logits (V,): 0 or minus infinity."""
        if m.ended:
            return self._only(_END)
        if m.phase == "title":
            if len(m.title) >= LONGEST_TITLE:
                return self._only(_S)
            if m.title[-1:] == [self._space]:
                return self._only(*self._new)
            if not m.title:
                return self._spelled(self._begin, [])
            said = m.title[-1] in self._new  # a placeholder is not said twice in a row
            text = self._text_after_new if said else self._text
            return self._spelled(self._with(text, _S), m.title)
        if m.phase == "sentence":
            last = m.sentences[-1][-1:]
            if not last:
                return self._spelled(self._begin, [])
            if last == [self._space]:
                return self._only(*self._new)
            long = len(m.sentences[-1])
            if last[0] in self._new:
                return self._text_after_new
            ended = long >= SHORTEST_SENTENCE and bool(alphabet().ends[last[0]])
            if long >= LONGEST_SENTENCE:
                return self._only(_BRIEF) if ended else self._only(*alphabet().stops)
            text = self._with(self._text, _BRIEF) if ended else self._text
            return self._spelled(text, m.sentences[-1])
        pieces = m.briefs[-1]
        placed = any(alphabet().at[i] for i in pieces)
        if not placed and len(pieces) < LONGEST_BRIEF:
            return self._brief
        after = self._after(m)
        if len(pieces) >= LONGEST_BRIEF:
            return self._only(*after)
        return self._with(self._brief, *after)

    def _spelled(self, mask: Tensor, tokens: Sequence[int]) -> Tensor:
        """The mask after these tokens, and every word one that is known."""
        return mask if self.spelling is None else mask + self.spelling.mask(tokens)

    def _after(self, m: Manuscript) -> list[int]:
        """What may follow a finished sentence: another one, the end, or either."""
        count = len(m.sentences)
        words = sum(len(t.split()) for t in m.text()[1])
        full = words + 8 > self.config.max_words and count >= 4
        if full or count >= min(self.asked + 1, 12):
            return [_END]
        short = words < self.config.min_words and count < 12
        # A story that is over two sentences early is better than one that must go on.
        return [_S] if short or count < max(4, self.asked - 2) else [_S, _END]

    @staticmethod
    def _with(mask: Tensor, *tokens: int) -> Tensor:
        mask = mask.clone()
        mask[list(tokens)] = 0.0
        return mask

    def _only(self, *tokens: int) -> Tensor:
        return self._with(torch.full_like(self._text, _FORBIDDEN), *tokens)


class Coherence:
    """Keeps a story with its own people: a small writer confuses those of two stories.

    Added to the logits of a sentence: the characters of the request come first; nobody is "the fox"
    before there was a fox, or "a fox" once there is one; nothing is "a foxes"; a name that nobody
    was given stays out, and nobody is named after a thing.
    """

    def __init__(self, request: Request, names: AbstractSet[str]) -> None:
        encode = load_tokenizer().encode
        actors = [w for w in vocabulary() if is_character(w) and "_" not in w]
        self._actors = {t for w in actors if (t := _single(w)) is not None}
        several = {p for w in vocabulary() if (p := plural(w)) != w and "_" not in w}
        self._names = {t for w in names if (t := _single(w)) is not None}
        asked = set(encode(request.text.lower()).ids)
        self._heroes = (self._actors & asked) or {
            t for t, w in zip(_NEW, NEW_WORDS, strict=True) if w in request.put_back
        }
        self._asked_names = self._names & set(encode(request.text).ids)
        self._indefinite = {_single("a"), _single("an"), _single("A"), _single("An")}
        # After "an" there is little choice: a second owl would come of it.
        self._vowelled = {t for w in actors if w[0] in "aeiou" and (t := _single(w)) is not None}
        self._an = {t for w in ("an", "An") if (t := _single(w)) is not None}
        self._definite = {_single("the"), _single("The")}
        self._naming = {_single("named"), _single("called")}
        # What was typed for a thing is nobody's name. A space of its own stands before it.
        given = any(re.search(rf"\b(?:named|called) {w}", request.text) for w in NEW_WORDS)
        space = load_tokenizer().token_to_id("Ġ")
        self._no_name: set[int] = set() if given or space is None else {space}
        # Long lists are made once, not at every token.
        self._others = torch.tensor(sorted(self._actors - self._heroes))
        self._strangers = torch.tensor(sorted(self._names - self._asked_names))
        self._several = torch.tensor(sorted(t for w in several if (t := _single(w)) is not None))

    def bias(self, m: Manuscript, size: int, *, heroes_first: bool) -> Tensor:
        """(V,) to add to the logits of a manuscript that is at a sentence.

        Without `heroes_first` the characters of the request may come late, or never.
        """
        said = {t for s in m.sentences for t in s}
        last = m.sentences[-1][-1] if m.sentences[-1] else None
        bias = torch.zeros(size)
        known = self._actors & said
        if heroes_first and self._heroes and not self._heroes & said:
            self._add(bias, self._others, -6.0)
        if last in self._indefinite:
            self._add(bias, known, -6.0)
            self._add(bias, self._several, -8.0)
        elif self._vowelled & self._heroes & said:
            self._add(bias, self._an, -4.0)
        if last in self._definite and len(m.sentences) > 1:
            self._add(bias, self._others, -4.0)
            self._add(bias, known - self._heroes, 4.0)
        if last in self._naming:
            self._add(bias, self._no_name, -8.0)
        elif len(m.sentences) > 1:
            self._add(bias, self._strangers, -8.0)
            self._add(bias, (self._names & said) - self._asked_names, 8.0)
        return bias

    @staticmethod
    def _add(bias: Tensor, tokens: AbstractSet[int] | Tensor, value: float) -> None:
        if len(tokens):
            bias[tokens if isinstance(tokens, Tensor) else sorted(tokens)] += value


@cache
def _single(word: str) -> int | None:
    """The token that is this whole word after a space, if there is one."""
    ids = load_tokenizer().encode(word).ids
    return ids[0] if len(ids) == 1 else None


def nucleus(kept: Tensor, top_p: float) -> Tensor:
    """Leave only the likeliest tokens that make up `top_p` together, at least one.

    kept (B, K): logits, falling. Source: Holtzman et al. 2020, arXiv 1904.09751.
    """
    likely = kept.softmax(dim=1)
    before = likely.cumsum(dim=1) - likely
    return kept.masked_fill((before >= top_p) & (before > 0), float("-inf"))


def spellings(banned: Sequence[str]) -> list[list[int]]:
    """Token sequences that write a banned word: small, capital, shouted, inside a quotation."""
    tokenizer = load_tokenizer()
    found: list[list[int]] = []
    for word in banned:
        for form in (word, word.capitalize(), word.upper()):
            quoted = tokenizer.encode(f'"{form}').ids
            found += [tokenizer.encode(form).ids, quoted[1:] if len(quoted) > 1 else quoted]
    return [list(ids) for ids in dict.fromkeys(map(tuple, found)) if ids]


class Ban:
    """Token sequences that must not be written: which token would complete one of them."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.always = sorted({s[0] for s in sequences if len(s) == 1})
        """Those that are a sequence by themselves."""
        # There are hundreds, and hardly one has begun: they are looked up by their last token
        # but one, at every token of every candidate.
        self._begun: dict[int, list[tuple[list[int], int]]] = {}
        for *begin, last in sequences:
            if begin:
                self._begun.setdefault(begin[-1], []).append((begin, last))

    def completing(self, said: list[int]) -> list[int]:
        """The tokens besides `always` that would complete one after what was said."""
        begun = self._begun.get(said[-1], ()) if said else ()
        return [last for begin, last in begun if said[-len(begin) :] == begin]


def penalise(logits: Tensor, said: Sequence[int], spared: set[int], penalty: float) -> None:
    """Make telling words that stand in the text already less likely, in place. logits (V,).

    Source: Keskar et al. 2019 (CTRL), section 4.1; ours leaves function words, signs, the
    painter's words and those of the request alone, which a story must be free to repeat.
    """
    again = (alphabet().telling & set(said[-PENALISED:])) - spared
    if again and penalty != 1.0:
        at = torch.tensor(sorted(again))
        seen = logits[at]
        logits[at] = torch.where(seen > 0, seen / penalty, seen * penalty)


def sample(
    model: GPT2Writer,
    request: Request,
    config: StoryConfig,
    banned: Sequence[str],
    candidates: int,
    generator: torch.Generator,
    names: AbstractSet[str] = frozenset(),
    words: frozenset[str] = frozenset(),
) -> Iterator[list[Manuscript]]:
    """Write `candidates` manuscripts at once, yielded after every token until all have ended.

    `names` are the given names that the writer knows, `words` all that it may write besides
    those of the request (none: any).

    Randomness comes from `generator` (CPU) alone. The titles come first; then the same list is
    yielded again and again.
    """
    grammar, coherence = Grammar(request, config, words), Coherence(request, names)
    prompt = story_prompt(request.text, grammar.asked, model.config.n_positions)
    ban = Ban(spellings(banned))
    spared = set(prompt)
    titles, distinct = list[list[int]](), max(1, round(DISTINCT * candidates))
    for titles in _titles(model, prompt, grammar, ban, distinct, generator):
        yield [Manuscript(titles[row % len(titles)]) for row in range(candidates)]
    manuscripts = [Manuscript() for _ in range(candidates)]
    writing = _Writing(model, prompt, candidates)
    going = list(range(candidates))  # which manuscripts the rows of the batch are
    room = model.config.n_positions - len(prompt) - 1
    for _ in range(room):
        written = [manuscripts[n] for n in going]
        logits = writing.next_logits()  # (B, V)
        guided = logits.clone()
        for row, (n, m) in enumerate(zip(going, written, strict=True)):
            if not m.ended and m.phase == "sentence":
                # Half of the candidates may tell the story that the writer knows best, which can be
                # given to the right hero afterwards; of two with the same title one may.
                strict = (n + n // len(titles)) % 2 == 0
                guided[row] += coherence.bias(m, logits.shape[1], heroes_first=strict)
        kept, at = _kept(guided, writing.ids, written, grammar, ban, spared)
        tokens = _choose(kept, at, generator)
        for row, (n, m) in enumerate(zip(going, written, strict=True)):
            if m.phase == "title":  # it is known
                tokens[row] = [*titles[n % len(titles)], _S][len(m.title)]
        # What the writer itself thinks of it: a story led astray by the rules ranks low.
        likely = logits.log_softmax(dim=1)
        writing.add(tokens)
        for row, (m, token) in enumerate(zip(written, tokens, strict=True)):
            if m.ended:
                continue
            if m.phase != "brief":
                m.log_likelihoods[-1].append(float(likely[row, token]))
            m.read(token)
        if all(m.phase != "title" for m in manuscripts):
            yield manuscripts
        unfinished = [row for row, m in enumerate(written) if not m.ended]
        if not unfinished:
            return
        if len(unfinished) <= SPARSE * len(going):
            writing.take(torch.tensor(unfinished))
            going = [going[row] for row in unfinished]


def story_prompt(request: str, sentences: int, positions: int) -> list[int]:
    """Tokens of `prompt_of`; of a long request the first, so that half of the positions are left
    for the story."""
    encode = load_tokenizer().encode
    end = len(encode(prompt_of("", sentences)).ids)
    whole = encode(prompt_of(request, sentences)).ids
    return [*whole[:-end][: positions // 2 - end], *whole[-end:]]


@dataclass(frozen=True)
class _Branch:
    """A title as far as it is drawn."""

    title: list[int]
    ended: bool = False
    likelihood: float = 0.0
    """Logarithm of the probability to draw it."""
    rank: float = 0.0
    """The same plus a Gumbel number; the largest ranks are a sample without replacement."""
    row: int = 0
    """Of the batch that it goes on from."""


def ranks(likelihoods: Tensor, parent: float, generator: torch.Generator) -> Tensor:
    """Ranks of the ways (K,) in which a branch of rank `parent` may go on, whose log-likelihoods
    are given: Gumbel numbers around them, the largest of which is `parent`.

    Source: Kool et al. 2019, appendix B.3.
    """
    noise = torch.rand(likelihoods.shape, generator=generator).clamp_min(1e-20)
    drawn = likelihoods - (-noise.log()).log()
    v = parent - drawn + torch.log1p(-(drawn - drawn.max()).exp())
    moved = parent - v.relu() - torch.log1p((-v.abs()).exp())
    return moved.masked_fill(~torch.isfinite(likelihoods), _FORBIDDEN)


def _titles(
    model: GPT2Writer,
    prompt: list[int],
    grammar: Grammar,
    ban: Ban,
    candidates: int,
    generator: torch.Generator,
) -> Iterator[list[list[int]]]:
    """At most `candidates` titles, no two of them the same, a token longer each time; the last list
    is finished.

    Drawn without replacement, the first one as one alone would be drawn.
    Source: Kool et al. 2019, "Stochastic Beams and Where to Find Them" (arXiv 1903.06059).
    """
    writing = _Writing(model, prompt, 1)
    going, done = [_Branch([])], list[_Branch]()
    while going:
        manuscripts = [Manuscript(branch.title) for branch in going]
        kept, at = _kept(writing.next_logits(), writing.ids, manuscripts, grammar, ban, set())
        found = [*done]
        for row, branch in enumerate(going):
            likely = branch.likelihood + kept[row].log_softmax(dim=0)
            ranked = ranks(likely, branch.rank, generator)
            for token, chance, rank in zip(
                at[row].tolist(), likely.tolist(), ranked.tolist(), strict=True
            ):
                if rank > _FORBIDDEN:
                    ended = token == _S
                    title = branch.title if ended else [*branch.title, token]
                    found.append(_Branch(title, ended, chance, rank, row))
        found = sorted(found, key=lambda b: b.rank, reverse=True)[:candidates]
        done, going = [b for b in found if b.ended], [b for b in found if not b.ended]
        if going:
            writing.take(torch.tensor([b.row for b in going]))
            writing.add([b.title[-1] for b in going])
        yield [b.title for b in found]


def _choose(kept: Tensor, at: Tensor, generator: torch.Generator) -> list[int]:
    """One token of every row: logits (B, K) of tokens (B, K)."""
    drawn = torch.multinomial(kept.softmax(dim=1), 1, generator=generator)  # (B, 1)
    return at.gather(1, drawn)[:, 0].tolist()


def _kept(
    logits: Tensor,
    ids: Tensor,
    manuscripts: Sequence[Manuscript],
    grammar: Grammar,
    ban: Ban,
    spared: set[int],
) -> tuple[Tensor, Tensor]:
    """The likeliest tokens that may come next, and how likely they are made: logits (B, K),
    falling, and tokens (B, K). logits (B, V), ids (B, T)."""
    config = grammar.config
    masked = logits.clone()
    for row, m in enumerate(manuscripts):
        if m.ended:
            continue
        if m.phase != "brief":
            penalise(masked[row], [t for s in m.sentences for t in s], spared,
                     config.repetition_penalty)  # fmt: skip
        masked[row] += grammar.mask(m)
    heat = torch.tensor([_temperature(m, config.temperature) for m in manuscripts])
    scores = masked / heat[:, None]
    filtered = scores.clone()
    filtered[:, ban.always] = _FORBIDDEN
    for row, said in enumerate(ids.tolist()):
        filtered[row, ban.completing(said)] = _FORBIDDEN
    # Banning must never leave a manuscript without any way on.
    dead = ~torch.isfinite(filtered).any(dim=1)
    scores = torch.where(dead[:, None], scores, filtered)
    ended = torch.tensor([m.ended for m in manuscripts])
    scores[ended] = 0.0  # whatever is drawn is not read
    # Drawn among the likeliest alone: a tenth of the time.
    kept, at = scores.topk(min(config.top_k or scores.shape[1], scores.shape[1]), dim=1)
    return nucleus(kept, config.top_p), at


def _temperature(m: Manuscript, asked: float) -> float:
    if m.phase == "brief":
        return min(asked, BRIEF_TEMPERATURE)
    opening = m.phase == "title" or (len(m.sentences) == 1 and len(m.sentences[0]) < OPENING)
    return asked if opening else asked * SETTLED


class _Writing:
    """Model and tokens so far of a batch that grows by one token at a time."""

    def __init__(self, model: GPT2Writer, prompt: list[int], rows: int) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self.ids = torch.tensor([prompt] * rows)  # (B, T)
        self._fresh = self.ids
        length = int(model.config.n_positions)
        self._read = Reader(model.transformer, torch.ones(rows, length, device=self._device))

    def next_logits(self) -> Tensor:
        """(B, V) float32 on the CPU."""
        with torch.inference_mode(), one_thread():
            where = torch.arange(self._read.done, self.ids.shape[1], device=self._device)
            embedded = self._model.transformer.wte(self._fresh.to(self._device))
            hidden = self._read(embedded, where)[:, -1]
            return linear(self._model.transformer.wte, hidden).float().cpu()

    def take(self, rows: Tensor) -> None:
        """Go on with these rows (N,), whatever else was written."""
        self._read.take(rows)
        self.ids, self._fresh = self.ids[rows], self._fresh[rows]

    def add(self, tokens: list[int]) -> None:
        self._fresh = torch.tensor(tokens)[:, None]
        self.ids = torch.cat([self.ids, self._fresh], dim=1)
