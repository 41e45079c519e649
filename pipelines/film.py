"""Films of how pages were painted, and of pictures that move."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.book import GENERATED_NOTE, Page, Recipe, xmp_packet
from pipelines.camera import Camera
from pipelines.errors import InvalidInput, StorageError
from pipelines.events import PictureProgress
from pipelines.video import HOLD, evenly, stream_mp4, write_video

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.picture_request import PictureRequest
    from pipelines.vqgan_clip import VQGANCLIPPipeline

MAX_FRAMES = 120
"""Frames of a page's painting; of more, so many are taken."""


class Film(AbstractContextManager["Film"]):
    """The previews of pages while they are painted, as `painting.mp4` in a book's folder.

    It is written when the context ends, however that is, with what was watched until then.
    """

    def __init__(self, folder: Path, kind: str | None, fps: float) -> None:
        """`kind` is a file ending of `video.FORMATS` without its dot; None: there is no film."""
        self.path = None if kind is None else folder / f"painting.{kind}"
        self.fps = fps
        self._pages: dict[int, tuple[Reel, Image]] = {}
        """Of each page the frames, and the last of them."""

    def __exit__(self, *error: object) -> None:
        try:
            self.save()
        finally:
            for reel, _ in self._pages.values():
                reel.close()

    def watch(self, page: int, progress: PictureProgress) -> None:
        """Raises: StorageError when there is no room for the frames."""
        if self.path is None or progress.preview is None:
            return
        with _kept("leave out --video"):
            reel = self._pages[page][0] if page in self._pages else Reel()
            self._pages[page] = reel, progress.preview
            reel.add(progress.preview)

    def save(self) -> None:
        """Write what there is, page after page. Raises: StorageError."""
        if self.path is None or not self._pages:
            return
        pages = [self._pages[page] for page in sorted(self._pages)]
        frames = itertools.chain.from_iterable(
            # a second to look at the page
            itertools.chain(reel.frames(MAX_FRAMES), itertools.repeat(last, round(self.fps)))
            for reel, last in pages
        )
        write_video(frames, self.path, self.fps, GENERATED_NOTE, pages[-1][1].size)


@contextmanager
def _kept(instead: str) -> Iterator[None]:
    """Raises StorageError where frames cannot be written, with what to do `instead`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The frames of the film cannot be kept ({error.strerror or error}): make room, or "
            f"{instead}."
        ) from error


class Reel:
    """Frames of a film while it is made: on the disk, so that long ones need no memory.

    With `most` it never holds more than twice as many: then every second one is let go, and from
    there on only every second one is taken.
    """

    def __init__(self, most: int | None = MAX_FRAMES) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="reel-")
        self._most, self._every, self._seen = most, 1, 0
        self._frames: list[Path] = []

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, picture: Image) -> None:
        """Raises OSError when the disk is full."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        path = Path(self._folder.name) / f"{self._seen:06d}.jpg"
        picture.save(path, "JPEG", quality=95, subsampling=0)
        self._frames.append(path)
        if self._most is not None and len(self._frames) >= 2 * self._most:
            for gone in self._frames[1::2]:
                gone.unlink()
            self._frames, self._every = self._frames[::2], 2 * self._every

    def frames(self, most: int | None = None) -> Iterator[Image]:
        """What was added, PIL RGB; at most `most`, spread evenly."""
        from PIL import Image

        for path in evenly(self._frames, len(self._frames) if most is None else most):
            with Image.open(path) as picture:
                yield picture.convert("RGB")

    def close(self) -> None:
        """Forget everything."""
        self._frames = []
        self._folder.cleanup()


SECONDS = 5.0
"""How long the film of a page's painting is, about."""


