"""Pictures larger than a code transformer was trained on, drawn within a sliding window.

Source: Esser et al. 2021, section 3.2 and figure 3. Every code is drawn in sight of those around it
that the transformer can take in at once. We differ in that the window moves by half of its side
instead of with every code: in between, what was read stays read.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pipelines.plan import FIELDS, PIECES
from pipelines.reader import Reader
from pipelines.tokenizer import TEXT_LENGTH
from pipelines.vqgan_clip.clip import tokenize
from pipelines.vqgan_clip.code_transformer import (
    Chooser,
    CodeTransformer,
    CodeTransformerConfig,
    Drawn,
    gumbel,
)


def drawn_grid(config: CodeTransformerConfig, grid: tuple[int, int]) -> tuple[int, int]:
    """The grid (h, w) that a transformer draws for a picture of that many positions.

    A plan lays out one window, so transformers that plan draw their own size, to be enlarged.
    """
    if config.words == 0 and min(grid) >= config.grid:
        return grid
    return config.grid, config.grid


def window_of(row: int, column: int, size: tuple[int, int], grid: int) -> tuple[int, int]:
    """Top and left of the window (`grid` a side) in which a position of a `size` grid is drawn."""
    step = max(grid // 2, 1)

    def first(at: int, length: int) -> int:
        beyond = max(at - grid + 1, 0)
        return min(-(-beyond // step) * step, length - grid)

    return first(row, size[0]), first(column, size[1])


class WindowReader:
    """What the transformer thinks of the next position of a large grid, within its window."""

    def __init__(
        self, transformer: CodeTransformer, prompts: list[str], plan: Tensor, size: tuple[int, int]
    ) -> None:
        """`plan` (B, PIECES * FIELDS) of the window, `size` (h, w) of the grid."""
        self.transformer, self.plan, self.size = transformer, plan, size
        self.features = transformer.features(plan)
        ids, mask = tokenize(prompts, plan.device)
        self.length = ids.shape[1]
        positions = PIECES * FIELDS + transformer.config.grid**2
        self.mask = torch.cat([mask, mask.new_ones(len(mask), positions)], dim=1)
        begin = transformer.start.expand(len(prompts), 1, -1)
        self.prefix = torch.cat(
            [transformer.body.wte(ids), begin, transformer.embed_plan(plan[:, :-1])], dim=1
        )
        self._reader, self._window, self._next = Reader(transformer.body, self.mask), (-1, -1), 0

    def __call__(self, codes: Tensor) -> Tensor:
        """Codes drawn so far in raster order (B, n, G) -> hidden state of position n, (B, W)."""
        grid, device = self.transformer.config.grid, codes.device
        row, column = divmod(codes.shape[1], self.size[1])
        top, left = window_of(row, column, self.size, grid)
        place = (row - top) * grid + column - left
        known = self._within(codes, top, left)[:, :place]
        first = place
        if (top, left) != self._window or place != self._next:
            self._reader, self._window = Reader(self.transformer.body, self.mask), (top, left)
            first = 0
        x = self.transformer.code_inputs(self.plan, known, self.features, first)
        where = TEXT_LENGTH + PIECES * FIELDS + torch.arange(first, place + 1, device=device)
        if first == 0:
            x = torch.cat([self.prefix, x], dim=1)
            text = torch.arange(self.length, device=device)
            plan = TEXT_LENGTH + torch.arange(PIECES * FIELDS, device=device)
            where = torch.cat([text, plan, where])
        self._next = place + 1
        return self._reader(x, where)[:, -1]

    def _within(self, codes: Tensor, top: int, left: int) -> Tensor:
        """The codes of a window in its own raster order, those not drawn yet as 0."""
        height, width = self.size
        grid = self.transformer.config.grid
        whole = codes.new_zeros(len(codes), height * width, codes.shape[2])
        whole[:, : codes.shape[1]] = codes
        whole = whole.view(len(codes), height, width, -1)
        return whole[:, top : top + grid, left : left + grid].flatten(1, 2)


def sample(
    transformer: CodeTransformer,
    prompt: str,
    count: int,
    size: tuple[int, int],
    *,
    guidance: float = 1.5,
    temperature: float = 0.3,
    top_k: int = 100,
    generator: torch.Generator,
) -> Iterator[Drawn]:
    """Sample `count` pictures of `size` (h, w) positions, neither below the transformer's grid;
    arguments and events as `CodeTransformer.sample`."""
    choose = Chooser(guidance, temperature, top_k, count)
    c, (height, width) = transformer.config, size
    grid = c.grid
    own = transformer.sample(
        prompt, count, guidance=guidance, temperature=temperature, top_k=top_k, generator=generator
    )
    if size == (grid, grid):
        yield from own
        return
    begun = next(own)  # the plan, and the first row of the first window
    codes = begun.codes.to(transformer.start.device)
    with torch.inference_mode():
        plan = choose.rows(begun.plan.to(codes.device))
        reader = WindowReader(transformer, choose.texts(prompt), plan, size)
    if width == grid:
        yield begun
    for position in range(grid, height * width):
        # The mode is not held across the yield: another thread may resume the generator.
        luck = gumbel(count, c.groups, c.codebook_size, generator=generator).to(codes.device)
        with torch.inference_mode():
            hidden = reader(choose.rows(codes))
            codes = torch.cat([codes, transformer.draw(hidden, choose, luck)[:, None]], dim=1)
        if position % width == width - 1:
            yield Drawn(begun.plan, codes.clone().cpu())
