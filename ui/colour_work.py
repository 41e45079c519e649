"""What happens on an easel: strokes are taken, lines are drawn, pictures are painted."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from pipelines.book import Recipe
from pipelines.colorize.document import Document
from pipelines.colorize.drawing import clean
from pipelines.colorize.hints import paste, read_mask
from pipelines.colorize.lineart import extract
from pipelines.colorize.regions import Regions, find_regions, within_lines
from pipelines.colorize.saving import recipe_of
from pipelines.errors import InvalidInput
from ui.colour_models import Colourists
from ui.desk import Desk
from ui.easel import Easel, Plan, address
from ui.jobs import Job
from ui.workshop import Workshop

MAX_LAYER = 12_000_000
"""Characters of a layer that a browser sends."""

CALM, LIVELY = 0.5, 1.0
"""Temperature of the first choice of colours, near what is likeliest, and of others."""


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
    if document.kept is not before.kept:
        easel.publish("kept")
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
        easel.live = True  # another one, which has given way, may just have ended
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
                        easel.publish("kept")
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
