"""HTML of the Colour tab that the server writes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from ui import markup
from ui.colour_vary import Varying
from ui.easel import Candidates, Easel, Mixed
from ui.jobs import Job
from ui.served_files import url_of
from ui.theme import ASSETS

EXAMPLES = {"fox": ("A fox", 3), "sea": ("Out at sea", 4), "rocket": ("To the moon", 3)}
"""Drawings of our own (`docs/drawings`): the file in `assets/drawings`, what it shows, and which
choice of colours it begins with."""


def examples() -> str:
    """Buttons with drawings to try."""
    cards = "".join(
        f'<button type="button" class="example" data-example="{name}">'
        f'<img src="{url_of(ASSETS / "drawings" / f"{name}.png")}" alt="" loading="lazy">'
        f"<span>{escape(what)}</span></button>"
        for name, (what, _) in EXAMPLES.items()
    )
    ask = '<p class="note">No drawing at hand? Take one of these.</p>'
    return f'{ask}<div class="examples">{cards}</div>'


OFFERS = {
    "swap": "Swap black and white",
    "own": "Use its own lines",
    "extract": "Draw lines from it",
}
"""What can be done about lines that were read in the wrong way."""


def notes(easel: Easel) -> str:
    """What was done to the drawing, and what to press if it was the wrong thing."""
    lines = "".join(f'<p class="note">{escape(text)}</p>' for text in easel.drawing.notes)
    buttons = "".join(
        f'<button type="button" class="small-button" data-offer="{name}">{OFFERS[name]}</button>'
        for name in offers(easel)
    )
    return lines + (f'<div class="files">{buttons}</div>' if buttons else "")


def offers(easel: Easel) -> tuple[str, ...]:
    """Keys of OFFERS that this drawing may need."""
    if easel.drawing.kind == "picture":
        return () if easel.from_page else ("own",)
    if easel.drawing.kind == "inverted":
        return ("swap", "extract")
    grey = easel.document.lineart.resize((32, 32), Image.Resampling.BOX)
    shade = float(np.asarray(grey).mean())
    if shade > 254:
        return ("extract",)
    return ("swap", "extract") if shade < 110 else ()


def comparison(easel: Easel) -> str:
    """The drawing and the picture, one above the other, with a slider between them."""
    before, after = easel.urls["lines"], easel.urls["picture"]
    if not after:
        return f'<div class="compare"><img src="{before}" alt="The drawing"></div>'
    width, height = easel.document.size
    return f"""<div class="compare" style="aspect-ratio:{width}/{height}">
<img src="{before}" alt="The drawing">
<img class="after" src="{after}" alt="The drawing, coloured">
<input type="range" min="0" max="100" value="0" aria-label="How much of the drawing is uncovered">
</div>"""


def wet(urls: Sequence[str]) -> str:
    """Variations that are still being painted."""
    cards = (
        f'<figure><img class="wet" src="{url}" alt="Variation {n + 1}"></figure>'
        for n, url in enumerate(urls)
    )
    return f'<div class="variations">{"".join(cards)}</div>' if urls else ""


def candidates(found: Candidates, end: int | None) -> str:
    """Variations side by side, with buttons to keep one and to go from one to another; `end` is
    the one that the way begins with, once it is chosen."""
    cards = list[str]()
    for n, url in enumerate(found.urls):
        buttons = (
            f'<button type="button" class="small-button" data-keep="{n}" '
            f'aria-label="Go on with variation {n + 1}">Go on with this</button>'
        )
        if found.mixable and len(found.urls) > 1:
            said = "Mix" if end is None else "Not this one" if end == n else "Mix with this"
            pressed = str(end == n).lower()
            buttons += (
                f'<button type="button" class="small-button" data-mix="{n}" '
                f'aria-label="{said}: variation {n + 1}" aria-pressed="{pressed}">{said}</button>'
            )
        cards.append(
            f'<figure><img src="{url}" alt="Variation {n + 1}"><figcaption class="foot">'
            f'{buttons}<span class="note">seed {found.seeds[n]}</span></figcaption></figure>'
        )
    if not cards:
        return ""
    ask = ""
    if end is not None:
        ask = f'<p class="note" role="status">Mix variation {end + 1} with which one?</p>'
    return f'<div class="variations">{"".join(cards)}</div>{ask}'


def mixed(found: Mixed | None) -> str:
    """The way from one variation to another, with a slider to go along."""
    if found is None:
        return ""
    a, b = (n + 1 for n in found.ends)
    middle, last = len(found.urls) // 2, len(found.urls) - 1
    images = "".join(
        f'<img src="{url}" alt="{_share(n, last, a, b)}"{"" if n == middle else " hidden"}>'
        for n, url in enumerate(found.urls)
    )
    return f"""<figure class="mix">{images}<figcaption>
<label class="sizer"><span>Variation {a}</span>
<input type="range" min="0" max="{last}" step="1" value="{middle}"
 aria-label="From variation {a} to variation {b}"><span>Variation {b}</span></label>
<button type="button" class="small-button" data-mixed="{middle}">Go on with this mix</button>
</figcaption></figure>"""


def _share(n: int, last: int, a: int, b: int) -> str:
    if n in (0, last):
        return f"Variation {a if n == 0 else b}"
    return f"{100 * n // last}% of the way from variation {a} to variation {b}"


def progress(moment: Varying) -> str:
    """How far the variations are."""
    left = f"About {markup.seconds(moment.eta)} left" if moment.eta else ""
    what = "Painting what lies between…" if moment.between else "Painting variations…"
    line = markup.status(what, "busy", left)
    return line + markup.bar(moment.step / max(moment.of, 1), "Painted so far")


def saved(easel: Easel) -> str:
    """Links to the files."""
    links = "".join(
        f'<a class="small-button" href="{url}" download="{escape(name)}">{escape(what)}</a>'
        for url, name, what in easel.saved
    )
    return f'<div class="files">{links}</div>' if links else ""


WAITS = "This picture stands. Draw a mask over the part that should change, then colour there."

ALL_MASKED = "Everything is masked: all of it follows your strokes. Erase parts that should stay."

KEPT = "Your strokes are kept. Other work of yours comes first, then they are coloured."


def status_line(easel: Easel, job: Job | None, ahead: int) -> tuple[str, str, str]:
    """What the work is waiting for: (text, kind, aside) of `markup.status`."""
    if easel.behind and not easel.waits_for_mask:
        if job is None:
            return "Your strokes are kept: draw on, and the picture follows.", "", ""
        if job.kind != "colour":
            return KEPT, "", ""
        if ahead:
            return f"You are number {ahead + 1} in line. It begins by itself.", "busy", ""
        return "Colouring…", "busy", ""
    if easel.waits_for_mask:
        return WAITS, "", ""
    mask = easel.document.mask
    if mask is not None and mask.getextrema()[0]:
        return ALL_MASKED, "", ""
    if mask is not None and not easel.document.hinted:
        return "Only the masked part changes. Choose “Colours” and draw a stroke in it.", "", ""
    if mask is not None:
        return "Only the masked part changes. Keep going when you like it.", "done", ""
    if not easel.document.hinted and easel.suggest:
        return "Coloured by itself. Draw a stroke where you want another colour.", "done", ""
    if not easel.document.hinted:
        return "Draw a stroke of colour where you want it.", "", ""
    return "Coloured. Draw on, or mask a part to change only that.", "done", ""
