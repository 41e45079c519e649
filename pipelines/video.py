"""Moving pictures: MP4 (H.264) through PyAV, animated WebP and GIF through Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.book import xmp_packet
from pipelines.errors import InvalidInput, StorageError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = (".mp4", ".webp", ".gif")
HOLD = 1.5
"""Seconds that the last picture stays."""


def check_format(path: Path) -> None:
    """Raises InvalidInput when no such video can be written."""
    if path.suffix.lower() not in FORMATS:
        raise InvalidInput(f"A video is one of {', '.join(FORMATS)}, not “{path.name}”.")


def write_video(frames: Iterable[Image], path: Path, fps: float = 12.0, comment: str = "") -> int:
    """Write RGB pictures as a video, each at the size of the last; returns how many there were.

    They are kept in memory. The last one is held. `comment` goes into the file: how it was made.
    An existing file is replaced as a whole.
    Raises: InvalidInput for an unknown ending or no pictures at all, StorageError.
    """
    from PIL import Image

    check_format(path)
    pictures = [*frames]
    if not pictures:
        raise InvalidInput("A video needs at least one picture.")
    size = pictures[-1].size
    if path.suffix.lower() == ".mp4":  # H.264 halves the resolution of colour
        size = size[0] + size[0] % 2, size[1] + size[1] % 2
    pictures = [p if p.size == size else p.resize(size, Image.Resampling.LANCZOS)
                for p in pictures]  # fmt: skip
    held = [*pictures, *[pictures[-1]] * round(HOLD * fps)]
    fresh = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if path.suffix.lower() == ".mp4":
            _write_mp4(held, fresh, fps, comment)
        else:
            options: dict[str, Any] = _note(comment, path) | {"loop": 0, "quality": 85}
            options["duration"] = [round(1000 / fps)] * (len(pictures) - 1) + [round(1000 * HOLD)]
            pictures[0].save(fresh, save_all=True, append_images=pictures[1:], **options)
        os.replace(fresh, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        fresh.unlink(missing_ok=True)
    return len(pictures)


def _write_mp4(pictures: list[Image], path: Path, fps: float, comment: str) -> None:
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        container.metadata["comment"] = comment
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"  # what browsers and phones play
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))


def _note(comment: str, path: Path) -> dict[str, Any]:
    """Where Pillow puts a comment: GIF's own, or the XMP packet of a WebP."""
    if path.suffix.lower() == ".gif":
        return {"comment": comment.encode()}
    return {"xmp": xmp_packet(comment).encode()}


def evenly(frames: list[Image], most: int) -> Iterator[Image]:
    """At most `most` of the pictures, spread evenly, the first and the last among them."""
    count = min(len(frames), most)
    for n in range(count):
        yield frames[round(n * (len(frames) - 1) / max(count - 1, 1))]
