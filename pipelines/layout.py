"""Where each piece of clip art goes on a page, so that a scene's relations read at a glance.

Clip art stands on a grid of `GRID` pixels and comes in few sizes. A VQGAN with a stride of 16
then sees a character's patches always cut the same way, so that its codes repeat exactly and a
small code transformer can learn them by heart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pipelines.canvas import SIZE
from pipelines.clipart import extent, looks, unit_of
from pipelines.scene import Item, Scene, is_character

GRID = 16
"""Clip art is placed and sized in multiples of this many pixels."""

SIMPLE_SIZES = (64, 96, 128)
"""The sizes of clip art in a simple layout, in pixels."""
_SIZES = tuple(range(3 * GRID, 11 * GRID, GRID))
_SMALLEST_UNIT = 76
"""Pixels of an ordinary character on a page that is as full as can be."""
_OVERLAP = 1.04
"""Widths of the groups in widths of the page, from which on everything is drawn smaller: a picture
is easier to read with figures that touch than with small ones."""
_ROWS_FROM = 4
"""So many groups stand in two rows, every second one further away."""
_ROWS_OVERLAP = 1.52
"""The same of those, which hide more of each other."""
_SMALLER = 0.8
"""Of what is next to something larger, in sizes of that at most."""
_ANY = 1e9
"""No limit to a size."""

# What one sits in or on rather than stands on: how deep, as a part of its height.
_SEATS = {
    "chair": 0.58, "sofa": 0.42, "bed": 0.5, "sled": 0.6, "boat": 0.86, "canoe": 0.55,
    "bicycle": 0.35, "motorcycle": 0.4, "scooter": 0.75, "skateboard": 0.2, "wheelchair": 0.55,
    "nest": 0.55,
    "speedboat": 0.5, "ship": 0.45, "ferry": 0.5, "island": 0.3, "tree": 0.3, "palm_tree": 0.25,
    "pine_tree": 0.3, "house": 0.22, "castle": 0.25, "basket": 0.3, "bathtub": 0.5,
    "carousel": 0.45, "tractor": 0.3, "roller_coaster": 0.35, "giraffe": 0.5, "camel": 0.42,
    "ladder": 0.3, "pillow": 0.4, "magic_wand": 0.4, "broom": 0.5, "volcano": 0.1,
}  # fmt: skip
_VESSELS = frozenset(
    """canoe bed nest basket sled bathtub cup bowl bucket box hat boot shoe teapot jar gift
    backpack suitcase purse treasure_chest car bus van jeep taxi truck tractor fire_engine ambulance
    police_car race_car train tram airplane helicopter rocket flying_saucer speedboat
    hot_air_balloon cable_car vase pumpkin egg shell sofa wheelchair frying_pan""".split()
)
_BOATS = frozenset({"boat", "ship", "ferry"})
_TREES = frozenset({"tree", "pine_tree", "palm_tree"})
_OVERHEAD = frozenset(
    "umbrella balloon kite parachute star lamp lantern bell music hat leaf planet comet".split()
)
_ON_A_STRING = frozenset({"balloon", "kite", "umbrella", "parasol", "lantern", "parachute"})
_IN_THE_AIR = frozenset(
    """balloon kite airplane helicopter flying_saucer hot_air_balloon parachute star planet comet
    satellite butterfly bee bat dove ghost eagle mosquito housefly fairy bird crow rocket
    phoenix""".split()
)
_BOTTOM_DWELLERS = frozenset({"crab", "lobster", "starfish", "snail", "scorpion", "turtle"})
_SOLID_AIR = frozenset({"balloon", "kite", "hot_air_balloon", "parachute", "satellite", "airplane",
                        "helicopter", "flying_saucer"})  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """One piece of clip art: the top left corner and side in pixels, multiples of GRID."""

    word: str
    x: int
    y: int
    size: int
    flip: bool


@dataclass
class _Piece:
    """Before it is placed: `x` of its middle and `base` of its foot relative to the group's; `z`
    from far to near."""

    word: str
    size: int
    x: float = 0.0
    base: float = 0.0
    z: int = 0


@dataclass
class _Group:
    """A subject and what hangs on it (held, under, above ...), with its luck drawn once."""

    item: Item
    side: int
    luck: int
    """Cells above the ground if it floats."""
    hung: list[Item] = field(default_factory=list)


def _snap(value: float) -> int:
    return GRID * round(value / GRID)


def _keep(v: int, size: int) -> int:
    """The coordinate moved so that the clip art stays on the page."""
    return min(max(v, 0), SIZE - size)


def _floats(g: _Group, scene: Scene) -> bool:
    """Whether a group hangs in air, water or space rather than stands on the ground."""
    word = g.item.word
    if scene.place == "sky":
        return True
    if scene.place == "underwater":  # things sink, most who live there swim
        return is_character(word) and word not in _BOTTOM_DWELLERS
    if scene.place == "space" and g.luck == 4:
        return True
    if not all(h.relation in ("holding", "with") for h in g.hung):
        return False
    if scene.place in ("room", "school", "market", "castle_hall") and word not in _SOLID_AIR:
        return False
    return word in _IN_THE_AIR


def _groups(scene: Scene, rng: random.Random) -> list[_Group]:
    groups: list[_Group] = []
    for item in scene.items:
        if item.relation in ("", "+", "near", "beside") or not groups:
            groups.append(_Group(item, rng.choice((-1, 1)), rng.randint(4, 6)))
        else:
            groups[-1].hung.append(item)
    return groups


def _half(word: str) -> float:
    """Half the width of what can be seen of a word's art, as a part of its side."""
    left, _, right, _ = extent(word)
    return max(0.5 - left, right - 0.5)


