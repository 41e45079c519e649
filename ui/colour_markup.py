"""HTML of the Colour tab that the server writes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ui import markup
from ui.colour_work import Easel, Varying
from ui.theme import ASSETS
from ui.workshop import url_of

EXAMPLES = {"boat": "A hedgehog in a boat", "zebra": "A zebra and a pumpkin", "farmer": "A letter"}
"""Drawings of our own: the file in `assets/drawings` and what it shows."""


def examples() -> str:
    """Buttons with drawings to try."""
    cards = "".join(
        f'<button type="button" class="example" data-example="{name}">'
        f'<img src="{url_of(ASSETS / "drawings" / f"{name}.png")}" alt="" loading="lazy">'
        f"<span>{escape(what)}</span></button>"
        for name, what in EXAMPLES.items()
    )
    ask = '<p class="note">No drawing at hand? Take one of these.</p>'
    return f'{ask}<div class="examples">{cards}</div>'


def notes(easel: Easel) -> str:
    """What was done to the drawing."""
    return "".join(f'<p class="note">{escape(text)}</p>' for text in easel.drawing.notes)


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


def candidates(urls: Sequence[str], seeds: Sequence[int], chosen: bool) -> str:
    """Variations side by side; with `chosen` each has a button to keep it."""
    cards = list[str]()
    for n, url in enumerate(urls):
        button = (
            f'<button type="button" class="small-button" data-keep="{n}" '
            f'aria-label="Go on with variation {n + 1}">Go on with this</button>'
            if chosen
            else ""
        )
        seed = f'<span class="note">seed {seeds[n]}</span>' if chosen else ""
        wet = "" if chosen else ' class="wet"'
        cards.append(
            f'<figure><img{wet} src="{url}" alt="Variation {n + 1}">'
            f'<figcaption class="foot">{button}{seed}</figcaption></figure>'
        )
    return f'<div class="variations">{"".join(cards)}</div>' if cards else ""


def progress(moment: Varying) -> str:
    """How far the variations are."""
    left = f"About {markup.seconds(moment.eta)} left" if moment.eta else ""
    line = markup.status("Painting variations…", "busy", left)
    return line + markup.bar(moment.step / max(moment.of, 1), "Painted so far")


def saved(easel: Easel) -> str:
    """Links to the files."""
    links = "".join(
        f'<a class="small-button" href="{url}" download="{escape(name)}">{escape(what)}</a>'
        for url, name, what in easel.saved
    )
    return f'<div class="files">{links}</div>' if links else ""
