"""Files that are on the disk when a call returns: a power cut right after it takes none away."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def fsync(path: Path) -> None:
    """Wait until a file, or which files a folder has, is on the disk. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(file: Path, data: bytes) -> None:
    """Write or replace a small file as a whole or not at all; it outlives a power cut.

    Raises: OSError.
    """
    unfinished = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        unfinished.write_bytes(data)
        fsync(unfinished)
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    fsync(file.parent)


def remove_for_good(file: Path) -> None:
    """Remove a file, where there is one, for good: no power cut brings it back. Raises: OSError."""
    try:
        file.unlink()
    except FileNotFoundError:
        return
    fsync(file.parent)
