"""Two story writers side by side, before and after they were taught, and what was won and lost.

    python -m finetune.evaluate_story --before embedded --after FOLDER --data TEXTS --page FILE.html

The figures are of held-out texts of each kind, and of stories that both write for the same requests
with the same seeds, as the models write them: one candidate, not ranked, no ban list.
"""

from __future__ import annotations

import argparse
import html
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from finetune.data.documents import Columns
from finetune.data.packing import SKIPPED
from finetune.data.recipes import RECIPES, Source, gather, sources
from finetune.evaluate_story import distinct
from finetune.gpt2 import encode_example
from finetune.writers import BLOCK, Sequence_, Writer, collate
from pipelines.banned import find_banned, unsuitable
from pipelines.errors import InvalidInput
from pipelines.reading import known_word
from pipelines.scene import vocabulary
from pipelines.story_ranking import named_in
from pipelines.tokenizer import BRIEF, END, SENTENCE, SPECIALS, load_tokenizer

PROMPTS = (
    "a fox who wants to fly", "a girl and her grandmother by the sea", "a lonely lighthouse keeper",
    "two thieves and a stolen necklace", "a dancer who falls in love", "a detective in the city",
    "a painting of a mother and her child", "a shepherd with his sheep at sunset",
    "a king on a white horse", "a dog that is lost in the snow",
)  # fmt: skip
"""Requests for every kind of text that there is a recipe for."""
STORY_WORLD = "story world"
HELD_OUT = 60
"""Sequences of each kind of text that are read at most."""
GRAM = 4
_BRIEF, _S, _END = (SPECIALS.index(t) for t in (BRIEF, SENTENCE, END))


# --- held-out text -----------------------------------------------------------------------


def kinds_of(
    data: Sequence[str], recipes: Sequence[str] = (), columns: Columns | None = None
) -> list[Source]:
    """The kinds of text in folders: by those of the `recipes` whose files are there, else one for
    each, whose tables have these `columns`."""
    files = {name: RECIPES[name].files for name in recipes}
    known = {
        d: [k for k, fs in files.items() if any((Path(d).expanduser() / f).is_file() for f in fs)]
        for d in data
    }
    found = [k for k in recipes if any(k in kinds for kinds in known.values())]
    of_recipes, rest = ([d for d, kinds in known.items() if bool(kinds) == is_known]
                        for is_known in (True, False))  # fmt: skip
    return [*(sources(of_recipes, found) if found else []),
            *(sources(rest, (), columns) if rest else [])]  # fmt: skip


def text_alone(ids: Sequence[int], skip: int) -> list[bool]:
    """Which tokens of an embedded writer's sequence are title and sentences: no request, briefs or
    signs of the grammar."""
    found, brief = list[bool](), False
    for n, token in enumerate(ids):
        brief = (brief or token == _BRIEF) and token not in (_S, _END)
        found.append(n >= skip and not brief and token >= len(SPECIALS))
    return found


@dataclass(frozen=True)
class Surprise:
    """How well a model foresees a text."""

    perplexity: float
    """A token; compares writers of one tokenizer."""
    bits: float
    """A byte of UTF-8; compares any."""


@torch.no_grad()
def surprise(writer: Writer, sequences: Sequence[Sequence_], batch: int = 8) -> Surprise:
    """Of texts that a writer has not learned from; of an embedded writer's sequences the words.

    Raises InvalidInput when there are none.
    """
    model = writer.model.eval()
    device = next(model.parameters()).device
    nats, tokens, size = 0.0, 0, 0
    for k in range(0, len(sequences), batch):
        group = sequences[k : k + batch]
        inputs = collate(group, writer.pad_id)
        labels = inputs.pop("labels")
        for row, (ids, skip) in enumerate(group):
            if writer.embedded:
                told = torch.tensor(text_alone(ids, skip))
                labels[row, : len(ids)][~told] = SKIPPED
            kept = [t for t in labels[row, 1:].tolist() if t != SKIPPED]
            decode = load_tokenizer().decode if writer.embedded else writer.tokenizer.decode
            size += len(decode(kept).encode())
        logits = model(**{k: v.to(device) for k, v in inputs.items()}).logits[:, :-1]  # (B, T, V)
        goal = labels[:, 1:].to(device)
        learned = goal != SKIPPED
        nats += F.cross_entropy(logits[learned].float(), goal[learned], reduction="sum").item()
        tokens += int(learned.sum())
    if not tokens:
        raise InvalidInput("There is no held-out text: bring more of it.")
    return Surprise(math.exp(nats / tokens), nats / math.log(2) / max(size, 1))


