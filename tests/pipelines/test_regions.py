"""Colours stay within the lines: regions, gaps in lines, strokes, what the model has painted."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.colorize import regions as module
from pipelines.colorize.regions import (
    Regions,
    find_regions,
    touched_regions,
    within_lines,
    without,
)

SIZE = (200, 140)


def boxes(gap: int = 0) -> Image.Image:
    """Two boxes beside each other; the left one has a gap in its right side."""
    lineart = Image.new("L", SIZE, 255)
    draw = ImageDraw.Draw(lineart)
    for x in (20, 110):
        draw.rectangle((x, 20, x + 70, 120), outline=0, width=2)
    if gap:
        draw.rectangle((88, 70 - gap // 2, 91, 70 + (gap - 1) // 2), fill=255)
    return lineart


def stroke(at: tuple[int, int], colour: str) -> Image.Image:
    hints = Image.new("RGBA", SIZE)
    ImageDraw.Draw(hints).line((at[0] - 10, at[1], at[0] + 10, at[1]), fill=colour, width=6)
    return hints


def test_boxes_are_regions_and_every_pixel_belongs_to_one() -> None:
    regions = find_regions(boxes())
    assert regions.areas.sum() == SIZE[0] * SIZE[1]
    places = [(70, 50), (70, 145), (5, 5)]
    assert len({int(regions.labels[y, x]) for y, x in places}) == 3


def test_a_small_gap_in_a_line_does_not_join_what_it_parts() -> None:
    regions = find_regions(boxes(gap=4))
    assert regions.labels[70, 40] != regions.labels[5, 5]


def test_a_wall_goes_on_between_its_windows_and_the_roof() -> None:
    """Balls that know no gaps do not get through there, but hardly a line parts it."""
    lineart = Image.new("L", (800, 800), 255)
    draw = ImageDraw.Draw(lineart)
    for box in (
        (60, 200, 400, 440),
        (70, 212, 170, 330),
        (290, 212, 390, 330),
        (180, 318, 280, 440),
    ):
        draw.rectangle(box, outline=0, width=3)
    labels = find_regions(lineart).labels
    scale = labels.shape[0] / 800

    def at(y: int, x: int) -> int:
        return int(labels[round(y * scale), round(x * scale)])

    wall = {at(260, 230), at(206, 120), at(206, 340), at(390, 120), at(390, 340)}
    others = {at(100, 200), at(270, 120), at(270, 340), at(400, 230)}
    assert len(wall) == 1
    assert len(others - wall) == 4


def test_a_dashed_line_parts_what_it_goes_around() -> None:
    lineart = Image.new("L", (512, 512), 255)
    for start in range(0, 360, 12):
        ImageDraw.Draw(lineart).arc((150, 150, 350, 350), start, start + 7, fill=0, width=3)
    labels = find_regions(lineart).labels
    assert labels[250, 250] != labels[20, 20]


def test_a_stroke_fills_its_box_and_nothing_else() -> None:
    lineart, painted = boxes(), Image.new("RGB", SIZE, (200, 200, 190))
    regions = find_regions(lineart)
    result = np.asarray(
        within_lines(regions, lineart, painted, stroke((55, 70), "#d02020"))
    ).astype(int)
    assert np.abs(result[35, 35] - (208, 32, 32)).max() < 30
    assert np.abs(result[70, 150] - (200, 200, 190)).max() < 12
    assert result[70, 20].max() < 60  # lines are dark


def test_what_slips_over_a_line_fills_nothing() -> None:
    lineart, painted = boxes(), Image.new("RGB", SIZE, (200, 200, 190))
    hints = Image.new("RGBA", SIZE)
    ImageDraw.Draw(hints).rectangle((30, 60, 94, 68), fill="#d02020")  # and a little outside
    result = np.asarray(within_lines(find_regions(lineart), lineart, painted, hints)).astype(int)
    assert np.abs(result[35, 35] - (208, 32, 32)).max() < 30
    assert np.abs(result[90, 100] - (200, 200, 190)).max() < 12
    half = Image.new("RGBA", SIZE)
    ImageDraw.Draw(half).rectangle((60, 60, 130, 68), fill="#d02020")  # meant for all three
    result = np.asarray(within_lines(find_regions(lineart), lineart, painted, half)).astype(int)
    for place in ((35, 60), (90, 100), (35, 130)):
        assert result[place][0] > result[place][1] + 60


def filled(
    lineart: Image.Image, hints: Image.Image, places: Sequence[tuple[int, int]]
) -> list[tuple[int, ...]]:
    """The colours at these places, (x, y), when all else is grey."""
    grey = Image.new("RGB", lineart.size, (200, 200, 200))
    result = np.asarray(within_lines(find_regions(lineart), lineart, grey, hints))
    return [tuple(result[y, x].tolist()) for x, y in places]


def test_what_has_slipped_over_a_line_is_no_stroke_when_another_cuts_it_off() -> None:
    lineart, hints = Image.new("L", (512, 512), 255), Image.new("RGBA", (512, 512))
    pen, brush = ImageDraw.Draw(lineart), ImageDraw.Draw(hints)
    pen.rectangle((20, 20, 490, 490), outline=0, width=3)
    pen.line((250, 20, 250, 490), fill=0, width=3)
    brush.line((100, 250, 254, 250), fill="#d02020", width=9)
    assert filled(lineart, hints, [(258, 250)]) == [(200, 200, 200)]
    brush.rectangle((150, 244, 253, 256), fill="#2040d0")  # over the red, but for its tip
    assert filled(lineart, hints, [(258, 250)]) == [(200, 200, 200)]
    brush.rectangle((400, 240, 402, 242), fill="#2040d0")  # one dab is a stroke
    assert filled(lineart, hints, [(401, 241)])[0][2] > 200


def test_one_sweep_colours_all_the_stripes_that_it_goes_through() -> None:
    lineart, red = Image.new("L", (512, 512), 255), Image.new("RGBA", (512, 512))
    pen = ImageDraw.Draw(lineart)
    pen.rectangle((40, 60, 470, 460), outline=0, width=3)
    for y in range(100, 460, 40):
        pen.line((40, y, 470, y), fill=0, width=3)
    ImageDraw.Draw(red).line((250, 70, 260, 450), fill=(220, 30, 30, 255), width=9)
    stripes = [(150, y) for y in range(80, 460, 40)]
    assert all(r > g + 100 for r, g, _ in filled(lineart, red, stripes))
    touched = touched_regions(find_regions(lineart), None, red, lineart.size)
    assert touched.sum() == len(stripes)


def test_a_stroke_that_leaves_what_was_painted_before_colours_what_it_goes_into() -> None:
    """All of one colour: nothing says where one stroke ends and the next begins."""
    lineart, blue = Image.new("L", (512, 512), 255), Image.new("RGBA", (512, 512))
    pen, brush = ImageDraw.Draw(lineart), ImageDraw.Draw(blue)
    pen.ellipse((60, 60, 440, 440), outline=0, width=3)
    pen.ellipse((230, 250, 280, 290), outline=0, width=3)  # a nose
    face = (120, 150, 380, 150, 120, 200, 380, 200, 130, 235, 380, 235)
    brush.line(face, fill=(40, 80, 220, 255), width=20)
    brush.line((255, 235, 255, 254), fill=(40, 80, 220, 255), width=9)  # over the line
    assert filled(lineart, blue, [(255, 280)]) == [(200, 200, 200)]
    brush.line((255, 235, 255, 275), fill=(40, 80, 220, 255), width=9)
    assert filled(lineart, blue, [(240, 280)])[0][2] > 210


def test_each_of_many_colours_fills_its_own_box() -> None:
    lineart, hints = Image.new("L", (600, 600), 255), Image.new("RGBA", (600, 600))
    pen, brush = ImageDraw.Draw(lineart), ImageDraw.Draw(hints)
    wanted = {
        (n % 6 * 95 + 35, n // 6 * 95 + 35): (n % 6 * 50, n // 6 * 50, 120) for n in range(36)
    }
    for n, ((x, y), colour) in enumerate(wanted.items()):
        pen.rectangle((x - 15, y - 15, x + 65, y + 65), outline=0, width=3)
        brush.line((x - 5, y + 25, x + 50 - n, y + 25), fill=(*colour, 255), width=12)
    found = np.array(filled(lineart, hints, list(wanted)))
    assert np.abs(found - np.array(list(wanted.values()))).max() < 30


@pytest.mark.parametrize("side, dab", [(512, 2), (128, 2), (1500, 6)])
def test_the_smallest_dab_colours_its_region(side: int, dab: int) -> None:
    lineart, hints = Image.new("L", (side, side), 255), Image.new("RGBA", (side, side))
    box = tuple(round(side * share) for share in (0.3, 0.3, 0.4, 0.4))
    ImageDraw.Draw(lineart).rectangle(box, outline=0, width=max(side // 170, 1))
    at = round(side * 0.35)
    hints.paste((20, 60, 220, 255), (at, at, at + dab, at + dab))
    red, _, blue = filled(lineart, hints, [(round(side * 0.33), at)])[0]
    assert blue > red + 100
    assert touched_regions(find_regions(lineart), None, hints, hints.size).sum() == 1


def test_bleeding_colours_are_evened_out_within_a_region() -> None:
    lineart = Image.new("L", (400, 280), 255)
    lineart.paste(boxes(), (0, 0))
    painted = Image.new("RGB", lineart.size, (90, 160, 60))
    painted.paste((220, 40, 40), (110, 20, 125, 120))  # bled into the right box from its side
    result = np.asarray(within_lines(find_regions(lineart), lineart, painted, None)).astype(int)
    assert np.abs(result[70, 118] - result[70, 160]).max() < 60
    assert result[70, 118, 1] > result[70, 118, 0]


def test_what_the_model_smears_over_a_line_is_no_halo_beyond_it() -> None:
    """A green ball in a blue sky, painted with a wide brush."""
    lineart, painted = Image.new("L", (512, 512), 255), Image.new("RGB", (512, 512), (90, 150, 230))
    ImageDraw.Draw(lineart).ellipse((180, 180, 330, 330), outline=0, width=4)
    ImageDraw.Draw(painted).ellipse((172, 172, 338, 338), fill=(40, 160, 50))
    result = np.asarray(within_lines(find_regions(lineart), lineart, painted, None)).astype(int)
    assert np.abs(result[255, 165:176] - (90, 150, 230)).max() < 8
    assert np.abs(result[255, 190:320] - (40, 160, 50)).max() < 8


@pytest.mark.parametrize("size", [(16, 16), (300, 20), (1500, 1000)])
def test_any_size_and_empty_paper(size: tuple[int, int]) -> None:
    for shade in (255, 0):
        lineart = Image.new("L", size, shade)
        painted = Image.new("RGB", size, (120, 130, 140))
        result = within_lines(find_regions(lineart), lineart, painted, Image.new("RGBA", size))
        assert result.size == size


def test_a_long_strip_has_its_regions() -> None:
    strip = Image.new("L", (8000, 140), 255)
    for left in range(0, 8000, 200):
        strip.paste(boxes(), (left, 0))
    regions = find_regions(strip)
    assert regions.labels.size <= 513**2
    assert len(regions.areas) == 2 * 40 + 1


def touched(
    regions: Regions, before: Image.Image | None, now: Image.Image | None, size: tuple[int, int]
) -> Image.Image:
    """A green layer, transparent in the regions that were touched."""
    plan = Image.new("RGBA", size, "green")
    return without(plan, regions, touched_regions(regions, before, now, size))


def test_strokes_touch_their_region_alone() -> None:
    regions = find_regions(boxes())
    red = stroke((55, 70), "red")
    for pair in ((None, red), (red, None)):
        layer = np.asarray(touched(regions, *pair, SIZE))
        assert layer[70, 55, 3] == layer[40, 40, 3] == 0
        assert layer[70, 145].tolist() == layer[5, 5].tolist() == [0, 128, 0, 255]
    assert not touched_regions(regions, red, red.copy(), SIZE).any()
    assert not touched_regions(regions, None, None, SIZE).any()


def test_a_stroke_that_slips_over_a_line_leaves_the_neighbour_alone() -> None:
    slipped = Image.new("RGBA", SIZE)
    ImageDraw.Draw(slipped).line((50, 70, 93, 70), fill="red", width=4)
    layer = np.asarray(touched(find_regions(boxes()), None, slipped, SIZE))
    assert layer[40, 40, 3] == 0
    assert layer[30, 100].tolist() == [0, 128, 0, 255]


def test_a_stroke_goes_as_far_in_a_large_region_as_was_chosen() -> None:
    paper = Image.new("L", (800, 400), 255)
    painted, dot = Image.new("RGB", paper.size, "green"), Image.new("RGBA", paper.size)
    ImageDraw.Draw(dot).ellipse((90, 190, 110, 210), fill="red")
    regions = find_regions(paper)
    alone = np.asarray(within_lines(regions, paper, painted, dot))
    planned = np.asarray(within_lines(regions, paper, painted, dot, planned=True))
    for picture in (alone, planned):
        assert picture[200, 100, 0] > 240
        assert picture[200, 700, 0] < 5
    assert alone[200, 200, 0] > 150
    assert planned[200, 200, 0] < 5
    # A small region is the stroke's all the same.
    lines, red = boxes(), stroke((55, 70), "red")
    green = Image.new("RGB", SIZE, "green")
    found = within_lines(find_regions(lines), lines, green, red, planned=True)
    assert np.asarray(found)[40, 40, 0] > 200


def plainly(
    regions: Regions, before: Image.Image | None, now: Image.Image | None, size: tuple[int, int]
) -> set[int]:
    """`touched_regions` as it reads, over the whole picture."""
    clear = Image.new("RGBA", size)
    old, new = (np.asarray(clear if strokes is None else strokes) for strokes in (before, now))
    changed = (old != new).any(axis=2) & ((old[..., 3] > 127) | (new[..., 3] > 127))
    shape = regions.labels.shape[::-1]
    small = cv2.resize(changed.astype(np.float32), shape, interpolation=cv2.INTER_AREA) > 0
    ys, xs = np.nonzero(small)
    meant = module._meant(ys, xs, regions.labels, regions.areas)  # pyright: ignore[reportPrivateUsage]
    return set(regions.labels[meant].tolist())


@pytest.mark.parametrize("size", [(200, 140), (1024, 80), (700, 340), (90, 1333)])
def test_looking_around_a_stroke_alone_gives_the_same(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size[0])
    lineart = Image.new("L", size, 255)
    pen = ImageDraw.Draw(lineart)
    for _ in range(20):
        x, y, r = (int(v) for v in rng.integers((0, 0, 10), (*size, max(size) // 4)))
        pen.ellipse((x - r, y - r, x + r, y + r), outline=0, width=3)
    regions = find_regions(lineart)

    def drawn(on: Image.Image | None) -> Image.Image:
        """One stroke more, a few of them faint or erasers."""
        layer = Image.new("RGBA", size) if on is None else on.copy()
        x, y, dx, dy = (int(v) for v in rng.integers((0, 0, -60, -60), (*size, 60, 60)))
        colour = (*(int(v) for v in rng.integers(0, 256, 3)), int(rng.choice([0, 90, 255, 255])))
        ImageDraw.Draw(layer).line(
            (x, y, x + dx, y + dy), fill=colour, width=int(rng.integers(1, 30))
        )
        return layer

    layer = None
    for _ in range(8):
        before, layer = layer, drawn(layer)
        for pair in ((before, layer), (layer, before), (None, layer)):
            found = np.flatnonzero(touched_regions(regions, *pair, size))
            assert set(found.tolist()) == plainly(regions, *pair, size)
