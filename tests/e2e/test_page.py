"""The page in a browser, with quick models: what a visitor can do, and what none may."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ROOT, Server

pytestmark = pytest.mark.e2e

Visit = Callable[..., Page]
SAMPLE = ROOT / "ui" / "assets" / "styles" / "pencil.webp"


def write_story(page: Page, words: str = "a fox who wanted to fly") -> None:
    """From the first page to a story in the editor."""
    page.get_by_label("What is your story about?").fill(words)
    page.get_by_role("button", name="Write the story first").click()
    page.get_by_role("button", name="Use this story").first.click()
    expect(page.locator(".line")).to_have_count(7)


def paint_one_page(quick: Server, page: Page) -> None:
    """Paint in pencil, and hold it at the second page."""
    quick.hold.touch()
    page.get_by_role("tab", name="Pictures").click()
    page.get_by_label("Pencil drawing").check(force=True)
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.locator(".spread.painted")).to_have_count(1)


def brush(page: Page) -> None:
    """One stroke over the part of a picture that is to be painted again; a second is undone."""
    page.locator("#repaint-advanced").get_by_role("button", name="Advanced").click()
    canvas = page.locator("#part canvas")
    expect(canvas).to_have_js_property("width", 256)  # the picture is there
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    for y in (0.3, 0.6):
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + y * box["height"], steps=3)
        page.mouse.up()
    page.locator("#part").get_by_role("button", name="Undo").click()
    assert brushed(page) == 1


def brushed(page: Page) -> int:
    """In how many of the two places of `brush` the sky is not as it is at its edge."""
    return page.locator("#part canvas").evaluate(
        """(canvas) => [0.3, 0.6].filter((y) => {
          const [edge, middle] = [2, canvas.width / 2].map((x) => (
            canvas.getContext('2d').getImageData(x, y * canvas.height, 1, 1).data.join()));
          return edge !== middle;
        }).length"""
    )


def sentences(page: Page) -> list[str]:
    return [area.input_value() for area in page.locator(".line textarea").all()]


def test_words_to_book_and_still_there_after_a_restart(
    quick: Server, visit: Visit, tmp_path: Path
) -> None:
    page = visit(quick.url)
    write_story(page)
    first = page.get_by_role("textbox", name="Sentence 1", exact=True)
    first.fill("A red dragon slept in the cave.")
    first.blur()
    expect(page.locator(".line").first).to_contain_text("a dragon, in a cave")
    page.get_by_role("textbox", name="Title").fill("The dragon")
    page.get_by_role("textbox", name="Author").fill("Ada")
    page.get_by_role("button", name="Paint this story").click()
    expect(page.get_by_text("Finished: your book is in the gallery.")).to_be_visible()
    alt = page.locator(".spread img").first.get_attribute("alt")
    assert alt == "A red dragon slept in the cave."

    quick.stop()
    quick.start()
    page = visit(quick.url)
    page.get_by_role("tab", name="Gallery").click()
    page.get_by_role("textbox", name="Search").fill("RED dragon")
    expect(page.locator(".cover")).to_have_count(1)
    page.get_by_role("button", name="Open The dragon").click()
    expect(page.locator(".reader")).to_contain_text("by Ada")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("img", name="A red dragon slept in the cave.")).to_be_visible()
    assert "book=" in page.url
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_hidden()

    # The book's address opens it, too.
    again = visit(page.url)
    expect(again.locator(".reader")).to_contain_text("The dragon")
    with again.expect_download() as download:
        again.get_by_role("button", name="ZIP").click()
    assert download.value.suggested_filename == "The-dragon.zip"

    # What was taken away comes back, here as this visitor's own: the first one is another's.
    taken = tmp_path / "dragon.zip"
    download.value.save_as(taken)
    again.get_by_role("button", name="All books").click()
    with again.expect_file_chooser() as chooser:
        again.get_by_role("button", name="Import a book").click()
    chooser.value.set_files(taken)
    expect(again.locator(".reader")).to_contain_text("The dragon")
    expect(again.get_by_role("button", name="Delete", exact=True)).to_be_visible()
    with again.expect_download() as download:
        again.get_by_role("button", name="PDF to print").click()
    assert download.value.suggested_filename == "The-dragon.pdf"


def test_one_button_makes_the_book_even_if_the_page_is_loaded_again(
    quick: Server, visit: Visit
) -> None:
    quick.hold.touch()
    page = visit(quick.url, 390, 844)
    page.get_by_role("tab", name="Pictures").click()
    page.get_by_label("Pencil drawing").check(force=True)
    page.get_by_role("tab", name="Story").click()
    page.get_by_role("button", name="a dragon who lost its fire").click()
    page.get_by_role("button", name="Make my book").click()
    expect(page.locator(".spread.painted").first).to_be_visible()
    expect(page.locator(".spread.painting .bar").first).to_be_visible()
    page.reload()
    # Finished pages and the running job are found again, and so are words and settings.
    expect(page.locator(".spread.painted").first).to_be_visible()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    expect(page.get_by_label("Pencil drawing")).to_be_checked()
    expect(page.locator("#words textarea")).to_have_value("a dragon who lost its fire")
    quick.hold.unlink()
    expect(page.locator(".reader")).to_be_visible()
    assert page.locator(".leaf").count() == 9

    # Turned by swipes, and not by scrolling.
    touch = page.context.new_cdp_session(page)

    def swipe(x: int, y: int) -> None:
        box = page.locator(".leaves").bounding_box()
        assert box is not None
        at = (box["x"] + box["width"] / 2, box["y"] + 150)
        points = [{"x": at[0] + x * n / 4, "y": at[1] + y * n / 4} for n in range(5)]
        for kind, point in zip(("touchStart", *("touchMove",) * 4), points, strict=True):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    here = page.locator(".dot[aria-current]")
    for x, y, label in (
        (-120, 5, "Page 1"),
        (-120, 0, "Page 2"),
        (5, -90, "Page 2"),
        (120, 0, "Page 1"),
    ):
        swipe(x, y)
        expect(here).to_have_attribute("aria-label", label)
    page.get_by_role("button", name="Full screen").click()
    page.keyboard.press("End")
    expect(here).to_have_attribute("aria-label", "The end")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Full screen", exact=True)).to_be_visible()


def test_a_reload_keeps_the_words_and_every_draft_its_changes(quick: Server, visit: Visit) -> None:
    page = visit(quick.url)
    write_story(page)
    title = page.get_by_role("textbox", name="Title")
    title.fill("Mine")
    page.get_by_role("button", name="Use this story").click()
    expect(title).to_have_value("The fox who flew 2")
    page.get_by_role("textbox", name="Sentence 2", exact=True).fill("The second was changed.")
    page.reload()
    expect(title).to_have_value("The fox who flew 2")
    assert sentences(page)[1] == "The second was changed."
    page.get_by_role("button", name="Use this story: Mine").click()
    expect(title).to_have_value("Mine")
    # Even where the server was started again, the words are still there.
    quick.stop()
    quick.start(same_port=True)
    page.reload()
    expect(title).to_have_value("Mine")


def test_what_is_typed_while_other_stories_are_written_is_not_lost(
    quick: Server, visit: Visit
) -> None:
    page = visit(quick.url)
    write_story(page)
    quick.hold.touch()
    page.get_by_label("What is your story about?").fill("a snail")
    page.get_by_role("button", name="Write the story first").click()
    expect(page.locator(".draft.writing")).not_to_have_count(0)
    page.get_by_role("textbox", name="Title").fill("Mine")
    quick.hold.unlink()
    page.get_by_role("button", name="Use this story: Mine").click()
    expect(page.get_by_role("textbox", name="Title")).to_have_value("Mine")
    assert len(sentences(page)) == 7


def test_an_open_page_says_at_once_that_the_server_was_started_again(
    quick: Server, visit: Visit
) -> None:
    page = visit(quick.url)
    write_story(page)
    page.get_by_role("textbox", name="Title").fill("Mine")
    quick.stop()
    quick.start(same_port=True)
    begin = time.monotonic()
    page.get_by_role("tab", name="Gallery").click()
    expect(page.get_by_text("Storybrush was started again.")).to_be_visible(timeout=5_000)
    assert time.monotonic() - begin < 5
    expect(page.get_by_text("Storybrush was started again.")).to_be_hidden()
    expect(page.get_by_role("tab", name="Gallery", selected=True)).to_be_visible()
    page.get_by_role("tab", name="Story").click()
    expect(page.get_by_role("textbox", name="Title")).to_have_value("Mine")

    # So does one that waits for a job, which has ended with the server.
    quick.hold.touch()
    page.get_by_label("What is your story about?").fill("a snail")
    page.get_by_role("button", name="Write the story first").click()
    expect(page.locator(".draft.writing")).not_to_have_count(0)
    quick.stop()
    quick.hold.unlink()
    quick.start(same_port=True)
    expect(page.get_by_role("button", name="Write the story first")).to_be_visible()
    expect(page.get_by_role("textbox", name="Title")).to_have_value("Mine")


def test_while_a_book_is_painted_settings_are_for_the_next_one_and_its_page_is_a_click_away(
    quick: Server, visit: Visit
) -> None:
    for width in (1280, 390):
        page = visit(quick.url, width, 844)
        write_story(page)
        later = page.get_by_text("What you choose here is for the next painting.")
        paint_one_page(quick, page)
        expect(later).to_be_visible()
        page.get_by_label("Wax crayons").check(force=True)
        expect(page.locator(".spread.painting")).to_have_attribute("data-page", "2")
        page.locator(".spread").last.scroll_into_view_if_needed()
        expect(page.locator(".spread.painting")).not_to_be_in_viewport()
        show = page.get_by_role("button", name="Show it")
        show.press("Enter")
        expect(page.locator(".spread.painting img")).to_be_in_viewport(ratio=0.9)
        expect(show).to_be_focused()
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(later).to_be_hidden()
        expect(show).to_be_hidden()
        # What was chosen meanwhile would begin another book, and the button says so.
        expect(page.get_by_role("button", name="Paint in this style")).to_be_visible()
        page.get_by_label("Pencil drawing").check(force=True)
        expect(page.get_by_role("button", name="Go on painting")).to_be_visible()
    quick.hold.unlink()


def test_stop_keeps_finished_pages_and_paint_goes_on(quick: Server, visit: Visit) -> None:
    page = visit(quick.url)
    write_story(page)
    paint_one_page(quick, page)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped:")).to_be_visible()
    quick.hold.unlink()
    source = page.locator(".spread img").first.get_attribute("src")
    page.keyboard.press("Tab")  # from here on, whoever sits there takes the keyboard
    page.get_by_role("button", name="Go on painting").press("Enter")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()
    expect(page.get_by_text("Finished: your book is in the gallery.")).to_be_visible()
    assert page.locator(".spread img").first.get_attribute("src") == source


def test_a_page_is_painted_again_and_the_better_one_kept(quick: Server, visit: Visit) -> None:
    page = visit(quick.url)
    write_story(page)
    page.get_by_role("button", name="Paint this story").click()
    expect(page.get_by_text("Finished: your book is in the gallery.")).to_be_visible()
    picture = page.locator(".spread img").nth(1)
    old = picture.get_attribute("src") or ""
    for keep, changed in (("Keep the old one", False), ("Keep the new one", True)):
        page.get_by_role("button", name="Paint again: page 2").click()
        page.get_by_label("What the picture shows").fill("a green dragon on a castle")
        if changed:
            page.get_by_label("From a picture of mine").check()
            page.locator("#repaint-go").click()
            expect(page.get_by_test_id("toast-text")).to_have_text(re.compile("Add your picture"))
            page.locator("#upload input[type=file]").set_input_files(SAMPLE)
            expect(page.locator("#upload img")).to_be_visible()
        else:
            page.get_by_label("From the picture it has").check()
            brush(page)
        page.locator("#repaint-go").click()
        expect(page.get_by_role("button", name="Keep the new one")).to_be_visible()
        if changed:
            page.get_by_role("button", name=keep).click()
        else:  # the button that had the keyboard has gone
            page.reload()
            expect(page.get_by_label("What the picture shows")).to_have_value(re.compile("castle"))
            expect(page.get_by_label("From the picture it has")).to_be_checked()
            expect(page.locator("#repaint")).to_have_attribute("role", "dialog")
            page.locator("#repaint-advanced").get_by_role("button", name="Advanced").click()
            expect(page.locator("#part canvas")).to_have_js_property("width", 256)
            assert brushed(page) == 1
            page.keyboard.press("Escape")
        expect(page.locator("#repaint")).to_be_hidden()
        if changed:
            expect(page.get_by_role("button", name="Paint again: page 2")).to_be_focused()
        assert (picture.get_attribute("src") != old) is changed


def test_escape_ends_the_painting_of_a_page_and_then_the_dialog(
    quick: Server, visit: Visit
) -> None:
    page = visit(quick.url)
    write_story(page)
    page.get_by_role("tab", name="Pictures").click()
    page.get_by_label("Pencil drawing").check(force=True)
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.get_by_text("Finished: your book is in the gallery.")).to_be_visible()
    picture = page.locator(".spread img").nth(1)
    old = picture.get_attribute("src") or ""
    quick.hold.touch()
    page.get_by_role("button", name="Paint again: page 2").click()
    page.locator("#repaint-go").click()
    expect(page.locator("#repaint-stop")).to_be_focused()
    expect(page.locator("#versus")).to_contain_text("Step 1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.locator("#repaint-stop")).to_be_hidden()
    quick.hold.unlink()
    # What was finished before that one was begun is there still.
    page.locator("#repaint-go").click()
    expect(page.get_by_role("button", name="Keep the new one")).to_be_visible()
    quick.hold.touch()
    page.locator("#repaint-go").click()
    expect(page.locator("#repaint-stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Keep the new one")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#repaint")).to_be_hidden()
    expect(page.get_by_role("button", name="Paint it anew")).to_be_visible()  # nothing runs
    quick.hold.unlink()
    assert picture.get_attribute("src") == old
    expect(page.locator(".spread.painted")).to_have_count(7)


def test_sentences_are_moved_split_joined_and_brought_back(quick: Server, visit: Visit) -> None:
    page = visit(quick.url)
    write_story(page)
    story = sentences(page)
    page.get_by_role("button", name="Move sentence 1 down").click()
    assert sentences(page)[:2] == [story[1], story[0]]
    page.get_by_role("button", name="Move sentence 2 up").click()
    page.get_by_role("button", name="Delete sentence 3").click()
    assert sentences(page) == story[:2] + story[3:]
    page.get_by_role("button", name="Put back").click()
    assert sentences(page) == story
    third = page.get_by_role("textbox", name="Sentence 3", exact=True)
    expect(third).to_be_focused()
    # It is brought back from where it stood, also when sentences have come and gone before it.
    page.get_by_role("button", name="Delete sentence 4").click()
    back = page.get_by_role("button", name="Put back")
    expect(page.locator(".lines > :nth-child(4)")).to_contain_text("Put back")
    expect(back).to_be_in_viewport()
    page.keyboard.press("Shift+Tab")
    expect(back).to_be_focused()
    page.get_by_role("button", name="Add a sentence below sentence 1").click()
    page.get_by_role("button", name="Add a sentence below sentence 1").click()
    page.get_by_role("button", name="Delete sentence 2").click()
    expect(page.locator(".lines > :nth-child(5)")).to_contain_text("Put back")
    page.keyboard.press("Backspace")
    expect(page.locator(".lines > :nth-child(4)")).to_contain_text("Put back")
    back.press("Enter")
    assert sentences(page) == story
    # Painted before the browser could ask, it is painted from what it says now.
    third.fill("A dragon slept in the cave.")
    kept = page.evaluate("JSON.parse(sessionStorage['storybrush-desk']).tale.sentences[2]")
    assert (kept["text"], kept["brief"]) == ("A dragon slept in the cave.", "")
    third.blur()
    expect(page.locator(".line").nth(2)).to_contain_text("a dragon, in a cave")
    third.fill(story[2])
    page.get_by_role("button", name="Add a sentence below sentence 1").click()
    page.keyboard.type("One two. Three four.")
    for _ in " Three four.":
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert sentences(page)[1:3] == ["One two.", "Three four."]
    page.keyboard.press("Backspace")
    assert sentences(page)[1] == "One two. Three four."
    assert len(sentences(page)) == 8


def test_words_are_never_read_as_html(quick: Server, visit: Visit) -> None:
    page = visit(quick.url)
    nasty = '<img src=x onerror="window.hacked=1">${window.hacked=1}`{{a}} \'" & fox'
    write_story(page)
    page.get_by_role("textbox", name="Sentence 1", exact=True).fill(nasty)
    page.get_by_role("textbox", name="Title").fill(nasty)
    paint_one_page(quick, page)
    expect(page.locator(".spread.painted")).not_to_have_count(0)
    expect(page.locator(".book-title")).to_have_text(nasty)
    assert page.locator(".spread img").first.get_attribute("alt") == nasty
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped:")).to_be_visible()
    page.get_by_role("tab", name="Gallery").click()
    page.locator(".cover").first.click()
    expect(page.locator(".reader h2").first).to_have_text(nasty)
    assert page.evaluate("window.hacked") is None


def test_a_request_without_words_is_answered_with_advice(quick: Server, visit: Visit) -> None:
    page = visit(quick.url)
    advice = page.get_by_test_id("toast-text")
    for words in ("", "   ", "🦊🦊", "\u200b\u0007"):
        page.get_by_label("What is your story about?").fill(words)
        page.get_by_role("button", name="Write the story first").click()
        expect(advice).to_have_text(re.compile("words"))
        page.get_by_test_id("toast-close").click()
        expect(advice).to_have_count(0)
        expect(page.get_by_role("button", name="Write the story first")).to_be_visible()


def test_visitors_see_only_their_own_work_and_leaving_ends_it(quick: Server, visit: Visit) -> None:
    first, second = visit(quick.url), visit(quick.url)
    write_story(first)
    first.get_by_role("textbox", name="Title").fill("Left alone")
    paint_one_page(quick, first)
    expect(first.locator(".spread.painting").first).to_be_visible()
    second.get_by_label("What is your story about?").fill("a boat")
    second.get_by_role("button", name="Write the story first").click()
    expect(second.get_by_text("You are number 2 in line")).to_be_visible()
    assert second.get_by_text("Left alone").count() == 0
    first.close()
    # Nothing but leaving ends this job; it does so after the grace period, and keeps its page.
    expect(second.get_by_role("button", name="Use this story").first).to_be_visible()
    second.get_by_role("tab", name="Gallery").click()
    second.get_by_role("textbox", name="Search").fill("Left alone")
    expect(second.get_by_role("button", name="Open Left alone")).to_be_visible()


def test_own_books_can_be_deleted_after_asking(quick: Server, visit: Visit) -> None:
    page = visit(quick.url)
    write_story(page)
    page.get_by_role("textbox", name="Title").fill("Not for long")
    paint_one_page(quick, page)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped:")).to_be_visible()
    page.reload()  # the browser still knows what is its own
    expect(page.get_by_role("tab", name="Pictures", selected=True)).to_be_visible()
    page.get_by_role("tab", name="Gallery").click()
    cover = page.get_by_role("button", name="Open Not for long")
    cover.press("Enter")
    page.get_by_role("button", name="Delete", exact=True).press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Keep it").press("Enter")
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_focused()
    page.get_by_role("button", name="Delete", exact=True).press("Enter")
    expect(page.get_by_role("button", name="Delete it")).to_be_visible()
    page.get_by_role("button", name="All books").press("Enter")
    expect(cover).to_be_focused()
    cover.press("Enter")
    expect(page.get_by_role("button", name="Work on it")).to_be_visible()
    # It was asked of the book that was open then.
    expect(page.get_by_role("button", name="Delete it")).to_be_hidden()
    page.get_by_role("button", name="Work on it").click()
    expect(page.locator(".spread.painted").first).to_be_visible()
    page.get_by_role("tab", name="Gallery").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator("#shelf")).to_be_visible()
    expect(page.get_by_role("button", name="Open Not for long")).to_have_count(0)


def test_on_a_phone_nothing_scrolls_sideways(quick: Server, visit: Visit) -> None:
    page = visit(quick.url, 390, 844)

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    write_story(page, "the " + "very " * 20 + "longwordwithoutanyspaces" * 3)
    assert fits()
    page.get_by_role("textbox", name="Title").fill("Longtitle" * 12)
    paint_one_page(quick, page)
    expect(page.locator(".spread.painted")).not_to_have_count(0)
    assert fits()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped:")).to_be_visible()
    page.get_by_role("button", name="Paint again: page 1").click()
    expect(page.locator("#versus img").first).to_be_visible()
    assert fits()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("tab", name="Gallery").click()
    page.locator(".cover").first.click()
    expect(page.locator(".reader")).to_be_visible()
    assert fits()
