"""Any causal language model as the story writer: the request, continued as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.hub import load_named
from pipelines.presets import StoryConfig
from pipelines.scene import split_sentences

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOKENS_A_SENTENCE = 36
"""Room for a sentence; a story that has not ended by then is cut at its last full stop."""


def load_plain(name: str, device: torch.device) -> tuple[Any, Any]:
    """Model and tokenizer by hub name or folder; the hub's cache first.

    Raises ModelUnavailable, at once where no hub is reached.
    """
    from torch.nn import Module
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def load(local: bool) -> tuple[Any, Any]:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
        model = AutoModelForCausalLM.from_pretrained(name, local_files_only=local)
        Module.to(model, device)
        return model.eval(), tokenizer

    return load_named(
        name, "language model", load,
        needs="config.json, model.safetensors and the tokenizer's files",
        instead="the embedded story writer, which needs no download",
    )  # fmt: skip


def continue_text(
    model: Any,
    tokenizer: Any,
    words: str,
    config: StoryConfig,
    banned: Sequence[str],
    candidates: int,
    generator: torch.Generator,
) -> Iterator[list[tuple[str, float]]]:
    """Texts so far with their mean log-likelihood in nats, after every few tokens.

    Each begins with `words`. Randomness comes from `generator` (CPU) alone.
    """
    import torch
    from transformers.generation.logits_process import (
        NoBadWordsLogitsProcessor,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    prompt: list[int] = tokenizer(words[:1].upper() + words[1:])["input_ids"]
    end = tokenizer.eos_token_id
    processors: list[Any] = [TemperatureLogitsWarper(config.temperature)]
    if config.repetition_penalty != 1.0:
        processors.insert(0, RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    forms = {f for w in banned for v in (w, w.capitalize(), w.upper()) for f in (v, " " + v)}
    spelled = [tokenizer(f, add_special_tokens=False)["input_ids"] for f in sorted(forms)]
    if spelled:
        processors.append(NoBadWordsLogitsProcessor([s for s in spelled if s]))
    processors += [TopKLogitsWarper(config.top_k)] if config.top_k else []
    processors += [TopPLogitsWarper(config.top_p)] if config.top_p < 1 else []

    device = next(model.parameters()).device
    room = int(getattr(model.config, "max_position_embeddings", 1024)) - len(prompt) - 1
    ids = fresh = torch.tensor([prompt] * candidates)  # (B, T)
    cache = None
    lengths = [0] * candidates
    totals, ended = [0.0] * candidates, [False] * candidates

    def texts() -> list[tuple[str, float]]:
        shown = []
        for row in range(candidates):
            new = ids[row, len(prompt) : len(prompt) + lengths[row]].tolist()
            text = tokenizer.decode([*prompt, *new], skip_special_tokens=True)
            shown.append((text.strip(), totals[row] / max(lengths[row], 1)))
        return shown

    for step in range(min(room, TOKENS_A_SENTENCE * config.sentences)):
        with torch.no_grad():
            out = model(fresh.to(device), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits: Tensor = out.logits[:, -1].float().cpu()  # (B, V)
        scores = logits
        for process in processors:
            scores = process(ids, scores)
        dead = ~torch.isfinite(scores).any(dim=1)
        scores = torch.where(dead[:, None], logits, scores)
        tokens = torch.multinomial(scores.softmax(dim=1), 1, generator=generator)  # (B, 1)
        likely = logits.log_softmax(dim=1).gather(1, tokens)[:, 0].tolist()
        for row in range(candidates):
            if not ended[row]:
                ended[row] = int(tokens[row]) == end
                totals[row] += likely[row]
                lengths[row] += not ended[row]
        fresh = tokens
        ids = torch.cat([ids, fresh], dim=1)
        if step % 4 == 3:
            shown = texts()
            for row, (text, _) in enumerate(shown):
                ended[row] |= len(split_sentences(text)) > config.sentences
            yield shown
            if all(ended):
                return
    yield texts()
