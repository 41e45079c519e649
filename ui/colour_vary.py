"""Variations of what lies on the easel, and the way from one of them to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from PIL.Image import blend

from pipelines.colorize.progress import ColourProgress, Variations
from pipelines.colorize.saving import recipe_of
from pipelines.colorize.settings import StablePaintConfig, variation_seeds
from pipelines.errors import InvalidInput
from pipelines.presets import draw_seed
from ui.colour_work import keep, suggested, tidied
from ui.desk import Desk
from ui.easel import Candidates, Easel, Mixed, address
from ui.jobs import Job, until_stopped
from ui.workshop import Workshop

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.colorize.document import Document

STOPS = 5
"""Pictures on the way from one variation to another, both of them included."""

GONE = InvalidInput("This variation is gone: paint new ones.")


@dataclass(frozen=True)
class Varying:
    """Variations so far, as addresses; `between`: of the pictures between two of them."""

    step: int
    of: int
    urls: tuple[str, ...]
    eta: float | None
    between: bool = False


def paint_variations(
    shop: Workshop,
    desk: Desk,
    easel: Easel,
    job: Job,
    config: StablePaintConfig,
    prompt: str | None = None,
) -> Iterator[Varying]:
    """Paint candidates side by side; a stopped job leaves those of before.

    With a `prompt` (which may be empty) the full-size model paints, if there is one.
    """
    document = easel.document
    start = document.kept or document.colours
    full = shop.colourists.full if prompt is not None else None
    yield Varying(0, config.steps, (), None)
    seed = draw_seed() if config.seed is None else config.seed
    config = replace(config, seed=seed)
    hints = document.hints if full else plans(shop, easel, document, seed, config.variations)
    if full:
        painter = full()
        more: dict[str, Any] = {"prompt": prompt} if prompt else {}
        events = painter.stream(
            document.lineart, document.hints, config, mask=document.mask, picture=start, **more
        )
    else:
        painter = shop.colourists.variations()
        events = painter.stream(document.lineart, hints, config, mask=document.mask, picture=start)
    # Within our lines, full size would be what it is not chosen for: flat.
    flat = easel.tidy and not full
    for event in _followed(easel, document, job, events, flat=flat, between=False):
        if isinstance(event, Varying):
            yield event
            continue
        found = Candidates(
            *event, config, document, start, painter.name, suggested=isinstance(hints, tuple),
            mixable=not full, prompt=prompt or "", tidy=flat,
        )  # fmt: skip
        with desk.lock:
            if desk.easel is easel:
                easel.drop_candidates()
                easel.candidates = found


def plans(
    shop: Workshop, easel: Easel, document: Document, seed: int, count: int
) -> tuple[Image, ...] | Image | None:
    """What variations are told: each its own choice of colours, if wished, or all the strokes."""
    if not easel.suggest:
        return document.hints
    seeds = variation_seeds(seed, count)
    return tuple(suggested(shop.colourists, document, s) for s in seeds)


def _followed(
    easel: Easel,
    document: Document,
    job: Job,
    events: Iterator[ColourProgress | Variations],
    *,
    flat: bool,
    between: bool,
) -> Iterator[Varying | tuple[tuple[Image, ...], tuple[str, ...], tuple[int, ...]]]:
    """What is painted as the page shows it, with colours kept within the lines if `flat`; at last
    the pictures, their addresses and seeds."""

    def as_shown(picture: Image) -> Image:
        return tidied(easel, document, picture) if flat else picture

    urls: tuple[str, ...] = ()
    for event in until_stopped(job, events):
        if isinstance(event, ColourProgress):
            if event.previews:
                urls = tuple(address(as_shown(p), "variation") for p in event.previews)
            yield Varying(event.step, event.of, urls, event.eta, between)
        else:
            pictures = tuple(as_shown(p) for p in event.pictures)
            yield pictures, tuple(address(p, "variation") for p in pictures), event.seeds


def pick_end(easel: Easel, number: int) -> tuple[int, int] | None:
    """Choose a variation to go to another from; both, once there are two.

    Choosing the same one again lets it go. Raises: InvalidInput when it is no longer there.
    """
    found = easel.candidates
    if number not in range(len(found.pictures)) or not found.mixable:
        raise GONE
    first, easel.end = easel.end, None
    if first is None:
        easel.end = number
    elif first != number:
        return first, number
    return None


def paint_between(
    shop: Workshop, desk: Desk, easel: Easel, job: Job, ends: tuple[int, int]
) -> Iterator[Varying]:
    """Paint what lies between two variations; a stopped job leaves what was there."""
    found = easel.candidates
    document, config = found.document, found.config
    if document is None or config is None:
        raise GONE
    a, b = ends
    yield Varying(0, config.steps, (), None, between=True)
    hints = document.hints
    if found.suggested:
        first, last = (suggested(shop.colourists, document, found.seeds[end]) for end in ends)
        shares = (n / (STOPS - 1) for n in range(1, STOPS - 1))
        hints = tuple(blend(first, last, share) for share in shares)
    events = shop.colourists.variations().interpolate(
        document.lineart, hints, config, (found.seeds[a], found.seeds[b]),
        count=STOPS, ends=False, mask=document.mask, picture=found.start,
    )  # fmt: skip
    for event in _followed(easel, document, job, events, flat=found.tidy, between=True):
        if isinstance(event, Varying):
            yield event
            continue
        pictures, urls, _ = event
        mixed = Mixed(
            ends,
            (found.pictures[a], *pictures, found.pictures[b]),
            (found.urls[a], *urls, found.urls[b]),
        )
        with desk.lock:
            if desk.easel is easel and easel.candidates is found:
                easel.mixed = mixed


def keep_candidate(easel: Easel, number: int) -> None:
    """Go on with a variation. Raises InvalidInput when it is no longer there."""
    found = easel.candidates
    if number not in range(len(found.pictures)) or found.config is None:
        raise GONE
    model = "stablepaint" if found.mixable else "controlnet"
    recipe = recipe_of(model, found.seeds[number], _settings_of(found), found.painter, found.prompt)
    keep(easel, found.pictures[number], recipe, found.document)


def keep_mixed(easel: Easel, number: int) -> None:
    """Go on with a picture between two variations. Raises InvalidInput when it is gone."""
    found, mixed = easel.candidates, easel.mixed
    if mixed is None or number not in range(len(mixed.pictures)) or found.config is None:
        raise GONE
    seeds = [found.seeds[end] for end in mixed.ends]
    share = number / (len(mixed.pictures) - 1)
    settings = {**_settings_of(found), "between": seeds, "share": share}
    recipe = recipe_of("stablepaint", seeds[round(share)], settings, found.painter)
    keep(easel, mixed.pictures[number], recipe, found.document)


def _settings_of(found: Candidates) -> dict[str, Any]:
    """What, beside seed and words, made these pictures."""
    config = asdict(found.config) if found.config else {}
    return {**config, "within_lines": found.tidy, "suggested": found.suggested}
