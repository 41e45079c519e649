"""What one visitor colours: a document, its history, and the jobs that paint it."""

from __future__ import annotations

import base64
import binascii
import io
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from pipelines.book import Book, Recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import Drawing, clean
from pipelines.colorize.hints import CELL, hint_map, palette, paste, read_mask
from pipelines.colorize.lineart import STRENGTH, extract
from pipelines.colorize.regions import Regions, find_regions, within_lines
from pipelines.colorize.saving import recipe_of
from pipelines.colorize.settings import StablePaintConfig
from pipelines.errors import InvalidInput
from ui.colour_models import Colourists
from ui.desk import Desk
from ui.jobs import Job
from ui.served_files import file_for_browser, url_of
from ui.workshop import Workshop

MAX_LAYER = 12_000_000
"""Characters of a layer that a browser sends."""

CALM, LIVELY = 0.5, 1.0
"""Temperature of the first choice of colours, near what is likeliest, and of others."""

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
    """Where the browser finds the layers, by name: lines, picture, hints, mask."""
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
        self.publish("hints", "mask", "picture")

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
    easel.publish("lines", "picture", "hints", "mask")
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


# --- strokes ------------------------------------------------------------------------------


def read_layer(value: object, size: tuple[int, int]) -> Image.Image | None:
    """A layer from a browser, which may send anything: a PNG data address, or "" for nothing.

    Raises: InvalidInput.
    """
    if value == "":
        return None
    head = "data:image/png;base64,"
    unreadable = InvalidInput("Your strokes could not be read: load the page again.")
    if not isinstance(value, str) or not value.startswith(head) or len(value) > MAX_LAYER:
        raise unreadable
    try:
        data = base64.b64decode(value[len(head) :], validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as layer:
            if layer.width * layer.height > 4 * size[0] * size[1] + 10_000:
                raise unreadable
            return layer.convert("RGBA")
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise unreadable from e


def drawn_over_others(easel: Easel, sent: Mapping[str, Any]) -> bool:
    """Whether a page has drawn on without having seen what another one of the same visitor has
    drawn: a tab that was duplicated shows the same drawing. "over" of `sent`: what it has seen."""
    last = list(easel.heard)
    mine = sent.get("name") == easel.name and sent.get("round") == easel.round
    return mine and sent.get("page") != last[0] and sent.get("over", last) != last


def take_strokes(easel: Easel, sent: Mapping[str, Any]) -> bool:
    """Take over hints and mask from a browser; whether anything changed.

    `sent`: "name" and "round" of what was drawn on, and "hints" or "mask" or both; "page" and
    "number" of the message, as a newer one may have been quicker. Raises InvalidInput.
    """
    if sent.get("name") != easel.name or sent.get("round") != easel.round:
        return False  # drawn before the drawing was changed
    if drawn_over_others(easel, sent):
        return False
    page, number = sent.get("page"), sent.get("number")
    if isinstance(page, str) and isinstance(number, int):
        if page == easel.heard[0] and number <= easel.heard[1]:
            return False
        easel.heard = page, number
    before = easel.document
    hints, mask = before.hints, before.mask
    if "hints" in sent:
        hints = read_layer(sent["hints"], before.size)
    if "mask" in sent:
        layer = read_layer(sent["mask"], before.size)
        mask = layer and layer.getchannel("A")
    document = before.with_strokes(hints, mask)
    if document.mask is not None and before.mask is None and document.kept is None:
        # What stands now stays outside the mask; without a mask all of it is painted again.
        easel.frozen = True
        if easel.painted == easel.revision and document.colours is not None:
            document = replace(document, kept=document.colours)
        else:
            easel.unpainted = replace(document, mask=None)
    elif document.mask is None and easel.frozen:
        document, easel.frozen, easel.unpainted = replace(document, kept=None), False, None
    easel.document = document
    easel.publish(*(name for name in ("hints", "mask") if name in sent))
    easel.changed()
    return True


def redraw(easel: Easel, lineart: Image.Image, strength: float | None = None) -> None:
    """Other lines under the same strokes, drawn with this strength. What was kept and masked
    belonged to the old ones, which can be stepped back to."""
    before = easel.document
    last = easel.past[-1].document if easel.past else None
    plain = before.kept is None and before.mask is None
    if last is None or not plain or last.hints is not before.hints:
        easel.remember()  # else nothing but the lines has changed since
    document = replace(before, lineart=lineart, kept=None, mask=None, planned=None, earlier=None)
    level = easel.strength if strength is None else strength
    easel.begin_round(replace(easel.here, document=document, frozen=False, strength=level))


def lines_of(easel: Easel, strength: float) -> Image.Image:
    """Lines taken from the picture that was handed in."""
    return extract(easel.drawing.original, strength=min(max(strength, 0.0), 1.0))


def own_lines(easel: Easel) -> Image.Image:
    """What was handed in, read as a drawing whatever it looked like; work that was saved has its
    lines with it, and its picture is coloured."""
    if easel.drawing.kind == "lineart":
        return easel.drawing.lineart
    return Image.fromarray(clean(np.asarray(easel.drawing.original.convert("L"))))


def swapped(easel: Easel) -> Image.Image:
    """Paper becomes ink and ink paper."""
    return ImageChops.invert(easel.document.lineart)


# --- jobs ---------------------------------------------------------------------------------


def paint_once(models: Colourists, easel: Easel, document: Document) -> tuple[Document, str]:
    """The document coloured by the model that is meant for it, and that model's name."""
    if document.mask is None and document.kept is not None:
        return replace(document, colours=document.kept), ""
    planned = told(models, easel, document) if easel.suggest else None
    hints = planned or document.hints
    if document.mask is not None:
        model = "stenciltorch"
        picture = models.stencil()(document.lineart, hints, document.mask, document.kept)
    else:
        model, picture = "paintstorch", models.live()(document.lineart, hints)
    return replace(document, colours=tidied(easel, document, picture), planned=planned), model


def told(models: Colourists, easel: Easel, document: Document) -> Image.Image:
    """The document's strokes, and around them chosen colours.

    A choice holds until other colours are asked for: strokes change what they touch and no more.
    It is made without them, so that one that is taken back leaves nothing behind.
    """
    plan, choice = easel.plan, easel.choice  # others may be asked for meanwhile
    if plan is None or not plan.suits(document, choice):
        bare = replace(document, hints=None, colours=None, planned=None)
        plan = Plan(bare, choice, suggested(models, bare, choice, _liveliness(choice)))
        if plan.suits(easel.document, easel.choice):  # no other round has begun meanwhile
            easel.plan = plan
    return models.planner().after_strokes(
        plan.layer, document.lineart, plan.document.hints, document.hints, mask=document.mask,
        picture=document.kept, seed=choice, temperature=_liveliness(choice),
    )  # fmt: skip


def _liveliness(choice: int) -> float:
    """The first choice is a calm one; other colours are asked for to be surprised."""
    return LIVELY if choice else CALM


def suggested(
    models: Colourists, document: Document, seed: int, temperature: float = LIVELY
) -> Image.Image:
    """The document's strokes, and around them colours for what has none."""
    return models.planner()(
        document.lineart, document.hints, mask=document.mask, picture=document.kept, seed=seed,
        temperature=temperature,
    )  # fmt: skip


def settings_of(easel: Easel) -> dict[str, Any]:
    """What, beside strokes and model, made a picture on the easel."""
    settings = {"within_lines": easel.tidy, "suggested": easel.suggest}
    return {**settings, "frozen": True} if easel.frozen else settings


def regions_of(easel: Easel, document: Document) -> Regions:
    """The regions of a document's lines, remembered while they lie on the easel."""
    regions = easel.regions
    if regions is None or document.lineart is not easel.document.lineart:
        regions = find_regions(document.lineart)
        if document.lineart is easel.document.lineart:
            easel.regions = regions
    return regions


def tidied(easel: Easel, document: Document, picture: Image.Image) -> Image.Image:
    """With colours kept within the lines, if wished; outside a mask stands what was kept."""
    if not easel.tidy:
        return picture
    regions = regions_of(easel, document)
    lineart, mask, before = document.lineart, document.mask, document.kept or picture
    if picture.size != lineart.size:  # a preview
        lineart = lineart.resize(picture.size, Image.Resampling.BOX)
        mask = mask and mask.resize(picture.size, Image.Resampling.NEAREST)
        before = before.resize(picture.size, Image.Resampling.BOX)
    fresh = within_lines(regions, lineart, picture, document.hints, planned=easel.suggest)
    if mask is None:
        return fresh
    if mask.getbbox() is None:  # too thin to be seen in a preview
        return before
    return paste(fresh, before, read_mask(mask, *picture.size))


def paint_live(shop: Workshop, desk: Desk, easel: Easel, job: Job) -> Iterator[str]:
    """Paint until the newest strokes are seen: the latest win, whatever came before them."""
    yield "Colouring…"
    try:
        while True:
            with desk.lock:
                if job.stopped or easel.painted == easel.revision or desk.easel is not easel:
                    easel.live = False
                    return
                document, revision, begun = easel.document, easel.revision, easel.round
                easel.tried = revision
                before = easel.unpainted
            if before is not None:
                stands, _ = paint_once(shop.colourists, easel, before)
                with desk.lock:
                    if easel.unpainted is before:
                        easel.unpainted = None
                        easel.document = replace(easel.document, kept=stands.colours)
                continue
            painted, model = paint_once(shop.colourists, easel, document)
            assert painted.colours is not None
            url = address(painted.colours, "picture")
            with desk.lock:
                if easel.round == begun and easel.document.lineart is document.lineart:
                    easel.document = replace(
                        easel.document, colours=painted.colours, planned=painted.planned
                    )
                    easel.painted, easel.urls["picture"] = revision, url
                    if model:
                        easel.recipe = recipe_of(model, easel.choice, settings_of(easel))
            yield "Colouring…"
    finally:
        easel.live = False


# --- rounds -------------------------------------------------------------------------------


def refuse_while_stale(easel: Easel) -> None:
    """Raises InvalidInput while the picture is not the one that the strokes ask for."""
    if easel.stale:
        raise InvalidInput("Your last strokes are not coloured yet: wait until they are.")


def keep(
    easel: Easel, picture: Image.Image, recipe: Recipe | None, made_from: Document | None = None
) -> None:
    """`picture` becomes what the next round begins with; `made_from` tells its strokes, if those
    on the easel are others."""
    easel.remember()
    document = (made_from or easel.document).keep(picture)
    easel.begin_round(replace(easel.here, document=document, recipe=recipe, frozen=False))


def keep_going(easel: Easel) -> None:
    """The picture as it is stands from now on. Raises InvalidInput when there is none."""
    if easel.document.colours is None:
        raise InvalidInput("There is nothing to keep yet: wait until it is coloured.")
    refuse_while_stale(easel)
    keep(easel, easel.document.colours, easel.recipe)


def step(easel: Easel, back: bool) -> None:
    """Step back in the history, or forward again."""
    source, target = (easel.past, easel.future) if back else (easel.future, easel.past)
    if not source:
        raise InvalidInput("There is nothing to step to.")
    here, there = easel.here, source[-1]
    source, target = source[:-1], (*target, here)
    easel.past, easel.future = (source, target) if back else (target, source)
    easel.begin_round(there)
