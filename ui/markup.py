"""Every piece of HTML the server writes. Text from people and models is escaped here, always."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from pipelines.book import Book, Page, picture_name
from pipelines.events import Draft
from ui.workshop import file_for_browser, picture_url, url_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.events import PictureProgress
    from storage.base import BookSummary


def button_js(event: str) -> str:
    """`js_on_load` that turns a click on `<button data-<event>="...">` into that Gradio event."""
    return f"""
element.addEventListener('click', (click) => {{
  const button = click.target.closest('button[data-{event}]');
  if (button) trigger('{event}', {{ value: button.dataset.{event} }});
}});
"""


def status(text: str, kind: str = "") -> str:
    """A line that screen readers speak when it changes; kind: "busy", "done" or ""."""
    return f'<p class="status {kind}" role="status" aria-live="polite">{escape(text)}</p>'


def waiting(ahead: int) -> str:
    """What a visitor reads until their turn comes."""
    if ahead:
        return status(f"Waiting: {ahead} before you. It begins by itself.", "busy")
    return status("Getting ready…", "busy")


def empty(title: str, text: str) -> str:
    """A friendly picture for a place where nothing is yet."""
    return f"""
<div class="empty">
  <svg viewBox="0 0 120 80" width="150" height="100" aria-hidden="true">
    <path class="hill" d="M4 70c18-26 34-26 50-8 14-22 38-26 62 8z"/>
    <circle class="sun" cx="92" cy="22" r="9"/>
    <path class="trail" d="M14 20c10-8 18 6 28-2s14-10 22-2"/>
    <path class="quill" d="M64 16c8-10 18-12 24-12-2 8-8 16-18 20z"/>
  </svg>
  <h3>{escape(title)}</h3>
  <p>{escape(text)}</p>
</div>"""


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
  {_bar(card.done, "Written so far")}
</article>"""
        for card in cards
    )


def drafts(found: Sequence[Draft], chosen: int | None = None) -> str:
    """Finished drafts, best first, each with its button."""
    cards: list[str] = []
    for n, draft in enumerate(found):
        mine = n == chosen
        text = " ".join(s.text for s in draft.sentences)
        label = "In the editor below" if mine else "Use this story"
        cards.append(
            f"""<article class="draft{" chosen" if mine else ""}">
  <h3>{escape(draft.title)}</h3>
  <p class="tale">{escape(text)}</p>
  <button type="button" class="small-button" data-choose="{n}" aria-pressed="{str(mine).lower()}"
    aria-label="{label}: {escape(draft.title)}">{label}</button>
</article>"""
        )
    return _drafts(cards)


def _drafts(cards: Iterable[str]) -> str:
    return f'<div class="drafts">{"".join(cards)}</div>'


# --- pages --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Live:
    """The page that is being painted now: what it looks like and how far it is."""

    index: int
    progress: PictureProgress | None = None
    preview: Image | None = None


def spreads(book: Book, live: Live | None = None, *, changeable: bool = True) -> str:
    """All pages of a book in order: the picture large, the sentence beneath."""
    cards = [
        _spread(n, page, live if live and live.index == n else None, changeable)
        for n, page in enumerate(book.pages)
    ]
    by = f'<p class="by">by {escape(book.author)}</p>' if book.author else ""
    return f"""<div class="book">
<h2 class="book-title">{escape(book.title)}</h2>{by}
<ol class="spreads">{"".join(cards)}</ol></div>"""


def _spread(index: int, page: Page, live: Live | None, changeable: bool) -> str:
    text = escape(page.text)
    if live:
        picture, foot = _preview(live, text), _progress(live.progress)
    elif page.picture is not None:
        address = picture_url(page.picture, picture_name(index))
        picture = f'<img src="{address}" alt="{text}" loading="lazy" decoding="async">'
        foot = score(page.score)
        if changeable:
            foot += (
                f'<button type="button" class="small-button" data-repaint="{index}" '
                f'aria-label="Paint page {index + 1} again">Paint again</button>'
            )
    else:
        picture = '<div class="blank" aria-hidden="true"></div>'
        foot = "<span>Not painted yet</span>"
    state = "painting" if live else "painted" if page.picture is not None else "waiting"
    return f"""<li class="spread {state}" data-page="{index + 1}">
  <figure>{picture}<figcaption>{text}</figcaption></figure>
  <div class="foot"><span class="number">{index + 1}</span>{foot}</div>
</li>"""


