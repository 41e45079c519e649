"""Every piece of HTML the server writes. Text from people and models is escaped here, always."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipelines.book import Book, Page, picture_name
from pipelines.presets import STYLES
from ui.served_files import picture_url

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.events import PictureProgress
    from storage.base import BookSummary
    from ui.desk import Tale


PAGE_ACTIONS: dict[str, str] = {"repaint": "Paint again", "colour": "Colour it"}
"""Buttons beneath every painted page: the Gradio event of each and what it says."""


def status(text: str, kind: str = "", aside: str = "") -> str:
    """A line that screen readers speak when it changes; kind: "busy", "done" or "".

    `aside` changes too often to be spoken.
    """
    more = f'<span aria-hidden="true">{escape(aside)}</span>' if aside else ""
    return f'<p class="status {kind}" role="status" aria-live="polite">{escape(text)}{more}</p>'


def painting(line: str, left: str, done: float) -> str:
    """What is painted now, how far all of it is (`done` in [0, 1]), and a button that leads to the
    page (assets/live.js)."""
    return (
        f'<div class="now">{status(line, "busy", left)}<button type="button" class="small-button" '
        'data-live="1" aria-label="Show it: the page that is being painted">Show it</button></div>'
        f"{bar(done, 'Painted')}"
    )


def waiting(ahead: int) -> str:
    """What a visitor reads until their turn comes."""
    if ahead:
        return status(f"You are number {ahead + 1} in line. It begins by itself.", "busy")
    return status("Getting ready…", "busy")


HILLS = """<svg viewBox="0 0 120 80" width="150" height="100" aria-hidden="true">
    <path class="hill" d="M4 70c18-26 34-26 50-8 14-22 38-26 62 8z"/>
    <circle class="sun" cx="92" cy="22" r="9"/>
    <path class="trail" d="M14 20c10-8 18 6 28-2s14-10 22-2"/>
    <path class="quill" d="M64 16c8-10 18-12 24-12-2 8-8 16-18 20z"/>
  </svg>"""
"""A quill that flies over hills: ours, drawn in the colours of the page."""


def empty(title: str, text: str, action: str = "") -> str:
    """A friendly picture for a place where nothing is yet; `action` is the HTML of a button."""
    return f"""
<div class="empty">
  {HILLS}
  <h3>{escape(title)}</h3>
  <p>{escape(text)}</p>{action}
</div>"""


def welcome() -> str:
    """What will happen, for somebody who has never been here."""
    steps = (
        ("A few words", "Type them, or pick an example.",
         '<path class="quill" d="M14 50c2-18 14-34 38-40-4 20-16 34-34 36z"/>'
         '<path class="trail" d="M10 56c6-12 16-22 30-34"/>'),
        ("A story", "Every sentence is yours to change.",
         '<path class="quill" d="M32 16c-8-6-18-6-26-4v38c8-2 18-2 26 4 8-6 18-6 26-4V12'
         'c-8-2-18-2-26 4z"/><path class="trail" d="M32 16v38M13 24h12M13 32h12M39 24h12"/>'),
        ("Pictures", "Watch each page being painted.",
         '<path class="hill" d="M6 52c8-20 18-20 26-8 8-16 20-18 26 8z"/>'
         '<circle class="sun" cx="46" cy="18" r="7"/><path class="trail" d="M8 14h20M8 22h12"/>'),
    )  # fmt: skip
    items = "".join(
        f'<li><svg viewBox="0 0 64 64" width="64" height="64" aria-hidden="true">{art}</svg>'
        f"<h3>{escape(title)}</h3><p>{escape(text)}</p></li>"
        for title, text, art in steps
    )
    return f'<ol class="welcome">{items}</ol>'


# --- stories ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DraftCard:
    """One draft as far as it is written; `done` in [0, 1]."""

    title: str
    text: str
    done: float


def writing(cards: Sequence[DraftCard]) -> str:
    """Drafts that are being written, side by side."""
    return _drafts(
        f"""<article class="draft writing" aria-busy="true">
  <h3>{escape(card.title) or "…"}</h3>
  <p class="tale">{escape(card.text)}<span class="pen" aria-hidden="true"></span></p>
  {bar(card.done, "Written so far")}
