"""A process that is killed while it publishes: `python -m tests.storage.publisher URL COUNT`.

Saves books into the outbox, says so, and publishes them until it is killed.
"""

from __future__ import annotations

import sys
import time

from storage.base import open_library
from tests.storage.books import make_book

if __name__ == "__main__":
    library = open_library(sys.argv[1])
    for n in range(int(sys.argv[2])):
        library.save(make_book(id=f"{n:016x}", version=n))
    print("saved", flush=True)
    time.sleep(600)
