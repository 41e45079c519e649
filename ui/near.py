"""What is for visitors of this computer alone, also where another server stands before the app.

Such a server, or a tunnel, is itself a visitor of this computer; but it says whom it asks for.
"""

from __future__ import annotations

import gradio as gr

from pipelines.errors import InvalidInput
from ui.desk import Visit
from ui.doorkeeper import FORWARDED
from ui.running import Runner

FAR = (
    "Models are trained from the computer that Storybrush runs on. Start it with --models to let "
    "everybody train them who gets in."
)


class NearRunner(Runner):
    """Connects as the runner does that it is made from, and turns away who comes from elsewhere."""

    def __init__(self, runner: Runner) -> None:
        vars(self).update(vars(runner))  # the same lists, too

    def _visit(self, request: gr.Request, seconds: float = 0.0) -> Visit:
        _refuse_far(request)
        return super()._visit(request, seconds)

    def _wait_for(self, request: gr.Request, tab: str) -> tuple[Visit, bool]:
        _refuse_far(request)  # what the tab shows is drawn once their desk has it open
        return super()._wait_for(request, tab)


def _refuse_far(request: gr.Request) -> None:
    if any(name.encode() in FORWARDED for name in request.headers):
        raise InvalidInput(FAR)
