"""The planner: which colour goes where, before anything is painted.

A colorizer that has to paint what nobody has said learns to paint the mean of everything it could
be, which is brown. The planner chooses instead: for every 16x16 cell of a small copy of the
drawing it picks one of a fixed set of colours, a few cells at a time, the surest first, so that
what it picks next goes with what it has picked. Another seed picks otherwise. The colorizers are
then told its choice as hints.

Source: masked token modelling and its parallel decoding, MaskGIT (Chang et al. 2022, arXiv
2202.04200). We differ in what a token is: not a code of a learned picture, but a colour, which a
person's stroke can be as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.colorize.features import STRIDE, OwnFeatures
from pipelines.colorize.hints import CELL
from pipelines.colorize.regions import LARGE
from pipelines.weights import building, load_weights, read_config

PER_CELL = STRIDE // CELL
"""Cells of the hint map along a side of one cell of the plan."""
PAPER, INK = 0.85, -0.75
"""Colours whose darkest channel is above the first look like bare paper; those whose brightest is
below the second like ink."""
LIKELY = 0.15
"""Colours this much less likely than the likeliest are never chosen (Nguyen et al. 2024, min-p):
of 256 cells a few would always be, and look like confetti."""
HABIT = 3.0
"""Added to the logits of colours that were chosen before."""
REACH = 2
"""Cells of a large region decide with those that are no farther."""
SHADE, CALMED = 0.45, 4
"""Colours about this far apart, RGB in [-1, 1], are shades of one; how often cells take the mean
of the shades around them."""
WAVES = (1, 2, 4)
"""Half waves over a side of the picture that tell a cell where it is."""


@dataclass(frozen=True)
class PlannerConfig:
    """Shape of the network."""

    colours: int = 256
    width: int = 224
    blocks: int = 8
    heads: int = 7
    feature_width: int = 128
    """Of the network that reads the drawing."""


class PlanBlock(nn.Module):
    """Attention over all cells, a depthwise convolution over neighbours, and an MLP; each begins
    as the identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.rise = nn.Linear(width, 4 * width)
        self.fall = nn.Linear(4 * width, width)
        for layer in (self.mixed, self.near, self.fall):
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, W) -> the same."""
        b, h, w, width = x.shape
        y = self.norm_1(x)
        query, key, value = self.mix(y).view(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.mixed(seen.transpose(1, 2).reshape(b, h, w, width))
        x = x + self.near(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.fall(F.gelu(self.rise(self.norm_2(x)), approximate="tanh"))


class Planner(nn.Module):
    """Line art, hints and the cells that are chosen already -> which colour every cell has."""

    palette: Tensor
    """(K, 3) RGB in [-1, 1]: the colours to choose from."""

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.features = OwnFeatures(1, config.feature_width)
        self.seen = nn.Linear(self.features.channels, width)
        self.known = nn.Embedding(config.colours + 1, width)
        """The last one is: not known yet."""
        self.hinted = nn.Linear(4 * PER_CELL**2, width)
        self.placed = nn.Linear(4 * len(WAVES) + 2, width)
        self.blocks = nn.Sequential(*(PlanBlock(width, config.heads) for _ in range(config.blocks)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.colours)
        nn.init.normal_(self.known.weight, std=0.02)
        self.register_buffer("palette", torch.zeros(config.colours, 3))

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device) -> Planner:
        """Raises ModelUnavailable."""
        values = read_config(folder)
        with building(folder):
            model = cls(PlannerConfig(**values))
        load_weights(model, folder)
        return model.to(device).eval().requires_grad_(False)

    def read(self, lineart: Tensor) -> Tensor:
        """What hangs on the drawing alone: (B, 1, 16h, 16w) in [-1, 1] -> (B, h, w, W)."""
        x = self.seen(self.features(lineart).permute(0, 2, 3, 1))
        _, h, w, _ = x.shape
        return x + self.placed(_places(h, w, x.device).to(x.dtype))

    def unread(self, h: int, w: int) -> Tensor:
        """What stands for a drawing that nobody has looked at: (1, h, w, W)."""
        assert self.seen.bias is not None
        return (self.seen.bias + self.placed(_places(h, w, self.palette.device)))[None]

    def think(self, drawing: Tensor, hints: Tensor, tokens: Tensor) -> Tensor:
        """drawing from `read`, hints (B, 4, 4h, 4w) as the hint map has them, tokens (B, h, w) in
        [0, K], K = not known yet -> what is known of every cell (B, h, w, W)."""
        told = F.pixel_unshuffle(hints, PER_CELL).permute(0, 2, 3, 1)
        return self.norm(self.blocks(drawing + self.hinted(told) + self.known(tokens)))

    def forward(self, drawing: Tensor, hints: Tensor, tokens: Tensor) -> Tensor:
        """As `think` -> logits (B, h, w, K)."""
        return self.out(self.think(drawing, hints, tokens))

    @torch.no_grad()
    def plan(
        self,
        drawing: Tensor,
        hints: Tensor,
        generator: torch.Generator,
        *,
        steps: int = 8,
        temperature: float = 1.0,
        guidance: float = 1.0,
        bareness: float = 0.0,
        regions: Tensor | None = None,
        settled: Tensor | None = None,
        before: Tensor | None = None,
    ) -> Tensor:
        """Choose a colour for every cell: -> RGB (B, 3, h, w) in [-1, 1].

        generator: on the CPU. temperature: of the first choices, 0 takes the likeliest; later ones,
        which have to go with those, are less and less left to chance. guidance: how far colours are
        preferred that drawing and hints make likelier than they are anyway (classifier-free
        guidance, Ho and Salimans 2022); 1 = not at all. bareness: added to the logits of colours
        that look like bare paper or ink. regions: (h, w), equal within a region of the drawing,
        whose cells choose together: one colour for a small region, and for a large one colours that
        change slowly, as in a sky. settled: colours that were chosen before and stay, as a hint map
        like `hints`, which count for more. before: what stood where it is chosen for again,
        likewise: it is let go for a reason alone.
        """
        b, h, w, _ = drawing.shape
        unknown = self.config.colours
        tokens = self._told(hints)
        if settled is not None:
            tokens = torch.where(tokens == unknown, self._told(settled), tokens)
        told = tokens != unknown
        free = int((~told).sum(dim=(1, 2)).max())
        paper, ink = self.palette.amin(dim=1) > PAPER, self.palette.amax(dim=1) < INK
        bare = bareness * (paper | ink).float()
        stood = None if before is None else self._told(before)
        if stood is not None:
            bare = bare + HABIT * F.one_hot(stood, unknown + 1)[..., :unknown]
        if regions is None:
            regions = torch.arange(h * w, device=drawing.device).view(h, w)
        together = _Together(regions)
        for step in range(1, steps + 1):
            logits = together.mean(self._logits(drawing, hints, tokens, guidance) + bare)
            noise = _gumbel((b, h, w, self.config.colours), generator).to(logits.device)
            noise = together.one(noise)
            chance = temperature * (1 - (step - 1) / steps) ** 2
            likely = logits >= logits.amax(-1, keepdim=True) + math.log(LIKELY)
            picked = (logits + chance * noise).masked_fill(~likely, -math.inf).argmax(-1)
            sure = logits.log_softmax(-1).gather(-1, picked[..., None])[..., 0]
            sure = sure + chance * _gumbel((b, h, w), generator).to(logits.device)
            sure = together.turn(sure)
            open_ = tokens == unknown
            # What stays open is what is least sure; nothing after the last step.
            stays = math.floor(free * math.cos(math.pi / 2 * step / steps)) if step < steps else 0
            sure = sure.masked_fill(~open_, math.inf)
            least = sure.flatten(1).sort(dim=1).values[:, stays, None, None]
            tokens = torch.where(open_ & (sure >= least), picked, tokens)
        colours = self.palette[tokens]
        if before is not None:  # what is chosen as it was is as it was, in all its shades
            exact = _means(before).permute(0, 2, 3, 1)
            colours = torch.where((tokens == stood)[..., None], exact, colours)
        calm = torch.where(told[..., None], colours, together.calm(colours))
        return calm.permute(0, 3, 1, 2)

    def _logits(self, drawing: Tensor, hints: Tensor, tokens: Tensor, guidance: float) -> Tensor:
        if guidance == 1:
            return self(drawing, hints, tokens).float()
        unread = self.unread(*drawing.shape[1:3]).to(drawing.dtype).expand_as(drawing)
        # Hints are shown to one half alone: what both know is what guidance leads away from.
        pairs = (drawing, unread), (hints, torch.zeros_like(hints)), (tokens, tokens)
        both = self(*(torch.cat(pair) for pair in pairs))
        seen, unseen = both.float().log_softmax(-1).chunk(2)
        return unseen + guidance * (seen - unseen)

    def _told(self, hints: Tensor) -> Tensor:
        """Tokens (B, h, w): the nearest colour where strokes cover most of a cell, else K."""
        share = F.avg_pool2d(hints[:, 3:], PER_CELL)
        away = torch.cdist(_means(hints).permute(0, 2, 3, 1).float(), self.palette)
        return torch.where(share[:, 0] > 0.6, away.argmin(-1), self.config.colours)


class _Together:
    """What cells of a plan decide with others of their region."""

    def __init__(self, regions: Tensor) -> None:
        h, w = regions.shape
        self.regions = regions.flatten()
        same = self.regions[:, None] == self.regions
        sides = (torch.arange(n, device=regions.device) for n in (h, w))
        y, x = (axis.flatten() for axis in torch.meshgrid(*sides, indexing="ij"))
        far = torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs())
        self.small = same.sum(dim=1) <= LARGE * h * w
        heard = same & (self.small[:, None] | (far <= REACH))
        self.heard = heard.float()
        self.shares = self.heard / heard.sum(dim=1, keepdim=True)
        self.leader = same.float().argmax(dim=1)
        """Index of the first cell of each cell's region."""

    def mean(self, values: Tensor) -> Tensor:
        """(B, h, w, C) -> the same: over a small region, around each cell of a large one."""
        return (self.shares @ values.flatten(1, 2)).view_as(values)

    def one(self, values: Tensor) -> Tensor:
        """(B, h, w, C) -> the same: what a region's first cell has."""
        return values.flatten(1, 2)[:, self.leader].view_as(values)

    def calm(self, colours: Tensor) -> Tensor:
        """(B, h, w, 3) in [-1, 1] -> the same, with steps between shades of one colour smoothed
        away in large regions: a sky of two blues becomes a gradient, its clouds stay clouds."""
        flat = colours.flatten(1, 2)
        for _ in range(CALMED):
            alike = torch.exp(-(torch.cdist(flat, flat) / SHADE).square())
            weight = self.heard * alike
            flat = weight @ flat / weight.sum(dim=-1, keepdim=True)
        return torch.where(self.small[:, None], colours.flatten(1, 2), flat).view_as(colours)

    def turn(self, values: Tensor) -> Tensor:
        """(B, h, w) -> the same: what a small region's first cell has; large ones keep theirs."""
        flat = values.flatten(1)
        return torch.where(self.small, flat[:, self.leader], flat).view_as(values)


def _means(hints: Tensor) -> Tensor:
    """Mean colours of what is told in each cell: (B, 4, 4h, 4w) -> (B, 3, h, w)."""
    share = F.avg_pool2d(hints[:, 3:], PER_CELL)
    return F.avg_pool2d(hints[:, :3] * hints[:, 3:], PER_CELL) / share.clamp_min(1e-6)


def _places(h: int, w: int, device: torch.device) -> Tensor:
    """(h, w, 14): where each cell is in its picture."""
    axes = [(torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in (h, w)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)  # (h, w, 2)
    waves = torch.cat([grid * (math.pi / 2 * k) for k in WAVES], dim=-1)
    return torch.cat([grid, waves.sin(), waves.cos()], dim=-1)


def _gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise whose largest sum with logits is a sample of their distribution (Gumbel 1954)."""
    uniform = torch.rand(shape, generator=generator).clamp_(1e-9, 1 - 1e-6)
    return -(-uniform.log()).log()
