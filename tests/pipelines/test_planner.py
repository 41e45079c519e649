"""The planner of colours: strokes are kept, seeds count, regions and sizes are respected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from pipelines.colorize import planner as module
from pipelines.colorize.hints import hint_map
from pipelines.colorize.planner import PER_CELL, Planner
from pipelines.colorize.planning import ColourPlanner, as_meant, spread
from pipelines.colorize.regions import find_regions
from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.weights import EMBEDDED, save_model
from tests.tiny_colorizer import CPU, drawing, planner, strokes


@pytest.fixture
def choose() -> ColourPlanner:
    return ColourPlanner(planner())


def told(layer: Image.Image) -> NDArray[np.float32]:
    return hint_map(layer, *layer.size)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (300, 50), (1, 700), (96, 80)])
def test_any_size(choose: ColourPlanner, size: tuple[int, int]) -> None:
    layer = choose(drawing(*size), strokes(*size))
    assert (layer.mode, layer.size) == ("RGBA", size)


def test_strokes_stay_as_they_were_drawn(choose: ColourPlanner) -> None:
    lines, hints = drawing(200, 160), strokes(200, 160)
    drawn, layer = told(hints), told(choose(lines, hints))
    there = drawn[3] > 0
    assert np.array_equal(layer[:, there], drawn[:, there])
    assert layer[3].mean() > 0.6  # and nearly everything beside their region has a colour


def test_the_same_seed_chooses_the_same_and_another_one_otherwise(choose: ColourPlanner) -> None:
    lines = drawing(200, 160)
    first = choose(lines, seed=1, temperature=2)
    assert ColourPlanner(planner())(lines, seed=1, temperature=2) == first
    assert choose(lines, seed=2, temperature=2) != first
    assert choose(lines, seed=2, temperature=0) == choose(lines, seed=3, temperature=0)


def test_strokes_change_what_is_chosen_around_them() -> None:
    model = planner()
    torch.nn.init.normal_(model.hinted.weight, std=2.0)
    choose = ColourPlanner(model)
    lines, red = drawing(256, 256), Image.new("RGBA", (256, 256))
    red.paste((220, 30, 20, 255), (170, 20, 230, 50))  # on the paper around circle and box
    plain, hinted = (told(choose(lines, hints, temperature=0)) for hints in (None, red))
    free = told(red)[3] == 0
    assert not np.array_equal(plain[:, free], hinted[:, free])


def test_only_colours_of_the_palette_are_chosen() -> None:
    model = planner()
    seen = model.read(torch.ones(1, 1, 64, 96))
    plan = model.plan(seen, torch.zeros(1, 4, 16, 24), torch.Generator().manual_seed(0))
    assert plan.shape == (1, 3, 4, 6)
    chosen = plan.permute(0, 2, 3, 1).reshape(-1, 3)
    assert torch.cdist(chosen, model.palette).min(dim=1).values.max() < 1e-5


def test_a_cell_full_of_strokes_is_not_chosen_anew() -> None:
    model = planner()
    hints = torch.zeros(1, 4, 8, 8)
    hints[:, :3, :PER_CELL, :PER_CELL] = model.palette[5][None, :, None, None]
    hints[:, 3, :PER_CELL, :PER_CELL] = 1
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        plan = model.plan(model.read(torch.ones(1, 1, 32, 32)), hints, generator, temperature=5)
        assert torch.equal(plan[0, :, 0, 0], model.palette[5])


def test_bare_paper_can_be_avoided() -> None:
    model = planner()
    model.palette[0] = 1.0
    torch.nn.init.constant_(model.out.bias[:1], 50.0)
    seen, hints = model.read(torch.ones(1, 1, 64, 64)), torch.zeros(1, 4, 16, 16)

    def white(bareness: float) -> float:
        generator = torch.Generator().manual_seed(0)
        plan = model.plan(seen, hints, generator, bareness=bareness)
        return float((plan == 1).all(dim=1).float().mean())

    assert white(0) == 1
    assert white(-100) == 0


def test_guidance_prefers_what_the_drawing_makes_likelier() -> None:
    """Green is likeliest wherever one looks; the drawing makes red a little likelier than that."""
    model = planner()
    red, green = 0, 1
    seen, unread = torch.ones(1, 4, 4, 16), torch.zeros(1, 4, 4, 16)
    likely = torch.full((16,), -20.0)
    likely[green], likely[red] = 3.0, 0.0

    def logits(drawing: Tensor, *_: Tensor) -> Tensor:
        return likely + 2 * drawing[..., :1] * torch.eye(16)[red]

    def share(guidance: float, drawing: Tensor) -> float:
        generator = torch.Generator().manual_seed(0)
        hints = torch.zeros(1, 4, 16, 16)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "forward", logits)
            patch.setattr(model, "unread", lambda h, w: unread)
            plan = model.plan(drawing, hints, generator, temperature=0, guidance=guidance)
        return float((plan == model.palette[red][:, None, None]).all(dim=1).float().mean())

    assert share(1.0, seen) == 0
    assert share(2.0, seen) == 1
    assert share(2.0, unread) == 0


def test_cells_of_a_region_choose_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small thing in a large room: the thing has one colour, the room few."""
    monkeypatch.setattr(module, "CALMED", 0)
    model = planner()
    torch.nn.init.normal_(model.out.weight, std=0.3)
    seen, hints = model.read(torch.rand(1, 1, 128, 128) * 2 - 1), torch.zeros(1, 4, 32, 32)
    regions = torch.zeros(8, 8, dtype=torch.int64)
    regions[2:5, 3:6] = 7
    thing = regions == 7

    def colours(regions: Tensor | None, seed: int, where: Tensor) -> int:
        generator = torch.Generator().manual_seed(seed)
        plan = model.plan(seen, hints, generator, temperature=2, regions=regions)
        return len(plan[0, :, where].unique(dim=1)[0])

    for seed in range(4):
        assert colours(None, seed, thing) > 1
        assert colours(regions, seed, thing) == 1
        assert colours(regions, seed, ~thing) < colours(None, seed, ~thing)
    hints[:, 3, 12:16, 16:20] = 1  # the stroke of one cell stays, the others of the thing agree
    assert colours(regions, 0, thing) <= 2


