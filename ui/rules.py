"""House rules: how much a visitor may ask for, and which words nobody gets to use here.

They hold for the whole app and are set by its options (`app.py`); what they are not about is
bounded by the settings themselves (`pipelines/presets.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.banned import find_banned, plain
from pipelines.book import Book
from pipelines.errors import InvalidInput
from pipelines.presets import MAX_SIDE, PictureConfig, StoryConfig
from pipelines.reading import MAX_REQUEST

MAX_BANNED = 5000
"""Most lines of a ban list."""


@dataclass(frozen=True)
class Rules:
    """What any visitor may ask for."""

    request: int = MAX_REQUEST
    """Characters of a request for a story."""
    story: int = 400
    """Words of a story."""
    side: int = MAX_SIDE
    """Pixels of a picture's longer side while it is painted."""
    steps: int = 500
    """Steps of guidance a page."""
    banned: tuple[str, ...] = ()
    """Words and phrases in lower case that no request, story or title may have."""

    def check_story(self, config: StoryConfig) -> None:
        """Raises: InvalidInput that says what to change."""
        if len(config.words) > self.request:
            raise InvalidInput(
                f"A request may have {self.request} characters here, and this one has "
                f"{len(config.words)}: shorten it to the few words that matter."
            )
        if config.max_words > self.story:
            raise InvalidInput(f"A story may have {self.story} words here: lower “Words, at most”.")
        self.check_words(config.words)

    def check_pictures(self, config: PictureConfig) -> None:
        """Raises: InvalidInput that says what to change."""
        if max(config.width, config.height) > self.side:
            raise InvalidInput(
                f"Pictures may have {self.side} pixels a side here: lower width and height."
            )
        if config.steps > self.steps:
            raise InvalidInput(f"A page may have {self.steps} steps here: lower the steps.")
        self.check_words(config.prefix, config.suffix, config.prompts)

    def check_words(self, *texts: str) -> None:
        """Raises: InvalidInput when one of the texts has a banned word."""
        for text in texts:
            found = find_banned(text, self.banned)
            if found is not None:
                raise InvalidInput(f"“{found}” is not a word for here: please choose another.")

    def check_book(self, book: Book) -> None:
        """Raises: InvalidInput when title, author, request or a page has a banned word."""
        self.check_words(book.title, book.author, book.words, *(p.text for p in book.pages))

    def check_recipes(self, book: Book) -> None:
        """Raises: InvalidInput when a book from elsewhere has a banned word where people can read
        how it was made: briefs, prompts, names of models. Settings are left alone, which may name
        words to keep out."""
        recipes = [r for r in (book.recipe, *(p.recipe for p in book.pages)) if r is not None]
        for recipe in recipes:
            self.check_words(recipe.prompt, *(str(t) for m in recipe.models.items() for t in m))
            shown = (recipe.settings.get(name) for name in ("words", "prefix", "suffix", "prompts"))
            self.check_words(*(text for text in shown if isinstance(text, str)))
        self.check_words(book.style, *(page.brief for page in book.pages))


def read_ban_list(path: Path) -> tuple[str, ...]:
    """The words of a file: UTF-8, a word or phrase a line; lines that begin with # are notes.

    Raises: InvalidInput when it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"The ban list {path} cannot be read: it must be a text file in UTF-8 with one word "
            "or phrase on each line."
        ) from error
    words = dict.fromkeys(plain(line) for line in lines if not line.lstrip().startswith("#"))
    words.pop("", None)
    if len(words) > MAX_BANNED:
        raise InvalidInput(f"The ban list {path} has {len(words)} lines; {MAX_BANNED} can be used.")
    return tuple(words)