def _preview(live: Live, text: str) -> str:
    if live.preview is None:
        return '<div class="blank wet" aria-hidden="true"></div>'
    return f'<img class="wet" src="{preview_url(live.preview)}" alt="{text}">'


def _progress(progress: PictureProgress | None) -> str:
    if progress is None:
        return "<span>Mixing the colours…</span>"
    done = progress.step / max(progress.of, 1)
    what = "Sketching" if progress.stage == "start" else f"Step {progress.step} of {progress.of}"
    parts = [f"<span>{what}</span>", score(progress.score), _bar(done, "Painted so far")]
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
        after, foot = _preview(live, f"New picture: {text}"), _progress(live.progress)
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
    tip = "How well the picture fits its words, judged by CLIP (cosine similarity)"
    return f'<span class="score" title="{tip}">fit {value:.2f}</span>'


def seconds(value: float) -> str:
    """A duration as people say it: "40 s", "2 min"."""
    return f"{max(value, 1):.0f} s" if value < 90 else f"{value / 60:.0f} min"


def _bar(done: float, label: str) -> str:
    percent = round(100 * min(max(done, 0.0), 1.0))
    return (
        f'<div class="bar" role="progressbar" aria-label="{label}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
    )


# --- the shelf ----------------------------------------------------------------------------


def shelf(books: Sequence[BookSummary], owner: str) -> str:
    """Covers as buttons; the visitor's own carry a mark."""
    cards: list[str] = []
    for book in books:
        title = escape(book.title) or "Untitled"
        cover = '<span class="blank"></span>'
        address = cover_url(book)
        if address:
            cover = f'<img src="{address}" alt="" loading="lazy" decoding="async">'
        mine = '<span class="mine">yours</span>' if book.owner == owner else ""
        by = f"by {escape(book.author)} · " if book.author else ""
        pages = f"{book.pages} page{'s' if book.pages != 1 else ''}"
        cards.append(
            f"""<li><button type="button" class="cover" data-open="{escape(book.id)}"
  aria-label="Open {title}, {pages}">{cover}{mine}<span class="label"><b>{title}</b>
  <small>{by}{pages}</small></span></button></li>"""
        )
    return f'<ul class="shelf">{"".join(cards)}</ul>'


def cover_url(book: BookSummary) -> str:
    """Address of a cover; "" without one, also when the book is being saved again just now."""
    try:
        data = book.cover.read_bytes() if book.cover else b""
    except OSError:
        return ""
    return url_of(file_for_browser(data, "cover.webp")) if data else ""


def reader(book: Book) -> str:
    """A book to leaf through: cover, pages, end. One leaf is shown at a time (reader.js)."""
    by = f'<p class="by">by {escape(book.author)}</p>' if book.author else ""
    cover = ""
    if book.cover is not None and book.cover.picture is not None:
        cover = f'<img src="{picture_url(book.cover.picture)}" alt="">'
    leaves = [f'<div class="cover-leaf"><h2>{escape(book.title)}</h2>{by}{cover}</div>']
    for n, page in enumerate(book.pages):
        text = escape(page.text)
        picture = '<div class="blank" aria-hidden="true"></div>'
        if page.picture is not None:
            address = picture_url(page.picture, picture_name(n))
            picture = f'<img src="{address}" alt="{text}">'
        leaves.append(f"<figure>{picture}<figcaption>{text}</figcaption></figure>")
    leaves.append('<div class="cover-leaf"><h2>The end</h2></div>')
    body = "".join(f'<section class="leaf">{leaf}</section>' for leaf in leaves)
    return f"""<div class="reader" role="region" aria-roledescription="book" tabindex="0"
  data-book="{escape(book.id)}" aria-label="{escape(book.title)}">
  <div class="leaves" aria-live="polite">{body}</div>
  <div class="turn"><button type="button" class="small-button" data-turn="-1">‹ Back</button>
  <span class="where" aria-hidden="true"></span>
  <button type="button" class="small-button" data-turn="1">Next ›</button></div>
  <button type="button" class="link" data-link>Copy the book's address</button>
</div>"""
