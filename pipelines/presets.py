"""Settings with their bounds, styles, and the sets of models: what app, command line and library
share. One frozen dataclass a task; whatever is out of bounds raises InvalidInput."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from pipelines.errors import InvalidInput
from pipelines.hub import is_home
from pipelines.prompts import parse
from pipelines.reading import check_words

MAX_SEED = 2**31 - 1
MIN_SIDE, MAX_SIDE = 128, 1024
"""Pixels of a picture's longest side while it is painted."""
MAX_WEIGHT = 1000.0
"""Of the losses of a picture."""


def draw_seed() -> int:
    """A fresh seed, in [0, MAX_SEED]."""
    return secrets.randbelow(MAX_SEED + 1)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises InvalidInput, with the bounds, for a setting that is out of them."""
    if not low <= value <= high:
        raise InvalidInput(f"{name} must be from {low} to {high}, not {value}.")


def check_whole(settings: object, **names: str) -> None:
    """Makes settings, `field="What it is called"`, whole numbers: JSON may write 4 as 4.0.

    Raises InvalidInput for what has a fraction. The settings must be within their range.
    """
    for field, name in names.items():
        value = getattr(settings, field)
        if value != int(value):
            raise InvalidInput(f"{name} must be a whole number, not {value}.")
        object.__setattr__(settings, field, int(value))


class _Seeded(Protocol):
    @property
    def seed(self) -> int | None: ...


def check_seed(settings: _Seeded) -> None:
    """Makes the seed of settings a whole number; None stays. Raises InvalidInput for others."""
    if settings.seed is not None:
        check_range("Seed", settings.seed, 0, MAX_SEED)
        check_whole(settings, seed="Seed")


@dataclass(frozen=True)
class StoryConfig:
    """What a story is written from."""

    words: str
    """The request: a few words, at most `reading.MAX_REQUEST` characters."""
    sentences: int = 7
    """Sentences aimed at, 4 to 12; one sentence is one page."""
    min_words: int = 0
    max_words: int = 200
    """Length of the whole story in words."""
    drafts: int = 2
    temperature: float = 0.8
    top_k: int = 40
    """0 = off."""
    top_p: float = 0.95
    repetition_penalty: float = 1.05
    """1 = none (Keskar et al. 2019)."""
    length_penalty: float = 0.0
    """Above 0 favours longer drafts when they are ranked, below 0 shorter ones."""
    ban: tuple[str, ...] = ()
    """Words that must not appear."""
    seed: int | None = None
    """None: drawn once and kept with the story."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", check_words(self.words))
        check_range("Sentences", self.sentences, 4, 12)
        check_range("Minimum length", self.min_words, 0, 200)
        check_range("Maximum length", self.max_words, 20, 400)
        if self.min_words > self.max_words:
            raise InvalidInput(
                f"The minimum length ({self.min_words} words) is above the maximum "
                f"({self.max_words}): lower one or raise the other."
            )
        check_range("Drafts", self.drafts, 1, 4)
        check_range("Liveliness", self.temperature, 0.1, 2.0)
        check_range("Top-k", self.top_k, 0, 1000)
        check_range("Top-p", self.top_p, 0.05, 1.0)
        check_whole(
            self, sentences="Sentences", min_words="Minimum length", max_words="Maximum length",
            drafts="Drafts", top_k="Top-k",
        )  # fmt: skip
        check_range("Repetition penalty", self.repetition_penalty, 1.0, 2.0)
        check_range("Length penalty", self.length_penalty, -2.0, 2.0)
        check_range("Number of banned words", len(self.ban), 0, 200)
        check_seed(self)


@dataclass(frozen=True)
class Style:
    """A look. `prefix` and `suffix` go around what the picture shows."""

    name: str
    label: str
    prefix: str = ""
    suffix: str = ""


STYLES: dict[str, Style] = {
    s.name: s
    for s in (
        Style("storybook", "Picture book"),
        Style("watercolour", "Watercolour", prefix="a watercolour painting of"),
        Style("pencil", "Pencil drawing", prefix="a pencil drawing of"),
        Style("vintage", "Old print", prefix="a vintage print of"),
        Style("papercut", "Paper cut-out", prefix="a paper cut-out of"),
        Style("crayon", "Wax crayons", prefix="a crayon drawing of"),
    )
}

STARTS: dict[str, str] = {
    "transformer": "Code transformer: imagines a first picture from the words",
    "sketch": "Sketch: clip art of the words it knows, painted over",
    "noise": "Noise: the classic algorithm from scratch",
    "picture": "Picture: from one you give, or the page's current one",
}


OPTIMISERS: dict[str, str] = {
    "adam": "Adam",
    "adamw": "AdamW",
    "radam": "RAdam",
    "nadam": "NAdam",
    "adamax": "Adamax",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
}

SCHEDULES: dict[str, str] = {
    "constant": "The same all the way",
    "linear": "Straight down to nothing",
    "cosine": "Down along a cosine",
    "warmup": "Up over the first tenth",
}

