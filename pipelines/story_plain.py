"""Any causal language model as the story writer: the request, continued as plain text.

The model is one of transformers, or a copy converted to CTranslate2, which is quicker on a
processor (`story_ctranslate2`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.errors import InvalidInput
from pipelines.hub import complete, load_named, located
from pipelines.presets import StoryConfig
from pipelines.reading import split_sentences

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOKENS_A_SENTENCE = 36
"""Room for a sentence; a story that has not ended by then is cut at its last full stop."""


def load_plain(name: str, device: torch.device) -> tuple[Any, Any]:
    """Model and tokenizer by hub name or folder; the hub's cache first. Of a folder that
    `story_ctranslate2.convert_story` wrote, a ConvertedModel.

    Raises ModelUnavailable, at once where no hub is reached.
    """
    name = located(name)
    if (Path(name) / "model.bin").is_file():
        from pipelines.story_ctranslate2 import load_converted

        return load_converted(Path(name), device)
    from torch.nn import Module
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def load(local: bool) -> tuple[Any, Any]:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name, local_files_only=local, output_loading_info=True
        )
        model: Any = complete(loaded)
        Module.to(model, device)
        return model.eval(), tokenizer

    return load_named(
        name, "language model", load,
        needs="config.json, model.safetensors and the tokenizer's files",
        instead="the embedded story writer, which needs no download",
    )  # fmt: skip


class Continuation(NamedTuple):
    """One text as far as it is written, the prompt included."""

    text: str
    likelihood: float
    """Mean log-likelihood of its tokens in nats."""
    tokens: int
    """Written behind the prompt."""


class Continuations:
    """Several texts that grow token by token from the same prompt."""

    def __init__(self, tokenizer: Any, words: str, config: StoryConfig, count: int) -> None:
        self.tokenizer, self._sentences = tokenizer, config.sentences
        self.prompt: list[int] = tokenizer(words[:1].upper() + words[1:])["input_ids"]
        self.end: int | None = tokenizer.eos_token_id
        self._tokens: list[list[int]] = [[] for _ in range(count)]
        self._totals = [0.0] * count
        self.ended = [False] * count

    def room(self, positions: int) -> int:
        """Tokens that may be written, for a model that reads so many in all. Raises InvalidInput
        when the request leaves no room for a sentence."""
        left = positions - len(self.prompt) - 1
        if left < TOKENS_A_SENTENCE:
            raise InvalidInput(
                f"This request takes {len(self.prompt)} of the {positions} tokens that the "
                "language model can read, a story included: shorten it."
            )
        return min(left, TOKENS_A_SENTENCE * self._sentences)

    def add(self, row: int, token: int, log_likelihood: float) -> None:
        """Text `row` goes on, until its end or until it has all its sentences."""
        if self.ended[row]:
            return
        tokens = self._tokens[row]
        self._totals[row] += log_likelihood
        self.ended[row] = token == self.end
        if not self.ended[row]:
            tokens.append(token)
            if len(tokens) % 4 == 0:
                self.ended[row] = len(split_sentences(self._text(row))) > self._sentences

    def read(self) -> list[Continuation]:
        """The texts as far as they are written."""
        return [
            Continuation(self._text(row), self._totals[row] / max(len(tokens), 1), len(tokens))
            for row, tokens in enumerate(self._tokens)
        ]

    def _text(self, row: int) -> str:
        ids = [*self.prompt, *self._tokens[row]]
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()


def spelled_out(tokenizer: Any, banned: Sequence[str]) -> list[list[int]]:
    """Token sequences of words that must not appear, however they are written."""
    forms = {f for w in banned for v in (w, w.capitalize(), w.upper()) for f in (v, " " + v)}
    spelled = [tokenizer(f, add_special_tokens=False)["input_ids"] for f in sorted(forms)]
    return [s for s in spelled if s]


def continue_text(
    model: Any,
    tokenizer: Any,
    words: str,
    config: StoryConfig,
    banned: Sequence[str],
    candidates: int,
    generator: torch.Generator,
) -> Iterator[list[Continuation]]:
    """Texts so far, after every few tokens; the last are the whole texts.

    Each begins with `words`. Randomness comes from `generator` (CPU) alone. `model` and `tokenizer`
    are those of `load_plain`. Raises InvalidInput when the model cannot read so long a request.
    """
    texts = Continuations(tokenizer, words, config, candidates)
    if hasattr(model, "steps"):  # a ConvertedModel, which samples by itself
        yield from model.steps(texts, config, spelled_out(tokenizer, banned), generator)
        return
    import torch
    from transformers.generation.logits_process import (
        NoBadWordsLogitsProcessor,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    # These two take no whole numbers, such as JSON has them.
    processors: list[Any] = [TemperatureLogitsWarper(float(config.temperature))]
    if config.repetition_penalty != 1.0:
        processors.insert(0, RepetitionPenaltyLogitsProcessor(float(config.repetition_penalty)))
    if spelled := spelled_out(tokenizer, banned):
        processors.append(NoBadWordsLogitsProcessor(spelled))
    processors += [TopKLogitsWarper(config.top_k)] if config.top_k else []
    processors += [TopPLogitsWarper(config.top_p)] if config.top_p < 1 else []

    device = next(model.parameters()).device
    ids = fresh = torch.tensor([texts.prompt] * candidates)  # (B, T)
    cache = None
    for step in range(texts.room(int(getattr(model.config, "max_position_embeddings", 1024)))):
        with torch.no_grad():
            out = model(fresh.to(device), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits: Tensor = out.logits[:, -1].float().cpu()  # (B, V)
        scores = logits
        for process in processors:
            scores = process(ids, scores)
        dead = ~torch.isfinite(scores).any(dim=1)
        scores = torch.where(dead[:, None], logits, scores)
        fresh = torch.multinomial(scores.softmax(dim=1), 1, generator=generator)  # (B, 1)
        likely = logits.log_softmax(dim=1).gather(1, fresh)[:, 0].tolist()
        for row in range(candidates):
            texts.add(row, int(fresh[row]), likely[row])
        ids = torch.cat([ids, fresh], dim=1)
        if step % 4 == 3:
            yield texts.read()
            if all(texts.ended):
                return
    yield texts.read()
