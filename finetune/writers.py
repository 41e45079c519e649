"""A story writer to be taught: the embedded one or any causal language model, and how it reads.

What is written is a folder that `StoryPipeline.from_pretrained` takes.
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finetune.data.documents import Document
from finetune.data.packing import SKIPPED, pack
from finetune.data.retelling import encode, runs, widened_lexicon
from finetune.training import as_json
from pipelines.banned import ban_list
from pipelines.errors import InvalidInput
from pipelines.gpt2 import GPT2Writer
from pipelines.presets import StoryConfig
from pipelines.reading import split_sentences
from pipelines.story import LEXICON, StoryPipeline
from pipelines.story_requests import read_request
from pipelines.story_restoring import restore
from pipelines.tokenizer import END_ID, PAD_ID
from pipelines.weights import EMBEDDED, read_config, save_model

Sequence_ = tuple[list[int], int]
"""Tokens, and how many at the start are read but not learned."""

BLOCK = 512
"""Longest sequence in tokens, unless the model reads less."""


def for_trainer(writer: GPT2Writer) -> Any:
    """The same function as transformers' model, which its Trainer and adapters work on."""
    from transformers import GPT2Config, GPT2LMHeadModel

    plain = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
             "bos_token_id": None, "eos_token_id": END_ID}  # fmt: skip
    model = GPT2LMHeadModel(GPT2Config(**asdict(writer.config), **plain))
    model.transformer.load_state_dict(writer.transformer.state_dict())
    return model


@dataclass(frozen=True)
class Writer:
    """A model, how it reads texts, and how it is written down again."""

    name: str
    model: Any
    """transformers' model for causal language modelling, in float32, on the CPU."""
    tokenizer: Any
    """transformers' tokenizer; None for the embedded writer, which has its own."""
    lexicon: frozenset[str] | None
    """The embedded writer's words; None for a plain language model."""
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    """The embedded writer's, read with it: its folder may be gone when the new one is written."""

    @classmethod
    def load(cls, name: str) -> Writer:
        """By "embedded", a folder or a hub name. Raises ModelUnavailable, InvalidInput."""
        found = StoryPipeline.from_pretrained(name, device="cpu")
        if found.lexicon is None and found.tokenizer.eos_token_id is None:
            raise InvalidInput(
                f"The tokenizer of “{name}” has no token for the end of a text: use another model."
            )
        model = found.model if found.lexicon is None else for_trainer(found.model)
        home = EMBEDDED / "story" if name == "embedded" else Path(name)
        config = {} if found.lexicon is None else read_config(home)
        return cls(name, model.float(), found.tokenizer, found.lexicon, config)

    @property
    def embedded(self) -> bool:
        return self.lexicon is not None

    @property
    def longest(self) -> int:
        """Tokens that the model reads at most."""
        config = self.model.config
        return int(getattr(config, "max_position_embeddings", 0) or BLOCK)

    @property
    def pad_id(self) -> int:
        if self.embedded:
            return PAD_ID
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    def taught(self, documents: Sequence[Document]) -> Writer:
        """The same writer, its lexicon widened by the words of new texts."""
        if self.lexicon is None:
            return self
        return replace(self, lexicon=frozenset(widened_lexicon(self.lexicon, documents)))

    def read(
        self, documents: Sequence[Document], block: int, *, seed: int = 0, most: int = 0
    ) -> list[Sequence_]:
        """Texts as sequences of at most `block` tokens, in an order drawn by the seed.

        `most`: enough sequences for it are made, and no more; 0 = all.
        """
        order = list(documents)
        random.Random(f"{seed} order").shuffle(order)
        if self.lexicon is not None:
            found = list[Sequence_]()
            for d in order:
                found += [e for run in runs(d, self.lexicon, seed) for e in encode(run, block)]
                if most and len(found) >= most:
                    break
            return found
        read = (self.tokenizer(d.text, add_special_tokens=False)["input_ids"] for d in order)
        return [(ids, 0) for ids in pack(_until(read, most * block), block,
                                         self.tokenizer.eos_token_id)]  # fmt: skip

    def tell(
        self, model: Any, words: str, *, seed: int, sentences: int = 5, ban: bool = True
    ) -> tuple[str, list[str]]:
        """Title and sentences of one story, as the model writes it: not ranked, nothing put right
        but placeholders. `ban` keeps unsuitable words out."""
        config = StoryConfig(words, sentences=sentences, drafts=1, seed=seed)
        banned = ban_list() if ban else ()
        generator = torch.Generator().manual_seed(seed)
        training = model.training
        model.eval()
        try:
            if self.lexicon is not None:
                return _tell_embedded(model, self.lexicon, config, banned, generator)
            from pipelines.story_plain import continue_text

            *_, last = continue_text(model, self.tokenizer, words, config, banned, 1, generator)
            return words[:1].upper() + words[1:], split_sentences(last[0][0])[:sentences]
        finally:
            model.train(training)

    def save(self, model: Any, out: Path, facts: dict[str, Any]) -> None:
        """Write the folder whole, or leave what was there; `facts` go into `training.json`.

        `out` is one that `finetune.own.own_place` has passed: all that lies there is replaced.
        """
        fresh, old = (out.with_name(f".{out.name}.{kind}") for kind in ("new", "old"))
        if old.exists() and not out.exists():  # killed between the two moves below
            os.replace(old, out)
        for rest in (fresh, old):
            shutil.rmtree(rest, ignore_errors=True)
        fresh.mkdir(parents=True)
        if self.lexicon is not None:
            save_model(model.transformer, self.config, fresh, int8=True)
            words = "\n".join(sorted(self.lexicon)) + "\n"
            (fresh / LEXICON).write_text(words, encoding="utf-8")
        else:
            model.save_pretrained(fresh)
            self.tokenizer.save_pretrained(fresh)
        text = as_json(facts, indent=2) + "\n"
        (fresh / "training.json").write_text(text, encoding="utf-8")
        if out.exists():
            os.replace(out, old)
        os.replace(fresh, out)
        shutil.rmtree(old, ignore_errors=True)


