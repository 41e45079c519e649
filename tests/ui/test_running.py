"""A page is told what has changed on its desk, a job's progress and its end, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from starlette.datastructures import Headers

from pipelines.errors import InvalidInput, StorageError
from storage.memory import MemoryLibrary
from tests.ui.blocks import built
from ui import desk, running
from ui.desk import Desk, Visit
from ui.jobs import Job, Work
from ui.near import NearRunner
from ui.running import Runner
from ui.workshop import Workshop

PAGE: Any = SimpleNamespace(session_hash="page")


def nothing() -> Any:
    raise AssertionError("no model is needed here")


@pytest.fixture
def shop() -> Iterator[Workshop]:
    shop = Workshop(nothing, nothing, MemoryLibrary())
    yield shop
    shop.jobs.close()


@pytest.fixture
def runner(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """One component that shows the place in line or the job's moment."""
    monkeypatch.setattr(running, "LOOK_EVERY", 0.005)
    runner, line = Runner(shop, gr.Tabs()), gr.HTML()

    def draw(desk: Desk) -> dict[Any, Any]:
        job = desk.job
        text = "at rest"
        if job is not None:
            text = f"{shop.jobs.ahead(job)} before you" if job.moment is None else job.moment
        return {line: text}

    runner.shows(draw, [line])
    return runner


def visit(shop: Workshop) -> Visit:
    return shop.desks.arrive("page", "ada", "tab")[0]


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP"])
def test_who_comes_through_another_server_is_turned_away_where_only_this_computer_gets_in(
    shop: Workshop, runner: Runner, header: str
) -> None:
    visit(shop)
    headers = Headers({"Host": "localhost", header: "10.0.0.9"})
    far: Any = SimpleNamespace(session_hash="page", headers=headers)
    near: Any = SimpleNamespace(session_hash="page", headers=Headers({"Host": "localhost"}))
    kept = NearRunner(runner)
    assert kept._shown is runner._shown  # what it connects is the page's
    assert kept._visit(near) is runner._visit(far)
    with pytest.raises(InvalidInput, match="--models"):
        kept._visit(far)
    assert kept._wait_for(near, "models")[0] is runner._visit(near)
    with pytest.raises(InvalidInput, match="--models"):
        kept._wait_for(far, "models")


def watch(runner: Runner) -> list[Any]:
    """What a page is told until the job has ended."""

    async def collect() -> list[Any]:
        return [v async for told in runner._watch(PAGE) for v in told.values() if type(v) is str]

    return asyncio.run(collect())


def test_a_page_is_told_only_what_is_new_to_it(shop: Workshop, runner: Runner) -> None:
    page = visit(shop)
    assert "at rest" in runner.draw(page).values()
    assert "at rest" not in runner.draw(page).values()
    page.desk.shown = "gallery"
    assert list(runner.draw(page)) == [runner.tabs]
    assert len(runner.draw(page)) == 1  # Gradio wants an answer even if there is no news
    again = shop.desks.arrive("page loaded again", "ada", "tab")[0]
    assert len(runner.draw(again)) == 2


def test_what_gradio_takes_out_of_an_update_is_not_told_again(
    shop: Workshop, runner: Runner
) -> None:
    button = gr.Button()
    runner.shows(lambda desk: {button: gr.update(value="Paint", visible=True)}, [button])
    page = visit(shop)
    runner.draw(page)[button].pop("value")
    assert button not in runner.draw(page)


def test_where_drawing_fails_the_page_is_told_all_of_it_the_next_time(
    shop: Workshop, runner: Runner
) -> None:
    broken = gr.HTML()
    full = True

    def draw(desk: Desk) -> dict[Any, Any]:
        if full:
            raise OSError("no room")
        return {broken: "drawn"}

    runner.shows(draw, [broken])
    page = visit(shop)
    with pytest.raises(OSError, match="no room"):
        runner.draw(page)
    full = False
    assert {"at rest", "drawn"} <= set(
        filter(lambda v: isinstance(v, str), runner.draw(page).values())
    )


