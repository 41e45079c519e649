"""Films for the command line: how pages were painted, and pictures that move."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.book import GENERATED_NOTE
from pipelines.camera import Camera
from pipelines.events import PictureProgress
from pipelines.video import evenly, write_video

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.picture_request import PictureRequest
    from pipelines.vqgan_clip import VQGANCLIPPipeline

MAX_FRAMES = 120
"""Frames of a page's painting; of more, so many are taken."""


class Film:
    """The previews of pages while they are painted, as `painting.mp4` in a book's folder."""

    def __init__(self, folder: Path, kind: str | None, fps: float) -> None:
        """`kind` is a file ending of `video.FORMATS` without its dot; None: there is no film."""
        self.path = None if kind is None else folder / f"painting.{kind}"
        self.fps = fps
        self._pages: dict[int, list[Image]] = {}

    def watch(self, page: int, progress: PictureProgress) -> None:
        if self.path is not None and progress.preview is not None:
            self._pages.setdefault(page, []).append(progress.preview)

    def save(self) -> None:
        """Write what there is so far, page after page. Raises: StorageError."""
        if self.path is None or not self._pages:
            return
        frames: list[Image] = []
        for _, seen in sorted(self._pages.items()):
            frames += evenly(seen, MAX_FRAMES)
            frames += [seen[-1]] * round(self.fps)  # a second to look at the page
        write_video(frames, self.path, self.fps, GENERATED_NOTE)


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
        return None
    return Camera(
        args.frames, args.frame_steps, args.zoom, args.pan_x, args.pan_y, args.turn
    )  # fmt: skip


def film_of_camera(
    pipeline: VQGANCLIPPipeline,
    request: PictureRequest,
    camera: Camera,
    args: argparse.Namespace,
    tell: Callable[[int], None],
) -> Path:
    """Paint a moving picture and write it; one that is interrupted is written as far as it came.

    Raises: InvalidInput, OutOfMemory, StorageError.
    """
    from pipelines.vqgan_clip.animation import animate

    path = args.out / f"moving.{args.video or 'mp4'}"
    recipe = request.recipe({"pictures": pipeline.name}, request.config.seed or 0)
    comment = f"{GENERATED_NOTE} {json.dumps(recipe.to_json(), ensure_ascii=False)}"
    frames: list[Image] = []
    try:
        for event in animate(pipeline, request, camera):
            if event.preview is not None:
                frames.append(event.preview)
                tell(event.step)
    finally:
        if frames:
            write_video(frames, path, args.fps, comment)
    return path
