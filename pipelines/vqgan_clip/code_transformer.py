"""The code transformer: a sentence becomes a plan, and the plan a grid of codebook indices.

Source: Esser et al. 2021, section 3.2, with the sentence's tokens as prefix. The body is a GPT-2.
We differ in three ways:

- Between sentence and codes the network writes a *plan*: for each piece of the picture which word
  it is, where it stands and how large it is (coarse to fine; the plan costs 24 tokens). Every
  position then knows which part of which word it belongs to.
- A position also sees the codes above it, not only those to its left.
- As a position holds several codes (product quantisation), a small head predicts them one after
  the other from the same hidden state (the idea of the RQ-Transformer, Lee et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.few_rows import linear
from pipelines.gpt2 import GPT2, GPT2Config
from pipelines.plan import FIELDS, PIECES, SIDES, word_numbers
from pipelines.reader import Reader
from pipelines.tokenizer import TEXT_LENGTH
from pipelines.vqgan_clip.clip import tokenize
from pipelines.weights import building, load_weights, read_config

NO_TARGET = -100
"""Plan entries that mean nothing (place and size of no piece) are not learned."""


@dataclass(frozen=True)
class CodeTransformerConfig:
    """Shape of the network. Pictures have `grid` x `grid` positions of `groups` codes each."""

    vocabulary: int
    words: int
    """Words a plan can name; the codes of a plan's words are 1 + their index. 0: plans are empty,
    as of a model that learned from pictures whose layout nobody knows."""
    width: int = 256
    layers: int = 6
    heads: int = 4
    grid: int = 16
    groups: int = 4
    codebook_size: int = 512
    sizes: tuple[int, ...] = (4, 6, 8)
    """Sides that a piece can have, in cells."""
    part_channels: int = 64
    mirrored: bool = False
    """Whether a piece can be mirrored."""

    @property
    def field_sizes(self) -> tuple[int, int, int, int]:
        """How many values each field of a piece can take."""
        return (self.words + 1, self.grid, self.grid, len(self.sizes) * (1 + self.mirrored))

    @property
    def story_world(self) -> bool:
        """Whether its plans are those of `pipelines.plan`."""
        return self.words == len(word_numbers()) and self.sizes == SIDES and self.mirrored


@dataclass(frozen=True)
class Drawn:
    """What has been sampled so far: plan (B, PIECES * FIELDS), codes (B, n, G), int64, on CPU."""

    plan: Tensor
    codes: Tensor


class PlanFeatures(nn.Module):
    """What the plan says of every position: the two pieces on top, and which part of them.

    One vector for every part of every word in every size: learned by heart, as clip art is.
    """

    sides: Tensor

    def __init__(self, c: CodeTransformerConfig) -> None:
        super().__init__()
        self.grid, self.most = c.grid, max(c.sizes)
        self.register_buffer("sides", torch.tensor(c.sizes), persistent=False)
        parts = (c.words + 1) * len(c.sizes) * self.most**2
        self.parts = nn.Embedding(parts, c.part_channels)
        # For the piece on top and the one below it; mirrored parts look otherwise.
        ways = 2 * (1 + c.mirrored)
        self.layers = nn.ModuleList(nn.Linear(c.part_channels, c.width) for _ in range(ways))

    def _within(self, plan: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Column and row of every position in every piece, the pieces' sides in cells, and whether
        they cover it: (B, PIECES, N), sides (B, PIECES, 1)."""
        word, x, y, kind = plan.view(len(plan), PIECES, FIELDS, 1).unbind(2)  # (B, PIECES, 1) each
        cells = torch.arange(self.grid**2, device=plan.device)
        dx, dy = cells % self.grid - x, cells // self.grid - y
        side = self.sides[kind % len(self.sides)]
        covers = (word > 0) & (dx >= 0) & (dx < side) & (dy >= 0) & (dy < side)
        return dx, dy, side, covers

    def covered(self, plan: Tensor) -> Tensor:
        """Plans (B, PIECES * FIELDS) -> whether a piece lies on each position, (B, N) bool."""
        return self._within(plan)[3].any(1)

    def forward(self, plan: Tensor) -> Tensor:
        """(B, PIECES * FIELDS) int64 -> (B, N, W)."""
        word, _, _, kind = plan.view(len(plan), PIECES, FIELDS, 1).unbind(2)
        dx, dy, side, covers = self._within(plan)
        size, mirrored = kind % len(self.sides), kind >= len(self.sides)
        column = torch.where(mirrored, side - 1 - dx, dx)
        part = ((word * len(self.sides) + size) * self.most + dy) * self.most + column
        # Later pieces are painted over earlier ones.
        order = covers * torch.arange(1, PIECES + 1, device=plan.device)[:, None]
        total = torch.zeros((), device=plan.device)
        for k in range(2):
            height, top = order.max(1, keepdim=True)  # (B, 1, N)
            covered = height[:, 0] > 0
            found = self.parts(part.gather(1, top)[:, 0] * covered)
            seen = self.layers[k](found)
            if len(self.layers) > 2:
                turned = mirrored[..., 0].gather(1, top[:, 0])[..., None]  # (B, N, 1)
                seen = torch.where(turned, self.layers[2 + k](found), seen)
            total = total + seen * covered[..., None]
            order = order.scatter(1, top, 0)
        return total