def test_what_was_looked_at_last_is_told_last(shop: Workshop, runner: Runner) -> None:
    text, state = gr.HTML(), ["old"]
    looked, go_on = threading.Event(), threading.Event()

    def draw(desk: Desk) -> dict[Any, Any]:
        seen = state[0]
        if seen == "old":
            looked.set()
            go_on.wait(10)
        return {text: seen}

    runner.shows(draw, [text])
    page, told = visit(shop), list[Any]()
    slow, quick = (
        threading.Thread(target=lambda: told.append(runner.draw(page)[text])) for _ in range(2)
    )
    slow.start()
    assert looked.wait(10)
    state[0] = "new"
    quick.start()
    quick.join(0.2)  # it would be done by now, if it did not wait
    go_on.set()
    slow.join(10)
    quick.join(10)
    assert told == ["old", "new"]
    assert page.sent[text._id] == "new"


def test_a_page_that_is_loaded_keeps_the_tab_it_had_open(shop: Workshop) -> None:
    def build() -> Any:
        with gr.Blocks() as demo, gr.Tabs() as tabs:
            runner = Runner(shop, tabs)
            with gr.Tab("Story") as story:
                pass
            runner.opens(story, "story", lambda desk: None)
            runner.connect(demo.load(lambda: None))
        return next(f.fn for f in demo.fns.values() if (story._id, "select") in f.targets)

    select, page = built(build), visit(shop)
    page.desk.shown = "gallery"
    told = str(select(PAGE))  # Gradio says so of the first tab of every page
    assert page.desk.shown == "gallery"
    assert "gallery" in told
    assert "gallery" not in str(select(PAGE))  # a click
    assert page.desk.shown == "story"


def two_tabs(shop: Workshop) -> tuple[Runner, Any, Any, Any]:
    """A page with "story" and "pictures": its runner, what opens each of them, and what clicks a
    button that leads to "colour"."""

    def build() -> Any:
        with gr.Blocks() as demo:
            with gr.Tabs() as tabs:
                runner = Runner(shop, tabs)
                with gr.Tab("Story") as story:
                    pass
                with gr.Tab("Pictures") as pictures:
                    button = gr.Button()
            runner.opens(story, "story", lambda desk: None)
            runner.opens(pictures, "pictures", lambda desk: None)
            runner.acts(button.click, lambda desk: setattr(desk, "shown", "colour"))
            runner.connect(demo.load(lambda: None))
        does = {t: f.fn for f in demo.fns.values() for t in f.targets}
        events = (story._id, "select"), (pictures._id, "select"), (button._id, "click")
        return runner, *(does[event] for event in events)

    return built(build)


def test_a_page_is_not_told_of_a_tab_that_it_has_opened_itself(shop: Workshop) -> None:
    """Told late, it would be torn from the tab that was clicked next."""
    (runner, story, pictures, _), page = two_tabs(shop), visit(shop)
    story(PAGE)  # said by the page itself
    for click, shown in ((pictures, "pictures"), (story, "story"), (pictures, "pictures")):
        assert "selected" not in str(click(PAGE))
        assert page.desk.shown == shown
    page.desk.shown = "story"  # by something else than a click
    assert "story" in str(runner.draw(page))

    early = shop.desks.arrive("another page", "bob", "tab")[0]
    early.took(["story", "pictures"])
    assert "selected" not in str(runner.draw(early))


def test_two_pages_of_one_desk_do_not_pull_each_other_to_their_tabs(shop: Workshop) -> None:
    """A tab of the browser was duplicated, with its name."""
    (runner, story, pictures, button), page = two_tabs(shop), visit(shop)
    other_page: Any = SimpleNamespace(session_hash="duplicate")
    other = shop.desks.arrive("duplicate", "ada", "tab")[0]
    assert other.desk is page.desk
    for one in (PAGE, other_page):
        story(one)
    for lead in (lambda: pictures(PAGE), lambda: button(PAGE, None)):
        lead()
        assert "selected" not in str(runner.draw(other))
    assert page.desk.shown == "colour"
    page.desk.leads_to("gallery")  # a job, which both watch
    for one in (page, other):
        assert "gallery" in str(runner.draw(one))
    pictures(PAGE)
    again = shop.desks.arrive("page loaded again", "ada", "tab")[0]
    assert "pictures" in str(runner.draw(again))
    story(SimpleNamespace(session_hash="page loaded again"))  # said by itself
    assert "selected" not in str(runner.draw(page))


