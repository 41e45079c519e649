"""Any causal language model as the story writer: the request, continued as plain text."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipelines.errors import ModelUnavailable
from pipelines.presets import StoryConfig
from pipelines.scene import split_sentences

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOKENS_A_SENTENCE = 36
"""Room for a sentence; a story that has not ended by then is cut at its last full stop."""
CONNECT_SECONDS = 4.0


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

    try:
        return load(True)
    except (OSError, ValueError) as e:
        if Path(name).exists() or os.sep in name and name.count("/") != 1:
            raise ModelUnavailable(
                f"“{name}” holds no language model that transformers can read ({_short(e)}). "
                "It needs config.json, model.safetensors and the tokenizer's files."
            ) from e
        if not _hub_reached():
            raise ModelUnavailable(_advice(name, "no model hub is reached from here")) from e
    try:
        return load(False)
    except Exception as e:  # whatever the hub's client raises: network, access, unknown name
        raise ModelUnavailable(_advice(name, _short(e))) from e


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _advice(name: str, reason: str) -> str:
    return (
        f"The language model “{name}” is not on this machine, and {reason}. On a machine with "
        f"internet run “hf download {name} --local-dir {Path(name).name}”, copy that folder here "
        "and give its path; or use the embedded story writer, which needs no download."
    )


def _hub_reached() -> bool:
    """Whether the hub may be asked: not switched off, and its machine answers (or a proxy does)."""
    if any(os.environ.get(v, "").upper() in ("1", "TRUE", "YES", "ON")
           for v in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):  # fmt: skip
        return False
    if any(os.environ.get(v) for v in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


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
