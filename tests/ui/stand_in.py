"""Quick models for tests of the page: they obey the pipelines' contract and need no weights.

Run as a program it serves the page with them, with options of the app after these three:
`python -m tests.ui.stand_in PORT LIBRARY HOLD`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from pipelines.book import Page, Recipe, encode_png
from pipelines.events import Draft, PictureProgress, Sentence, StoryProgress
from pipelines.picture_request import PictureRequest
from pipelines.presets import PictureConfig, StoryConfig, draw_seed
from pipelines.reading import brief_of

TALE = (
    "A fox named Pip looked up at the sky above the forest.",
    "Pip wanted to fly like the owl.",
    "“Jump from the rock,” said the owl, “and flap your tail.”",
    "Pip jumped and fell into the lake.",
    "A duck pulled Pip out of the water.",
    "At night the owl took Pip on its back.",
    "They flew past the moon, and Pip laughed all the way home.",
    "The fox slept in the forest under the stars.",
)


class QuickWriter:
    """Writes the same tale whatever is asked; one of a snail not to its end as long as the file
    `hold` exists."""

    hold: Path | None = None

    def stream(self, config: StoryConfig, *, generator: Any = None) -> Iterator[Any]:
        texts = [TALE[n % len(TALE)] for n in range(config.sentences)]
        words = " ".join(texts).split()
        for n in range(0, len(words), 3):
            done, text = min((n + 3) / len(words), 1.0), " ".join(words[: n + 3])
            for draft in range(config.drafts):
                yield StoryProgress(draft, f"The fox who flew {draft + 1}", text, done)
            time.sleep(0.01)
            while "snail" in config.words and self.hold is not None and self.hold.exists():
                time.sleep(0.01)
                yield StoryProgress(0, "The fox who flew 1", text, done)
        for draft in range(config.drafts):
            sentences: list[Sentence] = []
            for text in texts:
                sentences.append(Sentence(text, brief_of(text, sentences)))
            yield Draft(
                f"The fox who flew {draft + 1}", tuple(sentences), (config.seed or 0) + draft
            )


class QuickPainter:
    """Paints a sun over hills, whose colours come from the seed.

    A pencil drawing of the tale's second page is not finished as long as the file `hold` exists,
    so that tests can do something meanwhile however slow the machine is.
    """

    pause = 0.02
    hold: Path | None = None

    def stream(
        self,
        sentence: Sentence,
        config: PictureConfig,
        *,
        picture: Any = None,
        mask: Any = None,
        image_prompts: Any = (),
        generator: Any = None,
    ) -> Iterator[Any]:
        seed = config.seed if config.seed is not None else draw_seed()
        tone = (60 + seed % 150, 110 + seed // 7 % 100, 120 + seed // 11 % 100)
        image = Image.new("RGB", (config.width, config.height), tone)
        draw = ImageDraw.Draw(image)
        held = config.style == "pencil" and sentence.text == TALE[1]
        for step in range(config.steps + 1):
            time.sleep(self.pause)
            while held and step and self.hold is not None and self.hold.exists():
                time.sleep(self.pause)
                yield PictureProgress(step, config.steps, "refine")
            x = 20 + step * (config.width - 60) // max(config.steps, 1)
            draw.ellipse((x, 30, x + 40, 70), fill=(250, 210, 90))
            draw.ellipse((-60 + x, 170, 160 + x, 380), fill=(70, 120 + step * 3 % 80, 80))
            yield PictureProgress(
                step,
                config.steps,
                "refine" if step else "start",
                0.9,
                0.2 + step / 200,
                image.copy() if step % config.preview_every == 0 or step == config.steps else None,
                self.pause * (config.steps - step),
            )
        settings = asdict(config)
        recipe = Recipe(sentence.brief or sentence.text, seed, {"painter": "quick"}, settings)
        png = encode_png(image, recipe, sentence.text)
        yield Page(sentence.text, sentence.brief, png, 0.31, recipe)

    def stream_many(
        self, requests: Sequence[PictureRequest], *, in_turn: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """All are begun, then one after the other is finished."""
        pages = [self.stream(r.sentence, r.config, picture=r.picture) for r in requests]
        for k, page in enumerate(pages):
            yield k, next(page)
        for k, page in enumerate(pages):
            for event in page:
                yield k, event


def serve(port: str, library: str, hold: str, *more: str) -> None:
    """The page with these models, until killed; `more` are options of the app."""
    import app

    app.stay_on_this_machine("embedded")
    from ui.desk import Desks

    writer: Any = QuickWriter()
    painter: Any = QuickPainter()
    writer.hold = painter.hold = Path(hold)
    options = app.parser().parse_args(["--port", port, "--library", library, *more])
    quick = {"writer": lambda: writer, "painter": lambda: painter, "desks": Desks(grace=4.0)}
    app.launch(app.workshop(options, **quick), options)


if __name__ == "__main__":
    serve(*sys.argv[1:])