def test_a_large_region_may_change_its_colour_slowly() -> None:
    model = planner()
    above, below = torch.eye(16)[3] * 9, torch.eye(16)[8] * 9
    seen = torch.zeros(1, 8, 8, 16)
    with pytest.MonkeyPatch.context() as patch:
        sky = torch.cat([above.expand(1, 4, 8, 16), below.expand(1, 4, 8, 16)], dim=1).clone()
        sky[0, 1, 5] = below  # one cell that does not fit in
        patch.setattr(model, "forward", lambda *_: sky)
        patch.setattr(module, "CALMED", 0)
        regions = torch.zeros(8, 8, dtype=torch.int64)
        hints = torch.zeros(1, 4, 32, 32)
        plan = model.plan(seen, hints, torch.Generator(), temperature=0, regions=regions)
    wanted = model.palette[torch.tensor([3] * 4 + [8] * 4)].T[..., None].expand(3, 8, 8)
    assert torch.equal(plan[0], wanted)


def test_a_drawing_that_nobody_has_looked_at_says_nothing_but_where_cells_are() -> None:
    model = planner()
    blank, busy = torch.ones(1, 1, 64, 96), torch.rand(1, 1, 64, 96) * 2 - 1
    assert not torch.allclose(model.read(blank), model.read(busy))
    torch.nn.init.zeros_(model.seen.weight)
    for lines in (blank, busy):
        assert torch.allclose(model.read(lines), model.unread(4, 6))


