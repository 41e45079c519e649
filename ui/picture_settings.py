"""The widgets of a PictureConfig: styles in sight, everything else folded away."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.presets import (
    AUGMENTATIONS,
    CUTOUT_METHODS,
    MAX_SIDE,
    MIN_SIDE,
    OPTIMISERS,
    SCHEDULES,
    STARTS,
    STYLES,
    PictureConfig,
)
from ui.served_files import url_of
from ui.story import read_seed, seed_box
from ui.theme import ASSETS, asset

FIELDS = (
    "style", "prefix", "suffix", "start", "candidates", "guidance", "code_temperature", "surprise",
    "steps", "step_size", "cutouts", "width", "height", "seed",
    "prompts", "noise_prompts",
    "pull", "pull_end", "palette", "palette_weight", "smoothness", "symmetry",
    "optimiser", "schedule", "patience", "small_first",
    "cutout_method", "cutout_min", "cutout_power", "augment",
)  # fmt: skip
"""Names of the settings that have a widget, in the order of `widgets`."""


def picture_config(*values: Any) -> PictureConfig:
    """What the widgets say, checked; those left out say the default. Raises: InvalidInput."""
    plain, found = PictureConfig(), dict[str, Any]()
    for name, value in zip(FIELDS, values, strict=False):
        kind = type(getattr(plain, name))
        if name == "seed":
            found[name] = read_seed(value)
        elif kind is str:
            found[name] = (value or "").strip()
        elif kind is tuple:
            found[name] = tuple(value or ())
        else:
            found[name] = kind(value)
    return PictureConfig(**found)


def widgets(plain: PictureConfig, more: Callable[[], None] = lambda: None) -> list[Component]:
    """Lay them out, in the order of FIELDS; `plain` is what they say at first.

    `more` lays out what is no setting of the picture itself, at the end of the folded part.
    """
    style = gr.HTML(
        plain.style,
        html_template=_styles(),
        js_on_load=asset("styles.js"),
        apply_default_css=False,
        elem_id="styles",
    )
    with gr.Accordion("Advanced", open=False, elem_id="picture-advanced"):
        with gr.Row():
            prefix = gr.Textbox(label="Before every picture's words", placeholder="a cosy", lines=1)
            suffix = gr.Textbox(label="After them", placeholder="soft light", lines=1)
        with gr.Row():
            # "picture" is offered where there is one: when a page is painted again.
            starts = [(text, key) for key, text in STARTS.items() if key != "picture"]
            start = gr.Radio(starts, value=plain.start, label="Start")
        with gr.Row():
            candidates = gr.Slider(1, 16, plain.candidates, step=1, label="Candidates")
            guidance = gr.Slider(1.0, 10.0, plain.guidance, step=0.1, label="Guidance")
        with gr.Row():
            temperature = gr.Slider(
                0.05,
                2.0,
                plain.code_temperature,
                step=0.05,
                label="Code temperature",
                info="Of the first picture: low is tidy, high is bold",
            )
            surprise = gr.Slider(
                0,
                40,
                plain.surprise,
                step=0.5,
                label="Surprise",
                info="Less likely changes are taken back; 0 = none are",
            )
        with gr.Row():
            steps = gr.Slider(0, 500, plain.steps, step=1, label="Steps")
            step_size = gr.Slider(0.001, 1.0, plain.step_size, step=0.001, label="Step size")
            cutouts = gr.Slider(1, 128, plain.cutouts, step=1, label="Cutouts")
        with gr.Row():
            width = gr.Slider(MIN_SIDE, MAX_SIDE, plain.width, step=1, label="Width")
            height = gr.Slider(MIN_SIDE, MAX_SIDE, plain.height, step=1, label="Height")
            seed = seed_box()
        folded = [*_words(plain), *_looks(plain), *_steps(plain), *_cutouts(plain)]
        more()
    return [
        style, prefix, suffix, start, candidates, guidance, temperature, surprise,
        steps, step_size, cutouts, width, height, seed, *folded,
    ]  # fmt: skip


def _words(plain: PictureConfig) -> list[Component]:
    with gr.Accordion("More words", open=False), gr.Row():
        return [
            gr.Textbox(
                plain.prompts,
                label="Prompts besides the sentence",
                placeholder="golden light:0.5 | text:-0.5",
                info="With weights; below 0 keeps away. ^ goes on to the next on the way.",
                lines=1,
                max_length=1000,
            ),
            gr.Textbox(
                plain.noise_prompts,
                label="Noise prompts",
                placeholder="7:0.2",
                info="Seeds of random directions, with weights",
                lines=1,
                max_length=200,
            ),
        ]


def _looks(plain: PictureConfig) -> list[Component]:
    with gr.Accordion("Colours and shapes", open=False):
        with gr.Row():
            pull = gr.Slider(
                0, 10, plain.pull, step=0.05, label="Hold to the start", info="0 lets go"
            )
            end = gr.Slider(
                0, 1, plain.pull_end, step=0.05, label="Hold at the end", info="Share of it"
            )
        with gr.Row():
            palette = gr.Textbox(
                plain.palette,
                label="Palette",
                placeholder="#fb7447, navy, white",
                info="Colours to keep to; empty: any",
                lines=1,
                max_length=300,
            )
            weight = gr.Slider(0, 20, plain.palette_weight, step=0.1, label="Palette weight")
        with gr.Row():
            smooth = gr.Slider(0, 50, plain.smoothness, step=0.5, label="Smoothness")
            symmetry = gr.Slider(
                0, 20, plain.symmetry, step=0.1, label="Symmetry", info="Left and right alike"
            )
    return [pull, end, palette, weight, smooth, symmetry]


def _steps(plain: PictureConfig) -> list[Component]:
    with gr.Accordion("Optimiser and schedule", open=False):
        with gr.Row():
            optimiser = gr.Radio(
                [(text, key) for key, text in OPTIMISERS.items()],
                value=plain.optimiser,
                label="Optimiser",
            )
        with gr.Row():
            schedule = gr.Radio(
                [(text, key) for key, text in SCHEDULES.items()],
                value=plain.schedule,
                label="Step size on the way",
            )
        with gr.Row():
            patience = gr.Slider(
                0,
                500,
                plain.patience,
                step=1,
                label="Patience",
                info="Steps without a better match after which a page is finished; 0 = all steps",
            )
            small = gr.Slider(
                0,
                0.9,
                plain.small_first,
                step=0.05,
                label="Small first",
                info="Share of the steps at half the size; from 256 pixels on",
            )
    return [optimiser, schedule, patience, small]


def _cutouts(plain: PictureConfig) -> list[Component]:
    with gr.Accordion("Cutouts", open=False):
        with gr.Row():
            method = gr.Radio(
                [(text, key) for key, text in CUTOUT_METHODS.items()],
                value=plain.cutout_method,
                label="Method",
            )
        with gr.Row():
            least = gr.Slider(
                0.1, 1, plain.cutout_min, step=0.05, label="Smallest crop", info="Share of the side"
            )
            power = gr.Slider(
                0.1,
                10,
                plain.cutout_power,
                step=0.1,
                label="Power",
                info="Above 1: more small ones",
            )
        with gr.Row():
            augment = gr.CheckboxGroup(
                [(text, key) for key, text in AUGMENTATIONS.items()],
                value=[*plain.augment],
                label="Every view differs by",
            )
    return [method, least, power, augment]


def _styles() -> str:
    """Radio buttons with a sample picture each; a plain card where there is no sample."""
    cards: list[str] = []
    for key, style in STYLES.items():
        sample = ASSETS / "styles" / f"{key}.webp"
        picture = '<span class="blank"></span>'
        if sample.is_file():
            picture = f'<img src="{url_of(sample)}" alt="" loading="lazy">'
        cards.append(
            f'<label><input type="radio" name="style" value="{escape(key)}">{picture}'
            f"<span>{escape(style.label)}</span></label>"
        )
    return f'<fieldset class="styles"><legend>Style</legend>{"".join(cards)}</fieldset>'
