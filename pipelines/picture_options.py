"""The settings of a picture as options of a command line."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from typing import Any

from pipelines.errors import InvalidInput
from pipelines.presets import (
    AUGMENTATIONS,
    CUTOUT_METHODS,
    FULL_PICTURE,
    OPTIMISERS,
    SCHEDULES,
    STARTS,
    STYLES,
    PictureConfig,
    picture_defaults,
)


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Groups of options for every field of a PictureConfig but its seed.

    What is not given stays out of the namespace: the defaults depend on the models.
    """
    group = parser.add_argument_group("pictures")

    def option(flag: str, field: str, help: str = "", **kind: Any) -> None:
        small, large = getattr(PictureConfig(), field), getattr(FULL_PICTURE, field)
        shown = _words(small) if small == large else f"{_words(small)}, full {_words(large)}"
        kind.setdefault("type", type(small))
        text = help if small is None or not shown else f"{help} (default: {shown})"
        group.add_argument(flag, dest=field, default=argparse.SUPPRESS, help=text.strip(), **kind)

    option("--style", "style", choices=STYLES)
    option("--prefix", "prefix", "words before what each picture shows")
    option("--suffix", "suffix", "words after it")
    group.add_argument("--size", type=int, help="width and height in pixels")
    option("--width", "width", "pixels")
    option("--height", "height", "pixels")
    group.add_argument(
        "--no-enlarge", dest="enlarge", action="store_false", default=argparse.SUPPRESS,
        help="do not finish at twice the size",
    )  # fmt: skip
    option("--start", "start", choices=[s for s in STARTS if s != "picture"])
    option("--candidates", "candidates", "first pictures that CLIP chooses from")
    option("--guidance", "guidance", "how strictly the code transformer keeps to the words")
    option("--code-temperature", "code_temperature", "of the codes that it samples")
    option("--surprise", "surprise", "nats by which a change may be less likely to it before it is "
           "taken back; 0: any")  # fmt: skip
    option("--scenery", "scenery", "seed of what lies behind characters and things; a book's pages "
           "have one, so that a place looks the same on all of them", type=int)  # fmt: skip

    group = parser.add_argument_group("VQGAN+CLIP")
    option("--steps", "steps", "steps a picture")
    option("--step-size", "step_size")
    option("--optimiser", "optimiser", choices=OPTIMISERS)
    option("--schedule", "schedule", "how the step size changes", choices=SCHEDULES)
    option("--cutouts", "cutouts", "views that CLIP judges by")
    option("--cutout-method", "cutout_method", choices=CUTOUT_METHODS)
    option("--cutout-min", "cutout_min", "side of the smallest crops, as a share")
    option("--cutout-power", "cutout_power", "above 1: more small crops")
    option("--augment", "augment", f"of {', '.join(AUGMENTATIONS)}; none: nothing",
           type=_augmentations, metavar="NAMES")  # fmt: skip
    option("--init-weight", "pull", "pull towards the start, but for noise")
    option("--init-weight-end", "pull_end", "what is left of it at the last step, as a share")
    option("--smoothness", "smoothness", "weight of total variation")
    option("--palette", "palette", "colours to keep to: “#fb7447, navy”")
    option("--palette-weight", "palette_weight")
    option("--symmetry", "symmetry", "weight of left and right being alike")
    option("--patience", "patience", "stop after so many steps without a better score; 0: never")
    option("--small-first", "small_first", "share of the steps at half the size")
    option("--preview-every", "preview_every", "steps between previews")

    group = parser.add_argument_group("prompts")
    option("--prompt", "prompts", "prompts with weights and stops, “a:1:0.2 | b:-0.5”; ^ goes on "
           "to the next; beside a story, or alone for a picture of its own")  # fmt: skip
    option("--noise-prompt", "noise_prompts", "directions from seeds: “7:0.2 | 8:-0.1”")


def picture_config(args: argparse.Namespace) -> PictureConfig:
    """The settings that the options ask for. Raises: InvalidInput."""
    given = vars(args)
    named = {f.name: given[f.name] for f in fields(PictureConfig) if f.name in given}
    if args.size is not None:
        named = {"width": args.size, "height": args.size, **named}
    if given.get("init"):
        if "start" not in named:
            named["start"] = "picture"
        elif not given.get("mask"):
            raise InvalidInput(
                "--start does not go with --init, which is where it starts, unless a --mask says "
                "what is painted anew: leave one of them out."
            )
    config = replace(picture_defaults(args.preset, args.vqgan), **named)
    if config.start == "noise" and named.get("pull"):
        raise InvalidInput(
            "--init-weight does not go with --start noise, where there is no picture to pull "
            "towards: leave one of them out."
        )
    return config


_FLAGS = {
    "prompts": "prompt", "noise_prompts": "noise-prompt", "pull": "init-weight",
    "pull_end": "init-weight-end", "enlarge": "no-enlarge",
}  # fmt: skip
"""Options that have another name than their field."""


def reject_settings(args: argparse.Namespace, reason: str) -> None:
    """Raises InvalidInput when any setting of a picture was given, the seed included."""
    reject(args, ("size",), reason)
    for f in fields(PictureConfig):
        if vars(args).get(f.name) is not None:
            raise InvalidInput(f"--{_FLAGS.get(f.name, f.name.replace('_', '-'))} {reason}")


def _augmentations(names: str) -> tuple[str, ...]:
    return tuple(n for n in names.replace(",", " ").split() if n != "none")


def _words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def reject(args: argparse.Namespace, names: tuple[str, ...], reason: str) -> None:
    """Raises InvalidInput when one of these options was given."""
    for name in names:
        if getattr(args, name):
            raise InvalidInput(f"--{name.replace('_', '-')} {reason}")
