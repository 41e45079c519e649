"""How a page and its visitor's desk meet: begin a job, watch it, stop it, show what has changed.

Tabs say what they show (`shows`) and which buttons do what (`starts`, `acts`, `stops`); everything
else is the same for all of them and stands here. A page is drawn from its desk alone, so a page
that is loaded again looks as it did.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from ui.desk import FIRST_TAB, Desk, Visit
from ui.jobs import STOPPING, Job, Work
from ui.messages import explain, guarded
from ui.workshop import QUIET, Workshop, session_of

LOOK_EVERY = 0.05
"""Seconds between two looks at a job."""

ARRIVES = 2.0
"""Seconds in which a page arrives whose first click is heard already."""

QUICK = 0.4
"""Seconds in which a job that an act has begun may end before the page is told of it: a browser
takes longer to show that something has begun than a stroke takes to be coloured."""

NEVER_LOST: Any = {**QUIET, "concurrency_limit": None, "trigger_mode": "multiple"}

Drawing = Mapping[Any, Any]
"""What components show, by component."""


def stop_button(job: Job | None) -> dict[str, Any]:
    """How a button looks that stops this job: it is heard at once, and the job may take a while to
    end."""
    says = STOPPING if job is not None and job.stopped else "Stop"
    return gr.update(visible=job is not None, value=says)


def keyboard_to(selector: str) -> str:
    """JavaScript that gives the keyboard, after an event, to what it brings into sight."""
    return f"() => setTimeout(() => document.querySelector('{selector}')?.focus(), 60)"


@dataclass
class Runner:
    """Connects the tabs of one page with the desks of its visitors."""

    shop: Workshop
    tabs: gr.Tabs
    _drawings: list[Callable[[Desk], Drawing]] = field(default_factory=list[Any])
    _shown: list[Component] = field(default_factory=list[Component])
    _waiting: list[Callable[[], Any]] = field(default_factory=list[Any])
    _next: list[Callable[[Desk], bool]] = field(default_factory=list[Any])
    _greetings: list[Callable[[Desk], Drawing]] = field(default_factory=list[Any])
    greeted: list[Component] = field(default_factory=list[Component])
    """What is shown to a page that arrives, and left to its visitor from then on."""

    def __post_init__(self) -> None:
        self.shows(lambda desk: {self.tabs: gr.update(selected=desk.shown)}, [self.tabs])

    def shows(self, draw: Callable[[Desk], Drawing], components: Sequence[Any]) -> None:
        """`draw` says what these components show; it must be quick and change nothing."""
        self._drawings.append(draw)
        self._shown.extend(components)

    def greets(self, greet: Callable[[Desk], Drawing], components: Sequence[Any]) -> None:
        """`greet` says what these components show to a page that arrives."""
        self._greetings.append(greet)
        self.greeted.extend(components)

    def greeting(self, desk: Desk) -> dict[Any, Any]:
        """What a page that arrives is shown, and no other."""
        return {c: value for greet in self._greetings for c, value in greet(desk).items()}

    def starts(
        self,
        event: Callable[..., Any],
        kind: str,
        begin: Callable[..., Work],
        inputs: Sequence[Any],
        js: str | None = None,
    ) -> None:
        """`begin(desk, *inputs)` checks what is asked and returns the work; `js` runs after it."""

        def start(request: gr.Request, *values: Any) -> Any:
            visit = self._visit(request, ARRIVES)
            desk = visit.desk
            desk.refuse_while_busy()
            self.shop.jobs.refuse_when_full(desk.owner)  # or nothing on the desk is changed
            with visit.moving():
                desk.begin(self.shop.jobs, kind, begin(desk, *values), self.shop.desks.grace)
            return self.draw(visit)

        def connect() -> None:
            asked = event(guarded(start), [*inputs], self._shown, **QUIET)
            if js:
                asked.success(None, js=js)
            asked.success(self._watch, None, self._shown, **NEVER_LOST)

        self._waiting.append(connect)

    def acts(
        self,
        event: Callable[..., Any],
        act: Callable[..., Drawing | None],
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
        js: str | None = None,
        watch: bool = False,
    ) -> None:
        """`act(desk, *inputs)` changes the desk; what it returns is shown in `outputs` besides.

        It is handed the Gradio event, too, if its second parameter is called `event`. With `watch`
        it may begin a job of its own accord, which is then shown; such events never get lost.
        """
        named = "event" in inspect.signature(act).parameters

        def change(request: gr.Request, event: gr.EventData, *values: Any) -> tuple[Visit, Drawing]:
            visit = self._visit(request, ARRIVES)
            with visit.moving():
                more = act(visit.desk, event, *values) if named else act(visit.desk, *values)
            return visit, more or {}

        def handle(request: gr.Request, event: gr.EventData, *values: Any) -> Any:
            visit, more = change(request, event, *values)
            return {**self.draw(visit), **more}

        async def follow(
            request: gr.Request, event: gr.EventData, *values: Any
        ) -> AsyncIterator[dict[Any, Any]]:
            visit, more = await asyncio.to_thread(guarded(change), request, event, *values)
            soon = time.monotonic() + QUICK
            while visit.desk.job is not None and time.monotonic() < soon:
                await asyncio.sleep(LOOK_EVERY / 2)
            yield {**await asyncio.to_thread(guarded(self.draw), visit), **more}
            async for changes in self._watch(request):
                yield changes

        def connect() -> None:
            # In one go, which saves the browser a round: a stroke is answered the sooner. What is
            # to run in the browser runs at an event's end, and would wait for the job.
            at_once = watch and not js
            kind = NEVER_LOST if watch else QUIET
            act_on = follow if at_once else guarded(handle)
            done = event(act_on, [*inputs], [*self._shown, *outputs], **kind)
            if js:
                done.success(None, js=js)
            if watch and not at_once:
                done.success(self._watch, None, self._shown, **NEVER_LOST)

        self._waiting.append(connect)

    def stops(self, event: Callable[..., Any]) -> None:
        """End the visitor's job; what is finished stays."""

        def stop(desk: Desk) -> None:
            job = desk.job
            if job is not None:
                self.shop.jobs.stop(job)

        self.acts(event, stop)

    def resumes(self, begin: Callable[[Desk], bool]) -> None:
        """`begin(desk)` begins what has waited for other work of its visitor to end, if anything;
        and says whether."""
        self._next.append(begin)

    def connect(self, arrived: Any) -> None:
        """Bind all events, once every tab is laid out; `arrived` is the page's load event."""
        for connect in self._waiting:
            connect()
        # A job that went on while the page was loaded again is watched again.
        arrived.success(self._watch, None, self._shown, **NEVER_LOST)

    def opens(
        self,
        tab: gr.Tab,
        name: str,
        act: Callable[..., Drawing | None],
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
    ) -> None:
        """A tab was opened: note which, and do as `acts` does."""

        def handle(request: gr.Request, *values: Any) -> Any:
            # Tabs are there, and may be clicked, before their visitor has arrived.
            visit, early = self._wait_for(request, name)
            loaded = name == FIRST_TAB and not visit.mounted
            if loaded and not early:
                # No click: Gradio says so of every page that is loaded. It shows that tab now, even
                # if it was told of another before its tabs were there, and is told again.
                visit.mounted, visit.heard = True, FIRST_TAB
                if visit.desk.shown != FIRST_TAB:
                    visit.goes = visit.desk.shown
            elif not early:  # of early ones the desk shows the last
                with visit.acting:
                    visit.opened(name)
                    self.knows_tab(visit, name)
            more = act(visit.desk, *values)
            return {**self.draw(visit), **(more or {})}

        self._waiting.append(
            lambda: tab.select(guarded(handle), [*inputs], [*self._shown, *outputs], **NEVER_LOST)
        )

    def knows_tab(self, visit: Visit, name: str) -> None:
        """This page has that tab open and need not be told."""
        visit.sent[self.tabs._id] = gr.update(selected=name)

    @property
    def outputs(self) -> list[Component]:
        """Everything that is drawn from the desk."""
        return self._shown

    def draw(self, visit: Visit) -> dict[Any, Any]:
        """What has changed since this page was last told; never empty, as Gradio wants it.

        While a job is watched, the one who watches tells it.
        """
        return self._news(visit, None) or self._no_news

    @property
    def _no_news(self) -> dict[Any, Any]:
        return {self._shown[0]: gr.skip()}

    def _news(self, visit: Visit, teller: object | None, *, last: bool = False) -> dict[Any, Any]:
        """What has changed since this page was last told, if it is for this `teller` to say.

        Without a job, and if there is no news, or with `last`, the page has no teller any more.
        """
        with visit.drawing:
            if not visit.may_tell(teller):
                return {}
            if visit.goes:
                visit.desk.shown, visit.goes = visit.goes, ""
                visit.sent.pop(self.tabs._id, None)
            elif visit.desk.shown == visit.heard or not visit.follows:
                # Told, it would be torn from what is clicked next.
                self.knows_tab(visit, visit.desk.shown)
            drawn: dict[Any, Any] = {}
            for drawing in self._drawings:
                drawn |= drawing(visit.desk)
            fresh = {c: value for c, value in drawn.items() if visit.sent.get(c._id, ...) != value}
            # Not before all are drawn: where one fails, the page is told nothing.
            # Gradio takes the value out of an update that it is handed.
            visit.sent.update((component._id, copy(value)) for component, value in fresh.items())
            if visit.desk.job is None and (last or not fresh):
                visit.teller = None
        return fresh

    def _resume(self, desk: Desk) -> bool:
        return any(begin(desk) for begin in self._next)

    def _visit(self, request: gr.Request, seconds: float = 0.0) -> Visit:
        return self.shop.desks.visit(session_of(request), seconds)

    def _wait_for(self, request: gr.Request, tab: str) -> tuple[Visit, bool]:
        return self.shop.desks.wait_for(session_of(request), tab)

    async def _watch(self, request: gr.Request) -> AsyncGenerator[dict[Any, Any]]:
        """Show a job until it ends, and what has waited for that; the page may come and go."""
        error: Exception | None = None
        visit: Visit | None = None
        teller = object()
        try:
            visit = self._visit(request)
            seen: Any = None
            ends = 0
            while True:
                if (job := visit.desk.job) is None:
                    ends += 1
                    news = await asyncio.to_thread(self._news, visit, teller, last=ends > 2)
                    # What was said last Gradio says again at the end, when it may be old.
                    yield news or self._no_news
                    error = error or visit.desk.bad_news()
                    if await asyncio.to_thread(self._resume, visit.desk):
                        ends = 0
                    elif visit.teller is not teller:
                        break
                    continue
                now = job, job.news, self.shop.jobs.ahead(job)
                if now != seen or visit.asked(teller):
                    seen = now
                    if news := await asyncio.to_thread(self._news, visit, teller):
                        yield news
                await asyncio.sleep(LOOK_EVERY)
        except Exception as unexpected:
            error = unexpected
        finally:
            if visit is not None:
                visit.tells_no_more(teller)
        if error is not None:
            raise explain(error) from error
