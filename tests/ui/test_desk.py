"""A desk outlives its page, is found again by its own browser only, and loses no work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipelines.book import Book, Page
from pipelines.errors import InvalidInput
from pipelines.events import Draft, Sentence
from pipelines.presets import StoryConfig
from tests.ui.test_jobs import Gate, until
from ui import desk
from ui.desk import Desk, Desks, Origin, Reading, Tale, Visit
from ui.jobs import Job, Jobs
from ui.manuscript import Manuscript

CONFIG = StoryConfig("a fox", seed=7)


def draft(title: str) -> Tale:
    told = Draft(title, (Sentence(f"{title} slept.", "fox @forest day"),), 7)
    return Tale(Manuscript.from_draft(told), Origin(told, CONFIG))


def test_a_job_that_finds_no_room_leaves_the_desk_free() -> None:
    line = Jobs(most=1)
    first, second = Desk("ada", "tab"), Desk("bob", "tab")
    try:
        first.begin(line, "paint", Gate())
        with pytest.raises(InvalidInput, match="line is full"):
            second.begin(line, "paint", Gate())
        assert second.job is None
    finally:
        line.close()


def test_what_follows_strokes_gives_way_to_what_was_asked_for_and_no_error_is_lost() -> None:
    line, desk, begun = Jobs(), Desk("ada", "tab"), list[str]()
    desk.sessions.add("page")

    def fails(job: Job) -> Iterator[None]:
        yield
        while not job.stopped:
            time.sleep(0.002)
        raise InvalidInput("That colour is gone.")

    def works(job: Job) -> Iterator[None]:
        begun.append(job.kind)
        yield

    try:
        strokes = desk.begin(line, "colour", fails)
        desk.begin(line, "vary", works)  # in the same line, after the last strokes
        assert not strokes.stopped
        with pytest.raises(InvalidInput, match="One thing at a time"):
            desk.begin(line, "paint", works)
        line.stop(strokes)
        until(lambda: desk.job is None)
        strokes = desk.begin(line, "colour", fails)
        desk.begin(line, "paint", works)
        until(lambda: strokes.done and desk.job is None)
        desk.begin(line, "write", works)
        until(lambda: desk.job is None)
        assert begun == ["vary", "paint", "write"]
        assert [str(desk.bad_news()) for _ in range(3)] == [*["That colour is gone."] * 2, "None"]
    finally:
        line.close()


def titles(desk: Desk) -> list[str]:
    return [t.manuscript.title for t in desk.tales]


def edited(desk: Desk, title: str) -> dict[str, object]:
    """What the editor sends after its title was changed."""
    assert desk.tale is not None
    return {**desk.tale.manuscript.to_value(), "title": title}


def test_a_page_loaded_again_finds_its_desk_before_the_old_one_is_missed() -> None:
    desks = Desks()
    first, _ = desks.arrive("page 1", "ada", "tab")
    again, belongs = desks.arrive("page 2", "ada", "tab", "tab")
    assert again.desk is first.desk
    assert belongs
    desks.leave("page 1")
    assert not first.desk.gone(0)
    desks.leave("page 2")
    assert not first.desk.gone(60)
    time.sleep(0.01)
    assert first.desk.gone(0.001)


def test_pages_that_were_closed_are_forgotten_while_their_desk_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desks = Desks()
    desks.arrive("page 1", "ada", "tab")
    desks.leave("page 1")
    desks.arrive("page 2", "ada", "tab")
    desks.leave("page 1")
    monkeypatch.setattr(desk, "KEEP_DESKS", 0.0)
    time.sleep(0.01)
    desks.arrive("page 3", "ada", "tab")
    assert desks.visit("page 2").desk is desks.visit("page 3").desk
    with pytest.raises(InvalidInput):
        desks.visit("page 1")


def test_a_page_that_was_closed_before_it_arrived_keeps_no_desk() -> None:
    desks = Desks()
    desks.leave("page")
    visit, _ = desks.arrive("page", "ada", "tab")
    time.sleep(0.01)
    assert visit.desk.gone(0)
    desks.visit("page")  # it is there after all
    assert not visit.desk.gone(0)


def test_a_second_tab_has_a_desk_of_its_own_until_the_first_is_closed() -> None:
    desks = Desks()
    first, _ = desks.arrive("page 1", "ada", "tab 1")
    second, belongs = desks.arrive("page 2", "ada", "tab 2", "tab 1")
    assert second.desk is not first.desk
    assert not belongs  # what the browser remembers is the first tab's
    first.desk.admin = True
    first.desk.reading = Reading(Book("Of another", (), owner="bob"), waits=True)
    assert desks.arrive("page 1", "ada", "tab 1")[0].desk.admin  # loaded again
    assert first.desk.reading
    desks.leave("page 1")
    third, belongs = desks.arrive("page 3", "ada", "tab 3", "tab 1")
    assert not third.desk.admin  # the next tab has to show it again
    assert third.desk.reading is None
    assert third.desk is first.desk
    assert belongs


def test_strangers_never_share_a_desk() -> None:
    desks = Desks()
    ada, _ = desks.arrive("page 1", "ada", "tab")
    desks.leave("page 1")
    bob, _ = desks.arrive("page 2", "bob", "tab", "tab")
    assert bob.desk is not ada.desk
    with pytest.raises(InvalidInput, match="Load this page again"):
        desks.visit("page 3")
    with pytest.raises(InvalidInput, match="Load this page again"):
        desks.wait_for("page 3", "gallery", 0.01)


def test_a_click_that_is_heard_before_its_page_arrived_waits_for_it() -> None:
    desks = Desks()
    found: list[Visit] = []
    waiting = threading.Thread(target=lambda: found.append(desks.visit("page", 10)))
    waiting.start()
    visit, _ = desks.arrive("page", "ada", "tab")
    waiting.join()
    assert found == [visit]
    with pytest.raises(InvalidInput, match="started again"):
        desks.visit("a page of yesterday", 0.1)


def test_a_tab_that_was_clicked_before_the_page_arrived_stays_open() -> None:
    desks = Desks()
    found: list[tuple[Visit, bool]] = []
    waiting = threading.Thread(target=lambda: found.append(desks.wait_for("page", "gallery")))
    waiting.start()
    until(lambda: bool(desks._early))
    visit, _ = desks.arrive("page", "ada", "tab")
    waiting.join()
    assert found == [(visit, True)]
    assert visit.desk.shown == "gallery"
    assert not desks._early


@pytest.mark.parametrize("arrived", [False, True])
@pytest.mark.parametrize(
    "told, shown",
    [
        (["story"], "colour"),  # said by every page that is loaded; the desk had another one open
        (["story", "pictures"], "pictures"),
        (["story", "pictures", "story"], "story"),  # said once by itself, once by a click
        (["pictures", "gallery"], "gallery"),
    ],
)
def test_of_several_tabs_before_the_page_is_ready_the_last_stays_open(
    told: list[str], shown: str, arrived: bool
) -> None:
    desks = Desks()
    desks.arrive("page before", "ada", "tab")[0].desk.shown = "colour"
    desks.leave("page before")
    if arrived:
        desks.arrive("page", "ada", "tab", ready=False)
    threads = list[threading.Thread]()
    for number, name in enumerate(told, 1):
        threads.append(threading.Thread(target=desks.wait_for, args=("page", name)))
        threads[-1].start()
        until(lambda number=number: len(desks._early.get("page", [])) == number)
    if not arrived:
        desks.arrive("page", "ada", "tab", ready=False)
    visit = desks.visit("page")
    assert visit.desk.shown == shown
    assert visit.mounted == ("story" in told)
    visit.ready = True
    for thread in threads:
        thread.join()
    assert visit.desk.shown == shown
    assert desks.wait_for("page", "gallery") == (visit, False)


def test_a_tab_shows_nothing_older_than_the_page_that_arrives() -> None:
    desks = Desks()
    visit, _ = desks.arrive("page", "ada", "tab", ready=False)
    found: list[bool] = []
    waiting = threading.Thread(
        target=lambda: found.append(desks.wait_for("page", "gallery")[0].ready)
    )
    waiting.start()
    time.sleep(0.2)  # enough for one that does not wait
    visit.ready = True
    waiting.join()
    assert found == [True]


def test_a_restarted_server_takes_what_the_browser_remembers() -> None:
    assert Desks().arrive("page", "ada", "tab", "tab")[1]


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    line = Jobs()
    yield line
    line.close()


def test_a_job_goes_on_while_the_page_is_loaded_again_and_ends_when_nobody_comes(
    jobs: Jobs,
) -> None:
    desks = Desks(grace=0.3)
    desk = desks.arrive("page 1", "ada", "tab")[0].desk
    job = desk.begin(jobs, "paint", Gate(), desks.grace)
    with pytest.raises(InvalidInput, match="One thing at a time"):
        desk.begin(jobs, "paint", Gate(), desks.grace)
    desks.leave("page 1")
    desks.arrive("page 2", "ada", "tab", "tab")
    time.sleep(0.5)
    assert desk.job_of("paint") is job
    assert desk.job_of("write") is None
    desks.leave("page 2")
    until(lambda: job.done)
    assert desk.job is None


def test_bad_news_is_told_once(jobs: Jobs) -> None:
    def fail(job: Job) -> Iterator[int]:
        raise OSError("no")
        yield

    desk = Desk("ada", "tab")
    job = desk.begin(jobs, "paint", fail)
    until(lambda: job.done)
    assert isinstance(desk.bad_news(), OSError)
    assert desk.bad_news() is None


def test_every_draft_keeps_its_own_changes_and_its_book() -> None:
    desk = Desk("ada", "tab")
    desk.add((draft("Pip"), draft("Tom")), choose=True)
    desk.remember(edited(desk, "Pip the fox"))
    desk.keep_book(Book("Pip the fox", (Page("Pip slept.", "fox @forest day", b"png"),)))
    desk.choose(1)
    assert desk.handed["title"] == "Tom"
    assert desk.book is None
    desk.choose(0)
    assert desk.handed["title"] == "Pip the fox"
    assert desk.book is not None


def test_a_page_that_was_painted_in_other_words_keeps_its_new_picture() -> None:
    desk = Desk("ada", "tab")
    desk.add((draft("Pip"),), choose=True)
    desk.remember(edited(desk, "Mine"))
    old = Page("Pip slept.", "fox @forest day", b"old")
    new = Page("Pip slept.", "fox @lake night", b"new")
    desk.shows_instead(Sentence(old.text, old.brief), new.brief)
    desk.keep_book(Book("Mine", (new,)))
    assert desk.handed["title"] == "Mine"  # the editor is told, and what was typed stays
    assert desk.handed["sentences"][0]["brief"] == new.brief
    assert desk.tale is not None
    assert desk.tale.book is not None
    assert desk.tale.manuscript.revise(desk.tale.book).pages == (new,)


def test_new_drafts_replace_only_those_that_nobody_worked_on() -> None:
    desk = Desk("ada", "tab")
    desk.add((draft("Pip"), draft("Tom")), choose=True)
    desk.remember(edited(desk, "Mine"))
    desk.add((draft("Eve"), draft("Kim")), choose=False)
    assert titles(desk) == ["Eve", "Kim", "Mine"]
    assert desk.tale is not None
    assert desk.tale.manuscript.title == "Mine"  # still in the editor
    desk.add((draft("Lou"),), choose=True)
    assert titles(desk) == ["Lou", "Mine"]
    assert desk.handed["title"] == "Lou"


def test_what_cannot_be_read_from_the_editor_changes_nothing() -> None:
    desk = Desk("ada", "tab")
    desk.remember({"sentences": [{"text": "A fox."}]})
    assert desk.tale is None
    desk.add((draft("Pip"),), choose=True)
    for odd in (None, 7, {"sentences": []}, {"sentences": [{"text": "a " * 600}]}):
        desk.remember(odd)
        assert titles(desk) == ["Pip"]


def test_what_a_page_still_sends_of_another_story_goes_into_that_one() -> None:
    desk = Desk("ada", "tab")
    desk.add((draft("Pip"),), choose=True)
    old = {**desk.handed, "title": "Mine"}
    desk.add((draft("Tom"), *desk.tales), choose=True)
    desk.remember(old)
    assert titles(desk) == ["Tom", "Mine"]
    desk.add((), choose=False)  # which drops what nobody has touched
    desk.remember({**desk.handed, "of": "a story that is gone"})
    assert titles(desk) == ["Mine"]


def test_words_typed_into_a_story_that_was_given_up_meanwhile_become_one_of_their_own() -> None:
    desk = Desk("ada", "tab")
    desk.add((draft("Pip"),), choose=True)
    typed = {**desk.handed, "title": "Mine"}
    desk.add((draft("Eve"), draft("Kim")), choose=True)  # drops Pip, which nobody has touched
    desk.put_back(typed)
    assert titles(desk) == ["Eve", "Kim", "Mine"]
    assert desk.chosen == 0
    desk.put_back({**desk.handed, "title": "Eve and Tom"})
    assert titles(desk) == ["Eve and Tom", "Kim", "Mine"]
    desk.put_back({"of": "nothing", "sentences": []})
    assert len(desk.tales) == 3


def test_the_same_story_once_more_is_handed_to_the_editor_once_more() -> None:
    desk, handed = Desk("ada", "tab"), list[object]()
    for _ in range(2):
        desk.add((draft("Pip"),), choose=True)
        handed.append(desk.handed)
    assert handed[0] != handed[1]