def test_a_plan_stays_within_the_lines() -> None:
    """Two halves of a drawing; the line between them runs through cells of the left one."""
    lineart = Image.new("L", (256, 128), 255)
    ImageDraw.Draw(lineart).line((140, 0, 140, 128), fill=0, width=3)
    plan = np.full((3, 8, 16), -1, np.float32)
    plan[0, :, :9] = 1  # red
    plan[2, :, 9:] = 1  # blue
    cells = spread(plan, find_regions(lineart), lineart.size)
    assert cells.shape == (4, 32, 64)
    assert (cells[0, :, :34] == 1).all()
    assert (cells[2, :, 36:] == 1).all()
    assert cells[3].all()
    assert set(np.unique(cells[:3])) == {-1, 1}  # nowhere a mixture of both


def test_outside_a_mask_the_picture_is_told(choose: ColourPlanner) -> None:
    lines = drawing(128, 128)
    mask = Image.new("L", (128, 128))
    mask.paste(255, (64, 0, 128, 128))
    kept = Image.new("RGB", (128, 128), (10, 200, 30))
    layer = np.asarray(choose(lines, strokes(128, 128), mask=mask, picture=kept))
    assert (layer[:, :64] == (10, 200, 30, 255)).all()  # the stroke there does not count
    assert not (layer[:, 64:, :3] == (10, 200, 30)).all()
    with pytest.raises(InvalidInput):
        choose(lines, mask=Image.new("L", (128, 128)))


def test_shades_of_a_sky_become_a_gradient_and_clouds_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = planner()
    dark, light, cloud = 3, 8, 11
    for n, colour in ((dark, (-0.2, 0.4, 0.8)), (light, (0.1, 0.5, 0.9)), (cloud, (1.0, 1.0, 1.0))):
        model.palette[n] = torch.tensor(colour)
    sky = torch.full((1, 12, 12), light)
    sky[:, :6], sky[:, :6, 6:] = dark, cloud
    monkeypatch.setattr(model, "forward", lambda *_: torch.eye(16)[sky] * 9)
    whole = torch.zeros(12, 12, dtype=torch.int64)

    def red(hints: Tensor, regions: Tensor) -> Tensor:
        seen = torch.zeros(1, 12, 12, 16)
        return model.plan(seen, hints, torch.Generator(), temperature=0, regions=regions)[0, 0]

    hints = torch.zeros(1, 4, 48, 48)
    calm = red(hints, whole)[:, 2]
    assert (calm.diff() > 0.005).sum() >= 4  # from dark to light in several steps
    assert calm.min() >= -0.2
    assert calm.max() <= 0.1
    assert (red(hints, whole)[:4, 8:] > 0.9).all()
    hints[:, :3, :4, :4], hints[:, 3, :4, :4] = -0.5, 1
    assert red(hints, whole)[0, 0] == model.palette[model._told(hints)[0, 0, 0], 0]  # pyright: ignore[reportPrivateUsage]
    apart = torch.arange(144).view(12, 12)  # small regions have the colour that was chosen
    assert set(red(0 * hints, apart).unique().tolist()) == set(
        model.palette[[dark, light, cloud], 0].tolist()
    )


def test_guidance_does_not_lead_away_from_strokes() -> None:
    """Without the drawing a stroke says as much as with it: that is no reason to doubt it."""
    model = planner()
    red, green = 0, 1

    def logits(drawing: Tensor, hints: Tensor, _: Tensor) -> Tensor:
        told = hints[:, 3].amax(dim=(1, 2)).view(-1, 1, 1, 1)
        seen = drawing[..., :1]
        return (1 + seen) * torch.eye(16)[green] * 2 + 6 * told * torch.eye(16)[red]

    hints = torch.zeros(1, 4, 16, 16)
    hints[:, 3, 0, 0] = 1  # far less than a cell
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", logits)
        patch.setattr(model, "unread", lambda h, w: torch.zeros(1, 4, 4, 16))
        plan = model.plan(
            torch.ones(1, 4, 4, 16), hints, torch.Generator(), temperature=0, guidance=2.0
        )
    assert (plan == model.palette[red][:, None, None]).all()


