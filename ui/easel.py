"""What one visitor colours: a document, its history, and what goes with each round of it."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from pipelines.book import Book, Recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import Drawing
from pipelines.colorize.hints import CELL, hint_map, palette
from pipelines.colorize.lineart import STRENGTH
from pipelines.colorize.regions import Regions
from pipelines.colorize.settings import StablePaintConfig
from pipelines.errors import InvalidInput
from ui.served_files import file_for_browser, url_of

MAX_HISTORY = 12
"""Rounds that one can step back."""

CRAYONS = (
    "#d94f3d", "#f08a3c", "#f6c945", "#8fbf4d", "#3f8f5f", "#5bb8c9", "#3d6fb6", "#6a4fa3",
    "#d77fb0", "#f2c9a1", "#8a5a3c", "#f7f3e8", "#8d8d93", "#2b2a33",
)  # fmt: skip
"""The colours on the table, as CSS writes them."""


@dataclass(frozen=True)
class Place:
    """A page of a book that is coloured, known by what it tells: pages move within their book."""

    book: str
    index: int
    """Where it was, from 0."""
    text: str
    brief: str

    @staticmethod
    def of(book: Book, index: int) -> Place:
        page = book.pages[index]
        return Place(book.id, index, page.text, page.brief)

    def find(self, book: Book) -> int:
        """Where it is in the book by now. Raises: InvalidInput when nobody can tell."""
        told = (self.text, self.brief)
        found = [n for n, page in enumerate(book.pages) if (page.text, page.brief) == told]
        if self.index in found:
            return self.index
        if len(found) == 1:
            return found[0]
        what = "has moved, and others tell the same" if found else "is gone from the book"
        raise InvalidInput(f"This page {what}: save the picture as a file.")


@dataclass(frozen=True)
class Candidates:
    """Variations to choose from, finished or not."""

    pictures: tuple[Image.Image, ...] = ()
    urls: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    config: StablePaintConfig | None = None
    document: Document | None = None
    start: Image.Image | None = None
    """What they were made from: the document as it was, and what they stray from."""
    painter: str = "embedded"
    """The weights' name."""
    suggested: bool = False
    """Whether each has colours of its own choice where there is no stroke."""
    mixable: bool = True
    """Whether there is a way from one to another: StablePaint's have one, the full-size model's
    do not."""
    prompt: str = ""
    """The words that the full-size model was told."""
    tidy: bool = True
    """Whether their colours were kept within the lines."""


@dataclass(frozen=True)
class Mixed:
    """Pictures on the way from one variation to another, the two `ends` included."""

    ends: tuple[int, int]
    pictures: tuple[Image.Image, ...]
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Round:
    """One state of the work that one can step back to."""

    document: Document
    recipe: Recipe | None
    frozen: bool
    strength: float
    tidy: bool
    suggest: bool
    choice: int
    plan: Plan | None
    """These as the easel's: what a round is painted with once more."""


@dataclass(frozen=True)
class Plan:
    """Colours that were chosen for a document."""

    document: Document
    seed: int
    layer: Image.Image
    """The document's strokes and the choice around them, PIL RGBA."""

    @staticmethod
    def kept_in(document: Document, seed: int) -> Plan | None:
        """The choice that a document brings along. Strokes that were not told to a model yet, such
        as another program has drawn, are new to it."""
        layer, hints = document.planned, document.hints
        if layer is not None and hints is not None:
            drawn, told = (hint_map(strokes, *document.size) for strokes in (hints, layer))
            other = (np.abs(drawn - told).max(axis=0) > 0.02).repeat(CELL, 0).repeat(CELL, 1)
            known = np.array(hints)
            known[other[: hints.height, : hints.width]] = 0
            document = replace(document, hints=Image.fromarray(known))
        return layer and Plan(document, seed, layer)

    def suits(self, document: Document, seed: int) -> bool:
        """Whether the other one differs in nothing but its strokes."""
        mine = self.document
        same = mine.lineart is document.lineart and mine.kept is document.kept
        return seed == self.seed and same and mine.mask == document.mask


