"""HTML of the "Your models" tab: the training as it goes, and the models that are there."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ui import markup
from ui.model_shelf import KINDS, SAMPLES, ModelShelf, OwnModel
from ui.model_work import Moment, Record
from ui.served_files import file_for_browser, picture_url, url_of

SHARPENING = 0.3
"""Part of a picture maker's minutes in which it is sharpened, after its codes are learned."""
PHASES = {"codes": "Learning the pictures", "sharpen": "Sharpening", "": "Training"}
UNITS = {"PSNR": " dB"}
NAMES = {"perplexity": "Perplexity on texts held out", "PSNR": "Likeness of pictures held out",
         "SSIM": "SSIM"}  # fmt: skip
BETTER = {"perplexity": "lower is better", "PSNR": "PSNR, higher is better"}


def work(now: Moment) -> str:
    """The training, whatever stage it is at, with its buttons."""
    stages = {
        "none": _none, "checking": _checking, "checked": _checked, "running": _running,
        "stopped": _stopped, "elsewhere": _elsewhere,
    }  # fmt: skip
    return stages[now.stage](now)


def _none(now: Moment) -> str:
    if now.trouble:
        return f'<div class="training">{_trouble(now.trouble)}</div>'
    return f'<div class="training">{markup.status(now.news, "done")}</div>' if now.news else ""


def _checking(now: Moment) -> str:
    text = "Stopping…" if now.stopping else "Looking at what you have handed in…"
    return (
        f'<div class="training leaf">{_title(now)}{markup.status(text, "busy")}'
        f"{_buttons(halt='Stop')}</div>"
    )


def _checked(now: Moment) -> str:
    assert now.order is not None
    minutes = f"{now.order.minutes:g} minutes" if now.order.minutes != 1 else "a minute"
    long = f"It will take about {minutes}"
    if now.order.kind == "writer":
        long += f", {now.steps:,} steps, and less if it learns no more" if now.steps else ""
    return (
        f'<div class="training leaf">{_title(now)}{_trouble(now.trouble)}{report(now.record)}'
        f"<p>{long}. You can go on writing and painting meanwhile, only more slowly.</p>"
        f"{_buttons(begin='Start training', drop='Throw it away')}"
        "</div>"
    )


def _running(now: Moment) -> str:
    assert now.order is not None
    record = now.record
    said = "Stopping: its checkpoint is being written…" if now.stopping else "Getting ready…"
    left, done = "", 0.0
    if record is not None and record.eta is not None and not now.stopping:
        seconds = record.eta
        if record.phase == "codes":
            seconds += SHARPENING * 60 * now.order.minutes
        said, left = PHASES.get(record.phase, PHASES[""]), f"About {_time(seconds)} left"
        done = now.passed / max(now.passed + seconds, 1.0)
    line = markup.status(f"{said}. " if left else said, "busy", left)
    stop = "" if now.stopping else _buttons(halt="Stop")
    return (
        f'<div class="training leaf">{_title(now)}{line}{markup.bar(done, "Trained so far")}'
        f"{progress(record)}{stop}</div>"
    )


def _stopped(now: Moment) -> str:
    assert now.order is not None
    record = now.record
    begun = record is not None and bool(record.steps)
    said = _trouble(now.trouble) or markup.status(
        f"Stopped after {_time(now.passed)}. Its last checkpoint is kept: go on whenever you like."
        if begun
        else "Stopped before it had learned anything."
    )
    painter = now.order.kind == "painter" and begun
    buttons = {"resume": "Go on"}
    if now.result or painter:
        buttons["keep"] = "Keep it as it is"
    buttons["drop"] = "Throw it away"
    return (
        f'<div class="training leaf">{_title(now)}{said}{progress(record)}{_buttons(**buttons)}'
        "</div>"
    )


def _elsewhere(now: Moment) -> str:
    name = f" of “{now.order.name}”" if now.order else ""
    text = (
        f"A training{name} still runs that another Storybrush has begun. It ends by itself, and "
        "stands here then."
    )
    return f'<div class="training leaf">{markup.status(text, "busy")}</div>'


def _title(now: Moment) -> str:
    if now.order is None:
        return ""
    return f"<h3>{escape(now.order.name)} <small>{KINDS[now.order.kind]}</small></h3>"


def _trouble(text: str) -> str:
    """A message of several lines, which stays."""
    if not text:
        return ""
    first, *more = text.splitlines()
    items = "".join(f"<li>{escape(line.strip())}</li>" for line in more if line.strip())
    listed = f"<ul>{items}</ul>" if items else ""
    return f'<div class="trouble" role="alert"><p>{escape(first)}</p>{listed}</div>'


def report(record: Record | None) -> str:
    """What is in the data, and what the run takes."""
    lines = record.lines if record is not None else []
    items = "".join(f"<li>{escape(line.strip())}</li>" for line in lines)
    return f'<ul class="report">{items}</ul>'


