"""`python -m pipelines batch FILE --out SHELF`: the command line of a batch."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.batch.jobs import Job, Refused, read_jobs
from pipelines.batch.shelf import FAILED_FILE, Shelf
from pipelines.batch.work import Models
from pipelines.errors import AppError, InvalidInput
from pipelines.picture_options import add_picture_options, picture_config
from pipelines.terminal import (
    add_model_options,
    add_together_option,
    check_together,
    progress_bars,
)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m pipelines batch",
        description="Make a book of every line of a file. Run it again to go on where it stopped.",
        epilog='A line: {"words": "a fox who wanted to fly", "pages": 6, "style": "pencil"}, '
        "or the words alone. Further keys: title, author, text, seed, and the options' names.",
    )
    p.add_argument("file", type=Path, help="a request a line, as JSON or plain words")
    p.add_argument("--out", type=Path, default=Path("shelf"), help="folder of the books (shelf)")
    p.add_argument("--engine", choices=("local", "ray"), default="local", help="where it runs")
    p.add_argument("--workers", type=int, default=0, help="of ray; 0: one a GPU, or a core")
    p.add_argument("--address", default="", help="of a Ray cluster; otherwise on this machine")
    p.add_argument(
        "--threads", type=int, default=0,
        help="that compute in a worker; 0: all there are, or one with ray. Books are the same to "
        "the byte with the same number",
    )  # fmt: skip
    add_together_option(p)
    add_model_options(p)
    add_picture_options(p)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all books are made, 1 some are not, 130 stopped."""
    args = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return _make(args)
    except AppError as error:
        print(f"storybrush: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. What is finished is in {args.out}; the same command goes on with it.",
              file=sys.stderr)  # fmt: skip
        return 130


def _make(args: argparse.Namespace) -> int:
    check_together(args)
    if not 0 <= args.threads <= 256:
        raise InvalidInput(f"--threads must be from 0 to 256, not {args.threads}.")
    models = Models(args.preset, args.story, args.vqgan, args.clip)
    jobs, failed = read_jobs(args.file, picture_config(args), models.named())
    shelf = Shelf(args.out)
    from pipelines.batch.engines import LocalEngine
    from pipelines.batch.run import BatchProgress, BookDone, PageNote, run

    if args.engine == "ray":
        from pipelines.batch.ray_engine import RayEngine

        engine = RayEngine(models, workers=args.workers, address=args.address, threads=args.threads)
    else:
        engine = LocalEngine(models, args.threads)
    made: list[tuple[Job, str]] = []
    with progress_bars() as bars:
        for refused in failed:
            bars.console.print(f"Line {refused.number}: {refused.reason}", markup=False)
        pages = sum(job.pages for job in jobs)
        bar = bars.add_task("Books", total=float(pages), note=f"0 of {len(jobs)}")
        for event in run(jobs, shelf, engine, together=args.together):
            if isinstance(event, BatchProgress):
                bars.update(bar, completed=event.done, total=float(event.of))
            elif isinstance(event, BookDone):
                made.append((event.job, event.book.title))
                bars.update(bar, note=f"{len(made)} of {len(jobs)}")
            elif isinstance(event, PageNote):
                where = f"Line {event.job.number}, page {event.index + 1}"
                bars.console.print(f"{where}: {event.note}", markup=False)
            else:
                failed.append(Refused(event.job.number, event.job.line, event.reason))
                bars.console.print(f"Line {event.job.number}: {event.reason}", markup=False)
    shelf.finish(sorted(made, key=lambda pair: pair[0].number), failed)
    print(f"{len(made)} of {len(made) + len(failed)} books: open {args.out / 'index.html'}")
    if failed:
        print(f"The lines that failed are in {args.out / FAILED_FILE}.", file=sys.stderr)
    return 1 if failed else 0