@dataclass(eq=False)
class Easel:
    """One visitor's colouring. The desk's lock guards it."""

    drawing: Drawing
    document: Document
    place: Place | None = None
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this drawing; strokes meant for another are not taken."""
    title: str = ""
    """What it is called: the name of its file, or its book and page; "" where nobody knows."""
    round: int = 0
    """Grows when hints, mask or what is kept change on the server; the browser loads them anew
    then, and what was drawn before is let go."""
    heard: tuple[str, int] = ("", 0)
    """The newest message with strokes: the page that sent it, and its number there."""
    revision: int = 0
    """Grows with every change of what models see."""
    painted: int = -1
    """The revision that `document.colours` shows."""
    tried: int = -1
    """The newest revision that a job has begun to paint."""
    live: bool = False
    """Whether a job paints whatever comes."""
    frozen: bool = False
    """Whether `document.kept` is the picture that stood when a mask was begun."""
    unpainted: Document | None = None
    """What stands outside a mask that was begun before any model had painted that."""
    past: tuple[Round, ...] = ()
    future: tuple[Round, ...] = ()
    candidates: Candidates = Candidates()
    end: int | None = None
    """The variation that the way to another begins with, once it is chosen."""
    mixed: Mixed | None = None
    recipe: Recipe | None = None
    """What made `document.colours`, or else what was kept."""
    strength: float = STRENGTH
    saved: tuple[tuple[str, str, str], ...] = ()
    """Files to take away: (address, name, what it is)."""
    urls: dict[str, str] = field(default_factory=dict[str, str])
    """Where the browser finds the layers, by name: those of `publish`."""
    from_page: bool = False
    """Whether it is a page of a book, anybody's."""
    tidy: bool = True
    """Whether colours are kept within the lines."""
    suggest: bool = True
    """Whether colours are chosen for what has no stroke."""
    choice: int = 0
    """The seed of that choice."""
    plan: Plan | None = None
    """The last choice of this round."""
    regions: Regions | None = None
    """Of the line art; None until they are needed."""
    table: tuple[str, ...] = CRAYONS
    """The colours to choose from."""

    @property
    def waits_for_mask(self) -> bool:
        """Strokes have no effect: the picture was kept, and nothing is masked."""
        document = self.document
        return document.kept is not None and document.mask is None

    @property
    def coloured(self) -> bool:
        """Whether there is a picture."""
        return self.document.colours is not None or self.document.kept is not None

    @property
    def behind(self) -> bool:
        """Whether there is something that is not coloured yet."""
        stands = self.waits_for_mask and self.document.colours is None
        return self.painted != self.revision and not stands

    @property
    def stale(self) -> bool:
        """Whether the picture is not the one that the strokes ask for."""
        return self.behind and (self.coloured or self.document.mask is not None)

    @property
    def here(self) -> Round:
        """The state of the work."""
        return Round(
            self.document, self.recipe, self.frozen, self.strength, self.tidy, self.suggest,
            self.choice, self.plan,
        )  # fmt: skip

    def remember(self) -> None:
        """The state of the work can be stepped back to."""
        self.past, self.future = (*self.past, self.here)[-MAX_HISTORY:], ()

    def changed(self) -> None:
        """Models have something new to see."""
        self.revision += 1
        self.saved = ()

    def begin_round(self, there: Round) -> None:
        """Show another state; what was there is remembered by the caller."""
        document, before = there.document, self.document
        self.document, self.recipe = document, there.recipe
        self.frozen, self.strength = there.frozen, there.strength
        self.tidy, self.suggest = there.tidy, there.suggest
        self.choice, self.plan = there.choice, there.plan
        late = self.frozen and document.kept is None
        self.unpainted = replace(document, mask=None) if late else None
        if document.lineart is not before.lineart:
            self.regions = None
            self.publish("lines")
        self.drop_candidates()
        same = all(
            getattr(document, part) is getattr(before, part) for part in ("hints", "mask", "kept")
        )
        if not same:  # else what is being drawn meanwhile belongs to what is there, too
            self.round += 1
        self.changed()
        self.publish("hints", "mask", "kept", "earlier", "picture")

    def lay_out(self, picture: Image.Image) -> None:
        """The picture's own colours lie on the table, too."""
        own = (f"#{r:02x}{g:02x}{b:02x}" for r, g, b in palette(picture, 8))
        self.table = (*own, *CRAYONS)

    def drop_candidates(self) -> None:
        """Variations belong to what they were made from."""
        self.candidates, self.end, self.mixed = Candidates(), None, None

    def publish(self, *layers: str) -> None:
        """Write these layers where the browser finds them."""
        document = self.document
        pictures: dict[str, Image.Image | None] = {
            "lines": document.lineart,
            "original": self.drawing.original,
            "kept": document.kept,
            "earlier": document.earlier,
            "picture": document.colours or document.kept,
            "hints": document.hints,
            "mask": document.mask and as_layer(document.mask),
        }
        for name in layers:
            picture = pictures[name]
            self.urls[name] = "" if picture is None else address(picture, name)


def new_easel(drawing: Drawing, place: Place | None = None) -> Easel:
    """A drawing is put up; a picture's own colours lie on the table, too."""
    easel = Easel(drawing, Document(drawing.lineart), place)
    if drawing.kind == "picture":
        easel.lay_out(drawing.original)
    easel.publish("lines", "original", "kept", "earlier", "picture", "hints", "mask")
    return easel


def address(picture: Image.Image, name: str) -> str:
    """Where a layer can be fetched: pictures as JPEG, which is quick, everything else as PNG."""
    out = io.BytesIO()
    if picture.mode == "RGB":
        picture.save(out, "JPEG", quality=92, subsampling=0)
        return url_of(file_for_browser(out.getvalue(), f"{name}.jpg"))
    picture.save(out, "PNG", compress_level=2)
    return url_of(file_for_browser(out.getvalue(), f"{name}.png"))


def as_layer(mask: Image.Image) -> Image.Image:
    """A mask as the browser draws it: persimmon where it is set, PIL RGBA."""
    layer = Image.new("RGBA", mask.size, (228, 86, 42, 255))
    layer.putalpha(mask)
    return layer
