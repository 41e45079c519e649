"""A piece of the page whose HTML the server writes.

Gradio would throw the old HTML away with every change. A panel changes only what differs
(`assets/panel.js`), so that the keyboard stays where it is, pictures do not flicker and screen
readers speak what is new.
"""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from ui.theme import asset


def panel(
    value: str = "",
    *,
    events: Sequence[str] = (),
    script: str = "",
    elem_id: str | None = None,
) -> gr.HTML:
    """Show `value`, HTML from `ui/markup.py`.

    A click on `<button data-NAME="...">` becomes the Gradio event NAME, for every NAME of `events`.
    `script` names a file of `ui/assets` whose function `changed()` runs after every change.
    """
    names = ", ".join(f"'{event}'" for event in events)
    more = asset(script) if script else "function changed() {}"
    return gr.HTML(
        value,
        html_template='<div class="panel"></div>',
        js_on_load=f"const events = [{names}];\n{more}\n{asset('panel.js')}",
        apply_default_css=False,
        elem_id=elem_id,
    )
