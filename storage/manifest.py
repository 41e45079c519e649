"""`book.json` in a bucket: the book, and which object holds each of its pictures.

Layout 1 names the objects::

    "layout": 1,
    "files": {"page-01.png": {"object": "<folder>/page-01.png", "sha256": ..., "about": ...},
              "cover.webp": {...}}

Before there was a layout, as in the folders of a local library, a picture lay beside its
`book.json`; such books are read, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from pipelines.book import Book, Page, picture_name
from pipelines.errors import InvalidInput, StorageError
from storage.base import decode_book, encode_book
from storage.bucket import Stored

LAYOUT = 1
COVER = "cover.webp"

_OBJECT = re.compile(r"([0-9a-f]{16}-[0-9a-f]{16}/)?(page-[0-9]{2,5}\.png|cover\.webp)")


@dataclass(frozen=True)
class File:
    """A picture in the bucket.

    `object` is its name below the book's folder, `sha256` that of its bytes, `about` that of
    the metadata it was stored with; "" where an older manifest does not say.
    """

    object: str
    sha256: str = ""
    about: str = ""


@dataclass(frozen=True)
class Manifest:
    """A book without its pictures' bytes (b"" stands for each), and where they are."""

    book: Book
    files: Mapping[str, File]

    @property
    def cover(self) -> str:
        """Name of the thumbnail's object below the book's folder, "" where there is none."""
        return self.files[COVER].object if COVER in self.files else ""


@dataclass(frozen=True)
class Version:
    """What is at a book's address: no manifest before it is saved and after it was deleted.

    `edition` counts writes, so that a later one can be told from an earlier one; `generation`
    is what the next write replaces. `life` is another text for a book that was deleted and saved
    again, "" where there is none.
    """

    manifest: Manifest | None
    generation: int
    edition: int
    life: str


def sha256(data: bytes) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(data).hexdigest()


def digest(*parts: bytes | str) -> str:
    """SHA-256 of some texts; where one ends and the next begins counts."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def describe(page: Page, number: int) -> dict[str, str]:
    """What is stored as metadata of the picture of page `number` (from 1)."""
    recipe = json.dumps(page.recipe.to_json(), sort_keys=True) if page.recipe else ""
    return {
        "caption": page.text,
        "page": str(number),
        "recipe": digest(recipe) if recipe else "",
    }


def encode_manifest(book: Book, files: Mapping[str, File]) -> bytes:
    """`book.json` of a book whose pictures are in these objects. Raises: InvalidInput."""
    listed = {name: asdict(file) for name, file in files.items()}
    return encode_book(book, {"layout": LAYOUT, "files": listed})


def decode_manifest(data: bytes) -> Manifest:
    """The inverse. Raises: StorageError when it is damaged or made by a newer Storybrush."""
    try:
        fields = json.loads(data)
        layout = int(fields.get("layout", 0))
        if layout > LAYOUT:
            raise StorageError(
                f"This book has layout {layout}, made by a newer Storybrush: update the app."
            )
        names = [picture_name(n) for n, page in enumerate(fields["pages"]) if page.get("picture")]
        book = decode_book(data, dict.fromkeys(names, b""))
        if layout:
            files = {
                name: File(str(f["object"]), str(f["sha256"]), str(f["about"]))
                for name, f in fields["files"].items()
            }
        else:
            sums = fields.get("sha256", {})
            files = {name: File(name, str(sums.get(name, ""))) for name in names}
        if not all(_OBJECT.fullmatch(file.object) for file in files.values()):
            raise ValueError("an object outside the book's folder")
        if not all(name in files for name in names):
            raise ValueError("a picture without an object")
        return Manifest(book, files)
    except (
        InvalidInput,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        RecursionError,
    ) as e:
        raise StorageError(
            "This book cannot be read: its book.json in the bucket is damaged. "
            "Put it back from a backup, or delete the book."
        ) from e


def same_book(a: Manifest, b: Manifest) -> bool:
    """Whether two manifests are of the same words and pictures, wherever these are."""

    def parts(m: Manifest) -> tuple[dict[str, object], dict[str, tuple[str, str]]]:
        return m.book.to_json(), {name: (f.sha256, f.about) for name, f in m.files.items()}

    return parts(a) == parts(b)


def is_of(manifest: Manifest, book: Book) -> bool:
    """Whether a manifest is of this very book, as far as it says what its pictures are."""
    pictures = {picture_name(n): p.picture for n, p in enumerate(book.pages) if p.picture}
    return manifest.book == without_pictures(book) and all(
        manifest.files[name].sha256 in ("", sha256(data)) for name, data in pictures.items()
    )


def without_pictures(book: Book) -> Book:
    """The book as a manifest has it."""
    pages = (replace(p, picture=None if p.picture is None else b"") for p in book.pages)
    return replace(book, pages=tuple(pages))


def folder_of(book_id: str) -> str:
    """What the names of a book's objects begin with."""
    return f"books/{book_id}/"


def manifest_of(book_id: str) -> str:
    """Name of a book's manifest."""
    return f"books/{book_id}/book.json"


def edition_of(stored: Stored) -> int:
    """The edition that a manifest's metadata tell."""
    return int(stored.metadata.get("edition", "0"))


def is_deleted(stored: Stored) -> bool:
    """Whether a manifest is only the mark of a deleted book."""
    return "deleted" in stored.metadata
