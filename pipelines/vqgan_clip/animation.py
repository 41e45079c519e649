"""Zoom and pan: each frame begins from the one before, moved a little, and is painted on.

Source: the "zoom" of VQGAN+CLIP notebooks (Crowson et al. 2022, section 5, names video as a use).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.camera import Camera
from pipelines.errors import InvalidInput
from pipelines.events import Eta, PictureProgress
from pipelines.prompts import parse, write
from pipelines.vqgan_clip.canvas import Canvas
from pipelines.vqgan_clip.pixels import to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipelines.picture_request import PictureRequest
    from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline


def move(pixels: Tensor, camera: Camera) -> Tensor:
    """(B, 3, H, W) one frame on; what comes in at the edge is mirrored."""
    height, width = pixels.shape[-2:]
    angle = torch.tensor(camera.turn).deg2rad()
    cos, sin = angle.cos() / camera.zoom, angle.sin() / camera.zoom
    x, y = -2 * camera.pan_x / width, -2 * camera.pan_y / height
    rows = [[cos, sin * height / width, x], [-sin * width / height, cos, y]]
    theta = torch.tensor([[float(v) for v in row] for row in rows], device=pixels.device)
    grid = F.affine_grid(theta.expand(len(pixels), 2, 3), [*pixels.shape], align_corners=False)
    moved = F.grid_sample(
        pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return moved.clamp(-1, 1)


def animate(
    pipeline: VQGANCLIPPipeline, request: PictureRequest, camera: Camera
) -> Iterator[PictureProgress]:
    """Paint the first frame, then move and paint on; every frame is the preview of an event.

    The phases of a story have an equal share of the frames each; the first frame is of the first
    alone. Without `config.seed` it is 0. `close()` stops.
    Raises: InvalidInput, OutOfMemory.
    """
    if request.mask is not None:
        raise InvalidInput("A picture that moves has no mask: leave one of them out.")
    eta, seed = Eta(), request.config.seed or 0
    generator = torch.Generator().manual_seed(seed)
    first: Image | None = None
    prompts = write(parse(request.config.prompts)[:1])
    opening = replace(request.config, seed=seed, enlarge=False, prompts=prompts)
    for event in pipeline.stream(
        request.sentence, opening, picture=request.picture, image_prompts=request.image_prompts
    ):
        if isinstance(event, PictureProgress):
            first = event.preview or first
            if event.preview is None or event.note:  # only finished frames are shown
                yield replace(event, step=0, of=camera.frames, preview=None)
    assert first is not None
    yield PictureProgress(1, camera.frames, "refine", preview=first, eta=eta(1 / camera.frames))
    # From here on the start is the frame before, whatever the first one began from.
    config = replace(request.config, start="picture", small_first=0.0, patience=0, enlarge=False)
    moving = replace(request, config=config, picture=first)
    canvas: Canvas | None = None
    guide = pipeline.guide()
    frame = pipeline.frame(config)
    for n in range(2, camera.frames + 1):
        with pipeline.turn():
            if canvas is None:
                pixels = pipeline.on_canvas(first, config)
                canvas = pipeline.canvas(moving, pipeline.vqgan.encode(pixels), generator)
                canvas.steps = camera.steps * (camera.frames - 1)  # more than a picture may have
            canvas.begin_from(move(canvas.decode(), camera))
        loss = score = None
        note = ""
        for _ in range(camera.steps):
            with pipeline.turn():
                (step,) = guide.descend([canvas])
                loss, score = step.loss, step.score
                note, guide.notes = " ".join([note, *guide.notes]).strip(), []
        with pipeline.turn():
            shown = frame.cut(to_picture(canvas.decode()[0]))
        if shown.size != first.size:  # it goes on smaller, for want of memory
            shown = shown.resize(first.size)
        yield PictureProgress(
            n, camera.frames, "refine", loss, score, shown, eta(n / camera.frames), note
        )
