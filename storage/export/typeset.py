"""Pages set by Typst: which fonts there are, what they cannot show, and PDF/UA out of a template.

Typst brings Libertinus Serif along (Latin, Cyrillic, Greek, Hebrew); every other script is set in
the fonts of this computer, shaped and in its own direction.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.book import Book, picture_name
from pipelines.errors import InvalidInput
from storage.export.wording import (
    LANGUAGES,
    UNTITLED,
    clean,
    describe,
    language_of,
    script_of,
    title_of,
)

if TYPE_CHECKING:
    import typst
    from PIL.Image import Image

STANDARD = "ua-1"
"""PDF/UA (ISO 14289-1): tagged, with language, title and alternative texts, fonts embedded. Typst
refuses to write it with a character that no font can show."""

SERIFS = (
    "Libertinus Serif", "Noto Serif", "Noto Naskh Arabic", "Noto Serif Hebrew",
    "Noto Serif Devanagari", "Noto Serif Bengali", "Noto Serif Tamil", "Noto Serif Thai",
    "Noto Serif Georgian", "Noto Serif Armenian", "Noto Color Emoji", "Apple Color Emoji",
)  # fmt: skip
"""Preferred fonts, first to last; Typst looks through all others for what these cannot show."""

EASTERN = {
    "zh": ("Noto Serif CJK SC", "Source Han Serif SC", "Songti SC", "WenQuanYi Micro Hei"),
    "ja": ("Noto Serif CJK JP", "Source Han Serif", "Hiragino Mincho ProN", "IPAMincho"),
    "ko": ("Noto Serif CJK KR", "Source Han Serif K", "AppleMyungjo", "UnBatang"),
}
"""Chinese characters look different in each language, so its own fonts come before the others."""

PACKAGES = {"CJK": "fonts-noto-cjk", "HIRAGANA": "fonts-noto-cjk", "KATAKANA": "fonts-noto-cjk",
            "HANGUL": "fonts-noto-cjk"}  # fmt: skip
"""Debian's package of fonts for a script, where it is not fonts-noto-core."""

SCRIPT_NAMES = {"CJK": "Chinese characters"}

LATIN_END = 0x250
"""Below this every character is in Libertinus Serif."""

LONGEST_WORD = 24
"""Characters; longer words may be broken anywhere."""

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af"
                       "\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")  # fmt: skip
"""Scripts whose lines break between any letters, or within words that only a dictionary knows."""

_EMOJI_PARTS = re.compile("[\u200d\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff]")


@dataclass(frozen=True)
class Fonts:
    """Fonts that a document may be set in."""

    found: typst.Fonts
    of_system: bool

    @property
    def families(self) -> frozenset[str]:
        return frozenset(self.found.families())

    def preferred(self, language: str) -> list[str]:
        """The families to be tried first, by name, for text in a language (ISO 639-1)."""
        first, *others = SERIFS
        eastern = [*EASTERN.get(language, ()), *(n for names in EASTERN.values() for n in names)]
        families = self.families
        return [first, *(n for n in dict.fromkeys([*others, *eastern]) if n in families)]

    def missing(self, texts: Iterable[str]) -> set[str]:
        """The characters that no font can show."""
        characters = {c for text in texts for c in text if ord(c) >= LATIN_END}
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / "probe.typ"
            probe.write_text('#set document(title: "probe")\n#sys.inputs.text', encoding="utf-8")

            def shown(text: str) -> bool:
                try:
                    self.compile(probe, text)
                except _typst().TypstError:
                    return False
                return True

            if not characters or shown("".join(sorted(characters))):
                return set()
            return {c for c in characters if not shown(c)}

    def draw(self, template: Path) -> list[bytes]:
        """The pages of a template as PNGs, a pixel a point. Raises typst.TypstError."""
        pages = _typst().compile(
            template,
            root=template.parent,
            font_paths=self.found,
            ignore_system_fonts=not self.of_system,
            format="png",
            ppi=72.0,
        )
        return pages if isinstance(pages, list) else [pages]

    def compile(self, template: Path, text: str = "", *, made: datetime | None = None) -> bytes:
        """A template as PDF/UA. Raises typst.TypstError."""
        return _typst().compile(
            template,
            root=template.parent,
            font_paths=self.found,
            ignore_system_fonts=not self.of_system,
            sys_inputs={"text": text},
            pdf_standards=STANDARD,
            timestamp=made,
        )


def _typst() -> Any:
    import typst  # 80 MB of machine code: loaded when the first PDF is made

    return typst


@cache
def system_fonts() -> Fonts:
    """The fonts of this computer and those that Typst brings."""
    return Fonts(_typst().Fonts(), of_system=True)


def bundled_fonts() -> Fonts:
    """Only the fonts that Typst brings."""
    return Fonts(_typst().Fonts(include_system_fonts=False), of_system=False)