</article>"""
        for card in cards
    )


def drafts(tales: Sequence[Tale], chosen: int | None = None) -> str:
    """Stories to choose from, each with its button; nothing while there is only the chosen one."""
    if not tales:
        return welcome()
    if len(tales) == 1 and chosen == 0:
        return ""
    cards: list[str] = []
    for n, tale in enumerate(tales):
        mine, story = n == chosen, tale.manuscript
        text = " ".join(s.text for s in story.sentences)
        label = "In the editor below" if mine else "Use this story"
        title = escape(story.title) or "My story"
        note = '<span class="note">changed by you</span>' if tale.touched and not mine else ""
        cards.append(
            f"""<article class="draft{" chosen" if mine else ""}">
  <h3>{title}</h3>
  <p class="tale">{escape(text)}</p>
  <div class="foot"><button type="button" class="small-button" data-choose="{n}"
    aria-pressed="{str(mine).lower()}" aria-label="{label}: {title}">{label}</button>{note}</div>
</article>"""
        )
    return _drafts(cards)


def _drafts(cards: Iterable[str]) -> str:
    return f'<div class="drafts">{"".join(cards)}</div>'


# --- pages --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Live:
    """A page that is being painted now: how far it is, and what it looks like."""

    progress: PictureProgress | None = None
    preview: Image | None = None
    waits: bool = False
    """Whether it is begun, and others come first."""


def spreads(
    book: Book,
    live: Mapping[int, Live] = MappingProxyType({}),
    *,
    of: str = "",
    changeable: bool = True,
    films: Mapping[int, str] = MappingProxyType({}),
) -> str:
    """All pages of a book in order: the picture large, the sentence beneath.

    `live` are those that are being painted, by index. `of` is the key of the story it is painted
    from. `films` is more HTML beneath some pages (from 0): how they were painted.
    """
    cards = [
        _spread(n, page, live.get(n), changeable, films.get(n, ""))
        for n, page in enumerate(book.pages)
    ]
    by = f'<p class="by">by {escape(book.author)}</p>' if book.author else ""
    return f"""<div class="book" data-book="{escape(book.id)}" data-of="{escape(of)}">
<h2 class="book-title">{escape(book.title)}</h2>{by}
<ol class="spreads">{"".join(cards)}</ol></div>"""


def _spread(index: int, page: Page, live: Live | None, changeable: bool, film: str) -> str:
    text = escape(page.text)
    if live:
        picture, foot = _preview(live, text), _progress(live)
    elif page.picture is not None:
        address = picture_url(page.picture, picture_name(index))
        picture = f'<img src="{address}" alt="{text}" loading="lazy" decoding="async">'
        foot = score(page.score)
        if changeable:
            foot += "".join(
                f'<button type="button" class="small-button" data-{event}="{index}" '
                f'aria-label="{label}: page {index + 1}">{label}</button>'
                for event, label in PAGE_ACTIONS.items()
            )
        foot += film
    else:
        picture = '<div class="blank" aria-hidden="true"></div>'
        foot = "<span>Not painted yet</span>"
    state = "painted" if page.picture is not None else "waiting"
    if live:
        state = "sketched" if live.waits else "painting"
    return f"""<li class="spread {state}" data-page="{index + 1}">
  <figure>{picture}<figcaption>{text}</figcaption></figure>
  <div class="foot"><span class="number">{index + 1}</span>{foot}</div>
</li>"""


def _preview(live: Live, text: str) -> str:
    if live.preview is None:
        return '<div class="blank wet" aria-hidden="true"></div>'
    return f'<img class="wet" src="{preview_url(live.preview)}" alt="{text}">'


def _progress(live: Live) -> str:
    progress = live.progress
    if progress is None:
        return "<span>Mixing the colours…</span>"
    if live.waits:
        return "<span>Sketched, waits for its turn</span>"
    done = progress.step / max(progress.of, 1)
    what = "Sketching" if progress.stage == "start" else f"Step {progress.step} of {progress.of}"
    parts = [f"<span>{what}</span>", score(progress.score), bar(done, "Painted so far")]
    if progress.eta is not None:
        parts.insert(2, f"<span>{escape(seconds(progress.eta))} left</span>")
    return "".join(parts)


def comparison(page: Page, live: Live | None, new: Page | None) -> str:
    """The page as it is beside the page as it might become."""
    text = escape(page.text)
    if new is not None and new.picture is not None:
        after = f'<img src="{picture_url(new.picture)}" alt="New picture: {text}">'
        foot = score(new.score)
    elif live is not None:
        after, foot = _preview(live, f"New picture: {text}"), _progress(live)
    else:
        after, foot = '<div class="blank" aria-hidden="true"></div>', "<span>Nothing yet</span>"
    before = picture_url(page.picture) if page.picture is not None else ""
    return f"""<p class="tale">{text}</p>
