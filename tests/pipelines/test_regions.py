"""Colours stay within the lines: regions, gaps in lines, strokes, what the model has painted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.colorize import regions as module
from pipelines.colorize.regions import REACH, Regions, after_strokes, find_regions, within_lines

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


def test_bleeding_colours_are_evened_out_within_a_region() -> None:
    lineart = Image.new("L", (400, 280), 255)
    lineart.paste(boxes(), (0, 0))
    painted = Image.new("RGB", lineart.size, (90, 160, 60))
    painted.paste((220, 40, 40), (110, 20, 125, 120))  # bled into the right box from its side
    result = np.asarray(within_lines(find_regions(lineart), lineart, painted, None)).astype(int)
    assert np.abs(result[70, 118] - result[70, 160]).max() < 60
    assert result[70, 118, 1] > result[70, 118, 0]


@pytest.mark.parametrize("size", [(16, 16), (300, 20), (1500, 1000)])
def test_any_size_and_empty_paper(size: tuple[int, int]) -> None:
    for shade in (255, 0):
        lineart = Image.new("L", size, shade)
        painted = Image.new("RGB", size, (120, 130, 140))
        result = within_lines(find_regions(lineart), lineart, painted, Image.new("RGBA", size))
        assert result.size == size


def test_a_plan_makes_way_for_strokes_in_their_region_alone() -> None:
    regions, plan = find_regions(boxes()), Image.new("RGBA", SIZE, "green")
    red = stroke((55, 70), "red")
    layer = np.asarray(after_strokes(plan, None, red, regions))
    assert layer[70, 55].tolist() == [255, 0, 0, 255]
    assert layer[40, 40, 3] == 0  # the rest of the left box is the stroke's
    assert layer[70, 145].tolist() == layer[5, 5].tolist() == [0, 128, 0, 255]
    assert after_strokes(plan, red, red.copy(), regions).getpixel((40, 40)) == (0, 128, 0, 255)
    erased = np.asarray(after_strokes(plan, red, None, regions))
    assert erased[70, 55, 3] == erased[40, 40, 3] == 0


def test_a_stroke_that_slips_over_a_line_leaves_the_neighbour_s_plan() -> None:
    regions, plan = find_regions(boxes()), Image.new("RGBA", SIZE, "green")
    slipped = Image.new("RGBA", SIZE)
    ImageDraw.Draw(slipped).line((50, 70, 93, 70), fill="red", width=4)
    layer = np.asarray(after_strokes(plan, None, slipped, regions))
    assert layer[40, 40, 3] == 0
    assert layer[30, 100].tolist() == [0, 128, 0, 255]


def test_a_plan_makes_way_near_a_stroke_in_a_large_region() -> None:
    paper = Image.new("L", (800, 400), 255)
    dot = Image.new("RGBA", paper.size)
    ImageDraw.Draw(dot).ellipse((90, 190, 110, 210), fill="red")
    plan = Image.new("RGBA", paper.size, "green")
    layer = np.asarray(after_strokes(plan, None, dot, find_regions(paper)))
    assert layer[200, 150, 3] == 0
    assert layer[200, 700].tolist() == [0, 128, 0, 255]


def plainly(
    layer: Image.Image, before: Image.Image | None, now: Image.Image | None, regions: Regions
) -> Image.Image:
    """`after_strokes` as it reads, over the whole picture."""
    clear = Image.new("RGBA", layer.size)
    old, new = (np.asarray(clear if strokes is None else strokes) for strokes in (before, now))
    changed = (old != new).any(axis=2) & ((old[..., 3] > 127) | (new[..., 3] > 127))
    size, result = regions.labels.shape[::-1], np.array(layer)
    small = cv2.resize(changed.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    ys, xs = np.nonzero(small)
    meant = module._meant(ys, xs, regions.labels)  # pyright: ignore[reportPrivateUsage]
    touched = regions.labels[meant]
    away = cv2.distanceTransform((~small).astype(np.uint8), cv2.DIST_L2, 5)
    way = np.isin(regions.labels, touched) & (away <= REACH * max(size)) & small.any()
    way = cv2.resize(way.astype(np.uint8), layer.size, interpolation=cv2.INTER_NEAREST)
    result[way > 0] = 0
    strokes = new[..., 3] > 127
    result[strokes] = new[strokes]
    return Image.fromarray(result)


@pytest.mark.parametrize("size", [(200, 140), (1024, 80), (700, 340), (90, 1333)])
def test_looking_around_a_stroke_alone_gives_the_same(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size[0])
    lineart = Image.new("L", size, 255)
    pen = ImageDraw.Draw(lineart)
    for _ in range(20):
        x, y, r = (int(v) for v in rng.integers((0, 0, 10), (*size, max(size) // 4)))
        pen.ellipse((x - r, y - r, x + r, y + r), outline=0, width=3)
    regions = find_regions(lineart)
    plan = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 4), np.uint8))

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
            found, wanted = after_strokes(plan, *pair, regions), plainly(plan, *pair, regions)
            np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
