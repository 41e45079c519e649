"""GPT-2 in plain PyTorch: what the embedded writer and the code transformer are made of.

Source: Radford et al. 2019. Names of weights and shapes are those of transformers, whose models
take the same files; importing those takes longer (about 3 s) than everything else that happens
before the first word is written, so the embedded models go without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.errors import InvalidInput

ACTIVATIONS = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}
"""transformers' names -> how `nn.GELU` approximates; the first two are the same function."""


@dataclass(frozen=True)
class GPT2Config:
    """Shape of the network, with transformers' names."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> GPT2Config:
        """Of a `config.json`, which may say more. Raises InvalidInput, TypeError, ValueError."""
        shape = {k: v for k, v in values.items() if k in cls.__dataclass_fields__}
        config = cls(**shape)
        if config.activation_function not in ACTIVATIONS:
            raise InvalidInput(
                f"The activation must be one of {', '.join(ACTIVATIONS)}, "
                f"not {config.activation_function}."
            )
        if config.n_embd % config.n_head:
            raise ValueError(f"{config.n_head} heads cannot share {config.n_embd} channels")
        return config


class Conv1D(nn.Module):
    """A linear layer whose weight is kept as (in, out), as OpenAI's files have it."""

    def __init__(self, out: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, out))
        self.bias = nn.Parameter(torch.zeros(out))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, self.weight.t(), self.bias)


class Attention(nn.Module):
    def __init__(self, c: GPT2Config) -> None:
        super().__init__()
        self.heads = c.n_head
        self.c_attn = Conv1D(3 * c.n_embd, c.n_embd)
        self.c_proj = Conv1D(c.n_embd, c.n_embd)
        nn.init.normal_(self.c_proj.weight, std=0.02 * (2 * c.n_layer) ** -0.5)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, T, W) -> (B, T, W). `seen` (B, 1, T, T) says who sees whom, None: all before."""
        b, t, width = x.shape
        query, key, value = self.c_attn(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, is_causal=seen is None
        )
        return self.c_proj(mixed.transpose(1, 2).reshape(b, t, width))


class MLP(nn.Module):
    def __init__(self, c: GPT2Config) -> None:
        super().__init__()
        self.c_fc = Conv1D(4 * c.n_embd, c.n_embd)
        self.c_proj = Conv1D(c.n_embd, 4 * c.n_embd)
        self.act = nn.GELU(approximate=ACTIVATIONS[c.activation_function])
        nn.init.normal_(self.c_proj.weight, std=0.02 * (2 * c.n_layer) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., W) -> (..., W)."""
        return self.c_proj(self.act(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, c: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(c.n_embd, eps=c.layer_norm_epsilon)
        self.attn = Attention(c)
        self.ln_2 = nn.LayerNorm(c.n_embd, eps=c.layer_norm_epsilon)
        self.mlp = MLP(c)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, T, W) -> (B, T, W)."""
        x = x + self.attn(self.ln_1(x), seen)
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """Embeddings, blocks and the last norm; a model puts its own output on top."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, x: Tensor, where: Tensor, mask: Tensor | None = None) -> Tensor:
        """Inputs (B, T, W) at positions `where` (T,) -> hidden states (B, T, W).

        `mask` (B, T): 0 where a short prompt was padded; nobody looks there, nor ahead.
        """
        seen: Tensor | None = None
        if mask is not None:
            t = x.shape[1]
            before = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
            # A padded place sees itself, so that no row is empty.
            itself = torch.eye(t, dtype=torch.bool, device=x.device)
            seen = (before & (mask[:, None, None] > 0)) | itself
        x = x + self.wpe(where)
        for block in self.h:
            x = block(x, seen)
        return self.ln_f(x)


class GPT2Writer(nn.Module):
    """A GPT-2 that names the next token: its output layer is the embedding of tokens."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = GPT2(config)

    def read(self, ids: Tensor) -> Tensor:
        """Tokens (B, T) -> hidden states (B, T, W)."""
        where = torch.arange(ids.shape[1], device=ids.device)
        return self.transformer(self.transformer.wte(ids), where)

    def forward(self, ids: Tensor) -> Tensor:
        """Tokens (B, T) -> logits of the one after each, (B, T, V)."""
        return self.lm_head(self.read(ids))

    def lm_head(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., W) -> logits (..., V)."""
        return F.linear(hidden, self.transformer.wte.weight)