class _Arranger:
    """Builds a group's pieces at one unit size, in pixels relative to the floor."""

    def __init__(self, unit: float, sizes: tuple[int, ...]) -> None:
        self.unit, self.sizes = unit, sizes

    def fit(self, pixels: float, most: float = _ANY) -> int:
        """The nearest size there is, not above `most` if that can be."""
        size = min(self.sizes, key=lambda s: abs(s - pixels))
        fitting = [s for s in self.sizes if s <= max(most, self.sizes[0])]
        return min(size, fitting[-1])

    def size_of(self, g: _Group) -> int:
        """Of what a group is about. Who is in or on something leaves it the larger size."""
        carried = any(h.relation in ("on", "in", "inside", "under") for h in g.hung)
        most = _SMALLER * self.sizes[-1] if carried else _ANY
        return self.fit(self.unit * unit_of(g.item.word), most)

    def group(self, g: _Group, most: float) -> list[_Piece]:
        """Its pieces; what it is about is not larger than `most` if that can be."""
        size = self.fit(self.size_of(g), most)
        n = g.item.count
        main = [_Piece(g.item.word, size) for _ in range(n)]
        self._row(main)
        pieces = list(main)
        taken = {-1: 0, 1: 0}
        side = g.side
        for h in g.hung:
            if h.relation in ("holding", "with"):
                side = min((side, -side), key=lambda s: taken[s])
                taken[side] += 1
                pieces += self._beside(main, h, side, taken[side])
            elif h.relation == "on":
                pieces.append(self._on(main, h))
            elif h.relation in ("in", "inside"):
                pieces.append(self._inside(main, h, side))
            elif h.relation == "under":
                pieces.append(self._under(main, h, side))
            elif h.relation == "behind":
                pieces.append(self._behind(main, h, side))
            else:
                pieces.append(self._above(main, h))
        return pieces

    def _row(self, main: list[_Piece]) -> None:
        """Several of a kind: side by side, every second one a little further away."""
        n = len(main)
        apart, back = (0.66, GRID) if n < 3 else (0.5, 2 * GRID) if n < 4 else (0.44, 2 * GRID)
        for k, p in enumerate(main):
            p.x = (k - (n - 1) / 2) * apart * p.size
            p.base = -float(back * (k % 2))
            p.z = -(k % 2)

    def _beside(self, main: list[_Piece], h: Item, side: int, nth: int) -> list[_Piece]:
        """Held at the hand, or standing next to the subject."""
        edge = max(main, key=lambda p: side * p.x)
        a = edge.size
        if h.relation == "holding":
            size = self.fit(min(self.unit * unit_of(h.word), 0.55 * a), 0.62 * a)
            dx = (_half(edge.word) - 0.03) * a + (_half(h.word) - 0.18) * size
            base = edge.base - (0.36 if h.word in _ON_A_STRING else 0.14) * a
        else:
            most = _ANY if is_character(h.word) else _SMALLER * a
            size = self.fit(self.unit * unit_of(h.word), most)
            dx = _half(edge.word) * a + (_half(h.word) - 0.04) * size
            base = edge.base - (0.3 * a if h.word in _ON_A_STRING else 0.0)
        dx += (nth - 1) * 0.8 * size
        step, rise = (0.45, 0.3) if h.word in _ON_A_STRING else (1.6 * _half(h.word), 0.06)
        return [
            _Piece(
                h.word,
                size,
                edge.x + side * (dx + step * size * k),
                base - rise * size * (k % 2),
                2,
            )
            for k in range(min(h.count, 3))
        ]

    def _lift(self, main: list[_Piece], base: float) -> None:
        lowest = max(p.base for p in main)
        for p in main:
            p.base += base - lowest

    def _on(self, main: list[_Piece], h: Item) -> _Piece:
        a = main[0]
        least = 1.35 if h.word in _BOATS else 0.85
        size = self.fit(max(self.unit * unit_of(h.word), least * a.size), SIZE - 24 - a.size * 0.85)
        _, top, _, bottom = extent(h.word)
        depth = _SEATS.get(h.word, 0.3 if is_character(h.word) else 0.12)
        stand = size * (1 - top - depth * (bottom - top))  # where its feet are, above the floor
        self._lift(main, min(-stand + a.size * (1 - extent(a.word)[3]), -16.0))
        return _Piece(h.word, size, 0.0, 0.0, -3)

    def _inside(self, main: list[_Piece], h: Item, side: int) -> _Piece:
        a = main[0]
        if h.word in _BOATS or h.word in _TREES:  # before the sails, not behind them; in the crown
            return self._on(main, h)
        if h.word in _VESSELS:
            size = self.fit(max(self.unit * unit_of(h.word), 1.05 * a.size))
            _, top, _, bottom = extent(h.word)
            rim = {"hot_air_balloon": 0.22, "boat": 0.2, "rocket": 0.5}.get(h.word, 0.46)
            self._lift(main, -size * (bottom - top) * rim)
            return _Piece(h.word, size, 0.0, 0.0, 3)
        size = self.fit(max(self.unit * unit_of(h.word), 1.6 * a.size), 160)
        for p in main:
            shrunk = self.fit(0.72 * size, 0.78 * size)
            p.x, p.size = p.x * shrunk / p.size, shrunk
        return _Piece(h.word, size, side * 0.34 * size, -8.0, -3)

    def _under(self, main: list[_Piece], h: Item, side: int) -> _Piece:
        a = main[0]
        if unit_of(h.word) < 0.8 or h.word in _OVERHEAD:
            size = self.fit(
                max(self.unit * unit_of(h.word), 0.8 * a.size), SIZE - 16 - a.size * 0.85
            )
            self._lift(main, 0.0)
            head = a.size * (1 - extent(a.word)[1])
            low = size * (1 - extent(h.word)[3])
            return _Piece(h.word, size, 0.0, -(head - low - 0.08 * a.size), 2)
        size = self.fit(max(self.unit * unit_of(h.word), 1.7 * a.size), 176)
        for p in main:
            shrunk = self.fit(min(0.72 * size, p.size), 0.78 * size)
            p.x, p.size = p.x * shrunk / p.size, shrunk
        return _Piece(h.word, size, side * 0.14 * size, -8.0, -3)

    def _behind(self, main: list[_Piece], h: Item, side: int) -> _Piece:
        size = self.fit(self.unit * unit_of(h.word))
        edge = max(main, key=lambda p: side * p.x)
        for p in main:
            p.base -= GRID
        return _Piece(h.word, size, edge.x + side * (0.3 * edge.size + 0.36 * size), 0.0, 3)

    def _above(self, main: list[_Piece], h: Item) -> _Piece:
        size = self.fit(self.unit * unit_of(h.word), SIZE - 40 - main[0].size * 0.8)
        self._lift(main, -size * (1 - extent(h.word)[1]) - 0.5 * GRID)
        return _Piece(h.word, size, 0.0, 0.0, -2)