class CodeHead(nn.Module):
    """The `groups` codes of one position, each given the ones before it."""

    def __init__(self, c: CodeTransformerConfig) -> None:
        super().__init__()
        self.before = nn.ModuleList(
            nn.Embedding(c.codebook_size, c.width) for _ in range(c.groups - 1)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(c.width) for _ in range(c.groups))
        self.hidden = nn.ModuleList(nn.Linear(c.width, c.width) for _ in range(c.groups))
        self.out = nn.ModuleList(nn.Linear(c.width, c.codebook_size) for _ in range(c.groups))

    def logits(self, state: Tensor, group: int) -> Tensor:
        """(..., W) -> (..., K) for one group; `state` holds the codes before it."""
        hidden = F.gelu(linear(self.hidden[group], self.norm[group](state), alike=True))
        return linear(self.out[group], hidden, alike=True)

    def forward(self, hidden: Tensor, codes: Tensor) -> list[Tensor]:
        """hidden (B, N, W), the position's true codes (B, N, G) -> G logits (B, N, K)."""
        found: list[Tensor] = []
        state = hidden
        for g in range(len(self.out)):
            found.append(self.logits(state, g))
            if g < len(self.before):
                state = state + self.before[g](codes[..., g])
        return found


PLAN_TEMPERATURE = 0.7
"""Layouts may differ; codes drawn at their temperature give barns cut in two."""


LIKED = 2.0
"""Nats by which a code is likelier that the empty stage of a page has there. Two pages of one place
have then nine codes of ten in common where neither has a piece, instead of four."""


@dataclass(frozen=True)
class Chooser:
    """How the next value is drawn: guidance, then the likeliest `top_k` at a temperature.

    Classifier-free guidance (Ho and Salimans 2022) runs every picture twice, the second time
    without its prompt: of each prompt there are `count` rows with it, then `count` without.
    """

    guidance: float
    temperature: float
    top_k: int
    count: int
    """Pictures of each prompt."""

    @property
    def copies(self) -> int:
        """How often each picture runs."""
        return 2 if self.guidance != 1.0 else 1

    def texts(self, prompt: str) -> list[str]:
        """What the rows of a prompt are told."""
        return [prompt] * self.count + ([""] * self.count if self.copies == 2 else [])

    def rows(self, pictures: Tensor) -> Tensor:
        """Of pictures (prompts * count, ...) -> of their rows (prompts * copies * count, ...)."""
        if self.copies == 1:
            return pictures
        each = pictures.unflatten(0, (-1, 1, self.count))
        return each.expand(-1, self.copies, *each.shape[2:]).flatten(0, 2)

    def __call__(self, logits: Tensor, luck: Tensor) -> Tensor:
        """Logits of rows (prompts * copies * count, K), Gumbel numbers of pictures
        (prompts * count, K) -> the values drawn, (prompts * count,).

        The largest of logits plus Gumbel numbers is a draw from their softmax; where two pictures
        have the same numbers and are about as likely to go on so, they go on alike.
        """
        logits = logits.float()
        if self.copies == 2:
            wanted, free = logits.unflatten(0, (-1, 2, self.count)).unbind(1)
            logits = (free + self.guidance * (wanted - free)).flatten(0, 1)
        likeliest, values = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1)
        drawn = (likeliest / self.temperature + luck.gather(-1, values)).argmax(-1, keepdim=True)
        return values.gather(-1, drawn)[:, 0]