def _buttons(**labels: str) -> str:
    """Each under the name of its event; the first is the one to press."""
    made = "".join(
        f'<button type="button" class="small-button{" brave" if n == 0 and name != "halt" else ""}"'
        f' data-{name}="1" data-key="{name}">{label}</button>'
        for n, (name, label) in enumerate(labels.items())
    )
    return f'<div class="row-of-buttons">{made}</div>'


# --- how it goes -------------------------------------------------------------------------


def progress(record: Record | None) -> str:
    """The curve, the figures, and what it can do by now."""
    if record is None or not (record.steps or record.stories or record.pictures):
        return ""
    return f'<div class="progress">{curve(record)}{_sample(record)}</div>'


def _sample(record: Record) -> str:
    if record.pictures is not None and record.pictures.is_file():
        address = picture_url(record.pictures.read_bytes(), SAMPLES)
        return (
            f'<figure class="sample"><img src="{address}" alt="Pictures and how it paints them">'
            "<figcaption>Above: pictures of yours that it does not learn from. Below: how it "
            "paints them by now.</figcaption></figure>"
        )
    if record.stories:
        story = record.stories[-1]
        when = (
            "Before it has learned anything" if story["step"] == 0 else f"At step {story['step']}"
        )
        return (
            f'<figure class="sample"><figcaption>{when}, asked for “{escape(story["words"])}”:'
            f'</figcaption><blockquote class="tale">{escape(story["text"])}</blockquote></figure>'
        )
    return ""


WIDTH, HEIGHT, LEFT, BOTTOM = 560, 200, 44, 24


def curve(record: Record) -> str:
    """Loss by step as SVG: every step, their running mean, and held-out texts where there are."""
    rows = _in_a_row(record)
    losses = _of(rows, "loss")
    held_out = _of(rows, "validation")
    if len(losses) + len(held_out) < 2:
        return ""
    smooth = _smooth(losses)
    values = sorted(v for _, v in (*losses, *held_out))
    shown = [*smooth, *held_out]
    low = min(v for _, v in shown)
    # A few wild steps at the beginning must not flatten all that follows.
    high = max(max(v for _, v in shown), values[int(0.95 * (len(values) - 1))])
    high = high if high > low else low + 1
    last = max(max(x for x, _ in shown), 1)

    def at(x: float, y: float) -> str:
        across = LEFT + (WIDTH - LEFT - 8) * x / last
        share = min(max((y - low) / (high - low), 0.0), 1.0)
        return f"{across:.1f},{8 + (HEIGHT - BOTTOM - 8) * (1 - share):.1f}"

    dots = "".join(
        '<circle class="each" cx="{}" cy="{}" r="2"/>'.format(*at(x, y).split(","))
        for x, y in _thinned(losses)
    )
    dots += "".join(
        '<circle class="held" cx="{}" cy="{}" r="3.500"/>'.format(*at(x, y).split(","))
        for x, y in held_out
    )
    line = " ".join(at(x, y) for x, y in _thinned(smooth))
    line_held = " ".join(at(x, y) for x, y in held_out)
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.0f}" y2="{y:.0f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.2f}</text>'
        for value, y in (
            (low + (high - low) * share, 8 + (HEIGHT - BOTTOM - 8) * (1 - share))
            for share in (0.0, 0.5, 1.0)
        )
    )
    first = smooth[0][1] if smooth else held_out[0][1]
    now = smooth[-1][1] if smooth else held_out[-1][1]
    legend = '<span class="key train">loss</span>'
    if held_out:
        legend += '<span class="key held">on texts held out</span>'
    return f"""<figure class="curve"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"
aria-label="Loss, from {first:.2f} to {now:.2f} in {last} steps">{grid}{dots}
<polyline class="train" points="{line}"/><polyline class="held" points="{line_held}"/>
<text x="{LEFT}" y="{HEIGHT - 4}">0</text>
<text x="{WIDTH - 8}" y="{HEIGHT - 4}" text-anchor="end">step {last}</text></svg>
<figcaption>{legend}{_now(record)}</figcaption></figure>"""


def _in_a_row(record: Record) -> list[tuple[int, Mapping[str, float]]]:
    """Steps of all phases, one after another."""
    found = list[tuple[int, Mapping[str, float]]]()
    before, phase, last = 0, "", 0
    for (of_phase, step), metrics in [*record.steps.items()]:  # more come meanwhile
        if of_phase != phase:
            before, phase = last, of_phase
        found.append((before + step, metrics))
        last = max(last, before + step)
    return sorted(found, key=lambda row: row[0])


def _of(rows: Sequence[tuple[int, Mapping[str, float]]], metric: str) -> list[tuple[int, float]]:
    """One metric by step; what has run out of bounds is left out."""
    return [(x, m[metric]) for x, m in rows if math.isfinite(m.get(metric, math.nan))]


