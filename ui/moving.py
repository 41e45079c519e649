"""A page's picture moves: the camera goes on through it, and every frame is painted on.

Source: the zooming animations of VQGAN+CLIP notebooks (`pipelines/vqgan_clip/animation.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from pipelines.book import Book, Page
from pipelines.camera import Camera
from pipelines.errors import InvalidInput
from pipelines.film import Reel, write_frames
from pipelines.picture_request import PictureRequest
from pipelines.presets import PictureConfig
from pipelines.storybook import page_request
from ui import film, markup
from ui.desk import Desk
from ui.jobs import Job, until_stopped
from ui.panel import panel
from ui.served_files import file_for_browser
from ui.workshop import Workshop

if TYPE_CHECKING:
    from PIL.Image import Image

FPS = 12
LEAST_SIDE = 512
"""Pixels of a film's longer side; smaller frames are enlarged by a whole number."""


@dataclass(frozen=True)
class Moving:
    """The picture at one moment: how many frames there are of how many, and the last of them."""

    frames: int
    of: int
    preview: Image | None = None
    left: str = ""
    note: str = ""
    """What went otherwise than asked, such as with too little memory."""


@dataclass(frozen=True)
class Controls:
    """The widgets of a camera, in the order of `camera`, and what begins and shows it."""

    settings: list[gr.Slider]
    go: gr.Button
    shown: gr.HTML


def camera(frames: float, steps: float, zoom: float, x: float, y: float, turn: float) -> Camera:
    """What the widgets say, checked. Raises: InvalidInput."""
    return Camera(int(frames), int(steps), float(zoom), float(x), float(y), float(turn))


def controls() -> Controls:
    """Lay out the widgets, folded away."""
    with gr.Accordion("Move through this picture", open=False, elem_id="moving"):
        gr.HTML(
            markup.status(
                "A film that begins with this picture. The camera goes on through it, and what "
                "comes into sight is painted as it goes."
            )
        )
        with gr.Row():
            zoom = gr.Slider(
                0.9,
                1.1,
                1.02,
                step=0.005,
                label="Zoom",
                info="Above 1 comes closer",
            )
            turn = gr.Slider(-10, 10, 0, step=0.5, label="Turn", info="Degrees, clockwise")
        with gr.Row():
            x = gr.Slider(-16, 16, 0, step=1, label="To the right", info="Pixels a frame")
            y = gr.Slider(-16, 16, 0, step=1, label="Down", info="Pixels a frame")
        with gr.Row():
            frames = gr.Slider(
                12, 240, 48, step=1, label="Frames", info=f"{FPS} of them are a second"
            )
            steps = gr.Slider(
                0, 10, 2, step=1, label="Steps a frame", info="More: it changes more on the way"
            )
        with gr.Row(elem_classes="actions"):
            go = gr.Button("Make it move", elem_id="move-go")
        shown = panel(elem_id="moved")
    return Controls([frames, steps, zoom, x, y, turn], go, shown)


def request(shop: Workshop, page: Page, config: PictureConfig, moves: Camera) -> PictureRequest:
    """What the film is painted from. Raises: InvalidInput when it breaks a rule of the house."""
    if moves.steps * (moves.frames - 1) > shop.rules.steps:
        raise InvalidInput(
            f"A film may have {shop.rules.steps} steps in all here, and this one has "
            f"{moves.steps * (moves.frames - 1)}: lower the frames or the steps a frame."
        )
    # It begins with the picture as it is.
    begun = replace(config, start="picture", steps=0, small_first=0.0, patience=0, enlarge=False)
    wanted = page_request(Book(page.text, (page,)), 0, begun)
    shop.rules.check_pictures(wanted.config)
    return wanted


def move_through(
    shop: Workshop, desk: Desk, job: Job, page: Page, wanted: PictureRequest, moves: Camera
) -> Iterator[Moving]:
    """Paint frame after frame; when it is stopped the film has those there are.

    The desk has the film of this picture then. Frames are on the disk meanwhile.
    """
    now, note = Moving(0, moves.frames), ""
    yield now
    painter = shop.painter()
    reel = Reel(most=None)
    try:
        for event in until_stopped(job, painter.animate(wanted, moves)):
            note = event.note or note
            if event.preview is None:
                continue
            reel.add(event.preview)
            left = f"About {markup.seconds(event.eta)} left" if event.eta else ""
            now = Moving(len(reel), moves.frames, event.preview, left, note)
            yield now
        if now.preview is None or len(reel) < 2:
            return
        width, height = now.preview.size
        times = max(1, LEAST_SIDE // max(width, height))
        recipe = wanted.recipe({"pictures": painter.name}, wanted.config.seed or 0)
        with tempfile.TemporaryDirectory(prefix="film-") as folder:
            path = Path(folder) / "film.mp4"
            size = width * times, height * times
            write_frames(reel.frames(), size, path, FPS, page.text, recipe)
            desk.films[film.moving_key(page)] = file_for_browser(path.read_bytes(), "moving.mp4")
    finally:
        reel.close()


def shown(desk: Desk, page: Page, job: Job | None) -> str:
    """HTML: the film of a page as far as it is painted, or the one there is."""
    if job is not None and isinstance(job.moment, Moving):
        now = job.moment
        line = f"Frame {now.frames} of {now.of}" if now.frames else "Mixing the colours…"
        picture = ""
        if now.preview is not None:
            picture = f'<img class="wet" src="{markup.preview_url(now.preview)}" alt="{line}">'
        bar = markup.bar(now.frames / now.of, "Painted so far")
        line = f"{line}. {now.note}" if now.note else line
        return f'<div class="filming">{picture}{markup.status(line, "busy", now.left)}{bar}</div>'
    path = desk.films.get(film.moving_key(page))
    if path is None or not path.exists():
        return ""
    return film.player(path, "The picture that moves")
