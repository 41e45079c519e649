"""The Gallery where many come and go: what one publishes the others see, and what nobody may."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import pytest
from playwright.sync_api import Page, expect

from pipelines.book import Book, Recipe, now
from pipelines.book import Page as BookPage
from pipelines.presets import PictureConfig, StoryConfig
from storage.local import LocalLibrary
from tests.e2e.conftest import Server, start_server
from tests.storage.books import picture

pytestmark = pytest.mark.e2e

Visit = Callable[..., Page]
SECRET = "open sesame"
SOON = 5_000
"""Milliseconds within which others see what was saved."""
NASTY = '<img src=x onerror="window.hacked=1"></title><script>window.hacked=1</script>${1}{{a}}'


@dataclass(frozen=True)
class House:
    """The app in a process of its own, and its library as another process sees it."""

    server: Server
    library: LocalLibrary

    @property
    def url(self) -> str:
        return self.server.url


def house(factory: pytest.TempPathFactory, *options: str) -> Iterator[House]:
    folder = factory.mktemp("library")
    hold = folder.with_name(f"{folder.name} hold")
    command = [str(folder), str(hold), *options]
    server = start_server(
        lambda port: [sys.executable, "-m", "tests.ui.stand_in", str(port), *command]
    )
    server.hold = hold
    yield House(server, LocalLibrary(folder))
    server.stop()


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from house(tmp_path_factory)


@pytest.fixture(scope="module")
def strict_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With an administrator, a ban list and small limits."""
    banned = tmp_path_factory.mktemp("rules") / "banned.txt"
    banned.write_text("zombie\n")
    yield from house(
        tmp_path_factory, "--review", "--admin", SECRET, "--ban", str(banned),
        "--max-upload", "1", "--max-steps", "20",
    )  # fmt: skip


def a_book(title: str, style: str = "pencil") -> Book:
    """A book of two pages by somebody else, with the recipe it was made with."""
    told = asdict(StoryConfig("a fox and a boat", sentences=5, temperature=1.3, ban=("ghost",)))
    painted = PictureConfig(style=style, steps=21, start="sketch", seed=5)
    recipe = Recipe("a fox", 5, {"vqgan": "embedded"}, asdict(painted))
    pages = tuple(BookPage(f"{title} {n}", "fox @lake day", picture(90 + n, 64), 0.3, recipe)
                  for n in range(2))  # fmt: skip
    story = Recipe("a fox and a boat", 7, {"story": "embedded"}, told)
    return Book(title, pages, author=title, words="a fox and a boat", style=style, owner="f" * 64,
                recipe=story)  # fmt: skip


def paint_book(page: Page, title: str) -> None:
    """From words to a book of four pages with this title, which is then being painted."""
    page.get_by_label("What is your story about?").fill("a fox who wanted to fly")
    page.get_by_label("number input for Pages").fill("4")
    page.get_by_role("button", name="Write the story first").click()
    page.get_by_role("button", name="Use this story").first.click()
    page.get_by_role("textbox", name="Title").fill(title)
    page.get_by_role("button", name="Paint this story").click()


def gallery(page: Page) -> Page:
    page.get_by_role("tab", name="Gallery").click()
    return page


def test_what_one_publishes_the_other_sees_without_loading_the_page(
    open_house: House, visit: Visit
) -> None:
    maker, reader = visit(open_house.url), gallery(visit(open_house.url))
    expect(reader.get_by_text("An empty shelf")).to_be_visible()
    # The first page is enough to be seen, and whoever opens the book sees the others come.
    maker.get_by_role("tab", name="Pictures").click()
    maker.get_by_label("Pencil drawing").check(force=True)
    maker.get_by_role("tab", name="Story").click()
    open_house.server.hold.touch()
    paint_book(maker, "Seen at once")
    reader.get_by_role("button", name="Open Seen at once").click()
    reader.get_by_role("button", name="Page 3").click()
    expect(reader.locator(".leaf:visible .blank")).to_be_visible()
    open_house.server.hold.unlink()
    expect(reader.locator(".leaf:visible .plate img")).to_be_visible()
    expect(maker.get_by_text("Finished: your book is in the gallery.")).to_be_visible()
    reader.get_by_role("button", name="‹ All books").click()

    # What another process saves, changes and deletes is seen, too; the first cover stays itself.
    expect(reader.locator(".cover")).to_have_count(1)
    reader.evaluate("document.querySelector('.cover').kept = true")
    other = a_book("From elsewhere")
    open_house.library.save(other)
    expect(reader.locator(".cover b")).to_have_text(
        ["From elsewhere", "Seen at once"], timeout=SOON
    )
    open_house.library.save(replace(other, title="Renamed"))
    expect(reader.locator(".cover b").first).to_have_text("Renamed", timeout=SOON)
    open_house.library.delete(other.id, owner="")
    expect(reader.locator(".cover b")).to_have_text(["Seen at once"], timeout=SOON)
    assert reader.evaluate("document.querySelector('.cover').kept") is True

    # It is the maker's to delete, and nobody else's.
    reader.get_by_role("button", name="Open Seen at once").click()
    expect(reader.locator(".reader")).to_be_visible()
    for name in ("Delete", "Work on it"):
        expect(reader.get_by_role("button", name=name, exact=True)).to_be_hidden()


