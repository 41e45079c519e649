"""Train the embedded story writer from scratch: `python -m finetune.gpt2 --stories FOLDER`.

A GPT-2 (Radford et al. 2019) of 6 million parameters on our own tokenizer. It learns to go on from
`{request} ({sentences})<title>` with `{title}<s>{sentence}<brief>{what its picture shows}...<end>`;
real stories in simple language (`stories_text`) join for their language, without request or brief.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetune.data.corpora import CorpusStory, read_stories
from finetune.data.requests import lexicon, sample_example
from finetune.training import (
    Ema,
    Pace,
    TrainStep,
    begin,
    learning_rate,
    load_checkpoint,
    parser,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.scene import split_sentences
from pipelines.tokenizer import PAD_ID, SENTENCE, SPECIALS, TITLE, load_tokenizer
from pipelines.weights import save_model

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

log = logging.getLogger(__name__)

CONFIG: dict[str, Any] = {
    "vocab_size": 5000, "n_positions": 512, "n_embd": 256, "n_layer": 6, "n_head": 4,
    "activation_function": "gelu_pytorch_tanh",
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    "bos_token_id": None, "eos_token_id": 1,
}  # fmt: skip

REAL = 0.12
"""Share of sequences that come from real stories."""
POOL = 8
"""Batches drawn together and sorted by length, so that little is padding."""
VALIDATION_STORIES = 96
SKIPPED = -100
"""Target of a token that is not learned: the request, and padding."""

Sequence_ = tuple[list[int], int]
"""Tokens, and how many at the start are not learned."""


def build(config: dict[str, Any]) -> GPT2LMHeadModel:
    """A writer with random weights; output and input embeddings are one."""
    from transformers import GPT2Config, GPT2LMHeadModel

    # Plain attention trains a fifth faster on a CPU than the fused one at this size.
    return GPT2LMHeadModel(GPT2Config(**{**config, "attn_implementation": "eager"}))


def split_parameters(model: GPT2LMHeadModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices of the blocks, and the rest (embeddings, norms, biases)."""
    blocks = list(model.transformer.h.parameters())
    matrices = [p for p in blocks if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    return matrices, [p for p in model.parameters() if id(p) not in chosen]


def encode_example(rng: random.Random, split: str = "train") -> Sequence_:
    """A story of the story world with its request, as tokens."""
    ids = load_tokenizer().encode(str(sample_example(rng, split))).ids
    return ids, ids.index(SPECIALS.index(TITLE)) + 1


def encode_real(stories: Sequence[CorpusStory], rng: random.Random) -> Sequence_:
    """Up to eight sentences in a row of a real story; from its beginning with its title."""
    story = rng.choice(stories)
    begin = rng.randrange(len(story.text)) if rng.random() < 0.7 else 0
    sentences = split_sentences(story.text[begin : begin + 1500])
    if begin:
        sentences = sentences[1:]  # its first is cut somewhere
    chosen = [s for s in sentences[:-1] if len(s.split()) <= 30][:8]
    title = story.title if not begin else ""
    text = f"{TITLE}{title}" + "".join(SENTENCE + s for s in chosen)
    # Whether a piece is the end of its story is not known, so it ends with no END.
    return load_tokenizer().encode(text).ids, 1


def batches(
    seed: int, start: int, size: int, stories: Sequence[CorpusStory], longest: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from number `start` on, for ever: tokens and targets, both (B, T) int64."""
    for pool in range(start // POOL, 1 << 30):
        rng = random.Random(f"{seed} story {pool}")  # resuming goes on with the same stories
        drawn = [
            encode_real(stories, rng) if stories and rng.random() < REAL else encode_example(rng)
            for _ in range(size * POOL)
        ]
        drawn.sort(key=lambda d: len(d[0]))
        groups = [drawn[k : k + size] for k in range(0, len(drawn), size)]
        rng.shuffle(groups)
        for group in groups[start % POOL if pool == start // POOL else 0 :]:
            yield collate(group, longest)


def collate(group: Sequence[Sequence_], longest: int) -> tuple[Tensor, Tensor]:
    """Pad to the longest: tokens and targets, both (B, T) int64."""
    width = min(max(len(ids) for ids, _ in group), longest)
    tokens = torch.full((len(group), width), PAD_ID)
    targets = torch.full((len(group), width), SKIPPED)
    for row, (ids, skip) in enumerate(group):
        line = torch.tensor(ids[:width])
        tokens[row, : len(line)] = line
        targets[row, skip : len(line)] = line[skip:]
    return tokens, targets


def loss_of(model: GPT2LMHeadModel, tokens: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of the learned tokens, in nats."""
    hidden = model.transformer(tokens[:, :-1]).last_hidden_state  # (B, T - 1, C)
    goal = targets[:, 1:]
    learned = goal != SKIPPED
    logits = model.lm_head(hidden[learned])  # (N, V)
    return F.cross_entropy(logits.float(), goal[learned])


@torch.no_grad()
def validation_loss(model: GPT2LMHeadModel, device: torch.device, count: int = 0) -> float:
    """Mean negative log-likelihood on held-out stories, in nats a token."""
    count = count or VALIDATION_STORIES
    rng = random.Random("validation")
    longest = model.config.n_positions
    drawn = sorted((encode_example(rng, "test") for _ in range(count)), key=lambda d: len(d[0]))
    total, number = 0.0, 0
    for k in range(0, count, 16):
        tokens, targets = collate(drawn[k : k + 16], longest)
        learned = int((targets[:, 1:] != SKIPPED).sum())
        total += loss_of(model, tokens.to(device), targets.to(device)).item() * learned
        number += learned
    return total / number


def train(
    steps: int,
    runs: Path,
    device: torch.device,
    *,
    config: dict[str, Any] = CONFIG,
    stories: Sequence[CorpusStory] = (),
    seed: int = 0,
    batch: int = 24,
    peak: float = 3e-3,
    warmup: int = 100,
    save_every: int = 250,
    report_every: int = 50,
) -> Iterator[TrainStep | GPT2LMHeadModel]:
    """Train for `steps`, resuming from `runs/story.pt`; the last event is the averaged model."""
    torch.manual_seed(seed)
    model, averaged = build(config), build(config)
    for module in (model, averaged):
        nn.Module.to(module, device)
    matrices, others = split_parameters(model)
    # Muon (Jordan et al. 2024) for the matrices of the blocks needs far fewer steps than AdamW.
    optimizers: dict[str, torch.optim.Optimizer] = {
        "muon": torch.optim.Muon(
            matrices, lr=peak, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
        "adamw": torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.95), weight_decay=0.0),
    }
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "model": model,
        "averaged": averaged,
        **optimizers,
    }
    ema = Ema(model, averaged, decay=0.99)
    start, _ = load_checkpoint(runs / "story.pt", parts)
    pace = Pace(start, steps)
    source = batches(seed, start, batch, stories, config["n_positions"])
    for step in range(start, steps):
        tokens, targets = next(source)
        set_learning_rate(optimizers.values(), learning_rate(step, steps, peak, warmup))
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(model, tokens.to(device), targets.to(device))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        ema.update(step)
        done = step + 1
        if done % save_every == 0 or done == steps:
            save_checkpoint(runs / "story.pt", done, parts)
        if done % report_every == 0 or done == steps:
            metrics = {"loss": loss.item()}
            if done % save_every == 0 or done == steps:
                metrics["validation"] = validation_loss(averaged, device)
            yield TrainStep(done, steps, metrics, pace.eta(done))
    yield averaged


def save(model: GPT2LMHeadModel, config: dict[str, Any], folder: Path) -> None:
    """Weights, config and lexicon; the output layer is the input embedding and is not repeated."""
    save_model(model.transformer, config, folder)
    (folder / "lexicon.txt").write_text("\n".join(lexicon()) + "\n", encoding="utf-8")


def main() -> None:
    p = parser(__doc__ or "", steps=2000, out="pipelines/weights/story")
    p.add_argument("--stories", type=Path, help="folder stories_text: real stories to mix in")
    p.add_argument("--batch", type=int, default=24, help="sequences a step")
    args = p.parse_args()
    device = begin(args)
    stories = list(read_stories(args.stories, "train")) if args.stories else []
    events = train(
        args.steps, args.runs, device,
        stories=stories, seed=args.seed, batch=args.batch, save_every=args.save_every,
    )  # fmt: skip
    model = report(events)
    save(model, CONFIG, args.out)
    log.info("wrote %s", args.out)


if __name__ == "__main__":
    main()