def _arrange(groups: list[_Group], arranger: _Arranger) -> list[list[_Piece]]:
    """The pieces of each group. A thing next to characters is smaller than they are."""
    characters = [g for g in groups if is_character(g.item.word)]
    least = min((arranger.size_of(g) for g in characters), default=_ANY)

    def most(word: str) -> float:
        thing = not is_character(word) and unit_of(word) < 1
        return _SMALLER * least if thing else _ANY

    return [arranger.group(g, most(g.item.word)) for g in groups]


def _span(pieces: list[_Piece]) -> tuple[float, float]:
    halves = [(p.x, _half(p.word) * p.size + 4) for p in pieces]
    return min(x - half for x, half in halves), max(x + half for x, half in halves)


def lay_out(scene: Scene, rng: random.Random, *, simple: bool = False) -> list[Placed]:
    """Where each piece of clip art goes, in painting order (far to near).

    `simple` keeps to SIMPLE_SIZES. Whoever has a company looks towards it.
    """
    groups = _groups(scene, rng)
    if rng.random() < 0.5:
        groups.reverse()
    lone = len(scene.items) == 1 and scene.items[0].count == 1
    unit = float(rng.choice((128, 144)) if lone else rng.choice((116, 128)))
    if lone and unit_of(scene.items[0].word) < 0.8:
        unit *= 1.5  # a small thing alone is the picture's hero
    floor = GRID * rng.choice((14, 15))
    look = rng.choice((-1, 1))
    rows = len(groups) >= _ROWS_FROM
    while True:
        drawn = _arrange(groups, _Arranger(unit, SIMPLE_SIZES if simple else _SIZES))
        spans = [_span(pieces) for pieces in drawn]
        total = sum(right - left for left, right in spans)
        most = SIZE * (_ROWS_OVERLAP if rows else _OVERLAP)
        if total <= most or unit <= _SMALLEST_UNIT:
            break
        unit = max(0.9 * unit, _SMALLEST_UNIT)
    squeeze = min(1.0, SIZE / total)  # a crowd that is too wide even so
    gap = max(0.0, SIZE - total) / (len(groups) + 1)
    x = gap
    order: list[tuple[int, int, _Piece, int, int]] = []
    for n, (g, pieces, (left, right)) in enumerate(zip(groups, drawn, spans, strict=True)):
        middle = x - left * squeeze
        x += (right - left) * squeeze + gap
        back = rows and n % 2 == 1
        air = 2 * GRID if back else 0
        if _floats(g, scene):
            top = max(-p.base + p.size for p in pieces)
            air = max(min(GRID * g.luck, floor - round(top)), 0)
        for p in pieces:
            px = _keep(_snap(middle + p.x * squeeze - p.size / 2), p.size)
            py = _keep(_snap(floor - air + p.base - p.size), p.size)
            big = not is_character(p.word) and unit_of(p.word) > 1 and p.z == 0
            depth = 2 if big or p.z == -3 else 1 if back else 0
            order.append((depth, n, p, px, py))
    # What is far; of that which is as far one group after the other, what is carried first.
    order.sort(key=lambda o: (-o[0], o[1] if o[0] < 2 else 0, o[2].z))
    spots: set[tuple[int, int]] = set()
    boxes: list[tuple[str, int, int, int]] = []
    for _, _, p, px, py in order:
        spot = _free(px, py, p.size, spots)
        spots.add(spot)
        boxes.append((p.word, *spot, p.size))
    return [
        Placed(word, px, py, size, _flip(word, px + size / 2, boxes, look))
        for word, px, py, size in boxes
    ]


def _free(x: int, y: int, size: int, spots: set[tuple[int, int]]) -> tuple[int, int]:
    """The spot nearest to (x, y) at which no other piece has its corner; on a page that is full
    (x, y) itself."""
    if (x, y) not in spots:
        return x, y
    around = sorted(
        ((x + GRID * i, y + GRID * j) for i in range(-15, 16) for j in range(-15, 16)),
        key=lambda s: (s[0] - x) ** 2 + (s[1] - y) ** 2,
    )
    free = (s for s in around if s not in spots and min(s) >= 0 and max(s) <= SIZE - size)
    return next(free, (x, y))


def _flip(word: str, middle: float, boxes: list[tuple[str, int, int, int]], look: int) -> bool:
    """Whether to mirror a piece so that it looks at the others; alone, it looks `look`."""
    facing = looks(word)
    if not facing:
        return False
    others = [x + s / 2 for w, x, _, s in boxes if w != word and is_character(w)]
    others = others or [x + s / 2 for w, x, _, s in boxes if w != word]
    if others:
        away = sum(others) / len(others) - middle
        if abs(away) > GRID / 2:
            look = 1 if away > 0 else -1
    return facing != look