def showable(texts: Mapping[str, str], fonts: Fonts, what: str = "PDF") -> dict[str, str]:
    """The texts without symbols, such as emoji, that no font can show; `what` they are for.

    Raises InvalidInput when letters or digits are among what cannot be shown.
    """
    missing = fonts.missing(texts.values())
    letters = sorted(c for c in missing if unicodedata.category(c)[0] in "LMN")
    if letters:
        system_fonts.cache_clear()  # fonts that are installed now are seen at the next try
        raise InvalidInput(_without_font(letters, what))
    if not missing:
        return dict(texts)
    unseen = re.compile(f"[{re.escape(''.join(missing))}]{_EMOJI_PARTS.pattern}*")
    return {key: " ".join(unseen.sub("", text).split()) for key, text in texts.items()}


def _without_font(letters: list[str], what: str) -> str:
    scripts = sorted({script_of(c) for c in letters})
    names = " and ".join(
        SCRIPT_NAMES.get(s, s.title() if s in LANGUAGES else "a rare script") for s in scripts
    )
    packages = " ".join(sorted({PACKAGES.get(s, "fonts-noto-core") for s in scripts}))
    return (
        f"The {what} needs a font for {names} (as in “{''.join(letters[:3])}”), and this computer "
        f"has none. Install one (Debian, Ubuntu: {packages}) and try again, or take the EPUB or "
        "the web page, which need none."
    )


def words(text: str) -> dict[str, Any]:
    """A text for the templates, with the pieces that no line break may part (`stiff`)."""
    whole = " ".join(_breakable(w) for w in text.split())
    pieces = {p for p in re.split(r"[\s\u200b-]", _UNSPACED.sub(" ", whole)) if p}
    return {"text": whole, "stiff": sorted(pieces, key=lambda p: (-len(p), p))[:4]}


def _breakable(word: str) -> str:
    """A word longer than any real one may be broken between any two characters."""
    if _UNSPACED.search(word) or max(map(len, word.split("-"))) <= LONGEST_WORD:
        return word
    return re.sub(r"(?<=\w)(?=\w)", "\u200b", word)  # not between a letter and its marks


def reading_units(text: str) -> float:
    """How much there is to read, in words; where none are parted, two characters are one."""
    joined = len(_UNSPACED.findall(text))
    return len(_UNSPACED.sub(" ", text).split()) + joined / 2


def content(
    book: Book, pictures: Container[str], note: str, fonts: Fonts, what: str = "PDF"
) -> dict[str, Any]:
    """What templates read as book.json: the words as they can be shown, and how to set them.

    `pictures` are the file names of those there are (`picture_name`), `note` is said at the end,
    `what` is made of it. Raises InvalidInput when no font holds the book's script.
    """
    language = language_of(book)
    texts = {
        "title": title_of(book),
        "author": clean(book.author),
        **{f"page {n}": clean(p.text) for n, p in enumerate(book.pages)},
    }
    texts = showable(texts, fonts, what)
    title = texts["title"] or UNTITLED
    pages = [
        {
            "picture": picture_name(n) if picture_name(n) in pictures else None,
            "alt": describe(page),
            "words": words(texts[f"page {n}"]),
        }
        for n, page in enumerate(book.pages)
    ]
    return {
        "title": title,
        "author": texts["author"],
        "title-words": words(title),
        "author-words": words(texts["author"]),
        "lang": language.tag,
        "rtl": language.direction == "rtl",
        "fonts": fonts.preferred(language.tag),
        "note": note,
        "colophon": [note],
        "cover": next((p for p in pages if p["picture"]), None),
        "pages": pages,
    }


def typeset(
    template: str, data: Mapping[str, Any], files: Mapping[str, bytes], fonts: Fonts, made: datetime
) -> bytes:
    """The PDF of a template in this folder; it reads `data` as book.json, and `files` by name.

    Raises InvalidInput when it cannot be set, which is said of the book.
    """
    with _laid_out(template, data, files) as main:
        try:
            return fonts.compile(main, made=made)
        except _typst().TypstError as e:
            raise InvalidInput(f"This book cannot be set as a PDF: {e}.") from e


def draw_leaves(template: str, data: Mapping[str, Any], fonts: Fonts) -> list[Image]:
    """The pages of a template in this folder as PIL RGB, a pixel a point.

    Raises InvalidInput when it cannot be set, which is said of the book.
    """
    from PIL import Image

    with _laid_out(template, data, {}) as main:
        try:
            pages = fonts.draw(main)
        except _typst().TypstError as e:
            raise InvalidInput(f"The words of this book cannot be set: {e}.") from e
    return [Image.open(io.BytesIO(page)).convert("RGB") for page in pages]


@contextmanager
def _laid_out(template: str, data: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterator[Path]:
    """A template with all that it reads in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="typeset-") as name:
        folder = Path(name)
        for source in Path(__file__).parent.glob("*.typ"):
            (folder / source.name).write_bytes(source.read_bytes())
        (folder / "book.json").write_text(json.dumps(data), encoding="utf-8")
        for file, content in files.items():
            (folder / file).write_bytes(content)
        yield folder / template
