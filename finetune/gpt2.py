"""Train the embedded story writer from scratch: `python -m finetune.gpt2 --stories FOLDER`.

With `--base` a writer that there is learns texts of your own instead: `finetune/language_model.py`,
`python -m finetune.gpt2 --base embedded --help`.

A GPT-2 (Radford et al. 2019) of 12 million parameters on our own tokenizer. It learns to go on from
`{request} ({sentences})<title>` with `{title}<s>{sentence}<brief>{what its picture shows}...<end>`;
real stories in simple language (`stories_text`) join for their language, without request or brief.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import logging
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from finetune.data.corpora import CorpusStory, read_stories
from finetune.data.packing import SKIPPED
from finetune.data.requests import lexicon, sample_example, spelling
from finetune.distributed import (
    average_gradients,
    averaged,
    leave,
    mean,
    processes,
    rank,
    share,
)
from finetune.own import guarded
from finetune.training import (
    Clock,
    Ema,
    TrainStep,
    autocast,
    begin,
    load_checkpoint,
    optimizers_of,
    parser,
    rate,
    report,
    save_checkpoint,
    set_learning_rate,
)
from pipelines.errors import InvalidInput
from pipelines.gpt2 import GPT2Config, GPT2Writer
from pipelines.presets import check_range
from pipelines.reading import split_sentences
from pipelines.story import LEXICON, SPELLING
from pipelines.tokenizer import PAD_ID, SENTENCE, SPECIALS, TITLE, load_tokenizer
from pipelines.weights import list_hashes, load_weights, save_model

log = logging.getLogger(__name__)

REAL = 0.12
"""Share of sequences that come from real stories."""
POOL = 8
"""Batches drawn together and sorted by length, so that little is padding."""
VALIDATION_STORIES = 96
Sequence_ = tuple[list[int], int]
"""Tokens, and how many at the start are not learned."""


def embedded_config() -> dict[str, Any]:
    """Shape of the shipped model, as plain values."""
    return {
        "vocab_size": load_tokenizer().get_vocab_size(),
        "n_positions": 512, "n_embd": 320, "n_layer": 8, "n_head": 5,
        "activation_function": "gelu_pytorch_tanh",
        # For transformers, when it learns texts of one's own (`finetune/writers.py`).
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        "bos_token_id": None, "eos_token_id": 1,
    }  # fmt: skip


def build(config: dict[str, Any]) -> GPT2Writer:
    """A writer with random weights; output and input embeddings are one."""
    return GPT2Writer(GPT2Config.from_values(config))


def read_weights(folder: Path) -> GPT2Writer:
    """An embedded writer that is there, to go on from. Raises ModelUnavailable."""
    model = build(embedded_config())
    load_weights(model.transformer, folder)  # the output layer is the input embedding
    return model


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


def pool_of(
    number: int, seed: int, size: int, stories: Sequence[CorpusStory], longest: int
) -> list[tuple[Tensor, Tensor]]:
    """POOL batches of `size`, the same for the same number: tokens and targets, both (B, T)."""
    rng = random.Random(f"{seed} story {number}")
    drawn = [
        encode_real(stories, rng) if stories and rng.random() < REAL else encode_example(rng)
        for _ in range(size * POOL)
    ]
    drawn.sort(key=lambda d: len(d[0]))
    groups = [drawn[k : k + size] for k in range(0, len(drawn), size)]
    rng.shuffle(groups)
    return [collate(group, longest) for group in groups]


class _Pools(IterableDataset[list[tuple[Tensor, Tensor]]]):
    """Pools of batches for ever, each worker taking every n-th."""

    def __init__(self, first: int, make: Callable[[int], list[tuple[Tensor, Tensor]]]) -> None:
        self.first, self.make = first, make

    def __iter__(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        info = get_worker_info()
        at, step = (0, 1) if info is None else (info.id, info.num_workers)
        for number in itertools.count(self.first + at, step):
            yield self.make(number)


def batches(
    seed: int,
    start: int,
    size: int,
    stories: Sequence[CorpusStory],
    longest: int,
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from number `start` on, for ever: tokens and targets, both (B, T) int64."""
    make = functools.partial(pool_of, seed=seed, size=size, stories=stories, longest=longest)
    # A loader takes from its workers in turn, so the order is that of one process.
    pools = DataLoader(
        _Pools(start // POOL, make),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    skip = start % POOL  # resuming goes on with the same stories
    for pool in pools:
        yield from pool[skip:]
        skip = 0


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


def loss_of(model: GPT2Writer, tokens: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of the learned tokens, in nats."""
    hidden = model.read(tokens[:, :-1])  # (B, T - 1, C)
    goal = targets[:, 1:]
    learned = goal != SKIPPED
    logits = model.lm_head(hidden[learned])  # (N, V)
    return F.cross_entropy(logits.float(), goal[learned])


@torch.no_grad()
def validation_loss(model: GPT2Writer, device: torch.device, count: int = 0) -> float:
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
    config: dict[str, Any] | None = None,
    begun: GPT2Writer | None = None,
    stories: Sequence[CorpusStory] = (),
    seed: int = 0,
    batch: int = 24,
    peak: float = 3e-3,
    minutes: float | None = None,
    workers: int = 0,
    save_every: int = 250,
    report_every: int = 50,
) -> Iterator[TrainStep | GPT2Writer]:
    """Train for `steps`, resuming from `runs/story.pt`; the last event is the averaged model.

    `begun`: the writer to begin with, instead of random weights. `workers` processes prepare the
    stories (0: none beside this one). `batch` is of all processes together.
    """
    torch.manual_seed(seed)
    config = config or embedded_config()
    model, average = build(config), build(config)
    if begun is not None:
        for part in (model, average):
            part.load_state_dict(begun.state_dict())
    for module in (model, average):
        nn.Module.to(module, device)
    optimizers = optimizers_of(model.transformer.h, model, peak, weight_decay=0.1)
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "model": model,
        "averaged": average,
        **optimizers,
    }
    ema = Ema(model, average, decay=0.99)
    start, extra = load_checkpoint(runs / "story.pt", parts)
    clock = Clock(start, steps, minutes, extra.get("progress", 0.0))
    step = start
    lessons = batches(seed, start, batch, stories, config["n_positions"], workers)
    for tokens, targets in () if clock.over(step) else lessons:
        set_learning_rate(optimizers.values(), rate(clock.progress(step), peak))
        read, goal = share(tokens).to(device), share(targets).to(device)
        learned = (goal[:, 1:] != SKIPPED).sum()
        with autocast(device):
            loss = loss_of(model, read, goal)
        loss = loss * (learned / averaged(learned))  # shares are not equally long
        model.zero_grad()
        loss.backward()
        average_gradients([model])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        ema.update(step)
        step += 1
        last = clock.over(step)
        if step % save_every == 0 or last:
            save_checkpoint(runs / "story.pt", step, parts, progress=clock.progress(step))
        if step % report_every == 0 or last:
            metrics = {"loss": mean(loss)}
            if step % save_every == 0 or last:
                metrics["validation"] = validation_loss(average, device)
            yield TrainStep(step, steps, metrics, clock.eta(step))
        if last:
            break
    yield average


@torch.no_grad()
def blend(model: GPT2Writer, begun: GPT2Writer, share: float) -> None:
    """Let `model` keep a share, in [0, 1], of the weights of the writer that it went on from.

    What is new is learned by then, and what that one knew is not yet forgotten. Source: Wortsman
    et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), section 3.
    """
    for new, old in zip(model.parameters(), begun.parameters(), strict=True):
        new.lerp_(old.to(new), share)


def save(model: GPT2Writer, config: dict[str, Any], folder: Path) -> None:
    """Weights, config and words; the output layer is the input embedding and is not repeated."""
    save_model(model.transformer, config, folder, int8=True)
    for name, words in ((LEXICON, lexicon()), (SPELLING, spelling())):
        (folder / name).write_text("\n".join(words) + "\n", encoding="utf-8")
    list_hashes(folder)


def main() -> None:
    taught = {"--base", "--data", "--dry-run"}  # without a base the other parser says so
    if any(a.partition("=")[0] in taught for a in sys.argv[1:]):
        from finetune.gpt2_command import main as teach

        teach()
        return
    p = parser(__doc__ or "", steps=2000, out="pipelines/weights/story")
    p.add_argument("--stories", type=Path, help="folder stories_text: real stories to mix in")
    p.add_argument("--batch", type=int, default=24, help="sequences a step")
    p.add_argument("--from", dest="begun", type=Path, help="folder of a writer to go on from")
    p.add_argument("--peak", type=float, default=3e-3, help="learning rate at its highest")
    p.add_argument(
        "--blend", type=float, default=0.0,
        help="share of the writer of --from that the result keeps, in its weights; 0 to 1",
    )  # fmt: skip
    p.add_argument("--workers", type=int, default=0, help="processes that prepare stories")
    args = p.parse_args()
    guarded(lambda: run(args, begin(args)))


def run(args: argparse.Namespace, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    check_range("--blend", args.blend, 0.0, 1.0)
    if args.blend and not args.begun:
        raise InvalidInput("--blend needs --from: the writer whose weights are kept in part.")
    stories = list(read_stories(args.stories, "train")) if args.stories else []
    begun = read_weights(args.begun) if args.begun else None
    events = train(
        args.steps, args.runs, device, begun=begun, peak=args.peak,
        stories=stories, minutes=args.minutes, workers=args.workers, seed=args.seed,
        batch=args.batch * processes(), save_every=args.save_every,
        report_every=min(50, args.save_every),
    )  # fmt: skip
    model = report(events)
    if begun is not None:
        blend(model, begun, args.blend)
    if rank() == 0:
        save(model, embedded_config(), args.out)
        log.info("wrote %s", args.out)
    leave()


if __name__ == "__main__":
    main()