<div class="versus">
  <figure><img src="{before}" alt="Picture now: {text}">
    <figcaption class="foot">Now {score(page.score)}</figcaption></figure>
  <figure>{after}<figcaption class="foot">New {foot}</figcaption></figure>
</div>"""


def preview_url(image: Image) -> str:
    """A preview as a data address: small, and gone with the next one."""
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80, method=0)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def score(value: float | None) -> str:
    """How well CLIP finds the words in the picture."""
    if value is None:
        return ""
    tip = (
        "How well the picture matches its words, judged by CLIP, a model that compares pictures "
        "with words: the higher, the better (cosine similarity)"
    )
    return f'<span class="score" title="{tip}">Matches its words: {value:.2f}</span>'


def seconds(value: float) -> str:
    """A duration as people say it: "40 s", "2 min"."""
    return f"{max(value, 1):.0f} s" if value < 90 else f"{value / 60:.0f} min"


def bar(done: float, label: str) -> str:
    """How far something is; `done` in [0, 1]."""
    percent = round(100 * min(max(done, 0.0), 1.0))
    return (
        f'<div class="bar" role="progressbar" aria-label="{label}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
    )


# --- the shelf ----------------------------------------------------------------------------


def looks(styles: Sequence[tuple[str, int]], chosen: str) -> str:
    """Buttons that show the books of one style; `styles` are keys and how many books each has."""
    if len(styles) < 2:
        return ""
    chips = [("", "All styles", "")]
    for key, count in styles:
        label = STYLES[key].label if key in STYLES else key
        chips.append((key, label, f'<span class="count">{count}</span>'))
    buttons = "".join(
        f'<button type="button" class="look" data-look="{escape(key)}" '
        f'data-key="style-{escape(key)}" aria-pressed="{str(key == chosen).lower()}">'
        f"{escape(label)}{count}</button>"
        for key, label, count in chips
    )
    return f'<div class="looks" role="group" aria-label="Style">{buttons}</div>'


def shelf(books: Sequence[BookSummary], owner: str, mark: str = "yours") -> str:
    """Covers as buttons; the visitor's own carry a mark."""
    cards = [_cover(book, mark if book.owner == owner else "") for book in books]
    return f'<ul class="shelf">{"".join(cards)}</ul>'


def _cover(book: BookSummary, mark: str) -> str:
    title = escape(book.title) or "Untitled"
    address = cover_url(book)
    cover = '<span class="blank"></span>'
    if address:
        cover = f'<img src="{address}" alt="" loading="lazy" decoding="async">'
    by = f'<small class="by">by {escape(book.author)}</small>' if book.author else ""
    pages = f"{book.pages} page{'s' if book.pages != 1 else ''}"
    day, short = date(book.created), date(book.created, short=True)
    flag = f'<span class="mine">{escape(mark)}</span>' if mark else ""
    return f"""<li data-key="{escape(book.id)}"><button type="button" class="cover"
  data-open="{escape(book.id)}" aria-label="Open {title}, {pages}, {day}">
  <span class="front">{cover}{flag}</span><span class="label"><b>{title}</b>{by}
  <small>{pages} · {short}</small></span></button></li>"""


def waiting_books(books: Sequence[BookSummary], owner: str, *, admin: bool) -> str:
    """Books that wait for the administrator: one's own, or for `admin` everybody's."""
    many = f"{len(books)} book{'s' if len(books) != 1 else ''}"
    if admin:
        title, text = f"To look through: {many}", "Open one to let it onto the shelf or refuse it."
    else:
        title = "Waiting to be looked at"
        text = "Only you see this. On the shelf it will stand when the administrator has read it."
    return f"""<section class="waiting-books" data-key="waiting" aria-label="{escape(title)}">
<h3>{escape(title)}</h3><p>{escape(text)}</p>{shelf(books, owner, "yours")}</section>"""


def stamped(html: str, stamp: str) -> str:
    """The bookcase as it was when the library had this stamp (assets/shelf.js)."""
    return f'<div class="shelves" data-stamp="{escape(stamp)}">{html}</div>'


def date(created: str, *, short: bool = False) -> str:
    """The day of an ISO time as people write it, "26 November 2026"; "" for anything else.

    With `short`: "26 Nov 2026".
    """
    try:
        day = datetime.fromisoformat(created)
    except ValueError:
        return ""
    return f"{day.day} {day:{'%b' if short else '%B'}} {day.year}"