# --- stories -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    title: str
    sentences: list[str]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]


def repetition(text: str) -> float:
    """Share of a text's runs of four words that it had before, in [0, 1]. Source: Welleck et al.
    2020, arXiv 1908.04319 (seq-rep-4)."""
    grams = _grams(text, GRAM)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def paintable(sentence: str) -> bool:
    """Whether a sentence names something that can be painted: one of the painter's words, its
    plural, or another name of it (`pipelines.reading.SYNONYMS`). Pronouns and places do not count.

    >>> paintable("Two foxes ran."), paintable("It was over at last.")
    (True, False)
    """
    return bool(named_in(sentence))


def figures_of(stories: Sequence[Story]) -> dict[str, float]:
    """What can be counted in stories. Shares are in [0, 1], lengths in words."""
    texts = [s.text for s in stories]
    sentences = [s for story in stories for s in story.sentences]
    banned = sum(find_banned(f"{s.title} {s.text}", unsuitable()) is not None for s in stories)
    return {
        "distinct-1": distinct(texts, 1),
        "distinct-2": distinct(texts, 2),
        "repetition": sum(map(repetition, texts)) / max(len(texts), 1),
        "words a sentence": sum(len(s.split()) for s in sentences) / max(len(sentences), 1),
        "paintable sentences": sum(map(paintable, sentences)) / max(len(sentences), 1),
        "stories with banned words": banned / max(len(stories), 1),
    }


@dataclass
class Comparison:
    """Both writers' figures, and their stories for the same requests."""

    names: tuple[str, str]
    prompts: tuple[str, ...]
    figures: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """Name -> before and after."""
    stories: tuple[list[Story], list[Story]] = field(default_factory=lambda: ([], []))

    def values(self) -> dict[str, float]:
        """One figure a line: "before perplexity plots" and so on."""
        return {
            f"{when} {name}": pair[n]
            for name, pair in self.figures.items()
            for n, when in enumerate(("before", "after"))
        }


def compare(
    before: str,
    after: str,
    data: Sequence[str] = (),
    *,
    held_out: int = HELD_OUT,
    prompts: Sequence[str] = PROMPTS,
    seed: int = 0,
    language: str = "en",
    recipes: Sequence[str] = (),
    columns: Columns | None = None,
) -> Comparison:
    """Figures and stories of two writers, by name or folder.

    `held_out`: sequences of each kind of text at most. Two embedded writers read exactly the same
    sequences, asked for in words that the first one knows. `language`, `recipes`, `columns`: as the
    texts were taught, so that the same of them are held out; "" takes every language.
    Raises ModelUnavailable, InvalidInput.
    """
    one, two = Writer.load(before), Writer.load(after)
    found = Comparison((before, after), tuple(prompts))
    same = one.embedded and two.embedded
    read = dict[str, tuple[list[Sequence_], list[Sequence_]]]()
    kinds = kinds_of(data, recipes, columns)
    for source, (split, _) in zip(kinds, gather(kinds, language=language), strict=True):
        documents = split.test or split.validation
        first = one.read(documents, _block(one), most=held_out)[:held_out]
        again = first if same else two.read(documents, _block(two), most=held_out)[:held_out]
        read[source.kind] = (first, again)
    if same:
        rng = random.Random(f"{seed} held out")
        own = [encode_example(rng, "test") for _ in range(held_out)]
        read[STORY_WORLD] = (own, own)
    for kind, (first, again) in read.items():
        a, b = surprise(one, first), surprise(two, again)
        found.figures[f"perplexity {kind}"] = (a.perplexity, b.perplexity)
        found.figures[f"bits a byte {kind}"] = (a.bits, b.bits)
    for writer, stories in zip((one, two), found.stories, strict=True):
        for n, words in enumerate(prompts):
            told = writer.tell(writer.model, words, seed=seed + n, sentences=6, ban=False)
            stories.append(Story(*told))
    if prompts:
        a, b = map(figures_of, found.stories)
        found.figures |= {name: (a[name], b[name]) for name in a}
    return found


def _block(writer: Writer) -> int:
    return min(BLOCK, writer.longest)


# --- the page ----------------------------------------------------------------------------

