"""The Rate tab, there only where it is switched on: coloured drawings, judged blind from 1 to 5."""

from __future__ import annotations

import math
import re
from html import escape
from itertools import combinations
from typing import Any

import gradio as gr

from pipelines.errors import InvalidInput
from storage.ratings import SCORES, Result, Survey, opinions, welch
from ui import markup
from ui.desk import Desk
from ui.panel import panel
from ui.running import Runner
from ui.served_files import file_for_browser, url_of
from ui.workshop import clicked

NAMES = dict(zip(SCORES, ("Bad", "Poor", "Fair", "Good", "Excellent"), strict=True))
"""Source: ITU-T P.800, absolute category rating."""

ANSWER = re.compile(r"(\d{1,5}):([1-5])")
"""What a button carries: which picture of this person's order, and the score."""


def build(runner: Runner, survey: Survey) -> None:
    """Lay out the tab inside the current Tabs and connect its events."""
    with gr.Tab("Rate", id="rate") as tab, gr.Column(elem_classes="desk"):
        shown = panel(events=("rate",), script="colour_rate.js", elem_id="rating")

    def draw(desk: Desk) -> dict[Any, Any]:
        return {shown: page(survey, desk.owner)} if desk.shown == "rate" else {}

    def rate(desk: Desk, event: gr.EventData) -> None:
        answer = ANSWER.fullmatch(clicked(event))
        if answer is None:
            raise InvalidInput("This answer could not be read: load the page again.")
        survey.rate(desk.owner, int(answer[1]), int(answer[2]))

    runner.shows(draw, [shown])
    runner.opens(tab, "rate", lambda desk: None)
    runner.acts(shown.rate, rate)  # type: ignore[attr-defined]


def page(survey: Survey, rater: str) -> str:
    """The next picture with its five buttons; when all are done, thanks and the figures."""
    position, of = survey.position(rater), len(survey.results.all)
    if position is None:
        thanks = markup.status("Thank you: you have rated every picture.", "done")
        return f'<div class="rating">{thanks}{figures(survey.ratings.scores())}</div>'
    return question(survey.results.order(rater)[position], position, of)


def question(result: Result, position: int, of: int) -> str:
    """One picture beside its drawing. Nothing in it tells who painted it."""
    drawing, coloured = (
        url_of(file_for_browser(path.read_bytes(), "picture.png"))
        for path in (result.drawing, result.coloured)
    )
    buttons = "".join(
        f'<button type="button" class="small-button" data-rate="{position}:{score}" '
        f'data-key="{position}:{score}">{score} · {name}</button>'
        for score, name in NAMES.items()
    )
    return f"""<div class="rating"><h3>How well is this drawing coloured?</h3>
<p class="note">Picture {position + 1} of {of}. Judge whether the colours fit the drawing and obey
the strokes. The keys 1 to 5 work, too.</p>
<div class="versus"><figure><img src="{drawing}" alt="The drawing with its strokes">
<figcaption>Drawing and strokes</figcaption></figure>
<figure><img src="{coloured}" alt="The same drawing, coloured">
<figcaption>Coloured</figcaption></figure></div>
<div class="scores" role="group" aria-label="Your rating">{buttons}</div>
{markup.bar(position / of, "Rated so far")}</div>"""


def figures(scores: dict[str, list[int]]) -> str:
    """Means, deviations and Welch's t-tests, as tables."""
    ranked = opinions(scores)
    rows = [(escape(o.method), str(o.count), f"{o.mean:.2f}", f"{o.deviation:.2f}") for o in ranked]
    tests = list[tuple[str, ...]]()
    for one, two in combinations([o.method for o in ranked], 2):
        found = welch(scores[one], scores[two])
        p = "too few ratings" if math.isnan(found.p) else f"{found.p:.4f}"
        tests.append((f"{escape(one)} and {escape(two)}", p))
    opinion = _table(("Method", "Ratings", "Mean", "Deviation"), rows)
    tested = _table(("Welch's t-test", "p"), tests)
    return f"<h3>What people say</h3>{opinion}{tested if tests else ''}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="figures"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
