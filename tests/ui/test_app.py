"""Options, the way to the first page, and what is not loaded on it."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

import app
from pipelines.errors import InvalidInput, StorageError
from ui.messages import explain, guarded
from ui.rules import Rules


def test_importing_app_imports_no_torch() -> None:
    code = (
        "import sys, app; app.stay_on_this_machine('embedded')\n"
        "import ui.page, pipelines.storybook, storage.base\n"
        "print([m for m in ('torch', 'transformers', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_is_not_held_up_by_hints_for_editors() -> None:
    code = (
        "import ast\n"
        "def read(*_, **__): raise AssertionError('gradio reads its own source')\n"
        "ast.get_source_segment = read\n"
        "import ui.page, gradio\n"
        "print(callable(gradio.Button().click))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("STORYBRUSH_PORT", "7900")
    monkeypatch.setenv("STORYBRUSH_SHARE", "true")
    monkeypatch.setenv("STORYBRUSH_AUTH", "ada:a:b")
    options = app.parser().parse_args([])
    assert (options.host, options.port, options.share) == ("0.0.0.0", 7900, True)
    assert options.auth == ("ada", "a:b")
    options = app.parser().parse_args(["--port", "7901", "--no-share", "--host", "localhost"])
    assert (options.host, options.port, options.share) == ("localhost", 7901, False)


def test_a_house_open_to_everybody_has_the_rules_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "banned.txt").write_text("zombie")
    monkeypatch.setenv("STORYBRUSH_ADMIN", "open sesame")
    monkeypatch.setenv("STORYBRUSH_MAX_JOBS_EACH", "2")
    given = ["--library", str(tmp_path / "books"), "--review", "--max-jobs", "9", "--max-side",
             "256", "--ban", str(tmp_path / "banned.txt")]  # fmt: skip
    shop = app.workshop(app.parser().parse_args(given))
    assert shop.waiting is not None
    assert shop.is_admin("open sesame")
    assert (shop.jobs.most, shop.jobs.each, shop.rules.side) == (9, 2, 256)
    assert shop.rules.banned == ("zombie",)
    monkeypatch.delenv("STORYBRUSH_ADMIN")
    plain = app.parser().parse_args([])
    assert app.upload_limit(plain, training=False) == 20
    assert app.upload_limit(plain, training=True) == 2000
    asked = app.parser().parse_args(["--max-upload", "20"])
    assert app.upload_limit(asked, training=True) == 20
    shared = app.parser().parse_args(["--share"])
    assert app.upload_limit(shared, training=True) == 20
    assert Rules(plain.max_request, plain.max_words, plain.max_side, plain.max_steps) == Rules()


@pytest.mark.parametrize(
    "given, advice",
    [
        (["--review"], "set STORYBRUSH_ADMIN"),
        (["--admin", "short"], "8 characters"),
        (["--ban", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_rules_that_cannot_hold_are_refused(
    given: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert app.main(["--port", str(port), "--library", "memory://", *given]) == 1
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize("odd", ["0", "-1", "many", "1.5"])
def test_a_limit_is_a_whole_number(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.parser().parse_args(["--max-jobs", odd])
    assert "whole number" in capsys.readouterr().err


@pytest.mark.parametrize("name", app.BOUNDED)
def test_a_limit_that_could_not_hold_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    most = next(int(default) for limit, default, _ in app.LIMITS if limit == name)
    app.parser().parse_args([f"--max-{name}", str(most)])
    with pytest.raises(SystemExit):
        app.parser().parse_args([f"--max-{name}", str(most + 1)])
    assert f"{most} is the most" in capsys.readouterr().err
    least = app.BOUNDED[name]
    app.parser().parse_args([f"--max-{name}", str(least)])
    with pytest.raises(SystemExit):  # no slider could offer anything
        app.parser().parse_args([f"--max-{name}", str(least - 1)])
    assert f"from {least} on" in capsys.readouterr().err


def test_an_unknown_preset_is_refused_wherever_it_was_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        app.parser().parse_args(["--preset", "embeded"])
    assert "choose embedded, " in capsys.readouterr().err
    monkeypatch.setenv("STORYBRUSH_PRESET", "embeded")
    with pytest.raises(SystemExit):
        app.parser().parse_args([])
    assert "--preset: “embeded” is none" in capsys.readouterr().err
    monkeypatch.setenv("STORYBRUSH_PRESET", "full")
    assert app.parser().parse_args([]).preset == "full"


@pytest.mark.parametrize("odd", ["ada", "ada:", ":secret"])
def test_half_a_password_is_refused(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.parser().parse_args(["--auth", odd])
    assert "user:password" in capsys.readouterr().err


def test_a_taken_port_is_answered_with_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert app.main(["--port", str(port), "--library", "memory://"]) == 1
    assert f"PORT={port + 1} make run" in capsys.readouterr().err


def test_the_unexpected_is_logged_without_words_and_kept_from_the_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @guarded
    def tell(words: str) -> None:
        raise ZeroDivisionError(f"cannot tell of {words}")

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as raised:
        tell("a fox named Ada")
    message = raised.value.message
    assert "Ada" not in message + caplog.text
    assert caplog.messages[0].split()[1] in message
    assert "ZeroDivisionError" in caplog.text
    assert "in tell" in caplog.text


def test_messages_are_text() -> None:
    assert explain(StorageError("<b>full</b>")).message == "&lt;b&gt;full&lt;/b&gt;"


def test_handlers_keep_their_kind_and_fail_with_messages() -> None:
    @guarded
    def stream():
        yield 1
        raise StorageError("full")

    events = stream()
    assert next(events) == 1
    with pytest.raises(gr.Error, match="full"):
        next(events)

    @guarded
    def call(value: int) -> int:
        raise InvalidInput("no")

    with pytest.raises(gr.Error) as raised, pytest.warns(UserWarning, match="no"):
        call(1)
    assert not raised.value.visible


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_end_the_app_while_it_closes(first: signal.Signals) -> None:
    both = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in both}
    try:
        app.end_once()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(first)
        for number in both:
            signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
