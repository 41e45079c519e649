"""StoryPipeline: a few words -> drafts of a story, sentence by sentence, each with its brief."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.banned import ban_list, find_banned
from pipelines.book import MAX_SENTENCE, MAX_TITLE
from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.events import Draft, StoryProgress
from pipelines.hub import bare, located
from pipelines.presets import MAX_SEED, PRESETS, StoryConfig, draw_seed
from pipelines.reading import split_sentences
from pipelines.scene import plural
from pipelines.story_ranking import (
    COHERENT,
    Candidate,
    Written,
    alike,
    finished,
    is_clean,
    untold,
    with_mention,
    without_banned,
)
from pipelines.story_requests import Request, allowed_words, read_request, simpler
from pipelines.story_restoring import mentions, restore, with_names
from pipelines.weights import EMBEDDED, check_file, load_weights, read_config

if TYPE_CHECKING:
    import torch

LEXICON = "lexicon.txt"
SPELLING = "spelling.txt"
ATTEMPTS = 3
"""Batches of candidates before the best of what there is must do."""
LIVE_SECONDS = 0.1
"""Least time between two events about the same draft."""


def _candidates(drafts: int) -> int:
    """How many stories are written for so many drafts: the more, the better the best."""
    return min(4 * drafts + 8, 16)


class StoryPipeline:
    """Writes stories. Safe to share between threads."""

    def __init__(
        self,
        model: Any,
        *,
        lexicon: frozenset[str] | None,
        tokenizer: Any = None,
        name: str = "embedded",
        coherent: float = COHERENT,
        words: frozenset[str] = frozenset(),
    ) -> None:
        """`lexicon`: the words that the embedded writer reads; None for a plain language model,
        which brings its own `tokenizer`. `words`: all that it may write besides those of a request;
        none means any. `name` goes into the recipes. Below `coherent` (mean log-likelihood in nats)
        a story of the embedded writer has lost its thread, and others are written."""
        self.model = model
        self.lexicon = lexicon
        self.words = words
        self.tokenizer = tokenizer
        self.coherent = coherent
        self.name = name
        self.banned: tuple[str, ...] = ()
        """Words that no story of this writer has, besides those that each request bans."""

    @classmethod
    def from_pretrained(
        cls, preset_or_path: str = "embedded", *, device: torch.device | str | None = None
    ) -> StoryPipeline:
        """Load a writer: "embedded", a folder that `finetune.gpt2` wrote, a preset, or any causal
        language model by folder or hub name.

        Raises ModelUnavailable that says what to get and where to put it.
        """
        from pipelines.device import pick_device

        name = PRESETS[preset_or_path].story if preset_or_path in PRESETS else preset_or_path
        where = pick_device(str(device or "auto"))
        folder = EMBEDDED / "story" if name == "embedded" else Path(located(name))
        if name == "embedded" or (folder / LEXICON).is_file():
            # How sure a writer is that was taught other texts, nobody has measured.
            shipped = folder.resolve() == (EMBEDDED / "story").resolve()
            return cls(
                _load_embedded(folder).to(where), lexicon=_read_words(folder / LEXICON),
                name=bare(name), coherent=COHERENT if shipped else float("-inf"),
                words=_all_words(folder),
            )  # fmt: skip
        from pipelines.story_plain import load_plain

        model, tokenizer = load_plain(name, where)
        return cls(model, lexicon=None, tokenizer=tokenizer, name=bare(name))

    def __call__(
        self, config: StoryConfig | str, *, generator: torch.Generator | None = None
    ) -> list[Draft]:
        """Drafts, best first. Words alone are a request with all settings as usual."""
        return [e for e in self.stream(config, generator=generator) if isinstance(e, Draft)]

    def stream(
        self, config: StoryConfig | str, *, generator: torch.Generator | None = None
    ) -> Iterator[StoryProgress | Draft]:
        """Stories as they are being written, then the drafts, best first; close() stops.

        Without `config.seed` the seed is drawn, from `generator` (CPU) if given. The same seed and
        settings give the same drafts. More stories are written than shown: the drafts at the end
        are the best of them.
        Raises InvalidInput when the request is nothing but banned words, or longer than a plain
        language model can read.
        """
        import torch

        config = StoryConfig(config) if isinstance(config, str) else config
        seed = config.seed
        if seed is None and generator is not None:
            seed = int(torch.randint(0, MAX_SEED + 1, (), generator=generator))
        seed = draw_seed() if seed is None else seed
        source = torch.Generator().manual_seed(seed)
        banned = ban_list((*config.ban, *self.banned))
        lexicon = self.lexicon or frozenset()
        request = asked = read_request(config.words, lexicon, banned)
        write = self._write_plain if self.lexicon is None else self._write_embedded
        found: list[Candidate] = []
        live = _Live(config.drafts)
        for attempt in range(ATTEMPTS):
            yield from write(config, asked, banned, source, found, live)
            live.over = True
            good = [c for c in found if is_clean(c, banned) and len(c.sentences) >= 4]
            if self.lexicon is None:
                if len(good) >= config.drafts:
                    break
                continue
            # Two drafts of one title are no choice.
            good = list({c.title: c for c in good if c.holds(self.coherent)}.values())
            missing = unheard(good, request)
            if len(good) >= config.drafts and (attempt or not missing):
                break
            hero = frozenset(request.drawn[:1])
            if attempt == 0 and missing - hero:
                asked = read_request(config.words, lexicon, banned, missing - hero)
            else:  # what leads the writer astray is left to its hero alone
                asked = simpler(request)
        for c in _best(found, banned, config.drafts, self.coherent):
            if self.lexicon is not None:
                c = with_mention(c, request)
            yield Draft(c.title[:MAX_TITLE], c.sentences, seed, self.name)

    def _write_embedded(
        self,
        config: StoryConfig,
        request: Request,
        banned: tuple[str, ...],
        source: torch.Generator,
        out: list[Candidate],
        live: _Live,
    ) -> Iterator[StoryProgress]:
        """One batch of candidates into `out`, shown by `live`."""
        from pipelines.story_decoding import Manuscript, length_asked, sample

        asked = length_asked(config)
        last: list[Manuscript] = []
        names = {w for w in self.lexicon or () if w[:1].isupper()}
        for last in sample(
            self.model, request, config, banned, _candidates(config.drafts), source, names,
            self.words,
        ):  # fmt: skip
            yield from live(lambda n, m=last: _progress(n, *m[n].text(), request, asked))
        for m in last:
            title, sentences = m.text()
            title, *sentences = with_names([title, *sentences], names, request)
            briefs = tuple(m.brief(n) for n in range(len(sentences)))
            likely = m.likelihood(), tuple(m.likelihoods())
            written = Written(title, tuple(sentences), briefs, *likely)
            out.append(finished(written, request, config, asked))

    def _write_plain(
        self,
        config: StoryConfig,
        request: Request,
        banned: tuple[str, ...],
        source: torch.Generator,
        out: list[Candidate],
        live: _Live,
    ) -> Iterator[StoryProgress]:
        """One batch of candidates into `out`, shown by `live`."""
        from pipelines.story_plain import Continuation, continue_text

        words = config.words
        if find_banned(words, banned):
            words = " ".join(allowed_words(words, banned))
        title = words[:1].upper() + words[1:80]
        plain = Request(words, {}, request.content)
        last: list[Continuation] = []
        for last in continue_text(self.model, self.tokenizer, words, config, banned,
                                  _candidates(config.drafts), source):  # fmt: skip
            yield from live(
                lambda n, m=last: _progress(n, title, split_sentences(m[n][0]), plain,
                                            config.sentences)
            )  # fmt: skip
        for text, mean, _ in last:
            sentences = [s[:MAX_SENTENCE] for s in split_sentences(text)]
            written = Written(title, tuple(sentences[: config.sentences]), (), mean)
            done = finished(written, plain, config, config.sentences)
            if not done.sentences:  # not one full stop: the text as it is, closed
                written = Written(title, (" ".join(text.split())[: MAX_SENTENCE - 1] + ".",))
                done = finished(written, plain, config, config.sentences)
            out.append(done)


def unheard(candidates: Sequence[Candidate], request: Request) -> frozenset[str]:
    """What the request names and no story tells of: characters, things, unknown words."""
    unknown = (w.lower() for w in request.unknown)
    missing = {w for w in unknown if not any(mentions(c.text, w) for c in candidates)}
    return frozenset(missing.union(request.drawn)).intersection(
        *({*missing, *untold(c.sentences, request)} for c in candidates)
    )


def _best(
    found: list[Candidate], banned: tuple[str, ...], drafts: int, coherent: float
) -> list[Candidate]:
    """The best candidates, those that hold together before all others, and of stories with the same
    title or mostly the same words the best before the rest; those with banned words only without
    the sentences that have them.

    Raises InvalidInput when nothing is left.
    """
    ranked = sorted(found, key=lambda c: (not c.holds(coherent), -c.score))
    clean = [c for c in ranked if is_clean(c, banned)]
    clean += [without_banned(c, banned) for c in ranked if not is_clean(c, banned)]
    texts = {c.text: c for c in reversed(clean) if c.sentences}
    distinct = [c for c in clean if texts.get(c.text) is c]
    first: list[Candidate] = []
    for c in distinct:
        if not any(c.title == other.title or alike(c, other) for other in first):
            first.append(c)
    later = {id(c): (not c.holds(coherent), c not in first) for c in distinct}
    chosen = sorted(distinct, key=lambda c: later[id(c)])[:drafts]  # stable: else the order stays
    if not chosen:
        raise InvalidInput(
            "No sentence could be written without the banned words: take some off the ban list."
        )
    return chosen


class _Live:
    """Says what changed in the drafts that are shown, at most every LIVE_SECONDS."""

    def __init__(self, drafts: int) -> None:
        self.over = False
        """Whether better ones are being looked for: what was shown stays, and is said again, so
        that whoever listens can stop the work."""
        self._shown: list[StoryProgress | None] = [None] * drafts
        self._due = 0.0

    def __call__(self, read: Callable[[int], StoryProgress]) -> Iterator[StoryProgress]:
        if time.monotonic() < self._due:
            return
        for n, before in enumerate(self._shown):
            now = before if self.over else read(n)
            if now is not None and (self.over or now != before):
                self._shown[n] = now
                yield now
        self._due = time.monotonic() + LIVE_SECONDS


def _progress(
    draft: int, title: str, sentences: list[str], request: Request, asked: int
) -> StoryProgress:
    text = " ".join(restore(s, request) for s in sentences)
    return StoryProgress(draft, restore(title, request), text, min(len(sentences) / asked, 1.0))


def _load_embedded(folder: Path) -> Any:
    from pipelines.gpt2 import GPT2Config, GPT2Writer

    try:
        model = GPT2Writer(GPT2Config.from_values(read_config(folder)))
    except (InvalidInput, TypeError, ValueError) as e:
        raise ModelUnavailable(
            f"The file {folder / 'config.json'} is not the config of a story writer: {e}."
        ) from e
    load_weights(model.transformer, folder)  # the output layer is the input embedding
    return model.eval()


def _read_words(path: Path) -> frozenset[str]:
    return frozenset(check_file(path).read_text(encoding="utf-8").split())


def _all_words(folder: Path) -> frozenset[str]:
    """What the embedded writer may write, in letters alone; none where nobody has listed it, as of
    a writer that was taught other texts."""
    if not (folder / SPELLING).is_file():
        return frozenset()
    lexicon = _read_words(folder / LEXICON)
    many = {plural(word) for word in lexicon}
    told = " ".join([*_read_words(folder / SPELLING), *lexicon, *many])
    return frozenset(re.findall("[a-z]+", told.lower()))
