"""How well the planner of colours knows held-out pictures: `python -m finetune.evaluate planner`.

What it plans cannot be right or wrong, as a barn may be green; but the colour that a cell has in
the picture should be among those that it finds likely. The cost of a cell is in nats, against
colours that pass for the right one (`finetune.planner.loss_of`), so that 0 is out of reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from finetune.colour_test_set import Sample
from finetune.data.illustrations import ByteBatch, ColourBatch
from finetune.data.picture_sources import UNKNOWN
from finetune.data.scenes import CELLS
from finetune.data.simplify import flatten
from finetune.planner import Cells, alike, loss_of, wanted_colours
from pipelines.colorize.hints import hint_map, read_mask
from pipelines.colorize.planner import Planner

HIDDEN = {"all": 1.0, "half": 0.5}
"""Share of a plan's cells that are to be told from the rest."""
STROKES = {"none": "no strokes", "sparse": "few strokes"}


def batch_of(held_out: Sequence[Sample], regime: str, device: torch.device) -> ColourBatch:
    """Held-out pictures as the planner trains on them."""
    hints = np.stack([hint_map(one.hints[regime], *one.lineart.size) for one in held_out])
    hints[:, :3] = np.round((hints[:, :3] + 1) * 127.5)
    pictures = np.stack([np.asarray(one.picture) for one in held_out])
    return ByteBatch(
        lineart=np.stack([np.asarray(one.lineart) for one in held_out]),
        picture=pictures,
        simplified=np.stack([flatten(picture) for picture in pictures]),
        hints=hints.astype(np.uint8),
        mask=np.stack([read_mask(one.mask, *one.lineart.size) for one in held_out]).view(np.uint8),
        things=np.full((len(held_out), CELLS, CELLS), UNKNOWN, np.int16),
    ).on(device)


@torch.no_grad()
def run(planner: Planner, held_out: Sequence[Sample]) -> dict[str, float]:
    """Cost of a hidden cell, and the share whose likeliest colour is the right one, of 256; also
    when the drawing is not shown, which says what the planner has from the drawing."""
    likeness = alike(planner.palette)
    device, unknown = planner.palette.device, planner.config.colours
    found = dict[str, float]()
    for regime, strokes in STROKES.items():
        made = batch_of(held_out, regime, device)
        wanted = wanted_colours(made, planner.palette)
        seen = planner.read(made.lineart)
        unread = planner.unread(*wanted.shape[1:]).expand_as(seen)
        for name, share in HIDDEN.items():
            # The same cells whatever is measured.
            chance = torch.rand(wanted.shape, generator=torch.Generator().manual_seed(0))
            hidden = (chance < share).to(device)
            cells = Cells(hidden, torch.where(hidden, unknown, wanted), wanted)
            for drawing, how in ((seen, ""), (unread, ", drawing not shown")):
                cost, right = loss_of(planner(drawing, made.hints, cells.tokens), cells, likeness)
                found[f"{strokes}, {name} hidden{how}: nats"] = cost.item()
                found[f"{strokes}, {name} hidden{how}: right"] = right.item()
    return found