def _until(documents: Iterator[list[int]], tokens: int) -> Iterator[list[int]]:
    """Documents until they have so many tokens together; 0 = all."""
    seen = 0
    for ids in documents:
        yield ids
        seen += len(ids)
        if tokens and seen >= tokens:
            return


def _tell_embedded(
    model: Any,
    lexicon: frozenset[str],
    config: StoryConfig,
    banned: Sequence[str],
    generator: torch.Generator,
) -> tuple[str, list[str]]:
    from pipelines.story_decoding import sample

    request = read_request(config.words, lexicon)
    names = {w for w in lexicon if w[:1].isupper()}
    *_, last = sample(model, request, config, banned, 1, generator, names)
    title, sentences = last[0].text()
    return restore(title, request), [restore(s, request) for s in sentences]


def collate(group: Sequence[Sequence_], pad_id: int) -> dict[str, Tensor]:
    """Sequences padded to the longest: input_ids, labels and attention_mask, (B, T) int64."""
    width = max(len(ids) for ids, _ in group)
    tokens = torch.full((len(group), width), pad_id)
    labels = torch.full((len(group), width), SKIPPED)
    mask = torch.zeros((len(group), width), dtype=torch.int64)
    for row, (ids, skip) in enumerate(group):
        line = torch.tensor(ids)
        tokens[row, : len(ids)] = line
        labels[row, skip : len(ids)] = line[skip:]
        mask[row, : len(ids)] = 1
    return {"input_ids": tokens, "labels": labels, "attention_mask": mask}


# --- what is trained of it ---------------------------------------------------------------


def blocks_of(model: nn.Module) -> tuple[nn.Module, nn.ModuleList]:
    """The transformer blocks of a language model, and the module that holds them."""
    lists = [
        (parent, child)
        for parent in model.modules()
        for child in parent.children()
        if isinstance(child, nn.ModuleList)
    ]
    if not lists:
        raise InvalidInput("The blocks of this model cannot be told apart: leave out --train-top.")
    return max(lists, key=lambda found: sum(p.numel() for p in found[1].parameters()))


def train_top(model: nn.Module, top: int) -> None:
    """Freeze all but the top `top` blocks and the norm behind them; embeddings stay, too.

    Raises InvalidInput when there are not so many.
    """
    parent, blocks = blocks_of(model)
    if not 1 <= top <= len(blocks):
        raise InvalidInput(f"--train-top takes 1 to {len(blocks)}: so many blocks the model has.")
    model.requires_grad_(False)
    for block in blocks[len(blocks) - top :]:
        block.requires_grad_(True)
    children = list(parent.children())
    for after in children[next(n for n, c in enumerate(children) if c is blocks) + 1 :]:
        after.requires_grad_(True)


def with_lora(model: Any, rank: int) -> Any:
    """Low-rank adapters beside every matrix of the blocks; all else is frozen.

    Source: Hu et al. 2021, arXiv 2106.09685; alpha is twice the rank.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    _, blocks = blocks_of(model)
    flipped = any(isinstance(m, Conv1D) for m in blocks.modules())
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, lora_dropout=0.0,
        target_modules="all-linear", fan_in_fan_out=flipped,
    )  # fmt: skip
    with warnings.catch_warnings():
        # peft 0.21 asks for gradient checkpointing by the name that transformers 5 has given up.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)
