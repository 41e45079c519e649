"""Command line: `python -m pipelines "a fox who wanted to fly" --pages 6 --out fox/`.

Writes numbered PNGs with their recipe inside, book.json, and index.html to open in a browser.
Many books: `python -m pipelines batch FILE`. Drawings: `python -m pipelines colour FILE`.
Without a story: `--prompt "a fox:1 | text:-0.5"`, `--prompt-file FILE`, `--recipe picture.png`.
Ctrl-C keeps the finished pages.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.banned import ban_list
from pipelines.book import MAX_TITLE, Book
from pipelines.book_folder import save_book
from pipelines.device import share_the_processor
from pipelines.errors import AppError, InvalidInput
from pipelines.events import (
    Draft,
    PageFinished,
    PagePainting,
    PictureProgress,
    StoryProgress,
)
from pipelines.export_command import add_export_option, formats_of, write_exports
from pipelines.film import (
    Film,
    add_video_options,
    camera_of,
    check_still,
    film_of_camera,
    moving_path,
)
from pipelines.picture_command import (
    INPUTS,
    add_input_options,
    asks_for_pictures,
    check_models,
    paint_pictures,
    requests_of,
    unpainted,
)
from pipelines.picture_options import add_picture_options, picture_config, reject
from pipelines.presets import StoryConfig
from pipelines.reading import check_words
from pipelines.story_requests import allowed_words
from pipelines.storybook import draft_of_text
from pipelines.terminal import (
    add_model_options,
    add_together_option,
    check_together,
    progress_bars,
)

if TYPE_CHECKING:
    from rich.progress import Progress


def parser() -> argparse.ArgumentParser:
    story = StoryConfig("words")
    p = argparse.ArgumentParser(
        prog="python -m pipelines",
        description="Write a short story, paint a picture of every sentence, bind the book.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("words", nargs="?", default="", help="what the story is about")
    p.add_argument("--out", type=Path, default=Path("book"), help="folder of the finished book")
    p.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    add_model_options(p)
    p.add_argument("--author", default="")
    p.add_argument(
        "--text",
        type=Path,
        help="paint this text instead of writing a story; the words (or its name) are its title",
    )
    add_export_option(p)
    g = p.add_argument_group("story")
    g.add_argument(
        "--pages", type=int, default=story.sentences, help="about so many sentences, 4 to 12"
    )
    g.add_argument("--liveliness", type=float, default=story.temperature, help="temperature")
    g.add_argument("--min-words", type=int, default=story.min_words)
    g.add_argument("--max-words", type=int, default=story.max_words)
    g.add_argument("--drafts", type=int, default=1, help="drafts to choose the best of")
    g.add_argument("--top-k", type=int, default=story.top_k)
    g.add_argument("--top-p", type=float, default=story.top_p)
    g.add_argument("--repetition-penalty", type=float, default=story.repetition_penalty)
    g.add_argument("--length-penalty", type=float, default=story.length_penalty)
    g.add_argument("--ban", default="", help="words that must not appear, with commas between")
    add_picture_options(p)
    add_input_options(p)
    add_video_options(p)
    add_together_option(p)
    p.add_argument("--seed", type=int, help="same seed, same book; drawn when left out")
    return p


def _check_folder(folder: Path, force: bool) -> None:
    try:  # found out now, not when the first page is painted
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is a file: name a folder with --out.")
        if folder.is_dir() and any(folder.iterdir()) and not force:
            raise InvalidInput(f"The folder {folder} is not empty: name another, or add --force.")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InvalidInput(
            f"The folder {folder} cannot be made or read ({e.strerror or e}): name another with "
            "--out."
        ) from e
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"Nothing may be written to {folder}: name another folder with --out.")


def _draft_of_text(path: Path, words: str) -> Draft:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text: {e}.") from e
    try:
        return draft_of_text(text, words)
    except InvalidInput as e:
        raise InvalidInput(f"{path}: {e}") from e


def make(args: argparse.Namespace) -> None:
    """Write and paint the book that the arguments ask for."""
    # A text without words is called as its file is.
    named = re.sub(r"[\s_-]+", " ", args.text.stem) if args.text else ""
    words = check_words(args.words or named)
    story_config = StoryConfig(
        words, sentences=args.pages, min_words=args.min_words, max_words=args.max_words,
        drafts=args.drafts, temperature=args.liveliness, top_k=args.top_k, top_p=args.top_p,
        repetition_penalty=args.repetition_penalty, length_penalty=args.length_penalty,
        ban=tuple(w.strip() for w in args.ban.split(",") if w.strip()), seed=args.seed,
    )  # fmt: skip
    reject(args, INPUTS, "goes with --prompt, not with a story.")
    reject(args, ("prompt_file", "recipe"), "goes without a story: leave words and --text out.")
    reject(args, ("frames",), "goes with one picture, not with a story.")
    check_still(args, "moves one picture, not the pages of a story.")
    config = picture_config(args)
    draft: Draft | None = _draft_of_text(args.text, words) if args.text else None
    if draft is None:
        allowed_words(words, ban_list(story_config.ban))
    _check(args)
    # Torch loads here, after everything that can be wrong with the request has been said.
    from pipelines.storybook import book_from_draft, load_pictures, load_story, paint

    with Film(args.out, args.video, args.fps) as film, progress_bars() as bars:
        bar = bars.add_task("Writing", total=1.0, note="")
        # First of all: what is wrong with a model is said before a story is written in vain.
        pipeline = load_pictures(args.preset, args.vqgan, args.clip)
        if draft is None:
            for event in load_story(args.preset, args.story).stream(story_config):
                if isinstance(event, StoryProgress):
                    bars.update(bar, completed=event.done, note=event.title[:40])
                elif draft is None:
                    draft = event  # the best comes first
        assert draft is not None
        bars.update(bar, completed=1.0, note=draft.title)
        book = book_from_draft(draft, story_config, style=config.style, author=args.author)
        bar = bars.add_task("Painting", total=float(len(book.pages)), note="")
        done: dict[int, float] = {}
        for event in paint(pipeline, book, config, together=args.together):
            if isinstance(event, PagePainting):
                done[event.page] = event.progress.step / event.progress.of
                note = _told(bars, event.page, event.pages, event.progress)
                bars.update(bar, completed=sum(done.values()), note=note)
                film.watch(event.page, event.progress)
            elif isinstance(event, PageFinished):
                book = book.with_page(event.index, event.page)
                save_book(book, args.out, alone=True)
    print(f"“{book.title}”, {len(book.pages)} pages: open {args.out / 'index.html'}")
    _export(args, book)


def make_pictures(args: argparse.Namespace) -> None:
    """Paint the pictures that the arguments ask for, without a story."""
    requests, recipe = requests_of(args)
    if recipe:
        reject(args, ("author",), "goes with a story.")
    if args.frames and len(requests) > 1:
        raise InvalidInput("--frames goes with one picture, not with --prompt-file.")
    camera = camera_of(args)
    if camera is not None:
        reject(args, ("export",), "goes with a book, not with --frames.")
    _check(args)
    from pipelines.storybook import load_pictures

    book = replace(unpainted(requests), author=args.author)
    with Film(args.out, args.video, args.fps) as film, progress_bars() as bars:
        bar = bars.add_task("Painting", total=float(len(requests)), note="")
        pipeline = load_pictures(args.preset, args.vqgan, args.clip)
        if recipe is not None:
            check_models(pipeline, recipe)
        if camera is not None:
            bars.update(bar, total=float(camera.frames))

            def tell_frame(progress: PictureProgress) -> None:
                if progress.note:
                    bars.console.print(f"Frame {max(progress.step, 1)}: {progress.note}")
                bars.update(bar, completed=progress.step)

            path = film_of_camera(pipeline, requests[0], camera, args, tell_frame)
            print(f"{path}: {camera.frames} frames")
            return
        done: dict[int, float] = {}

        def tell(index: int, progress: PictureProgress) -> None:
            done[index] = progress.step / progress.of
            note = _told(bars, index, len(requests), progress)
            bars.update(bar, completed=sum(done.values()), note=note)
            film.watch(index, progress)

        for finished in paint_pictures(pipeline, requests, book, args.together, tell):
            book = finished
            save_book(book, args.out, alone=True)
    names = f"{len(book.pages)} pictures" if len(book.pages) > 1 else f"“{book.title}”"
    print(f"{names}: open {args.out / 'index.html'}")
    _export(args, book)


def _export(args: argparse.Namespace, book: Book) -> None:
    for path in write_exports(book, args.out, formats_of(args)):
        print(path)


def _check(args: argparse.Namespace) -> None:
    """Raises InvalidInput for what would only come to light when a page is painted."""
    check_together(args)
    if not 1 <= args.fps <= 60:
        raise InvalidInput(f"--fps must be from 1 to 60, not {args.fps}.")
    if len(args.author) > MAX_TITLE:
        raise InvalidInput(f"--author may have {MAX_TITLE} characters, not {len(args.author)}.")
    for name, value in vars(args).items():
        # As Python reads bytes of a command line that are no text: no file could hold them.
        if isinstance(value, str) and name != "words" and re.search(r"[\ud800-\udfff]", value):
            raise InvalidInput(f"--{name.replace('_', '-')} is no text in UTF-8: type it again.")
    formats_of(args)
    _check_folder(args.out, args.force)


def _told(bars: Progress, page: int, pages: int, progress: PictureProgress) -> str:
    """What stands beside the bar; what went otherwise than asked stays above it."""
    if progress.note:
        bars.console.print(f"Page {page + 1}: {progress.note}")
    note = f"page {page + 1}/{pages}"
    return note if progress.score is None else f"{note}  CLIP {progress.score:.2f}"


def _written(file: Path) -> int | None:
    """When a file was written, None where there is none."""
    with suppress(OSError):
        return file.stat().st_mtime_ns
    return None


def main() -> int:
    """Exit status: 0 done, 1 a request that cannot be carried out, 130 stopped."""
    share_the_processor()
    if sys.argv[1:2] == ["batch"]:
        from pipelines.batch.command import main as batch

        return batch(sys.argv[2:])
    if sys.argv[1:2] == ["colour"]:
        from pipelines.colour_command import main as colour

        return colour(sys.argv[2:])
    args = parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    product = moving_path(args) if args.frames else args.out / "book.json"
    before, new = _written(product), not os.path.exists(args.out)
    try:
        if asks_for_pictures(args):
            make_pictures(args)
        else:
            make(args)
    except AppError as e:
        print(f"storybrush: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        parts = "frames" if args.frames else "pages"
        where = f"The finished {parts} are in {product if args.frames else args.out}."
        if _written(product) == before:
            where = f"No {parts[:-1]} was finished."
        print(f"\nStopped. {where}", file=sys.stderr)
        return 130
    finally:
        if new:
            with suppress(OSError):  # pages are in it
                args.out.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