_STYLE = """
body { font: 16px/1.5 Georgia, serif; color: #222; background: #faf7f0; max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
table { border-collapse: collapse; margin: 1rem 0; font: 14px/1.4 system-ui, sans-serif }
th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #ddd4c2 }
th:first-child, td:first-child { text-align: left } .better { color: #1c6b3c; font-weight: 600 }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.2rem }
.story { background: #fff; border: 1px solid #e6dfd0; border-radius: 8px; padding: .8rem 1.1rem }
.story h3 { margin: 0 0 .4rem; font-size: 1rem } .story p { margin: .35rem 0 }
small { font: 12px system-ui, sans-serif; color: #6b6455; display: block }
mark { background: #e3f1d8; border-radius: 3px } del { background: #f6cccc; text-decoration: none }
@media (max-width: 45rem) { .pair { grid-template-columns: 1fr } }
"""
_UP = ("distinct", "paintable")
_DOWN = ("perplexity", "bits", "repetition", "stories with")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _marked(sentence: str) -> str:
    """A sentence as HTML, what can be painted and what is banned marked."""

    def mark(match: re.Match[str]) -> str:
        word = match[0]
        if find_banned(word, unsuitable()):
            return f"<del>{html.escape(word)}</del>"
        text = html.escape(word)
        return f"<mark>{text}</mark>" if known_word(word) else text

    return re.sub(r"[A-Za-z]+(?:['’]s)?|[^A-Za-z]+", mark, sentence)


def page_of(found: Comparison) -> str:
    """The comparison as an HTML page of its own: figures, and the stories side by side."""
    rows = list[str]()
    for name, (a, b) in found.figures.items():
        gained = b > a if name.startswith(_UP) else b < a if name.startswith(_DOWN) else False
        kind = ' class="better"' if gained else ""
        change = f"{(b - a) / a:+.0%}" if a else ""
        rows.append(f"<tr><td>{html.escape(name)}</td><td>{_number(a)}</td><td{kind}>{_number(b)}</td>"
                    f"<td>{change}</td></tr>")  # fmt: skip
    body = list[str]()
    for n, words in enumerate(found.prompts):
        body.append(f"<h2>“{html.escape(words)}”</h2><div class='pair'>")
        for when, stories in zip(("before", "after"), found.stories, strict=True):
            text = "".join(f"<p>{_marked(s)}</p>" for s in stories[n].sentences)
            title = html.escape(stories[n].title)
            body.append(f"<div class='story'><small>{when}</small><h3>{title}</h3>{text}</div>")
        body.append("</div>")
    names = [html.escape(n) for n in found.names]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{names[0]} and {names[1]}</title><style>{_STYLE}</style>"
        f"<h1>Before: {names[0]} · after: {names[1]}</h1>"
        "<table><tr><th>figure</th><th>before</th><th>after</th><th>change</th></tr>"
        f"{''.join(rows)}</table>"
        "<p>The same requests and seeds for both, one candidate each, not ranked, no ban list. "
        f"<mark>Marked</mark>: one of the {len(vocabulary())} words that can be painted, or "
        "another name of one.</p>" + "".join(body) + "</html>\n"
    )


def write_page(found: Comparison, path: Path) -> None:
    """Raises InvalidInput when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page_of(found), encoding="utf-8")
    except OSError as e:
        raise InvalidInput(f"The page {path} cannot be written ({e}): name another file.") from e


def table_lines(found: Comparison) -> list[str]:
    """The figures as a table of Markdown."""
    lines = ["| figure | before | after | change |", "| --- | --- | --- | --- |"]
    for name, (a, b) in found.figures.items():
        change = f"{(b - a) / a:+.0%}" if a else ""
        lines.append(f"| {name} | {_number(a)} | {_number(b)} | {change} |")
    return lines


def text_options(p: argparse.ArgumentParser) -> None:
    """How the texts of `--data` are read: as the writer was taught them."""
    p.add_argument(
        "--language", default="en", help="of --data, as it was taught: ISO 639-1, or any"
    )
    p.add_argument("--recipe", nargs="+", default=[], choices=RECIPES,
                   help="kinds of text in --data, as they were taught")  # fmt: skip
    p.add_argument("--text", default="", help="column of the text in --data, as it was taught")
    p.add_argument("--title", default="", help="column of the title in --data, as it was taught")


def run(args: Any) -> Comparison:
    """`--before`, `--after`, `--data`, `--page` and the options of `text_options` of the evaluation
    commands."""
    if not (args.before and args.after):
        raise InvalidInput("--before and --after name two writers: give both.")
    found = compare(
        args.before, args.after, args.data,
        held_out=getattr(args, "held_out", HELD_OUT), seed=getattr(args, "seed", 0),
        language="" if args.language == "any" else args.language,
        recipes=args.recipe, columns=Columns(args.text, args.title),
    )  # fmt: skip
    if args.page:
        write_page(found, args.page)
    return found
