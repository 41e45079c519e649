"""Moving, checking and sharing: `python -m storage copy FROM TO`, `verify`, `addresses`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from pipelines.errors import AppError, InvalidInput
from storage.base import Library, open_library
from storage.firebase import FirebaseLibrary
from storage.transfer import copy, verify


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    commands = argparse.ArgumentParser(
        prog="python -m storage",
        description="Move and check libraries of books.",
        epilog="A library is a folder, sqlite:///folder or firebase://bucket?prefix=...",
    )
    chosen = commands.add_subparsers(dest="command", required=True, metavar="COMMAND")
    copying = chosen.add_parser("copy", help="copy all books that the other library does not have")
    copying.add_argument("source", metavar="FROM")
    copying.add_argument("target", metavar="TO")
    copying.add_argument(
        "--replace", action="store_true", help="also where the other library has another version"
    )
    checking = chosen.add_parser("verify", help="read every book and compare hashes")
    checking.add_argument("library", metavar="LIBRARY", nargs="?", default="")
    checking.add_argument(
        "--tidy", action="store_true", help="remove what is left over in a bucket"
    )
    sharing = chosen.add_parser(
        "addresses", help="addresses of a book's pictures in a bucket, open to anybody for a while"
    )
    sharing.add_argument("library", metavar="LIBRARY")
    sharing.add_argument("book", metavar="BOOK", help="its id, as at the end of its address")
    sharing.add_argument("--hours", type=float, default=24.0, help="how long (now: %(default)s)")
    return commands


@contextmanager
def opened(url: str, *, make: bool = False) -> Iterator[Library]:
    """A library without an outbox and without a cache: what is read comes from where it is.

    Raises: NotFound for a folder without a library, unless it may `make` one; StorageError.
    """
    url = url.strip() or os.environ.get("STORYBRUSH_LIBRARY", "").strip()
    scheme, _, place = url.partition("://")
    if scheme != "firebase":
        yield open_library(url, make=make)
        return
    from storage.outbox import Address

    if n := Address.parse(place).waiting():
        print(
            f"{n} of this machine's books {'wait' if n > 1 else 'waits'} to be published and "
            f"{'are' if n > 1 else 'is'} not looked at: start the app with this library first.",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory(prefix="storybrush-") as folder:
        library = Address.parse(place).open(Path(folder), kept_bytes=0)
        try:
            yield library
        finally:
            library.close()


def copy_all(options: argparse.Namespace) -> int:
    """Copy and tell; how many books are not over there."""
    written = there = failed = 0
    with opened(options.source) as source, opened(options.target, make=True) as target:
        for event in copy(source, target, replace=options.replace):
            written += event.written and not event.trouble
            there += not event.written and not event.trouble
            failed += bool(event.trouble)
            if event.trouble or event.written:
                what = event.trouble or "copied"
                print(f"{event.number}/{event.of} {event.book_id}: {what}", flush=True)
    print(f"{written} copied, {there} there already, {failed} not copied")
    return failed


def verify_all(options: argparse.Namespace) -> int:
    """Check and tell; how much is wrong."""
    good = bad = 0
    with opened(options.library) as library:
        for event in verify(library, tidy=options.tidy):
            good += not event.trouble
            bad += bool(event.trouble)
            if event.trouble:
                print(f"{event.name}: {event.trouble}", flush=True)
            elif event.name.endswith(")"):
                print(event.name, flush=True)
    print(f"{good} good, {bad} wrong")
    return bad


def print_addresses(options: argparse.Namespace) -> int:
    """Print an address a page."""
    with opened(options.library) as library:
        if not isinstance(library, FirebaseLibrary):
            raise InvalidInput("Only pictures in a bucket have addresses: use firebase://bucket.")
        for address in library.addresses(options.book, timedelta(hours=options.hours)):
            print(address)
    return 0


COMMANDS = {"copy": copy_all, "verify": verify_all, "addresses": print_addresses}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when all is well, 1 when something is not, 130 when stopped."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    options = parser().parse_args(arguments)
    try:
        wrong = COMMANDS[options.command](options)
    except AppError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from there.", file=sys.stderr)
        return 130
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
