"""Texts are dropped into the page, and the app writes with what has learned from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server
from tests.finetune.test_texts import prose

pytestmark = pytest.mark.e2e


def test_texts_become_a_writer_that_is_used_downloaded_and_deleted(
    storybrush: Server, visit: Callable[..., Page], tmp_path: Path
) -> None:
    for n in range(4):
        (tmp_path / f"tale {n}.txt").write_text(prose(n, 60))
    page, slow = visit(storybrush.url), 240_000
    page.set_default_timeout(120_000)
    page.get_by_role("tab", name="Your models").click()
    page.get_by_label("Its name").fill("../Foxes")
    page.locator("#model-files input[type=file]").set_input_files(sorted(tmp_path.iterdir()))
    expect(page.get_by_text("tale 3")).to_be_visible()
    page.get_by_role("button", name="Advanced").last.click()
    page.get_by_label("Steps").last.fill("2")
    page.get_by_label("At a time").fill("1")
    page.get_by_role("button", name="Look at them first").click()
    expect(page.get_by_test_id("toast-text")).to_contain_text("cannot be a name here")
    page.get_by_label("Its name").fill("Foxes")
    page.get_by_role("button", name="Look at them first").click()
    expect(page.get_by_text("4 of 4 texts kept")).to_be_visible(timeout=slow)
    page.get_by_role("button", name="Start training").click()
    expect(page.locator(".curve")).to_be_visible(timeout=slow)
    page.reload()
    foxes = page.locator(".own-models li", has_text="Foxes")
    expect(foxes.get_by_text("In use")).to_be_visible(timeout=slow)
    expect(page.get_by_text("is ready, and the app uses it")).to_be_visible()
    with page.expect_download() as download:
        foxes.get_by_role("button", name="Download Foxes").click()
    assert download.value.suggested_filename == "foxes.zip"
    page.get_by_role("button", name="Use the embedded story writer again").click()
    expect(foxes.get_by_role("button", name="Use Foxes")).to_be_visible()
    foxes.get_by_text("Delete", exact=True).click()
    foxes.get_by_role("button", name="Delete Foxes").click()
    expect(page.get_by_text("No model of your own yet")).to_be_visible()
