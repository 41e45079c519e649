"""What the server answers to whoever asks for files, hands in too much, or looks at the list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import httpx
import pytest
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from storage.local import LocalLibrary
from tests.storage.books import make_book, picture
from tests.ui.blocks import built
from ui import doorkeeper
from ui.doorkeeper import Doorkeeper
from ui.served_files import file_for_browser, url_of
from ui.workshop import Workshop


def nothing() -> Any:
    raise AssertionError("no model is needed here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Beside each other: what is served, the library, and a file that is nobody's business."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "note.txt").write_text("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def shop(folder: Path) -> Workshop:
    library = LocalLibrary(folder / "library")
    library.save(make_book())
    return Workshop(nothing, nothing, library)


@pytest.fixture(scope="module")
def server(shop: Workshop) -> Iterator[TestClient]:
    """A page with one widget behind the same door as the app's."""

    def build() -> App:
        with gr.Blocks() as demo:
            gr.Textbox().submit(lambda text: None, gr.File(), None)
        demo.max_file_size = 1000
        demo.blocked_paths = shop.private_folders()
        demo.allowed_paths = []
        door = Middleware(Doorkeeper, board=shop.news, largest=1000, forwarded=500)
        return App.create_app(
            demo,
            app_kwargs={"middleware": [door]},
        )

    with TestClient(built(build)) as client:
        yield client


def test_files_for_browsers_are_served_and_kept(server: TestClient) -> None:
    answer = server.get("/" + url_of(file_for_browser(picture(3), "page.png")))
    assert answer.content == picture(3)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_news_are_told_without_gradio(server: TestClient, shop: Workshop) -> None:
    answer = server.get("/news")
    assert answer.text == shop.news.now()
    assert answer.headers["cache-control"] == "no-store"


def test_no_address_reaches_a_file_elsewhere(server: TestClient, folder: Path) -> None:
    cached = file_for_browser(picture(3), "page.png")
    files = [p for p in (folder / "library").rglob("*") if p.is_file()]
    assert {f.name for f in files} >= {"library.sqlite3", "book.json", "page-01.png"}
    addresses = [
        "/etc/passwd",
        str(Path(__file__).resolve()),
        str(folder / "note.txt"),
        f"{cached.parent}/../../../note.txt",
        quote(f"{cached.parent}/../../../note.txt", safe=""),
        "app.py",
        *map(str, files),
    ]
    for address in addresses:
        answer = server.get(f"/gradio_api/file={address}")
        assert answer.status_code in (403, 404), address
        assert b"private" not in answer.content


@pytest.mark.parametrize("site", ["http://localhost/", "HTTPS://localhost/", "file:///etc/passwd"])
def test_the_server_fetches_nothing_for_others(server: TestClient, site: str) -> None:
    assert server.get(f"/gradio_api/file={quote(site, safe='')}").status_code == 403
    assert server.get(f"/gradio_api/file={site}").status_code == 403


def test_a_file_that_is_too_large_is_answered_with_413(server: TestClient) -> None:
    for size, status in ((900, 200), (1100, 413)):
        given = server.post("/gradio_api/upload", files={"files": ("a.png", b"x" * size)})
        assert given.status_code == status


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "without"])
def test_many_files_at_once_are_bounded_together(server: TestClient, told: bool) -> None:
    for count, status in ((5, 200), (990, 413)):
        files = [("files", (f"{n}.txt", b"x" * 990)) for n in range(count)]
        request = httpx.Request("POST", "http://testserver/", files=files)
        body = request.read()
        given = server.post(
            "/gradio_api/upload",
            content=body if told else iter((body[:3000], body[3000:])),
            headers={"Content-Type": request.headers["Content-Type"]},
        )
        assert given.status_code == status
        assert status == 200 or b"too large" in given.content


def test_what_is_handed_in_through_another_server_has_its_own_limit(server: TestClient) -> None:
    for headers, status in (({}, 200), ({"X-Forwarded-For": "10.0.0.9"}, 413)):
        files = {"files": ("a.png", b"x" * 900)}
        assert server.post("/gradio_api/upload", files=files, headers=headers).status_code == status


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "without"])
def test_no_other_request_may_be_as_large_as_it_likes(
    server: TestClient, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(doorkeeper, "MAX_BODY", 5000)
    for size, large in ((4000, False), (6000, True)):
        body = json.dumps({"data": ["x" * size], "fn_index": 0, "session_hash": "s"}).encode()
        for path in ("queue/join", "api/nothing", "component_server"):
            answer = server.post(
                f"/gradio_api/{path}",
                content=body if told else iter((body[:3000], body[3000:])),
                headers={"Content-Type": "application/json"},
            )
            assert (answer.status_code == 413) is large, path


def test_without_the_password_nobody_gets_in(folder: Path) -> None:
    path = url_of(file_for_browser(picture(3), "page.png"))

    def build() -> App:
        with gr.Blocks() as demo:
            gr.Textbox().submit(lambda text: text, gr.File(), None)
        demo.auth, demo.auth_message = [("ada", "open sesame")], None
        demo.max_file_size, demo.blocked_paths, demo.allowed_paths = 1000, [], []
        return App.create_app(demo)

    asked = {"data": ["x"], "fn_index": 0, "session_hash": "s"}
    with TestClient(built(build)) as client:
        for address in ("config", path, "gradio_api/queue/data?session_hash=s"):
            assert client.get(f"/{address}").status_code == 401, address
        assert client.post("/gradio_api/queue/join", json=asked).status_code == 401
        files = {"files": ("a.png", b"x")}
        assert client.post("/gradio_api/upload", files=files).status_code == 401
        wrong = {"username": "ada", "password": "open"}
        assert client.post("/login", data=wrong).status_code == 400
        assert client.get("/config").status_code == 401
        assert client.post("/login", data={**wrong, "password": "open sesame"}).status_code == 200
        assert client.get(f"/{path}").content == picture(3)