def test_what_was_done_after_a_click_on_a_tab_leads_on_although_the_click_is_heard_later(
    shop: Workshop,
) -> None:
    """Gradio takes events that wait in any order."""
    (runner, _, pictures, click), page = two_tabs(shop), visit(shop)
    page.mounted, page.teller = True, object()  # a job is watched, which leaves telling to others
    page._looked = float("inf")
    click(PAGE, None)
    pictures(PAGE)
    page.teller = None
    assert "colour" in str(runner.draw(page))
    assert page.desk.shown == "colour"
    assert "selected" not in str(runner.draw(page))
    pictures(PAGE)
    assert page.desk.shown == "pictures"


def test_where_the_line_is_full_nothing_on_the_desk_is_changed(shop: Workshop) -> None:
    shop.jobs.most, changed, end = 1, list[Desk](), threading.Event()

    def begin(desk: Desk) -> Work:
        changed.append(desk)
        return lambda job: iter(())

    def build() -> Any:
        with gr.Blocks() as demo:
            runner, button = Runner(shop, gr.Tabs()), gr.Button()
            runner.starts(button.click, "paint", begin, [])
            runner.connect(demo.load(lambda: None))
        does = {t: f.fn for f in demo.fns.values() for t in f.targets}
        return does[button._id, "click"]

    def others(job: Job) -> Iterator[str]:
        end.wait(10)
        yield ""

    click, page = built(build), visit(shop)
    shop.jobs.add(Job("paint", others, lambda: False, "bob"))
    with pytest.warns(UserWarning, match="The line is full"), pytest.raises(gr.Error):
        click(PAGE)
    assert (changed, page.desk.job) == ([], None)
    end.set()


def test_a_job_is_watched_from_its_place_in_line_to_its_end(shop: Workshop, runner: Runner) -> None:
    page, go_on = visit(shop), []

    def others(job: Job) -> Iterator[str]:
        while not go_on:
            yield "theirs"

    def mine(job: Job) -> Iterator[str]:
        yield "painting"
        while len(go_on) < 2:
            yield "painting"

    shop.jobs.add(Job("paint", others))
    page.desk.begin(shop.jobs, "paint", mine)

    async def collect() -> list[Any]:
        told: list[Any] = []
        async for changes in runner._watch(PAGE):
            told += [v for v in changes.values() if type(v) is str]
            go_on.append(1)
        return told

    assert asyncio.run(collect()) == ["1 before you", "painting", "at rest"]


def test_the_page_is_at_rest_again_before_it_is_told_what_went_wrong(
    shop: Workshop, runner: Runner
) -> None:
    def fail(job: Job) -> Iterator[str]:
        raise StorageError("The disk is full.")
        yield

    page = visit(shop)
    page.desk.begin(shop.jobs, "paint", fail)
    with pytest.raises(gr.Error, match="The disk is full"):
        watch(runner)
    assert "at rest" in page.sent.values()
    assert watch(runner) == []  # once is enough


def test_what_has_waited_for_a_job_is_begun_and_shown_when_it_ends(
    shop: Workshop, runner: Runner
) -> None:
    def fail(job: Job) -> Iterator[str]:
        yield "painting"
        raise StorageError("The disk is full.")

    def colouring(job: Job) -> Iterator[str]:
        yield "colouring"

    def begin(desk: Desk) -> bool:
        if waits:
            desk.begin(shop.jobs, "colour", waits.pop())
            return True
        return False

    page, waits = visit(shop), [colouring]
    runner.resumes(begin)
    page.desk.begin(shop.jobs, "paint", fail)
    with pytest.raises(gr.Error, match="The disk is full"):
        watch(runner)
    assert not waits
    assert page.desk.job is None
    assert page.desk._job is not None
    assert page.desk._job.moment == "colouring"