CUTOUT_METHODS: dict[str, str] = {
    "crops": "Crops: parts of the picture",
    "pooled": "Pooled: the whole picture, mean and maximum",
}

AUGMENTATIONS: dict[str, str] = {
    "flip": "Mirror",
    "rotate": "Turn",
    "shear": "Shear",
    "noise": "Noise",
    "perspective": "Perspective",
    "colour": "Colours",
    "erase": "Erase a part",
}

RGB = tuple[int, int, int]


def read_palette(text: str) -> tuple[RGB, ...]:
    """Colours such as "#fb7447, navy": RGB in [0, 255]. Raises: InvalidInput."""
    from PIL import ImageColor

    found: list[RGB] = []
    for name in text.replace(",", " ").split():
        try:
            found.append(ImageColor.getrgb(name)[:3])
        except ValueError as error:
            raise InvalidInput(
                f"“{name}” is no colour: write colours as #fb7447 or by English names."
            ) from error
    return tuple(found)


@dataclass(frozen=True)
class PictureConfig:
    """How a picture is painted."""

    style: str = "storybook"
    """A key of STYLES."""
    prefix: str = ""
    suffix: str = ""
    """More words before and after what the picture shows."""
    steps: int = 8
    """VQGAN+CLIP iterations after the start."""
    step_size: float = 0.03
    """Adam's learning rate on the latents."""
    cutouts: int = 8
    start: str = "transformer"
    """A key of STARTS."""
    candidates: int = 2
    """First pictures that the code transformer samples of one layout; CLIP keeps the best."""
    guidance: float = 1.5
    """Classifier-free guidance of the code transformer; 1 = none."""
    code_temperature: float = 0.3
    """Of the codes that it samples; a layout of its own is sampled at another."""
    surprise: float = 8.0
    """Nats by which a position may become less likely, as the code transformer sees it, before what
    guidance made of it is taken back; 0 = anything may be, and of candidates CLIP alone chooses.

    Nothing is taken back of what other words, pictures, palette, smoothness or symmetry made.
    """
    width: int = 256
    height: int = 256
    """Pixels of the picture while it is painted."""
    enlarge: bool = True
    """Finish at twice the size, where the models can."""
    preview_every: int = 3
    """Steps between previews."""
    seed: int | None = None
    """None: drawn once and kept in the picture."""
    scenery: int | None = None
    """Seed of what lies behind characters and things, as far as the words leave it open: pictures
    of one place look as if they were, with the same one. None: the picture's own chance."""
    prompts: str = ""
    """Prompts that guide besides the sentence, as `pipelines.prompts` reads them."""
    noise_prompts: str = ""
    """Directions drawn from seeds, in the same grammar: "7:0.2 | 8:-0.1"."""
    optimiser: str = "adam"
    """A key of OPTIMISERS."""
    schedule: str = "constant"
    """A key of SCHEDULES: how the step size changes."""
    cutout_method: str = "crops"
    """A key of CUTOUT_METHODS."""
    cutout_min: float = 0.7
    """Side of the smallest crops, as a share of the picture's shorter side."""
    cutout_power: float = 1.0
    """Above 1 more crops are small, below 1 more are large."""
    augment: tuple[str, ...] = ("flip", "rotate", "shear", "noise")
    """Keys of AUGMENTATIONS that are on."""
    pull: float = 0.5
    """Weight of the squared distance from the start; a start of noise does not pull."""
    pull_end: float = 1.0
    """What is left of the pull at the last step, as a share; it changes evenly."""
    smoothness: float = 0.0
    """Weight of total variation."""
    palette: str = ""
    """Colours to keep to: "#fb7447, navy"; empty: any."""
    palette_weight: float = 1.0
    symmetry: float = 0.0
    """Weight of the difference between the left half and the right half, mirrored."""
    patience: int = 0
    """Stop when CLIP's score has not improved for so many steps; 0 = never.

    At half the size it goes on to the full one then, and a story of prompts to its last words.
    """
    small_first: float = 0.0
    """Share of the steps that are taken at half the size."""

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise InvalidInput(f"There is no style “{self.style}”: choose {', '.join(STYLES)}.")
        if self.start not in STARTS:
            raise InvalidInput(f"There is no start “{self.start}”: choose {', '.join(STARTS)}.")
        check_range("Steps", self.steps, 0, 500)
        check_range("Step size", self.step_size, 0.001, 1.0)
        check_range("Cutouts", self.cutouts, 1, 128)
        check_range("Candidates", self.candidates, 1, 16)
        check_range("Guidance", self.guidance, 1.0, 10.0)
        check_range("Code temperature", self.code_temperature, 0.05, 2.0)
        check_range("Surprise", self.surprise, 0.0, MAX_WEIGHT)
        for name, side in (("Width", self.width), ("Height", self.height)):
            check_range(name, side, MIN_SIDE, MAX_SIDE)
        check_range("Preview every", self.preview_every, 1, 500)
        check_range("Patience", self.patience, 0, 500)
        check_whole(
            self, steps="Steps", cutouts="Cutouts", candidates="Candidates", width="Width",
            height="Height", preview_every="Preview every", patience="Patience",
        )  # fmt: skip
        for name, text in (("prefix", self.prefix), ("suffix", self.suffix)):
            if len(text) > 200:
                raise InvalidInput(f"The style {name} may have 200 characters, not {len(text)}.")
        check_seed(self)
        if self.scenery is not None:
            check_range("Scenery", self.scenery, 0, MAX_SEED)
            check_whole(self, scenery="Scenery")
        for name, key, known in (
            ("optimiser", self.optimiser, OPTIMISERS),
            ("schedule", self.schedule, SCHEDULES),
            ("method of cutouts", self.cutout_method, CUTOUT_METHODS),
            *(("augmentation", key, AUGMENTATIONS) for key in self.augment),
        ):
            if key not in known:
                raise InvalidInput(f"There is no {name} “{key}”: choose {', '.join(known)}.")
        check_range("Smallest cutout", self.cutout_min, 0.1, 1.0)
        check_range("Cutout power", self.cutout_power, 0.1, 10.0)
        for name, weight in (
            ("Pull", self.pull),
            ("Smoothness", self.smoothness),
            ("Palette weight", self.palette_weight),
            ("Symmetry", self.symmetry),
        ):
            check_range(name, weight, 0.0, MAX_WEIGHT)
        check_range("Pull at the end", self.pull_end, 0.0, 1.0)
        check_range("Small first", self.small_first, 0.0, 0.9)
        for name, text in (("Prompts", self.prompts), ("Noise prompts", self.noise_prompts)):
            if len(text) > 4000:
                raise InvalidInput(f"{name} may have 4000 characters, not {len(text)}.")
        parse(self.prompts)
        self.noise_targets()
        check_range("Number of colours", len(read_palette(self.palette)), 0, 32)

    def noise_targets(self) -> tuple[tuple[int, float, float], ...]:
        """Seed, weight and stop of every noise prompt. Raises: InvalidInput."""
        found: list[tuple[int, float, float]] = []
        for prompt in (p for phase in parse(self.noise_prompts) for p in phase):
            if not prompt.text.isascii() or not prompt.text.isdigit():
                raise InvalidInput(
                    f"A noise prompt is a seed with a weight, such as 7:0.2, not “{prompt.text}”."
                )
            check_range("Seed", int(prompt.text), 0, MAX_SEED)
            found.append((int(prompt.text), prompt.weight, prompt.stop))
        return tuple(found)

    def to_settings(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return {**asdict(self), "augment": list(self.augment)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> PictureConfig:
        """The inverse of `to_settings`; what this version does not know is left out.

        Raises: InvalidInput.
        """
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in settings.items() if key in known}
        try:
            if "augment" in values:
                values["augment"] = tuple(values["augment"])
            return cls(**values)
        except (TypeError, AttributeError, ValueError) as error:
            raise InvalidInput(f"These settings of a picture cannot be read: {error}.") from error


BEFORE: dict[str, Any] = {"code_temperature": 0.7, "surprise": 0.0}
"""What recipes did that say nothing of it: these settings are younger than them."""

FULL_PICTURE = PictureConfig(
    start="sketch",
    steps=200,
    step_size=0.1,
    cutouts=32,
    cutout_min=0.3,
    augment=("flip", "rotate", "shear", "noise", "perspective", "colour"),
    pull=0.1,
    pull_end=0.0,
    preview_every=5,
    patience=40,
    small_first=0.5,
)
"""Where models of full size begin: no code transformer knows their codes, so guidance does more.

Half of the steps are taken at half the size, where the decoder, which is most of a step, has a
quarter to do, and large, calm shapes are found first. A fifth of the steps without a better score
is enough to stop: what the rest would change is not seen.
"""


def picture_defaults(preset: str = "embedded", vqgan: str = "") -> PictureConfig:
    """The settings that suit a preset, or a VQGAN of somebody else's that takes its place.

    A folder of models of one's own begins as the embedded ones do, whatever CLIP guides them.
    """
    named = vqgan or (PRESETS[preset].vqgan if preset in PRESETS else "")
    small = named in ("", "embedded") or is_home(named)
    return PictureConfig() if small else FULL_PICTURE


@dataclass(frozen=True)
class Preset:
    """A set of models. Each field is a name, a file, a folder, or "embedded"."""

    name: str
    label: str
    story: str
    pictures: str
    """Where VQGAN, CLIP and code transformer lie together; "" where the next two name models."""
    vqgan: str = ""
    clip: str = ""
    """One CLIP, or several with weights: "ViT-B/32:1,RN50.pt:0.5"."""


PRESETS: dict[str, Preset] = {
    "embedded": Preset("embedded", "Embedded (no download)", "embedded", "embedded"),
    "full": Preset(
        "full",
        "Full size (GPT-2, VQGAN of ImageNet, CLIP)",
        story="gpt2",
        pictures="",
        vqgan="vqgan_imagenet_f16_16384.ckpt",
        clip="openai/clip-vit-base-patch32",
    ),
}