def _smooth(points: Sequence[tuple[int, float]], share: float = 0.15) -> list[tuple[int, float]]:
    """Running mean: each point counts for `share`, the ones before ever less."""
    found = list[tuple[int, float]]()
    for n, (x, y) in enumerate(points):
        weight = max(share, 1 / (n + 1))
        found.append((x, y if n == 0 else found[-1][1] * (1 - weight) + y * weight))
    return found


def _thinned(points: Sequence[tuple[int, float]], most: int = 250) -> list[tuple[int, float]]:
    """At most so many of the points, the last one among them."""
    every = max(-(-len(points) // most), 1)
    found = [*points[::every]]
    return found if not points or found[-1] == points[-1] else [*found, points[-1]]


def _now(record: Record) -> str:
    """The figures of the last step that has some."""
    latest = dict[str, float]()
    for metrics in [*record.steps.values()]:  # more come meanwhile
        latest.update(metrics)
    if "validation" in latest:
        return f"<span>perplexity {math.exp(min(latest['validation'], 50)):.1f}</span>"
    return f"<span>likeness {latest['psnr']:.1f} dB</span>" if "psnr" in latest else ""


# --- the models that are there -----------------------------------------------------------


def shelf(found: ModelShelf, *, made: Path | None = None) -> str:
    """All models of one's own; `made` is a file that the browser fetches at once."""
    link = ""
    if made is not None:
        link = (
            f'<a href="{escape(url_of(made))}" download="{escape(made.name)}" hidden '
            f'data-made="{secrets.token_hex(4)}">{escape(made.name)}</a>'
        )
    if not found.models:
        return markup.empty(
            "No model of your own yet",
            "What you train stands here: to use at once, to download, to go on from.",
        )
    cards = "".join(card(model, found.used(model.kind) == model.slug) for model in found.models)
    again = "".join(
        f'<button type="button" class="small-button" data-own="{kind}" data-key="own-{kind}">'
        f"Use the embedded {name} again</button>"
        for kind, name in KINDS.items()
        if found.used(kind)
    )
    row = f'<div class="row-of-buttons">{again}</div>' if again else ""
    return f'<h3>Models of your own</h3>{row}<ul class="own-models">{cards}</ul>{link}'


def card(model: OwnModel, used: bool) -> str:
    """One model: what it can, and what can be done with it."""
    slug, name = escape(model.slug), escape(model.name)
    use = (
        '<span class="in-use">In use</span>'
        if used
        else f'<button type="button" class="small-button brave" data-use="{slug}" '
        f'aria-label="Use {name}">Use it</button>'
    )
    return f"""<li class="{"used" if used else ""}" data-key="{slug}">
<h4>{name} <small>{KINDS[model.kind]}</small></h4>
<p class="note">{escape(_history(model))}</p>{_figures(model)}{_shown(model)}
<div class="row-of-buttons">{use}
<button type="button" class="small-button" data-take="{slug}"
aria-label="Download {name}">Download</button>
<details><summary>Delete</summary><p>Delete “{name}” for good?
<button type="button" class="small-button" data-remove="{slug}"
aria-label="Delete {name}">Delete it</button></p></details></div></li>"""


def _history(model: OwnModel) -> str:
    card = model.card
    base = "the embedded one" if card.get("base") == "embedded" else f"“{card.get('base')}”"
    parts = [f"from {base}", f"{_time(60 * float(card.get('minutes', 0)))} of training"]
    created = str(card.get("created", ""))
    if created:
        parts.append(markup.date(created))
    return ", ".join(parts)


def _figures(model: OwnModel) -> str:
    """Before and after, as far as they are known."""
    after, before = model.card.get("figures", {}), model.card.get("before", {})
    rows = list[str]()
    for key, label in NAMES.items():
        if not isinstance(after.get(key), (int, float)):
            continue
        unit = UNITS.get(key, "")
        was = f"{before[key]:.4g}{unit} before, " if before.get(key) is not None else ""
        hint = f" <small>({BETTER[key]})</small>" if key in BETTER else ""
        rows.append(f"<div><dt>{label}{hint}</dt><dd>{was}{after[key]:.4g}{unit} now</dd></div>")
    return f"<dl>{''.join(rows)}</dl>" if rows else ""


def _shown(model: OwnModel) -> str:
    grid = model.folder / SAMPLES
    if grid.is_file():
        address = url_of(file_for_browser(grid.read_bytes(), SAMPLES))
        return f'<img src="{address}" alt="Pictures and how it paints them" loading="lazy">'
    story: Any = model.card.get("story")
    if isinstance(story, dict) and isinstance(story.get("text"), str):
        return f'<blockquote class="tale">{escape(story["text"])}</blockquote>'
    return ""


def _time(seconds: float) -> str:
    """Seconds, minutes or hours, whatever is read most easily."""
    if seconds < 90:
        return markup.seconds(seconds)
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
