"""Signing in is offered on a Space alone, and only a valid session counts."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ui import account
from ui.account import account_of, login_offered


def asked(**scope: Any) -> gr.Request:
    return gr.Request(SimpleNamespace(scope=scope))  # type: ignore[arg-type]


def session(sub: str, seconds: float) -> dict[str, Any]:
    return {"oauth_info": {"userinfo": {"sub": sub}, "expires_at": time.time() + seconds}}


def test_an_account_is_the_same_hash_in_every_browser() -> None:
    ada, bob = (asked(session=session(who, 60)) for who in ("ada", "bob"))
    assert account_of(ada) == account_of(asked(session=session("ada", 60))) != account_of(bob)
    assert len(account_of(ada)) == 64


@pytest.mark.parametrize(
    "scope",
    [{}, {"session": {}}, {"session": session("ada", -1)}, {"session": session("", 60)},
     {"session": {"oauth_info": "ada"}}, {"session": {"oauth_info": {}}}],
    ids=["no session", "empty", "expired", "nameless", "nonsense", "nothing"],
)  # fmt: skip
def test_without_a_valid_session_nobody_is_anybody(scope: dict[str, Any]) -> None:
    assert account_of(asked(**scope)) == ""


def test_signing_in_is_offered_on_a_space_with_all_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(account, "find_spec", lambda name: name)
    assert not login_offered()
    for name in account.NEEDED:
        monkeypatch.setenv(name, "x")
    assert not login_offered()
    monkeypatch.setenv("SYSTEM", "spaces")
    assert login_offered()
    monkeypatch.setattr(account, "find_spec", lambda name: None)
    assert not login_offered()
