"""Book, Page, Recipe: the frozen records that every part of the app shares."""

from __future__ import annotations

import io
import json
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT_VERSION = 1
"""Version of `book.json` and of the recipe inside a PNG."""

MAX_TITLE = 200
MAX_SENTENCE = 600
"""Longest title and longest sentence of a page, in characters."""

GENERATED_NOTE = "Generated picture: made by Storybrush with VQGAN+CLIP"
"""Written into every picture, so that a machine can tell how it was made."""

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for pictures made by a trained model."""


def check_sentence(number: int, text: str) -> None:
    """Raises InvalidInput when sentence `number` (from 1) of a story is too long for a page."""
    if len(text) > MAX_SENTENCE:
        raise InvalidInput(
            f"Sentence {number} has {len(text)} characters; {MAX_SENTENCE} fit on a page: split it "
            "in two."
        )


def new_id() -> str:
    """A random book id, 16 characters of [0-9a-f]; cannot be guessed or collide in practice."""
    return secrets.token_hex(8)


def now() -> str:
    """The time in UTC, ISO 8601 to the microsecond, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Recipe:
    """What made a picture or a story: enough to make it again.

    `settings` holds plain JSON values only.
    """

    prompt: str
    seed: int
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> dict[str, Any]:
        return {
            "version": FORMAT_VERSION,
            "prompt": self.prompt,
            "seed": self.seed,
            "models": dict(self.models),
            "settings": dict(self.settings),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Recipe:
        """Raises InvalidInput when a field is missing or of the wrong kind."""
        try:
            return Recipe(
                str(data["prompt"]), int(data["seed"]), dict(data["models"]), dict(data["settings"])
            )
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise InvalidInput(f"This recipe cannot be read: {e!r} is missing or damaged.") from e


@dataclass(frozen=True)
class Page:
    """One sentence and its picture.

    `brief` says in the painter's words what the picture shows ("fox near owl @lake night");
    empty where nobody said. `picture` is a PNG file as bytes, None until painted. `score` is
    CLIP's cosine similarity between picture and prompt, in [-1, 1].
    """

    text: str
    brief: str = ""
    picture: bytes | None = None
    score: float | None = None
    recipe: Recipe | None = None

    def image(self) -> Image:
        """The picture as PIL RGB. Raises InvalidInput when the page is not painted yet."""
        from PIL import Image

        if self.picture is None:
            raise InvalidInput("This page has no picture yet: paint it first.")
        return Image.open(io.BytesIO(self.picture)).convert("RGB")


@dataclass(frozen=True)
class Book:
    """A finished (or unfinished) storybook.

    `owner` is the SHA-256 of a secret only the maker's browser knows ("" = the administrator).
    """

    title: str
    pages: tuple[Page, ...]
    id: str = field(default_factory=new_id)
    author: str = ""
    words: str = ""
    style: str = ""
    created: str = field(default_factory=now)
    owner: str = ""
    recipe: Recipe | None = None

    def with_page(self, index: int, page: Page) -> Book:
        """A copy of the book with page `index` (from 0) replaced. Raises IndexError."""
        if not 0 <= index < len(self.pages):
            raise IndexError(f"page {index} of a book of {len(self.pages)}")
        return replace(self, pages=(*self.pages[:index], page, *self.pages[index + 1 :]))

    @property
    def cover(self) -> Page | None:
        """The first painted page, if there is one."""
        return next((p for p in self.pages if p.picture is not None), None)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures, as plain JSON values; page n's picture is `page-NN.png`."""
        data = asdict(replace(self, pages=(), recipe=None))
        data["version"] = FORMAT_VERSION
        data["recipe"] = self.recipe.to_json() if self.recipe else None
        data["pages"] = [
            {
                "text": p.text,
                "brief": p.brief,
                "picture": picture_name(n) if p.picture is not None else None,
                "score": p.score,
                "recipe": p.recipe.to_json() if p.recipe else None,
            }
            for n, p in enumerate(self.pages)
        ]
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Book:
        """The inverse of `to_json`; `pictures` maps file names to PNG bytes.

        Raises InvalidInput when something is missing or the version is newer than this app.
        """
        try:
            version = int(data["version"])
            if version > FORMAT_VERSION:
                raise InvalidInput(
                    f"This book has format {version}, made by a newer Storybrush: update the app."
                )
            pages = tuple(
                Page(
                    text=str(p["text"]),
                    brief=str(p.get("brief") or ""),
                    picture=pictures[p["picture"]] if p.get("picture") else None,
                    score=None if p.get("score") is None else float(p["score"]),
                    recipe=Recipe.from_json(p["recipe"]) if p.get("recipe") else None,
                )
                for p in data["pages"]
            )
            return Book(
                title=str(data["title"]),
                pages=pages,
                id=str(data["id"]),
                author=str(data.get("author") or ""),
                words=str(data.get("words") or ""),
                style=str(data.get("style") or ""),
                created=str(data["created"]),
                owner=str(data.get("owner") or ""),
                recipe=Recipe.from_json(data["recipe"]) if data.get("recipe") else None,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise InvalidInput(f"This book cannot be read: {e!r} is missing or damaged.") from e


def picture_name(index: int) -> str:
    """File name of page `index` (from 0): page-01.png, page-02.png, ..."""
    return f"page-{index + 1:02d}.png"


def encode_png(
    image: Image, recipe: Recipe | None = None, caption: str = "", *, note: str = GENERATED_NOTE
) -> bytes:
    """PNG bytes of a PIL picture with its caption and recipe as text inside.

    `note` says how it was made.

    Text chunks: Description (the sentence), Software, Comment, DigitalSourceType, storybrush
    (the recipe as JSON), and an XMP packet that says the same to other programs.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("Description", caption)
    info.add_itxt("Software", "Storybrush")
    if recipe is not None:
        info.add_itxt("Comment", note)
        info.add_itxt("DigitalSourceType", DIGITAL_SOURCE_TYPE)
        info.add_itxt("XML:com.adobe.xmp", xmp_packet(caption))
        info.add_itxt("storybrush", json.dumps(recipe.to_json(), ensure_ascii=False))
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def xmp_packet(caption: str) -> str:
    """Source: XMP part 3 (2020), section 1.1.5; IPTC Photo Metadata 2023, Digital Source Type."""
    # What XML cannot hold; joiners hold the letters of some scripts together, and stay.
    shown = escape(
        "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Cn") else c for c in caption)
    )
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<dc:description>
<rdf:Alt><rdf:li xml:lang="x-default">{shown}</rdf:li></rdf:Alt>
</dc:description>
<xmp:CreatorTool>Storybrush</xmp:CreatorTool>
<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def read_recipe(png: bytes) -> Recipe | None:
    """The recipe inside a PNG made by `encode_png`, None if it has none.

    Raises InvalidInput when the bytes are not a picture or the recipe is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            text = getattr(image, "text", {}).get("storybrush")
    except Image.DecompressionBombError as e:
        raise InvalidInput("This picture is too large to be opened.") from e
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as e:
        raise InvalidInput("This file is not a PNG picture.") from e
    if text is None:
        return None
    try:
        return Recipe.from_json(json.loads(text))
    except (ValueError, RecursionError) as e:
        raise InvalidInput("The recipe inside this picture is damaged.") from e