@pytest.mark.parametrize("quick", [True, False])
def test_what_is_done_at_once_is_told_at_once(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    monkeypatch.setattr(running, "QUICK", 60.0 if quick else 0.05)
    seen: list[Any] = []

    def work(job: Job) -> Iterator[str]:
        yield "painting"
        while not (quick or seen):
            yield "painting"

    def begin(desk: Desk) -> None:
        desk.begin(shop.jobs, "paint", work)

    def build() -> Any:
        with gr.Blocks() as demo:
            with gr.Tabs() as tabs:
                pass
            runner, line, button = Runner(shop, tabs), gr.HTML(), gr.Button()
            runner.shows(lambda d: {line: d.job.moment if d.job else "at rest"}, [line])
            runner.acts(button.click, begin, watch=True)
            runner.connect(demo.load(lambda: None))
        return next(f.fn for f in demo.fns.values() if (button._id, "click") in f.targets)

    click = built(build)
    visit(shop)

    async def collect() -> None:
        async for changes in click(PAGE, None):
            seen.extend(v for v in changes.values() if type(v) is str)

    asyncio.run(collect())
    assert seen == (["at rest"] if quick else ["painting", "at rest"])


@pytest.fixture
def talkative(shop: Workshop, runner: Runner) -> tuple[Visit, list[str]]:
    """A page with one more line, and what that says; its job goes on until it says "end"."""
    line, said = gr.HTML(), ["begin"]
    runner.shows(lambda desk: {line: said[0]}, [line])

    def work(job: Job) -> Iterator[str]:
        while said[0] != "end":
            yield "painting"

    page = visit(shop)
    page.desk.begin(shop.jobs, "paint", work)
    return page, said


def test_while_a_job_is_watched_one_alone_tells_the_page(
    runner: Runner, talkative: tuple[Visit, list[str]]
) -> None:
    """Two answers would be on their way at once, and the older might arrive last, and stay."""
    page, said = talkative

    def tells(text: str) -> bool:
        """Whether the answer to an event tells the page of it."""
        said[0] = text
        return text in runner.draw(page).values()

    async def follow() -> list[Any]:
        told: list[Any] = []
        async for changes in runner._watch(PAGE):
            told += [v for v in changes.values() if v in ("begin", "stopped", "end")]
            if said[0] == "begin":
                assert not tells("stopped")
            elif said[0] == "stopped" and "stopped" in told:
                assert not tells("end")
        return told

    assert asyncio.run(follow()) == ["begin", "stopped", "end"]
    assert tells("later")


def test_what_never_stays_the_same_keeps_no_watch_alive(shop: Workshop, runner: Runner) -> None:
    line = gr.HTML()
    runner.shows(lambda desk: {line: object()}, [line])
    page = visit(shop)
    assert watch(runner) == ["at rest"]
    assert page.teller is None


def test_another_tells_the_page_where_the_one_who_watched_is_gone(
    runner: Runner, talkative: tuple[Visit, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, said = talkative

    async def look() -> None:
        first, second = runner._watch(PAGE), runner._watch(PAGE)
        assert "begin" in (await anext(first)).values()
        said[0] = "stopped"
        assert "stopped" not in runner.draw(page).values()
        monkeypatch.setattr(desk, "LATE", 0.0)  # and the first has not looked since
        assert "stopped" in runner.draw(page).values()
        said[0] = "on"
        assert "on" in (await anext(second)).values()
        monkeypatch.setattr(desk, "LATE", 5.0)
        said[0] = "off"
        assert "off" not in runner.draw(page).values()
        await second.aclose()  # the page is closed
        assert "off" in runner.draw(page).values()
        said[0] = "end"
        await first.aclose()

    asyncio.run(look())