def write_painting(reel: Reel, page: Page, path: Path) -> None:
    """A film (MP4) of how a finished page was painted; its picture stays at the end.

    Recipe and sentence are inside. Raises: InvalidInput, StorageError.
    """
    last = page.image()
    fps = min(max(len(reel) / SECONDS, 4.0), 24.0)
    frames = itertools.chain(reel.frames(), itertools.repeat(last, max(round(HOLD * fps), 1)))
    write_frames(frames, last.size, path, fps, page.text, page.recipe)


def write_frames(
    frames: Iterable[Image],
    size: tuple[int, int],
    path: Path,
    fps: float,
    title: str,
    recipe: Recipe | None,
) -> None:
    """A film (MP4) of pictures at (width, height), made by a recipe, frame by frame from wherever
    they come. Raises: InvalidInput when there are none, StorageError."""
    from PIL import Image

    fitted = (f if f.size == size else f.resize(size, Image.Resampling.BICUBIC) for f in frames)
    tags = {"title": title, "comment": GENERATED_NOTE}
    if recipe is not None:
        tags["description"] = json.dumps(recipe.to_json(), ensure_ascii=False)
    for _ in stream_mp4(fitted, path, fps, tags, xmp_packet(title)):
        pass


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """How pages are filmed, and how a picture moves."""
    camera = Camera()
    g = parser.add_argument_group("video")
    g.add_argument("--video", choices=("mp4", "webp", "gif"), help="film how pages are painted")
    g.add_argument("--fps", type=float, default=12.0, help="frames a second")
    g.add_argument("--frames", type=int, default=0, help="frames of a picture that moves")
    g.add_argument("--frame-steps", type=int, default=camera.steps, help="steps on each of them")
    g.add_argument("--zoom", type=float, default=camera.zoom, help="from frame to frame")
    g.add_argument("--pan-x", type=float, default=camera.pan_x, help="pixels to the right")
    g.add_argument("--pan-y", type=float, default=camera.pan_y, help="pixels down")
    g.add_argument("--turn", type=float, default=camera.turn, help="degrees, clockwise")


def camera_of(args: argparse.Namespace) -> Camera | None:
    """How the picture moves; None when it stays. Raises: InvalidInput."""
    if not args.frames:
        check_still(args, "moves a picture: say in how many --frames.")
        return None
    return Camera(
        args.frames, args.frame_steps, args.zoom, args.pan_x, args.pan_y, args.turn
    )  # fmt: skip


def check_still(args: argparse.Namespace, reason: str) -> None:
    """Raises InvalidInput when an option says how a picture moves."""
    still = Camera()
    for name, usual in (("frame_steps", still.steps), ("zoom", still.zoom),
                        ("pan_x", 0), ("pan_y", 0), ("turn", 0)):  # fmt: skip
        if getattr(args, name) != usual:
            raise InvalidInput(f"--{name.replace('_', '-')} {reason}")


def moving_path(args: argparse.Namespace) -> Path:
    """Where the film of a picture that moves goes."""
    return args.out / f"moving.{args.video or 'mp4'}"


def film_of_camera(
    pipeline: VQGANCLIPPipeline,
    request: PictureRequest,
    camera: Camera,
    args: argparse.Namespace,
    tell: Callable[[PictureProgress], None],
) -> Path:
    """Paint a moving picture and write it; one that is interrupted is written as far as it came.

    Raises: InvalidInput, OutOfMemory, StorageError.
    """
    path = moving_path(args)
    recipe = request.recipe(pipeline.models, request.config.seed or 0)
    comment = f"{GENERATED_NOTE} {json.dumps(recipe.to_json(), ensure_ascii=False)}"
    with _kept("ask for fewer --frames"):
        reel = Reel(most=None)
    size: tuple[int, int] | None = None
    try:
        for event in pipeline.animate(request, camera):
            if event.preview is not None:
                size = event.preview.size
                with _kept("ask for fewer --frames"):
                    reel.add(event.preview)
            if event.preview is not None or event.note:
                tell(event)
    finally:
        try:
            if len(reel):
                write_video(reel.frames(), path, args.fps, comment, size)
        finally:
            reel.close()
    return path
