"""What one picture is made from: words, settings, and the pictures that go in; and back from the
recipe inside a finished one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.book import Recipe
from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.presets import BEFORE, STYLES, PictureConfig
from pipelines.prompts import NEVER, Prompt, Story, parse
from pipelines.scene import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

MAX_IMAGE_PROMPTS = 8
BRIGHT = 128
"""The least grey of a mask where it is painted."""
MASK_PAPER = "black"
"""What lies under a mask where it is transparent: it says nothing of being painted there."""

DRAWN = 3
"""How pages are laid out, and how chance comes into starts: recipes of versions that drew otherwise
have a lower number, or none."""


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """A picture that another one is brought close to, as a `Prompt` does with words."""

    picture: Image
    weight: float = 1.0
    stop: float = NEVER

    def __post_init__(self) -> None:
        Prompt("a picture", self.weight, self.stop)  # has the same bounds


@dataclass(frozen=True, eq=False)
class PictureRequest:
    """One picture to paint. Pictures are PIL of any mode and size, cut to the shape."""

    sentence: Sentence
    """Plain text; empty where `config.prompts` says it all."""
    config: PictureConfig
    picture: Image | None = None
    """Where start="picture" begins, and what stays outside the mask."""
    mask: Image | None = None
    """Only what is bright in it is painted, nothing of what is transparent; None: everything."""
    image_prompts: tuple[ImagePrompt, ...] = ()

    def __post_init__(self) -> None:
        if self.config.start == "picture" and self.picture is None:
            raise InvalidInput("Give a picture to start from, or choose another start.")
        if len(self.image_prompts) > MAX_IMAGE_PROMPTS:
            raise InvalidInput(
                f"A picture may have {MAX_IMAGE_PROMPTS} pictures as prompts, "
                f"not {len(self.image_prompts)}."
            )
        if not self.story and not self.image_prompts and not self.config.noise_targets():
            raise InvalidInput("Say in words what the picture shows.")

    @property
    def story(self) -> Story:
        """The prompts in words: those of the settings, and the sentence beside each phase."""
        explicit = parse(self.config.prompts)
        if self.sentence.text.strip() or self.sentence.brief:
            own = Prompt(prompt_of(self.sentence, self.config))
            return tuple((own, *phase) for phase in explicit) or ((own,),)
        return tuple(
            tuple(
                Prompt(with_style(p.text, self.config), p.weight, p.stop) if p.weight > 0 else p
                for p in phase
            )
            for phase in explicit
        )

    @property
    def sentence_alone(self) -> bool:
        """Whether nothing guides but the sentence: no other words or pictures, no look wanted."""
        c = self.config
        more = c.prompts or c.noise_prompts or c.palette or self.image_prompts
        return not more and c.smoothness == c.symmetry == 0

    def subject(self, phase: int = 0) -> str:
        """The words that a phase is mostly about; "" where no words pull."""
        story = self.story
        return next((p.text for p in story[phase] if p.weight > 0), "") if story else ""

    def recipe(self, models: Mapping[str, str], seed: int) -> Recipe:
        """What this picture is made again from, with the seed that was drawn for it."""
        settings = {**self.config.to_settings(), "seed": seed}
        settings |= {"sentence": self.sentence.text, "brief": self.sentence.brief, "drawn": DRAWN}
        if given := self._given():
            settings["given"] = given
        return Recipe(self.subject(), seed, models, settings)

    def _given(self) -> dict[str, Any]:
        """Fingerprints of the pictures that went in."""
        given: dict[str, Any] = {}
        if self.picture is not None:
            given["picture"] = fingerprint(self.picture)
        if self.mask is not None:
            given["mask"] = fingerprint(self.mask, MASK_PAPER)
        if self.image_prompts:
            given["image_prompts"] = [
                [fingerprint(p.picture), p.weight, None if p.stop == NEVER else p.stop]
                for p in self.image_prompts
            ]
        return given


def with_style(text: str, config: PictureConfig) -> str:
    """Words with those of the style and of the person around them."""
    style = STYLES[config.style]
    parts = (config.prefix, style.prefix, text, style.suffix, config.suffix)
    return " ".join(p.strip() for p in parts if p.strip())


def prompt_of(sentence: Sentence, config: PictureConfig) -> str:
    """What the models are asked for: style words, what the picture shows, the sentence."""
    shows = f"{describe(sentence.brief)}. {sentence.text}" if sentence.brief else sentence.text
    return with_style(shows, config)


def fingerprint(picture: Image, paper: str = "white") -> str:
    """SHA-256 of a picture's size and RGB values, on `paper` where it is transparent."""
    from pipelines.paper import flat

    rgb = flat(picture, paper)
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height} ".encode())
    digest.update(rgb.tobytes())
    return digest.hexdigest()


def request_from(
    recipe: Recipe,
    *,
    picture: Image | None = None,
    mask: Image | None = None,
    image_prompts: Sequence[Image] = (),
) -> PictureRequest:
    """The request that a recipe was made of. Pictures that went in are not inside: give them.

    Raises: InvalidInput when it was made by other means, or with other pictures.
    """
    settings = recipe.settings
    if "sentence" not in settings:
        raise InvalidInput(
            "This picture does not say which sentence it was made from: it was made by an older "
            "version, or by other means."
        )
    sentence = Sentence(str(settings["sentence"]), str(settings.get("brief") or ""))
    config = PictureConfig.from_settings({**BEFORE, **settings, "seed": recipe.seed})
    given = settings.get("given") or {}
    try:
        weights = [
            (weight, NEVER if stop is None else stop)
            for _, weight, stop in given.get("image_prompts", ())
        ]
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(f"The recipe inside this picture is damaged: {error}.") from error
    for what, wanted, found in (
        ("picture it began from", "picture" in given, picture is not None),
        ("mask", "mask" in given, mask is not None),
        ("pictures that were its prompts", len(weights), len(image_prompts)),
    ):
        if wanted and wanted != found:
            raise InvalidInput(f"Give the {what}, too: only its fingerprint is in the recipe.")
    prompts = tuple(
        ImagePrompt(p, weight, stop)
        for p, (weight, stop) in zip(image_prompts, weights, strict=False)
    )
    request = PictureRequest(sentence, config, picture, mask, prompts)
    if request._given() != given:
        raise InvalidInput("This picture was made with other pictures than those given.")
    if request.subject() != recipe.prompt:
        raise InvalidInput("Another version made this picture: its words were read differently.")
    return request
