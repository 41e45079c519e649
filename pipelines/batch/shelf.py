"""The folder that a batch fills: a folder a book, taken up again where a run has stopped."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from pipelines.batch.jobs import Job, Refused
from pipelines.book import Book, picture_name, read_recipe
from pipelines.book_folder import save_book, write_files
from pipelines.errors import InvalidInput, StorageError

JOB_FILE = "job.json"
FAILED_FILE = "failed.jsonl"


class Shelf:
    """Raises: StorageError when the folder cannot be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The folder {folder} cannot be made ({error.strerror or error}): "
                "name another with --out."
            ) from error

    def home(self, job: Job) -> Path:
        return self.folder / job.folder

    def find(self, job: Job) -> Book | None:
        """What an earlier run has made of this job, with the pictures that are whole.

        Raises: InvalidInput when its folder holds something else.
        """
        home = self.home(job)
        # A folder with neither is one that a run was killed over before it had written a thing.
        if not any((home / name).exists() for name in (JOB_FILE, "book.json")):
            return None
        try:
            kept = json.loads((home / JOB_FILE).read_text(encoding="utf-8"))["digest"]
        except (OSError, ValueError, KeyError, TypeError):
            kept = None
        if kept != job.digest:
            raise InvalidInput(
                f"{home} was made from other words, settings or models: move it away, or name "
                "another folder with --out."
            )
        try:
            data: dict[str, Any] = json.loads((home / "book.json").read_text(encoding="utf-8"))
            pictures: dict[str, bytes] = {}
            for n, page in enumerate(data["pages"]):
                path = home / picture_name(n)
                png = path.read_bytes() if path.is_file() else b""
                if page["picture"] is not None and _is_whole(png):
                    pictures[path.name] = png
                else:
                    page["picture"] = None
            return Book.from_json(data, pictures)
        except (OSError, ValueError, KeyError, TypeError, InvalidInput):
            return None  # nothing of it was finished

    def save(self, job: Job, book: Book) -> None:
        """The book as far as it is painted. Raises: StorageError."""
        home = self.home(job)
        if not (home / JOB_FILE).exists():
            note = json.dumps({"line": job.number, "digest": job.digest})
            write_files(home, {JOB_FILE: note.encode()})
        save_book(book, home)

    def finish(self, books: list[tuple[Job, str]], failed: list[Refused]) -> None:
        """An overview, and the lines that failed in a file of their own. Raises: StorageError."""
        items = "\n".join(
            f'<a href="{job.folder}/index.html"><img src="{job.folder}/{picture_name(0)}" alt="" '
            f'loading="lazy"><span>{escape(title)}</span></a>'
            for job, title in books
        )
        write_files(self.folder, {"index.html": _PAGE.replace("ITEMS", items).encode()})
        again = self.folder / FAILED_FILE
        if failed:
            text = "".join(f"# {' '.join(f.reason.split())}\n{f.line}\n" for f in failed)
            write_files(self.folder, {FAILED_FILE: text.encode()})
        else:
            again.unlink(missing_ok=True)


def _is_whole(png: bytes) -> bool:
    """Whether a picture is there to its last byte, opens, and says how it was made."""
    try:
        return png[-8:-4] == b"IEND" and read_recipe(png) is not None
    except InvalidInput:
        return False


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Storybrush: a shelf of books</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 1rem/1.4 Georgia, serif; margin: 2rem; background: #fbf7ef; color: #33291f; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1.5rem; }
a { color: inherit; text-decoration: none; }
img { display: block; width: 100%; border-radius: .5rem; margin-bottom: .5rem; }
@media (prefers-color-scheme: dark) { body { background: #211b16; color: #f3e9da; } }
</style></head><body><main>
ITEMS
</main></body></html>
"""
