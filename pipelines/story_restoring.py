"""A person's own words, put back into what the embedded story writer writes."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from functools import lru_cache, partial

from pipelines.inflection import forms_of
from pipelines.reading import cast_of, known_word
from pipelines.scene import article, plural, vocabulary
from pipelines.story_requests import Request, is_latin
from pipelines.tokenizer import NEW_WORDS

_SPACED = re.compile(r"(<new\d>) (?=[-,.!?;:)’']|s\b)")


def join_placeholders(text: str) -> str:
    """Undo the spaces that decoding leaves behind placeholders."""
    text = _SPACED.sub(r"\1", text)

    def closing(match: re.Match[str]) -> str:
        return match[1] + '"' if text[: match.start()].count('"') % 2 else match[0]

    return re.sub(r'(<new\d>) "', closing, text)


def restore(text: str, request: Request) -> str:
    """The writer's text with the person's own words in it, articles and capitals set right.

    A placeholder that nothing was typed for becomes "friend".
    """
    text = join_placeholders(text)
    for known, typed in request.put_back.items():
        if known not in NEW_WORDS:
            text = replace_word(text, known, typed)
    for new in NEW_WORDS:
        typed = request.put_back.get(new, "friend")
        if typed in request.proper:
            text = re.sub(rf"\b(?:an?|the) ({new})", r"\1", text, flags=re.IGNORECASE)
        text = _replace(text, new, typed, new + r"s\b")
    for name, typed in request.names.items():
        text = re.sub(rf"\b{name}\b", lambda _, typed=typed: typed, text)
    return _ARTICLE.sub(_right_article, text)


_ARTICLE = re.compile(r"\b([Aa])n? (?=([a-z]+)\b)")


def _right_article(match: re.Match[str]) -> str:
    """ "a owl" -> "an owl", for the painter's words; a writer that swaps one for another slips."""
    if match[2] not in vocabulary():
        return match[0]
    return match[1] + article(match[2])[1:] + " "


def with_names(texts: Sequence[str], names: Set[str], request: Request) -> list[str]:
    """Title and sentences, in the writer's words, with the names in them that were asked for.

    `names` are those that the writer knows. Where it used another one for the same character, that
    is changed; a character without a name gets it where it comes in, or else the first name that
    the story uses is taken.
    """
    told = list(texts)
    asked = set(re.findall(r"\b[A-Z]\w+", request.text))
    for name in request.names:
        if any(re.search(rf"\b{name}\b", text) for text in told[1:]):
            continue
        found = (w for text in told for w in re.findall(r"\b[A-Z][a-z]+\b", text))
        used = [w for w in found if w in names - asked]
        bearer = re.search(rf"(\w+) (?:(?:named|called) )?{name}\b|{name} the (\w+)", request.text)
        who = known_word(bearer[1] or bearer[2]) if bearer else None
        cast = cast_of(told[1:])
        theirs = [w for w in used if cast.get(w) == who] + [w for w in used if w not in cast]
        old = next(iter(theirs), None) if who else None
        where = None
        if old is None and who is not None:
            a_who = rf"\b([Aa]n? (?:\w+ )?{who})\b(?! (?:named|called)\b)"
            for form, named in (
                (a_who, rf"\1 named {name}"),
                (rf"\b[Tt]he {who}\b", f"{name} the {who}"),
            ):
                where = next((n for n in range(1, len(told)) if re.search(form, told[n])), None)
                if where is not None:
                    told[where] = re.sub(form, named, told[where], count=1)
                    break
        if where is None and (old := old or next(iter(used), None)):
            told = [re.sub(rf"\b{old}\b", name, text) for text in told]
    return told


def replace_word(text: str, old: str, new: str) -> str:
    """The text with a known word (and its plural) changed, articles and capitals set right."""
    many = plural(old)
    if many == old:  # a sheep, two sheep
        return _replace(text, rf"\b{old}\b", new, _SEVERAL.format(old))
    return _replace(text, rf"\b{old}\b", new, rf"\b{many}\b")


_COUNTED = ("two", "three", "four", "five", "six", "seven", "nine", "forty", "some", "many",
            "several", "these", "those", "other", "few")  # fmt: skip
_SEVERAL = (
    "(?:"
    + "|".join(rf"(?<=\b{word} )" for word in _COUNTED)
    + r")\b{0}\b|\b{0}\b(?= (?:are|were)\b)"
)
"""A word whose plural is itself, where there are several of it."""


def _replace(text: str, one: str, typed: str, many: str) -> str:
    """`typed` for every match of the patterns `many` (as a plural) and `one`."""
    for pattern, word in ((many, plural(typed)), (one, typed)):
        found = re.compile(rf"(\b[Aa]n? |\b[Tt]he |)({pattern})", re.IGNORECASE)
        text = found.sub(partial(_fitted, typed=word), text)
    return text


def _fitted(match: re.Match[str], typed: str) -> str:
    determiner, text, begin = match[1], match.string, match.start()
    name = typed[:1].isupper() and not typed.isupper()
    word = typed.lower() if name and determiner else typed
    if determiner.strip().lower() in ("a", "an"):
        determiner = determiner[0] + article(word.lower())[1:] + " "
    starts = re.search(r"(?:^|[.!?…][\"”’')]* |(?:^|\s)[\"“])$", text[:begin]) is not None
    shouted = match[2][:1].isupper()
    if not determiner and (starts or shouted):
        word = word[:1].upper() + word[1:]
    return determiner + word


def mentions(text: str, word: str) -> bool:
    """Whether a text names a content word, also as a plural or in another form of it: "fly" is in
    "flies" and "flying", and "bee" is not in "been"."""
    low, word = text.casefold(), word.casefold()
    if not is_latin(word) or len(word) < 3:
        return word in low
    return _in_any_form(word).search(low) is not None


@lru_cache(maxsize=4096)
def _in_any_form(word: str) -> re.Pattern[str]:
    """A pattern of a word (or of the last of several) and what it is inflected to, and from."""
    *first, last = word.split()
    any_of = "|".join(map(re.escape, sorted(forms_of(last), key=lambda f: (-len(f), f))))
    return re.compile(
        "".join(rf"(?<!\w){re.escape(w)} " for w in first) + rf"(?<!\w)(?:{any_of})(?!\w)"
    )
