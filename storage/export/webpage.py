"""One web page that holds a whole book."""

from __future__ import annotations

import base64
from html import escape

from pipelines.book import DIGITAL_SOURCE_TYPE, Book, picture_name
from storage.export.wording import (
    clean,
    colophon,
    describe,
    language_of,
    recipe_json,
    title_of,
)


def book_html(book: Book, *, embed: bool = True) -> str:
    """One page that shows the whole book: no scripts, no request to anywhere.

    With `embed` the pictures are inside as data: URIs, else it looks for `page-NN.png` beside it.
    """
    title, author, language = _text(title_of(book)), _text(book.author), language_of(book)
    byline = f'<p class="author" dir="auto">{author}</p>' if author else ""
    painted = next((n for n, p in enumerate(book.pages) if p.picture is not None), None)
    front = "" if painted is None else _figure(book, painted, embed, alt="")
    pages = "\n".join(_section(book, n, embed) for n in range(len(book.pages)))
    return f"""<!DOCTYPE html>
<html lang="{language.tag}" dir="{language.direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Storybrush">
<meta name="DigitalSourceType" content="{DIGITAL_SOURCE_TYPE}">
<meta name="recipe" content="{_text(recipe_json(book))}">
<meta name="author" content="{author}">
<meta http-equiv="Content-Security-Policy" content="script-src 'none'; object-src 'none'; \
base-uri 'none'; form-action 'none'; connect-src 'none'">
<title>{title}</title>
<style>{_CSS}</style>
</head>
<body>
<main>
<header>
{front}
<h1 dir="auto">{title}</h1>
{byline}
</header>
{pages}
</main>
<footer lang="en" dir="ltr">
<p>{colophon(book)}</p>
</footer>
</body>
</html>
"""


def _section(book: Book, index: int, embed: bool) -> str:
    number = index + 1
    page = book.pages[index]
    return f"""<section aria-label="Page {number}">
{_figure(book, index, embed, alt=describe(page))}
<p class="words" dir="auto">{_text(page.text)}</p>
<p class="number" aria-hidden="true">{number}</p>
</section>"""


def _figure(book: Book, index: int, embed: bool, *, alt: str) -> str:
    page = book.pages[index]
    if page.picture is None:
        return ""
    source = picture_name(index)
    if embed:
        source = f"data:image/png;base64,{base64.b64encode(page.picture).decode()}"
    return f'<img src="{source}" alt="{_text(alt)}" width="512" height="512">'


def _text(text: str) -> str:
    """Escaped for text and attributes."""
    return escape(clean(text), quote=True)


_CSS = """
:root { color-scheme: light dark; --paper: #fdf8ee; --page: #fffdf8; --ink: #2f2a26;
  --soft: #71675c; --edge: #e6dccb; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #1d1b22; --page: #28252e; --ink: #f1ebe0; --soft: #b1a798; --edge: #3c3844; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font-family: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif; }
main { max-width: 60rem; margin: 0 auto; padding: clamp(1rem, 4vw, 3rem); }
img { display: block; width: 100%; height: auto; border-radius: 0.9rem; background: var(--edge); }
header { display: grid; justify-items: center; text-align: center;
  padding-bottom: clamp(2rem, 6vw, 4rem); }
header img { max-width: 30rem; box-shadow: 0 1.2rem 3rem rgb(0 0 0 / 0.22); }
h1 { font-size: clamp(2rem, 7vw, 3.6rem); line-height: 1.1; margin: 2rem 0 0.4rem;
  text-wrap: balance; overflow-wrap: anywhere; }
.author { margin: 0; font-size: 1.2rem; font-style: italic; color: var(--soft);
  overflow-wrap: anywhere; }
section { position: relative; display: grid; gap: clamp(1rem, 3vw, 2.5rem); align-items: center;
  margin-bottom: clamp(1.2rem, 4vw, 2.5rem); padding: clamp(1rem, 3vw, 2rem);
  padding-bottom: clamp(2.2rem, 4vw, 2.8rem); background: var(--page);
  border: 1px solid var(--edge); border-radius: 1.4rem; }
.words { margin: 0; font-size: clamp(1.25rem, 2.6vw, 1.7rem); text-wrap: pretty;
  overflow-wrap: anywhere; }
.number { position: absolute; inset: auto 0 0.5rem; margin: 0; text-align: center;
  font-size: 0.9rem; color: var(--soft); }
@media (min-width: 44rem) {
  section:has(img) { grid-template-columns: 1fr 1fr; }
  section:nth-of-type(even) img { order: 2; }
}
footer { padding: 0 1rem 3rem; text-align: center; font-size: 0.9rem; color: var(--soft); }
@page { size: landscape; margin: 14mm; }
@media print {
  :root { color-scheme: light; --paper: #fff; --page: #fff; --ink: #000; --soft: #555;
    --edge: #fff; }
  main { max-width: none; padding: 0; }
  header, section { break-inside: avoid; break-after: page; margin: 0; padding: 0; border: 0; }
  header img { max-width: 115mm; box-shadow: none; }
  h1 { margin-top: 8mm; font-size: 30pt; }
  section:has(img) { grid-template-columns: 150mm 1fr; gap: 12mm; }
  section:has(img):nth-of-type(even) { grid-template-columns: 1fr 150mm; }
  section:last-of-type { break-after: auto; }
  .words { font-size: 20pt; }
  .number { position: static; grid-column: 1 / -1; order: 3; }
  footer { padding: 0; line-height: 1.2; }
}
"""