def test_what_is_settled_stays_and_what_stood_is_let_go_for_a_reason() -> None:
    model = planner()
    seen = model.read(torch.ones(1, 1, 64, 64))
    none, colour = torch.zeros(1, 4, 16, 16), model.palette[5]
    settled = none.clone()
    settled[:, :3, :, :8], settled[:, 3, :, :8] = colour[:, None, None], 1
    for seed in range(3):
        plan = model.plan(
            seen, none, torch.Generator().manual_seed(seed), temperature=3, settled=settled
        )
        assert (plan[:, :, :, :2] == colour[:, None, None]).all()
        assert not (plan[:, :, :, 2:] == colour[:, None, None]).all()
    strokes = none.clone()
    strokes[:, :3], strokes[:, 3] = model.palette[2][:, None, None], 1
    plan = model.plan(seen, strokes, torch.Generator(), settled=settled)
    assert (plan == model.palette[2][:, None, None]).all()  # what is drawn counts for more

    almost = torch.zeros(16)
    almost[7] = 0.5

    def share(before: Tensor | None, likely: Tensor) -> float:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "forward", lambda d, *_: likely.expand(*d.shape[:3], 16))
            plan = model.plan(seen, none, torch.Generator(), temperature=0, before=before)
        return float((plan == colour[:, None, None]).all(dim=1).float().mean())

    assert share(None, almost) == 0
    assert share(settled, almost) == 0.5  # where it stood
    assert share(settled, 8 * almost) == 0


def test_a_closed_region_makes_way_for_its_strokes(choose: ColourPlanner) -> None:
    lines, red = drawing(256, 256), strokes(256, 256)
    plan = choose(lines, seed=1, temperature=2)
    before, after, drawn = (
        told(x) for x in (plan, choose.after_strokes(plan, lines, None, red), red)
    )
    there = drawn[3] > 0
    assert np.array_equal(after[:, there], drawn[:, there])
    # In the circle that was drawn in nothing else is told, and beyond it nothing has changed.
    assert not after[3, 12:40, 12:28][~there[12:40, 12:28]].any()
    assert np.array_equal(after[:, :, 42:], before[:, :, 42:])
    assert np.array_equal(after[:, 48:], before[:, 48:])


def test_an_open_region_is_chosen_for_again(choose: ColourPlanner) -> None:
    lines, red = drawing(256, 256), Image.new("RGBA", (256, 256))
    red.paste((220, 30, 20, 255), (170, 20, 230, 50))  # on the paper around circle and box
    plan = choose(lines, seed=1, temperature=2)
    again = choose.after_strokes(plan, lines, None, red, seed=1)
    assert choose.after_strokes(plan, lines, None, red, seed=1) == again
    before, after, drawn = told(plan), told(again), told(red)
    there = drawn[3] > 0
    assert np.array_equal(after[:, there], drawn[:, there])
    assert after[3].mean() > 0.9  # a colour for everything
    assert np.array_equal(after[:, 12:40, 12:28], before[:, 12:40, 12:28])  # the circle
    assert np.array_equal(after[:, 36:56, 42:56], before[:, 36:56, 42:56])  # the box
    assert choose.after_strokes(again, lines, red, red.copy()) == again
    gone = choose.after_strokes(again, lines, red, None, seed=1)
    assert not np.array_equal(told(gone)[:, there], drawn[:, there])


