"""Figures of the embedded story writer: `python -m finetune.evaluate_story`; with `--before A
--after B` two writers side by side (finetune/compare_story.py)."""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from finetune.data.requests import LENGTHS, sample_example
from finetune.gpt2 import validation_loss
from finetune.training import as_json
from pipelines.errors import AppError
from pipelines.events import Draft
from pipelines.presets import StoryConfig
from pipelines.scene import is_character, parse_brief
from pipelines.story import StoryPipeline
from pipelines.story_ranking import ends_properly
from pipelines.story_requests import read_request
from pipelines.story_restoring import mentions
from pipelines.tokenizer import NEW_WORDS

TYPED = Path(__file__).parent / "data" / "requests.txt"
"""Requests as people type them, written down before any open story was."""
UNKNOWN = ("zorblax", "quokka", "blimfrot", "tardigrade", "wombat", "Rex", "月の猫", "Drache")
"""Words for the placeholders of test requests; no model has seen them."""


def requests(count: int, seed: int) -> Iterator[tuple[str, int]]:
    """Held-out requests, each with a number of sentences; a fifth have unknown words."""
    rng = random.Random(f"{seed} evaluate story")
    for _ in range(count):
        words = sample_example(rng, "test").request
        for new in NEW_WORDS:
            words = words.replace(new, rng.choice(UNKNOWN))
        yield words, rng.choice(LENGTHS)


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Different n-grams among all n-grams of the texts, in [0, 1]. Source: Li et al. 2016."""
    grams = list[tuple[str, ...]]()
    for text in texts:
        words = text.lower().split()
        grams += pairwise(words) if n == 2 else zip(*(words[k:] for k in range(n)), strict=False)
    return len(set(grams)) / max(len(grams), 1)


def hero_stays(draft: Draft) -> bool:
    """Whether one character is in at least half of the pictures."""
    shown = Counter[str]()
    for s in draft.sentences:
        items = parse_brief(s.brief).items
        shown.update({i.word for i in items if is_character(i.word)})
    return bool(shown) and 2 * shown.most_common(1)[0][1] >= len(draft.sentences)


def typed_requests(path: Path = TYPED) -> list[tuple[str, int]]:
    """The requests of a file, one a line, each with the default number of sentences."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(words, StoryConfig(words).sentences) for words in map(str.strip, lines) if words]


def run(
    pipeline: StoryPipeline | None = None,
    *,
    stories: int = 100,
    seed: int = 0,
    asked: Sequence[tuple[str, int]] = (),
    read: Path | None = None,
) -> dict[str, float]:
    """Perplexity on held-out stories, and of stories written for held-out requests (or those
    `asked`) at default settings: distinct-2, and in [0, 1] the shares of sentences that end
    properly; of stories whose sentences name the request's first content word, any, all of them;
    of content words that the sentences name, and those of the second half; of stories that have the
    number of sentences asked for, and whose hero stays; of titles that differ. `read`: the stories
    are written there."""
    pipeline = pipeline or StoryPipeline.from_pretrained()
    assert pipeline.lexicon is not None
    device = next(pipeline.model.parameters()).device
    perplexity = math.exp(validation_loss(pipeline.model, device, 200))
    asked = (asked or list(requests(stories, seed)))[:stories]
    drafts = list[Draft]()
    for words, sentences in asked:
        config = StoryConfig(words, sentences=sentences, drafts=1, seed=seed + len(drafts))
        drafts.append(pipeline(config)[0])
        if read:
            told = "\n".join(f"{s.text}  | {s.brief}" for s in drafts[-1].sentences)
            with read.open("a", encoding="utf-8") as file:
                file.write(f"? {words}\n# {drafts[-1].title}\n{told}\n\n")
    contents = [read_request(words, pipeline.lexicon).content for words, _ in asked]
    texts = [" ".join(s.text for s in d.sentences) for d in drafts]  # a title is made to name it

    def named_in(texts: Sequence[str]) -> list[list[bool]]:
        return [[mentions(t, w) for w in c] for t, c in zip(texts, contents, strict=True) if c]

    named = named_in(texts)
    later = [" ".join(s.text for s in d.sentences[len(d.sentences) // 2 :]) for d in drafts]
    carried = named_in(later)
    ends = [ends_properly(s.text) for d in drafts for s in d.sentences]
    counts = [len(d.sentences) == n for d, (_, n) in zip(drafts, asked, strict=True)]
    return {
        "perplexity": perplexity,
        "distinct-2": distinct(texts),
        "ends properly": sum(ends) / len(ends),
        "names the first word": sum(n[0] for n in named) / len(named),
        "names any word": sum(any(n) for n in named) / len(named),
        "names all words": sum(all(n) for n in named) / len(named),
        "words named": sum(sum(n) / len(n) for n in named) / len(named),
        "words carried on": sum(sum(n) / len(n) for n in carried) / len(carried),
        "length as asked": sum(counts) / len(counts),
        "hero stays": sum(map(hero_stays, drafts)) / len(drafts),
        "titles that differ": len({d.title for d in drafts}) / len(drafts),
    }


def main() -> None:
    from finetune.compare_story import text_options

    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", default="embedded", help="folder that finetune.gpt2 wrote")
    p.add_argument("--stories", type=int, default=100)
    p.add_argument("--typed", action="store_true", help="for the requests of data/requests.txt")
    p.add_argument("--read", type=Path, metavar="FILE", help="add the stories to this file")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all cores")
    p.add_argument("--out", type=Path, help="write the figures there as JSON, too")
    p.add_argument("--before", help="compare this writer (a name or folder) ...")
    p.add_argument("--after", help="... with this one")
    p.add_argument("--data", nargs="+", default=[], help="texts, for the perplexity of each kind")
    text_options(p)
    p.add_argument("--held-out", type=int, default=60, help="sequences of each kind at most")
    p.add_argument("--page", type=Path, help="write stories of both side by side, as HTML")
    args = p.parse_args()
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    if args.before or args.after:
        from finetune.compare_story import run as compare
        from finetune.compare_story import table_lines

        try:
            found = compare(args)
        except AppError as e:
            raise SystemExit(str(e)) from e
        print("\n".join(table_lines(found)))
        print(as_json({k: round(v, 4) for k, v in found.values().items()}))
        return
    figures: dict[str, Any] = run(
        StoryPipeline.from_pretrained(args.model),
        stories=args.stories,
        seed=args.seed,
        asked=typed_requests() if args.typed else (),
        read=args.read,
    )
    text = as_json({k: round(v, 4) for k, v in figures.items()}, indent=2)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
