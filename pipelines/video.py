"""Moving pictures: MP4 (H.264) through PyAV, animated WebP and GIF through Pillow."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.book import xmp_packet
from pipelines.errors import InvalidInput, StorageError

if TYPE_CHECKING:
    from PIL.Image import Image

Frame = TypeVar("Frame")

FORMATS = (".mp4", ".webp", ".gif")
HOLD = 1.5
"""Seconds that the last picture stays."""

XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Names the box of an MP4 that holds XMP. Source: XMP part 3 (2020), section 1.2.7."""

ENCODING = {"crf": "18", "preset": "veryfast"}
"""Of x264: hardly to be told from the pictures, at twice the pace of its default."""

BT709 = 1
LIMITED_RANGE = 1
"""H.264's numbers for the colours that players expect of films this large."""


def check_format(path: Path) -> None:
    """Raises InvalidInput when no such video can be written."""
    if path.suffix.lower() not in FORMATS:
        raise InvalidInput(f"A video is one of {', '.join(FORMATS)}, not “{path.name}”.")


def write_video(
    frames: Iterable[Image],
    path: Path,
    fps: float = 12.0,
    comment: str = "",
    size: tuple[int, int] | None = None,
) -> int:
    """Write RGB pictures as a video, each at the size of the last; returns how many there were.

    They are kept in memory, but for an MP4 of which that `size` is told. The last one is held.
    `comment` goes into the file: how it was made.
    An existing file is replaced as a whole.
    Raises: InvalidInput for an unknown ending or no pictures at all, StorageError.
    """
    from PIL import Image

    check_format(path)
    if size is not None and path.suffix.lower() == ".mp4":
        fitted = (p if p.size == size else p.resize(size, Image.Resampling.LANCZOS) for p in frames)
        hold = round(HOLD * fps)
        tags = {"comment": comment}
        written = stream_mp4(_held(fitted, hold), path, fps, tags, xmp_packet(comment))
        return sum(1 for _ in written) - hold
    pictures = [*frames]
    if not pictures:
        raise InvalidInput("A video needs at least one picture.")
    size = pictures[-1].size
    pictures = [p if p.size == size else p.resize(size, Image.Resampling.LANCZOS)
                for p in pictures]  # fmt: skip
    if path.suffix.lower() == ".mp4":
        return write_video(pictures, path, fps, comment, size)
    options: dict[str, Any] = _note(comment, path) | {"loop": 0, "quality": 85}
    options["duration"] = [round(1000 / fps)] * (len(pictures) - 1) + [round(1000 * HOLD)]
    with _written_as_a_whole(path) as fresh:
        pictures[0].save(fresh, save_all=True, append_images=pictures[1:], **options)
    return len(pictures)


def _held(frames: Iterable[Image], times: int) -> Iterator[Image]:
    """The pictures, and the last one so many times more."""
    last: Image | None = None
    for last in frames:
        yield last
    if last is not None:
        yield from itertools.repeat(last, times)


def stream_mp4(
    frames: Iterable[Image], path: Path, fps: float, tags: Mapping[str, str], xmp: str
) -> Iterator[int]:
    """Write RGB pictures as they come, each at the size of the first; yields how many there are.

    `tags` are those that MP4 has (title, artist, comment, description), `xmp` is a packet. Closed
    before the end, or failing, it leaves no file, and an older one as it was.
    Raises: InvalidInput when there are no pictures at all, StorageError.
    """
    import av
    from PIL import Image

    coming = iter(frames)
    first = next(coming, None)
    if first is None:
        raise InvalidInput("A video needs at least one picture.")
    # H.264 halves the resolution of colour.
    size = first.width + first.width % 2, first.height + first.height % 2
    with _written_as_a_whole(path) as fresh:
        with av.open(str(fresh), "w", options={"movflags": "faststart"}) as container:
            container.metadata.update(tags)
            rate = Fraction(fps).limit_denominator(1000)
            stream = container.add_stream("libx264", rate=rate, options=ENCODING)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"  # what browsers and phones play
            code = stream.codec_context
            code.colorspace = code.color_primaries = code.color_trc = BT709
            code.color_range = LIMITED_RANGE
            for count, picture in enumerate(itertools.chain([first], coming), 1):
                if picture.size != size:
                    picture = picture.resize(size, Image.Resampling.LANCZOS)
                frame = av.VideoFrame.from_image(picture)
                frame = frame.reformat(format="yuv420p", dst_colorspace=BT709)
                container.mux(stream.encode(frame))
                yield count
            container.mux(stream.encode(None))
        with fresh.open("ab") as file:
            packet = xmp.encode()
            file.write(struct.pack(">I4s16s", 24 + len(packet), b"uuid", XMP_BOX) + packet)


@contextmanager
def _written_as_a_whole(path: Path) -> Iterator[Path]:
    """A name to write under; what lies there at the end becomes `path`. Raises: StorageError."""
    fresh = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield fresh
        os.replace(fresh, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        fresh.unlink(missing_ok=True)


def _note(comment: str, path: Path) -> dict[str, Any]:
    """Where Pillow puts a comment: GIF's own, or the XMP packet of a WebP."""
    if path.suffix.lower() == ".gif":
        return {"comment": comment.encode()}
    return {"xmp": xmp_packet(comment).encode()}


def evenly(frames: Sequence[Frame], most: int) -> Iterator[Frame]:
    """At most `most` of the frames, spread evenly, the first and the last among them."""
    count = min(len(frames), most)
    for n in range(count):
        yield frames[round(n * (len(frames) - 1) / max(count - 1, 1))]