def test_a_stroke_means_all_of_what_it_is_drawn_on() -> None:
    """A sky in two blues above grass, a cloud in it, and what is closed to one side."""
    stood = np.ones((4, 20, 20), np.float32)
    stood[:3] = np.array([-0.2, 0.4, 0.8])[:, None, None]
    stood[:3, 3:6] = np.array([0.0, 0.5, 0.9])[:, None, None]  # another light
    stood[:3, 10:] = np.array([-0.2, 0.6, -0.4])[:, None, None]  # grass
    stood[:3, 1:3, 12:15] = 1  # a cloud
    free = np.ones((20, 20), np.bool_)
    free[:, 17:] = False
    none = np.zeros_like(stood)
    purple, orange = np.array([0.2, -0.6, 0.4]), np.array([1, 0.2, -0.6])
    strokes = none.copy()
    strokes[:3, 4, 2:5], strokes[3, 4, 2:5] = purple[:, None], 1

    def coloured(layer: NDArray[np.float32], colour: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(np.abs(layer[:3] - colour[:, None, None]).max(axis=0) < 0.01)

    found = as_meant(stood, none, strokes, free)
    sky = np.zeros((20, 20), np.bool_)
    sky[:10, :17] = True
    sky[1:3, 12:15] = False
    assert np.array_equal(coloured(found, purple), sky)
    assert np.array_equal(found[:, ~sky], stood[:, ~sky])
    strokes[:3, 4, 13:16], strokes[3, 4, 13:16] = orange[:, None], 1
    both = as_meant(stood, none, strokes, free)
    assert coloured(both, purple)[:10, :7].all()
    assert coloured(both, orange)[4:10, 11:17].all()
    assert np.array_equal(as_meant(stood, strokes, strokes, free), stood)  # nothing is new


def test_a_stroke_means_a_sky_that_changes_slowly_from_end_to_end() -> None:
    stood = np.ones((4, 120, 20), np.float32)
    stood[:3] = np.linspace(-0.9, -0.15, 120, dtype=np.float32)[:, None]
    stood[:3, 80:] += 0.4  # the ground
    strokes = np.zeros_like(stood)
    strokes[:, 2, 2:5] = 1
    free = np.ones((120, 20), np.bool_)
    changed = (as_meant(stood, np.zeros_like(stood), strokes, free) != stood).any(axis=0)
    assert changed[:80].all()  # though its ends are 64 of 255 apart
    assert not changed[80:].any()


@pytest.fixture(scope="module")
def embedded() -> ColourPlanner:
    return ColourPlanner.from_pretrained(device="cpu")


PURPLE = (120, 70, 160)


def stroke_in_a_sky() -> tuple[Image.Image, Image.Image]:
    """A farm below a sky, and one stroke in that."""
    lines = Image.open("tests/farm.png").convert("L")
    purple = Image.new("RGBA", lines.size)
    ImageDraw.Draw(purple).line((200, 80, 260, 90), fill=(*PURPLE, 255), width=20)
    return lines, purple


def is_purple(layer: Image.Image) -> NDArray[np.bool_]:
    wanted = np.array(PURPLE) / 127.5 - 1
    return np.asarray(np.abs(told(layer)[:3] - wanted[:, None, None]).max(axis=0) < 0.1)


def test_a_stroke_in_a_sky_colours_the_sky_and_not_the_ground(embedded: ColourPlanner) -> None:
    lines, purple = stroke_in_a_sky()
    plan = embedded(lines, temperature=0.5)
    after = embedded.after_strokes(plan, lines, None, purple)
    ground = (slice(3), slice(118, 126), slice(4, 124))
    assert is_purple(after)[3:40, 20:70].mean() > 0.9
    assert np.abs(told(after)[ground] - told(plan)[ground]).max() < 0.1


def test_a_further_stroke_elsewhere_leaves_a_sky_as_it_is(embedded: ColourPlanner) -> None:
    lines, purple = stroke_in_a_sky()
    plan, both = embedded(lines, seed=2), purple.copy()
    draw = ImageDraw.Draw(both)
    draw.line((60, 410, 90, 420), fill="#d94f3d", width=12)  # in the pumpkin
    draw.line((120, 490, 200, 495), fill="#8fbf4d", width=12)  # on the ground
    one, two = (embedded.after_strokes(plan, lines, None, x, seed=2) for x in (purple, both))
    assert not np.array_equal(told(one)[:, 118:126], told(two)[:, 118:126])
    assert np.array_equal(told(one)[:, :60, 66:], told(two)[:, :60, 66:])  # not the pumpkin


@pytest.mark.parametrize("seed", [1, 2])
def test_another_choice_goes_with_strokes_all_the_same(embedded: ColourPlanner, seed: int) -> None:
    """As other colours, variations and the command line ask for it."""
    lines, purple = stroke_in_a_sky()
    assert is_purple(embedded(lines, purple, seed=seed))[3:40, 20:70].mean() > 0.9


def test_a_mask_does_not_keep_a_stroke_from_meaning_all_that_is_within_it(
    embedded: ColourPlanner,
) -> None:
    lines, purple = stroke_in_a_sky()
    purple.paste((250, 160, 30, 255), (30, 400, 60, 430))  # on the ground, outside the mask
    kept = embedded(lines, temperature=0.5).convert("RGB")
    for height in (120, 160):  # and again, as it grows
        mask = Image.new("L", lines.size)
        mask.paste(255, (0, 0, 512, height))
        layer = embedded(lines, purple, mask=mask, picture=kept)
        assert is_purple(layer)[3 : height // 4, 20:70].mean() > 0.9
        assert (np.asarray(layer)[height:, :, :3] == np.asarray(kept)[height:]).all()


def test_the_thinnest_stroke_has_its_region(choose: ColourPlanner) -> None:
    lines, dot = drawing(256, 256), Image.new("RGBA", (256, 256))
    dot.paste((220, 30, 20, 255), (100, 80, 102, 82))
    again = choose.after_strokes(choose(lines), lines, None, dot)
    assert again.getpixel((101, 81)) == (220, 30, 20, 255)
    assert again.getpixel((60, 80)) == (0, 0, 0, 0)


def test_what_hangs_on_the_drawing_is_remembered(
    choose: ColourPlanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()
    read = Planner.read
    monkeypatch.setattr(Planner, "read", lambda *a: calls.append(1) or read(*a))
    for seed in range(3):
        choose(drawing(64, 64), seed=seed)
    assert len(calls) == 1
    choose(drawing(64, 64).rotate(90))
    assert len(calls) == 2


def test_a_saved_planner_is_read_again(tmp_path: Path) -> None:
    model = planner()
    save_model(model, model.config, tmp_path)
    lines = drawing(96, 96)
    rounded = model.half().float()  # as files have it
    assert ColourPlanner.from_pretrained(str(tmp_path))(lines) == ColourPlanner(rounded)(lines)
    with pytest.raises(ModelUnavailable, match=r"finetune\.planner"):
        ColourPlanner.from_pretrained(str(tmp_path / "none"))


def test_the_embedded_planner_chooses_what_children_would() -> None:
    """A farm with nothing said, in most of its choices: blue above, green below, a red barn."""
    choose = ColourPlanner(Planner.from_pretrained(EMBEDDED / "planner", CPU))
    lines = Image.open("tests/farm.png").convert("L")
    wanted = {(0.05, 0.3, 0.3, 0.6): 2, (0.85, 1.0, 0.0, 1.0): 1, (0.4, 0.5, 0.74, 0.9): 0}
    right = dict.fromkeys(wanted, 0)
    for seed in range(5):
        layer = told(choose(lines, seed=seed))
        height, width = layer.shape[1:]
        for (top, bottom, left, end), channel in wanted.items():
            rows = slice(int(top * height), int(bottom * height))
            part = layer[:, rows, int(left * width) : int(end * width)]
            right[top, bottom, left, end] += part[:3, part[3] > 0].mean(axis=1).argmax() == channel
    assert min(right.values()) >= 3, right
