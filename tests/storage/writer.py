"""A second process on a library, for the tests: `python -m tests.storage.writer ...`.

`loop FOLDER FIRST COUNT` saves versions FIRST, FIRST+1, ... of one shared book and a book of its
own for each, printing each version when it is saved. `crash FOLDER` is killed on one line of
storage after another, see `crash_everywhere`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from storage import database, index, local
from storage.local import LocalLibrary
from tests.storage.books import OWNER, check_whole, make_book, version_of

SHARED = "f" * 16


def loop(folder: Path, first: int, count: int) -> None:
    library = LocalLibrary(folder)
    for version in range(first, first + count):
        library.save(make_book(id=SHARED, version=version))
        library.save(make_book(id=f"{version:016x}", version=version))
        print(version, flush=True)


def crash_everywhere(folder: Path) -> None:
    """For n = 1, 2, ...: save or delete in a fork that dies on the nth line of code, then check.

    Prints how often it died in each.
    """
    library = LocalLibrary(folder)
    kept = make_book(id=SHARED, version=0, pages=1)
    library.save(kept)

    def replace() -> None:
        library.save(make_book(version=1, pages=1))

    def delete() -> None:
        library.delete("0" * 16, owner=OWNER)

    for act in (replace, delete):
        deaths = 0
        while True:
            library.save(make_book(version=0, pages=1))
            if not _dies(act, deaths + 1):
                break
            deaths += 1
            books = check_whole(folder, LocalLibrary(folder))
            versions = {book.id: version_of(book) for book in books}
            assert versions.pop(SHARED) == 0
            after: dict[str, int] = {"0" * 16: 1} if act is replace else {}
            assert versions in ({"0" * 16: 0}, after), versions
        print(deaths)


def _dies(act: Callable[[], None], line: int) -> bool:
    """Run `act` in a fork killed by SIGKILL at its nth line in the local library's modules."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        return status == signal.SIGKILL
    left = line
    traced = (local.__file__, index.__file__, database.__file__)

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in traced:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        act()
    except BaseException:
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "loop":
        loop(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        crash_everywhere(Path(sys.argv[2]))