def cover_url(book: BookSummary) -> str:
    """Address of a cover; "" without one, also when the book is being saved again just now."""
    try:
        data = book.cover.read_bytes() if book.cover else b""
    except OSError:
        return ""
    return picture_url(data, "cover.webp") if data else ""


def reader(book: Book) -> str:
    """A book to leaf through: cover, spreads of picture and words, end (assets/reader.js).

    One leaf is shown at a time; the others are there, so that turning is at once.
    """
    by = f'<p class="by">by {escape(book.author)}</p>' if book.author else ""
    front = ""
    if book.cover is not None and book.cover.picture is not None:
        front = f'<div class="plate"><img src="{picture_url(book.cover.picture)}" alt=""></div>'
    leaves = [
        f"""<div class="spread-leaf cover-leaf">{front}<div class="text">
<h2>{escape(book.title)}</h2>{by}<p class="hint" aria-hidden="true">Turn the page ›</p></div>
</div>"""
    ]
    for n, page in enumerate(book.pages):
        text = escape(page.text)
        picture = '<div class="blank" aria-hidden="true"></div>'
        if page.picture is not None:
            address = picture_url(page.picture, picture_name(n))
            picture = f'<img src="{address}" alt="{text}" draggable="false">'
        leaves.append(
            f"""<figure class="spread-leaf"><div class="plate">{picture}</div>
<figcaption class="text"><p>{text}</p><span class="folio" aria-hidden="true">{n + 1}</span>
</figcaption></figure>"""
        )
    leaves.append(
        f"""<div class="spread-leaf end-leaf"><div class="text">{HILLS}<h2>The end</h2>
<button type="button" class="small-button" data-go="0">Read it again</button></div></div>"""
    )
    body = "".join(f'<section class="leaf" hidden>{leaf}</section>' for leaf in leaves)
    dots = "".join(
        f'<button type="button" class="dot" data-go="{n}" aria-label="{label}"></button>'
        for n, label in enumerate(
            ["Cover", *(f"Page {n + 1}" for n in range(len(book.pages))), "The end"]
        )
    )
    grows = "" if all(page.picture is not None for page in book.pages) else " data-growing"
    return f"""<div class="reader" role="region" aria-roledescription="book" tabindex="-1"
  data-book="{escape(book.id)}" aria-label="{escape(book.title)}"{grows}>
  <div class="leaves" aria-live="polite">{body}</div>
  <div class="turn"><button type="button" class="small-button" data-turn="-1">‹ Back</button>
  <div class="dots" role="group" aria-label="Pages">{dots}</div>
  <button type="button" class="small-button" data-turn="1">Next ›</button></div>
  <div class="more"><button type="button" class="link" data-full>Full screen</button>
  <button type="button" class="link" data-aloud hidden>Read aloud</button>
  <button type="button" class="link" data-colour hidden>Colour it</button>
  <button type="button" class="link" data-link>Copy link</button></div>
</div>"""


def recipe(book: Book) -> str:
    """How a book was made, folded up: words, story, pictures, models."""
    rows: list[tuple[str, str]] = [("Words", book.words)]
    if book.recipe is not None:
        kept = book.recipe.settings
        parts = [
            f"{kept['sentences']} sentences" if "sentences" in kept else "",
            f"liveliness {kept['temperature']}" if "temperature" in kept else "",
            f"seed {book.recipe.seed}",
        ]
        rows.append(("Story", ", ".join(filter(None, parts))))
        rows.append(("Writer", ", ".join(map(str, book.recipe.models.values()))))
    painted = next((p.recipe for p in book.pages if p.recipe is not None), None)
    style = STYLES[book.style].label if book.style in STYLES else book.style
    rows.append(("Style", style))
    if painted is not None:
        kept = painted.settings
        size = f"{kept['width']}x{kept['height']} pixels" if {"width", "height"} <= {*kept} else ""
        parts = [
            f"{kept['steps']} steps" if "steps" in kept else "",
            f"start {kept['start']}" if "start" in kept else "",
            size,
            f"seed {painted.seed}",
        ]
        rows.append(("Pictures", ", ".join(filter(None, parts))))
        models = (f"{what}: {name}" for what, name in painted.models.items())
        rows.append(("Models", ", ".join(models)))
    rows.append(("Made on", date(book.created)))
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in rows if text
    )
    return f"""<details class="recipe"><summary>How this book was made</summary>
<dl>{listed}</dl>
<p>Story and pictures were generated.
<button type="button" class="link" data-same="1">Load it with its seeds</button>, and the very same
book can be made again.</p></details>"""
