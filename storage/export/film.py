"""A book as a film: the camera glides over each picture, its words stand below (MP4).

The words are set as in the PDF, so every script has its font and its direction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.book import Book, picture_name, xmp_packet
from pipelines.camera import Glide, glide
from pipelines.errors import InvalidInput
from pipelines.video import stream_mp4
from storage.base import open_picture
from storage.export.typeset import Fonts, content, draw_leaves, reading_units, system_fonts
from storage.export.wording import clean, colophon, recipe_json, title_of

if TYPE_CHECKING:
    from PIL.Image import Image

FPS = 24
FADE = 0.8
"""Seconds in which one leaf becomes the next."""

SHORTEST, LONGEST = 4.0, 20.0
"""Seconds that a leaf is seen at least and at most."""

PACE = 2.4
"""Words a second, as one reads to a child."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """What is seen for a while: `words` as PIL RGB at the size of the film, and over it, above,
    the picture that moves."""

    words: Image
    picture: Image | None
    glide: Glide
    seconds: float

    def at(self, time: float) -> Image:
        """The frame at a time in [0, 1]."""
        from PIL import Image

        if self.picture is None:
            return self.words
        width, height = self.picture.size
        side = self.words.width  # the picture has a square above the words
        scale = side / max(width, height)
        shown = max(round(width * scale), 1), max(round(height * scale), 1)
        left, top, right, bottom = self.glide.at(time)
        box = (left * width, top * height, right * width, bottom * height)
        frame = self.words.copy()
        view = self.picture.resize(shown, Image.Resampling.BICUBIC, box)
        frame.paste(view, ((side - shown[0]) // 2, (side - shown[1]) // 2))
        return frame


def stream_film(book: Book, path: Path, *, fonts: Fonts | None = None) -> Iterator[float]:
    """Write the film (MP4), telling in [0, 1] how much is done; `close()` stops, and nothing stays.

    Title, every page with its words, where it comes from; no sound. The recipe and how the
    pictures were made are inside, as tags and XMP. `fonts`: those of this computer.

    Raises: InvalidInput when a picture is damaged, nothing is painted, or no font holds the book's
    script; StorageError.
    """
    leaves = _leaves(replace(book, owner=""), fonts or system_fonts())
    of = sum(_count(leaf) for leaf in leaves)
    note = colophon(book)
    tags = {
        "title": title_of(book),
        "artist": clean(book.author),
        "comment": note,
        "description": recipe_json(book),
    }
    for done in stream_mp4(_frames(leaves), path, FPS, tags, xmp_packet(note)):
        yield done / of


def book_film(book: Book, *, fonts: Fonts | None = None) -> bytes:
    """The whole film at once; raises what `stream_film` raises."""
    with tempfile.TemporaryDirectory(prefix="film-") as folder:
        path = Path(folder) / "film.mp4"
        for _ in stream_film(book, path, fonts=fonts):
            pass
        return path.read_bytes()


def _leaves(book: Book, fonts: Fonts) -> list[Leaf]:
    pictures: dict[str, Image] = {}
    for n, page in enumerate(book.pages):
        if page.picture is not None:
            open_picture(page.picture, n + 1)
            pictures[picture_name(n)] = page.image()
    if not pictures:
        raise InvalidInput("A film needs pictures: paint a page first.")
    data = content(book, pictures, colophon(book), fonts, "film")
    shown = [data["cover"], *data["pages"], None]
    texts = [f"{data['title']} {data['author']}", *(p.text for p in book.pages), ""]
    return [
        Leaf(leaf, pictures.get(it["picture"]) if it else None, glide(n), _seconds(text))
        for n, (leaf, it, text) in enumerate(
            zip(draw_leaves("film.typ", data, fonts), shown, texts, strict=True)
        )
    ]


def _seconds(text: str) -> float:
    """How long somebody needs to read it, and to look at the picture."""
    return min(max(SHORTEST, 2.0 + reading_units(text) / PACE), LONGEST)


def _count(leaf: Leaf) -> int:
    """Frames of a leaf; those in which it fades in are among them."""
    return round(leaf.seconds * FPS)


def _frames(leaves: list[Leaf]) -> Iterator[Image]:
    """Leaf after leaf; each fades in over the end of the one before, which goes on moving."""
    from PIL import Image

    fade = round(FADE * FPS)
    before: Leaf | None = None
    for leaf in leaves:
        count = _count(leaf)
        for n in range(count):
            frame = leaf.at(n / (count + fade))
            if before is not None and n < fade:
                old = _count(before)
                frame = Image.blend(before.at((old + n) / (old + fade)), frame, (n + 1) / fade)
            yield frame
        before = leaf
