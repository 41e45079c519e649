"""Train the embedded byte-level BPE tokenizer: `python -m finetune.tokenizer`."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from finetune.data.corpora import read_stories
from finetune.data.storyworld import random_scene, sample_story
from pipelines.presets import STYLES
from pipelines.scene import describe
from pipelines.tokenizer import SPECIALS
from pipelines.weights import EMBEDDED, list_hashes


def texts(seed: int, stories: Path | None) -> Iterator[str]:
    """Filled stories with their briefs and descriptions, style words, and real stories if given."""
    rng = random.Random(seed)
    for _ in range(12_000):
        story = sample_story(rng)
        yield " ".join((story.title, *story.requests))
        for s in story.sentences:
            yield f"{s.text} {s.brief}"
            yield describe(s.brief)
        yield describe(str(random_scene(rng)))
    for style in STYLES.values():
        for _ in range(200):
            yield f"{style.prefix} {style.suffix}"
    if stories is not None:
        for story in read_stories(stories, "train"):
            yield story.text[:4000]


def main() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--stories", type=Path, help="folder stories_text: real stories to mix in")
    p.add_argument("--size", type=int, default=6000)
    p.add_argument("--out", type=Path, default=EMBEDDED / "tokenizer.json")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=args.size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=4,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(args.seed, args.stories), trainer)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.out))
    list_hashes(args.out)


if __name__ == "__main__":
    main()