def gumbel(*shape: int, generator: torch.Generator) -> Tensor:
    """Numbers that make the largest of logits a draw from their softmax, on the CPU."""
    return -(-torch.rand(*shape, generator=generator).log()).log()


class CodeTransformer(nn.Module):
    def __init__(self, config: CodeTransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, positions = config.width, config.grid**2
        self.body = GPT2(
            GPT2Config(
                vocab_size=config.vocabulary,
                n_positions=TEXT_LENGTH + PIECES * FIELDS + positions,
                n_embd=width,
                n_layer=config.layers,
                n_head=config.heads,
            )
        )
        self.start = nn.Parameter(torch.zeros(width))
        self.plan = nn.ModuleList(nn.Embedding(n, width) for n in config.field_sizes)
        self.plan_out = nn.ModuleList(nn.Linear(width, n) for n in config.field_sizes)
        self.features = PlanFeatures(config)
        self.codes = nn.ModuleList(
            nn.Embedding(config.codebook_size, width) for _ in range(config.groups)
        )
        self.above = nn.ModuleList(
            nn.Embedding(config.codebook_size, width) for _ in range(config.groups)
        )
        # Where the code to predict stands: rows and columns generalise, raster order does not.
        self.row = nn.Embedding(config.grid, width)
        self.column = nn.Embedding(config.grid, width)
        self.head = CodeHead(config)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        # Every part is unlike every other from the first step on.
        nn.init.normal_(self.features.parts.weight, std=0.5)

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> CodeTransformer:
        """Raises ModelUnavailable."""
        values = read_config(folder)
        with building(folder):
            values["sizes"] = tuple(values["sizes"])
            model = cls(CodeTransformerConfig(**values))
        load_weights(model, folder)
        return model.to(device).eval().requires_grad_(False)

    def embed_plan(self, plan: Tensor, first: int = 0) -> Tensor:
        """Plan entries `first`.. (B, n) -> (B, n, W)."""
        parts = [self.plan[(first + k) % FIELDS](plan[:, k]) for k in range(plan.shape[1])]
        return torch.stack(parts, dim=1)

    def _place(self, positions: Tensor) -> Tensor:
        grid = self.config.grid
        return self.row(positions // grid) + self.column(positions % grid)

    def code_inputs(self, plan: Tensor, codes: Tensor, features: Tensor, first: int) -> Tensor:
        """Inputs that predict positions `first`..: (B, n, W), n = codes known + 1 - first.

        Each holds the code to its left (or the plan's last entry), the code above it, its place
        and its features. `codes` (B, known, G).
        """
        grid, known = self.config.grid, codes.shape[1]
        where = torch.arange(first, known + 1, device=codes.device)

        def look(tables: nn.ModuleList, ids: Tensor) -> Tensor:
            return torch.stack([t(ids[..., g]) for g, t in enumerate(tables)]).sum(0)

        left = look(self.codes, codes[:, max(first - 1, 0) :])
        if first == 0:
            left = torch.cat([self.embed_plan(plan[:, -1:], PIECES * FIELDS - 1), left], dim=1)
        bare = max(min(grid, known + 1) - first, 0)  # positions of the first row
        above = look(self.above, codes[:, max(first - grid, 0) : max(known + 1 - grid, 0)])
        above = F.pad(above, (0, 0, bare, 0))
        return left + above + self._place(where) + features[:, first : known + 1]

    def forward(
        self, ids: Tensor, mask: Tensor, plan: Tensor, codes: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Teacher-forced logits.

        Prompt ids and mask (B, T), plan (B, PIECES * FIELDS), codes (B, N, G) -> for each plan
        entry (B, values), for each group (B, N, K).
        """
        b, n, _ = codes.shape
        p = PIECES * FIELDS
        parts = [
            self.body.wte(ids),
            self.start.expand(b, 1, -1),
            self.embed_plan(plan[:, :-1]),
            self.code_inputs(plan, codes[:, :-1], self.features(plan), 0),
        ]
        t = ids.shape[1]
        where = torch.cat([torch.arange(t), TEXT_LENGTH + torch.arange(p + n)]).to(ids.device)
        whole = torch.cat([mask, mask.new_ones(b, p + n)], dim=1)
        hidden = self.body(torch.cat(parts, dim=1), where, whole)
        planned = [self.plan_out[k % FIELDS](hidden[:, t + k]) for k in range(p)]
        return planned, self.head(hidden[:, t + p :], codes)

    def sample(
        self,
        prompt: str,
        count: int,
        *,
        plans: Tensor | None = None,
        guidance: float = 1.5,
        temperature: float = 0.3,
        top_k: int = 100,
        generator: torch.Generator,
    ) -> Iterator[Drawn]:
        """Sample `count` pictures of a prompt, with `plans` (count, PIECES * FIELDS) where they are
        given; everything else as in `sample_together`."""
        given = None if plans is None else plans[None]
        choose = Chooser(guidance, temperature, top_k, count)
        for (drawn,) in self.sample_together([prompt], choose, [generator], plans=given):
            yield drawn

    def sample_together(
        self,
        prompts: Sequence[str],
        choose: Chooser,
        generators: Sequence[torch.Generator],
        *,
        plans: Tensor | None = None,
        sceneries: Sequence[torch.Generator | None] = (),
        stages: Sequence[int | None] = (),
    ) -> Iterator[list[Drawn]]:
        """Sample `choose.count` pictures of each prompt; yields what is drawn so far of each after
        every row.

        `plans` (prompts, count, PIECES * FIELDS), int64, are kept to; without, they are drawn at
        PLAN_TEMPERATURE. The luck of a prompt comes from its own generator on the CPU: a seed gives
        the same codes on every device, whatever is sampled beside it. Where `plans` are given, and
        a prompt has one of `sceneries`, the luck of what no piece covers comes from that one, the
        same for all of its pictures. `stages` say which other prompt is the same place without
        anybody: where no piece lies, its codes are LIKED.
        """
        lay_out = replace(choose, temperature=PLAN_TEMPERATURE)
        count, device, groups = choose.count, self.start.device, self.config.groups
        p, n = PIECES * FIELDS, self.config.grid**2
        plan = torch.zeros(len(prompts) * count, 0, dtype=torch.long, device=device)
        if plans is not None:
            plan = plans.flatten(0, 1).to(device)
        codes = torch.zeros(len(prompts) * count, 0, groups, dtype=torch.long, device=device)
        with torch.inference_mode():
            # Each prompt by itself: what it becomes must not depend on what stands beside it.
            begun = [
                self._read_on(prompt, choose, plan[k * count : (k + 1) * count])
                for k, prompt in enumerate(prompts)
            ]
            read = Reader.joined([reader for reader, _, _ in begun])
            hidden = torch.cat([seen for _, seen, _ in begun])
            features = torch.cat([known for _, _, known in begun])

        covered = self.features.covered(plan).cpu() if plans is not None else None
        behind = [*sceneries] or [None] * len(prompts)
        liked: tuple[Tensor, Tensor] | None = None
        if covered is not None and any(stage is not None for stage in stages):
            of = [k if stage is None else stage for k, stage in enumerate(stages)]
            has = torch.tensor([stage is not None for stage in stages]).repeat_interleave(count)
            weights = (LIKED / choose.temperature) * (has[:, None] & ~covered)
            first = torch.tensor(of).repeat_interleave(count) * count
            liked = first.to(device), weights.to(device)
        for k in range(plan.shape[1], p + n):
            if k < p:
                shape = (1, self.config.field_sizes[k % FIELDS])
            else:
                shape = (groups, self.config.codebook_size)
            lucks = [gumbel(count, *shape, generator=g) for g in generators]
            for j, scenery in enumerate(behind):
                if scenery is not None and covered is not None:
                    shared = gumbel(1, *shape, generator=scenery)
                    on_piece = covered[j * count : (j + 1) * count, k - p, None, None]
                    lucks[j] = torch.where(on_piece, lucks[j], shared)
            luck = torch.cat(lucks).to(device)
            # The mode is not held across the yield: another thread may resume the generator.
            with torch.inference_mode():
                if k < p:
                    fresh = lay_out(self.plan_out[k % FIELDS](hidden), luck[:, 0])
                    plan = torch.cat([plan, fresh[:, None]], dim=1)
                else:
                    now = liked and (liked[0], liked[1][:, k - p])
                    fresh = self.draw(hidden, choose, luck, now)
                    codes = torch.cat([codes, fresh[:, None]], dim=1)
                if k + 1 < p + n:
                    if k + 1 < p:
                        x = self.embed_plan(choose.rows(plan[:, -1:]), k)
                    else:
                        if k + 1 == p:
                            features = self.features(choose.rows(plan))
                        x = self.code_inputs(
                            choose.rows(plan), choose.rows(codes), features, k + 1 - p
                        )
                    where = torch.tensor([TEXT_LENGTH + k + 1], device=device)
                    hidden = read(x, where)[:, -1]
            if k >= p and (k + 1 - p) % self.config.grid == 0:
                # Copied outside of the mode: whoever goes on may want gradients.
                pairs = zip(plan.split(count), codes.split(count), strict=True)
                yield [Drawn(laid.clone().cpu(), drawn.clone().cpu()) for laid, drawn in pairs]

    def _read_on(self, prompt: str, choose: Chooser, plan: Tensor) -> tuple[Reader, Tensor, Tensor]:
        """What comes before the first value to draw: a reader that has read it, the hidden state
        (rows, W) that tells that value, and what a whole plan says of every position."""
        p, n, device = PIECES * FIELDS, self.config.grid**2, self.start.device
        ids, mask = tokenize(choose.texts(prompt), device, TEXT_LENGTH)
        read = Reader(
            self.body, torch.cat([mask, mask.new_ones(len(mask), p + n)], dim=1), alike=True
        )
        parts = [self.body.wte(ids), self.start.expand(len(ids), 1, -1)]
        features = torch.empty(0, device=device)
        if plan.shape[1]:
            whole = choose.rows(plan)
            features = self.features(whole)
            none = whole.new_zeros(len(whole), 0, self.config.groups)
            parts += [self.embed_plan(whole[:, :-1]), self.code_inputs(whole, none, features, 0)]
        x = torch.cat(parts, dim=1)
        where = torch.arange(x.shape[1], device=device)  # prompts fill all of their places
        return read, read(x, where)[:, -1], features

    @torch.no_grad()
    def surprise(self, prompt: str, drawn: Drawn) -> Tensor:
        """Negative log-likelihood of each position of whole pictures in nats, their plans given:
        (B, N). `drawn` on any device."""
        device = self.start.device
        plan, codes = drawn.plan.to(device), drawn.codes.to(device)
        return nll(self(*tokenize([prompt] * len(codes), device), plan, codes)[1], codes)

    def draw(
        self,
        hidden: Tensor,
        choose: Chooser,
        luck: Tensor,
        liked: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """hidden of rows (R, W), Gumbel numbers of pictures (P, G, K) -> codes (P, G).

        `liked`: for each picture the number of one whose code here it likes, and how much (P,);
        none of those that are liked likes another one.
        """
        picked: list[Tensor] = []
        state = hidden
        for g in range(self.config.groups):
            logits = self.head.logits(state, g)
            code = choose(logits, luck[:, g])
            if liked is not None:
                others = code[liked[0]][:, None]
                code = choose(logits, luck[:, g].scatter_add(1, others, liked[1][:, None]))
            picked.append(code)
            if g < len(self.head.before):
                state = state + self.head.before[g](choose.rows(code))
        return torch.stack(picked, dim=-1)


def nll(logits: Sequence[Tensor], codes: Tensor) -> Tensor:
    """Negative log-likelihood of each position in nats, summed over its codes: (B, N)."""
    losses = [
        F.cross_entropy(x.float().transpose(1, 2), codes[..., g], reduction="none")
        for g, x in enumerate(logits)
    ]
    return torch.stack(losses).sum(0)


def plan_nll(logits: Sequence[Tensor], plan: Tensor) -> Tensor:
    """Negative log-likelihood of a plan in nats, summed over its entries, mean over the batch: ().

    `logits` are those of `CodeTransformer.forward`, `plan` is (B, PIECES * FIELDS). Of the entries
    of "no piece" only the first word counts: that is where the plan ends.
    """
    pieces = plan.view(len(plan), PIECES, FIELDS)
    none = pieces[..., 0] == 0
    over = none & torch.cat([none.new_zeros(len(plan), 1), none[:, :-1]], dim=1)
    ignored = torch.stack([over, none, none, none], dim=-1).flatten(1)
    target = plan.masked_fill(ignored, NO_TARGET)
    losses = [
        F.cross_entropy(x.float(), target[:, k], ignore_index=NO_TARGET, reduction="sum")
        for k, x in enumerate(logits)
    ]
    return torch.stack(losses).sum() / len(plan)