def test_an_address_opens_a_book_whose_words_stay_text_and_settings_can_be_taken_over(
    open_house: House, visit: Visit
) -> None:
    book = a_book(NASTY)
    open_house.library.save(book)
    page = visit(f"{open_house.url}?book={book.id}")
    expect(page.locator(".reader h2").first).to_have_text(NASTY)
    expect(page).to_have_title(f"{NASTY} · Storybrush")
    page.keyboard.press("ArrowRight")
    words = page.locator(".leaf:visible figcaption p")
    expect(words).to_have_text(f"{NASTY} 0")
    expect(words).to_have_css("unicode-bidi", "plaintext")  # Hebrew goes from right to left
    page.get_by_text("How this book was made").press("Space")  # which turns the page elsewhere
    expect(page.get_by_text("5 sentences, liveliness 1.3, seed 7")).to_be_visible()
    expect(words).to_have_text(f"{NASTY} 0")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{open_house.url}?book={book.id}"

    page.get_by_role("button", name="Make one like this").click()
    expect(page.get_by_label("What is your story about?")).to_have_value("a fox and a boat")
    expect(page.locator("#story-status")).to_contain_text(NASTY)
    expect(page.get_by_label("number input for Pages")).to_have_value("5")
    expect(page.get_by_label("number input for Liveliness")).to_have_value("1.3")
    page.get_by_role("tab", name="Pictures").click()
    expect(page.get_by_label("Pencil drawing")).to_be_checked()
    page.get_by_text("Advanced").last.click()
    expect(page.get_by_label("number input for Steps")).to_have_value("21")

    # On the shelf and in its search, too; and Back leads from a book to the shelf.
    gallery(page).get_by_role("button", name="‹ All books").click()
    page.get_by_role("textbox", name="Search").fill("onerror")
    cover = page.locator(".cover")
    expect(cover).to_have_count(1)
    expect(cover.locator("b")).to_have_text(NASTY)
    cover.click()
    expect(page.locator(".reader")).to_be_visible()
    page.go_back()
    expect(cover).to_be_visible()
    assert "book=" not in page.url
    page.go_forward()
    expect(page.locator(".reader")).to_be_visible()
    assert page.evaluate("window.hacked") is None


def test_books_of_one_style(open_house: House, visit: Visit) -> None:
    for n in range(25):
        style = "crayon" if n < 3 else "papercut"
        open_house.library.save(replace(a_book(f"Number {n}", style), created=now()))
    page = gallery(visit(open_house.url, 390, 844))
    expect(page.locator(".cover")).to_have_count(24)
    page.get_by_role("button", name="Wax crayons").click()
    expect(page.locator(".cover b")).to_have_text([f"Number {n}" for n in (2, 1, 0)])
    page.get_by_role("button", name="All styles").click()
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text("Page 2 of 2")).to_be_visible()
    page.reload()
    expect(page.locator(".cover")).to_have_count(24)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_book_waits_for_the_administrator(strict_house: House, visit: Visit) -> None:
    maker, reader = visit(strict_house.url), gallery(visit(strict_house.url))
    maker.get_by_label("What is your story about?").fill("two Zombies")
    maker.get_by_role("button", name="Make my book").click()
    expect(maker.get_by_test_id("toast-text")).to_contain_text("not a word for here")
    paint_book(maker, "Let me in")
    expect(maker.get_by_text("the administrator looks at your book")).to_be_visible()
    expect(gallery(maker).get_by_text("Waiting to be looked at")).to_be_visible()
    expect(reader.get_by_text("An empty shelf")).to_be_visible()
    assert strict_house.library.count() == 0

    admin = gallery(visit(strict_house.url))
    admin.get_by_role("button", name="Administrator").click()
    for secret in ("a guess", SECRET):
        admin.get_by_label("Secret").fill(secret)
        admin.get_by_role("button", name="Sign in").click()
        if secret != SECRET:
            expect(admin.get_by_test_id("toast-text")).to_contain_text("not the administrator's")
    expect(admin.get_by_text("To look through: 1 book")).to_be_visible()
    admin.get_by_role("button", name="Open Let me in").click()
    admin.get_by_role("button", name="Let it in").click()
    expect(admin.get_by_text("To look through")).to_have_count(0)
    expect(reader.get_by_role("button", name="Open Let me in")).to_be_visible()
    expect(maker.get_by_text("Waiting to be looked at")).to_have_count(0)
    reader.get_by_role("button", name="Open Let me in").click()
    expect(reader.get_by_role("button", name="Let it in")).to_be_hidden()

    given = reader.request.post(
        f"{strict_house.url}gradio_api/upload",
        multipart={"files": {"name": "a.png", "mimeType": "image/png", "buffer": b"x" * 1_100_000}},
    )
    assert given.status == 413
