"""What to learn from: sources, and ready recipes for three kinds of descriptive text.

A recipe says which files of a folder it takes, which of their rows, and how short a text may be. It
fits the data sets it was made for, and any folder with files of those names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from finetune.data.cleaning import SHORTEST, CleaningReport, clean
from finetune.data.documents import Columns, Document, read_file, read_source
from finetune.data.splitting import Split, split_sources
from pipelines.errors import InvalidInput
from pipelines.reading import split_sentences


@dataclass(frozen=True)
class Recipe:
    """How one kind of text is read."""

    files: tuple[str, ...]
    fits: Callable[[Document], bool] = lambda d: True
    """Whether a text is of this kind; of the others nothing is said in the report."""
    joined: tuple[str, ...] = ()
    """Files in which neighbouring rows of one title are one text."""
    shortest: int = SHORTEST


PLAIN = 14.0
"""Words a sentence may have on average for a child to follow."""


def _in_plain_words(document: Document) -> bool:
    """Short sentences, none of the words that stories leave out."""
    from pipelines.banned import find_banned, unsuitable

    sentences = split_sentences(document.text)
    mean = len(document.text.split()) / max(len(sentences), 1)
    return mean <= PLAIN and find_banned(document.text, unsuitable()) is None


RECIPES: dict[str, Recipe] = {
    "stories": Recipe(("stories.jsonl", "tinystories.jsonl"), fits=_in_plain_words),
    "plots": Recipe(("movie_plots.jsonl",)),
    "paintings": Recipe(
        ("art_descriptions.jsonl", "picture_captions.jsonl"), joined=("picture_captions.jsonl",)
    ),
}
"""Children's stories, plots of films, descriptions of paintings and pictures."""


@dataclass(frozen=True)
class Source:
    """One kind of text: a recipe applied to folders, or a file, folder or hub name as it is."""

    kind: str
    places: tuple[str, ...]
    recipe: Recipe | None = None
    columns: Columns = field(default_factory=Columns)

    def documents(self, report: CleaningReport) -> Iterator[Document]:
        """Every text of it as it lies there."""
        for place in self.places:
            if self.recipe is None:
                yield from read_source(place, report.refuse, self.columns)
                continue
            for name in self.recipe.files:
                path = Path(place).expanduser() / name
                if path.is_file():
                    found = read_file(path, report.refuse, self.columns)
                    found = _joined(found) if name in self.recipe.joined else found
                    yield from filter(self.recipe.fits, found)


def _joined(documents: Iterable[Document]) -> Iterator[Document]:
    for _, rows in groupby(documents, key=lambda d: d.title):
        together = list(rows)
        yield replace(together[0], text="\n\n".join(d.text for d in together))


def sources(
    data: Sequence[str], recipes: Sequence[str] = (), columns: Columns | None = None
) -> list[Source]:
    """What `--data` and `--recipe` name: with recipes one source for each of them, otherwise one
    for each of `data`.

    Raises InvalidInput for a recipe whose files are in none of the folders, and for what no recipe
    reads.
    """
    columns = columns or Columns()
    if not recipes:
        names = [Path(d).name or d for d in data]
        kinds = [n if names.count(n) == 1 else d for n, d in zip(names, data, strict=True)]
        return [Source(kind, (d,), None, columns) for kind, d in zip(kinds, data, strict=True)]
    found = list[Source]()
    for name in recipes:
        if name not in RECIPES:
            raise InvalidInput(f"“{name}” is no recipe; there are {', '.join(RECIPES)}.")
        recipe = RECIPES[name]
        places = tuple(
            d for d in data if any((Path(d).expanduser() / f).is_file() for f in recipe.files)
        )
        if not places:
            raise InvalidInput(
                f"The recipe “{name}” reads {' or '.join(recipe.files)}, and none of "
                f"{', '.join(data)} holds that: name its folder with --data."
            )
        found.append(Source(name, places, recipe, columns))
    unread = [d for d in data if not any(d in s.places for s in found)]
    if unread:
        raise InvalidInput(
            f"{', '.join(recipes)}: nothing of this kind is in {', '.join(unread)}. Take that out "
            "of --data, add the recipe that reads it, or leave out --recipe, and all is read as "
            "it is."
        )
    return found


def gather(
    sources: Sequence[Source], *, language: str = "en"
) -> list[tuple[Split, CleaningReport]]:
    """Read, clean and split the sources; what is held out of one is learned from none.

    Raises InvalidInput, the report in it, when too little is left of one.
    """
    reports, kept = [CleaningReport(s.kind) for s in sources], list[list[Document]]()
    for source, report in zip(sources, reports, strict=True):
        shortest = source.recipe.shortest if source.recipe else SHORTEST
        kept.append(clean(source.documents(report), report, language=language, shortest=shortest))
        if not kept[-1]:
            told = "\n".join(report.lines())
            raise InvalidInput(f"No text to learn from is left of “{source.kind}”.\n{told}")
    found, splits = list[tuple[Split, CleaningReport]](), split_sources(kept)
    for source, report in zip(sources, reports, strict=True):
        try:
            split = next(splits)
        except InvalidInput as e:
            raise InvalidInput(f"“{source.kind}”: {e}\n" + "\n".join(report.lines())) from e
        report.near_duplicates = split.near_duplicates
        found.append((split, report))
    return found


def shares_of(sizes: Sequence[int], mix: Sequence[float]) -> list[int]:
    """How many sequences an epoch takes of each source: as many together as there are.

    `mix` has a weight for each source; none: each sequence once.
    Raises InvalidInput for weights that do not fit.
    """
    if not mix:
        return list(sizes)
    if len(mix) != len(sizes) or min(mix) < 0 or sum(mix) <= 0:
        raise InvalidInput(
            f"--mix takes a weight from 0 up for each of the {len(sizes)} sources, in their order."
        )
    whole = sum(sizes)
    return [round(whole * weight / sum(mix)) for weight in mix]
