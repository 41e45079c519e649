"""Signing in with Hugging Face, where the app runs on a Space that offers it (`hf_oauth: true`).

Nobody has to. Whoever does finds their own books again in every browser.
"""

from __future__ import annotations

import hashlib
import os
import time
from importlib.util import find_spec

import gradio as gr

NEEDED = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
"""What a Space sets when it offers signing in."""


def login_offered() -> bool:
    """Whether this is a Space with sign-in switched on and the packages for it."""
    return (
        os.environ.get("SYSTEM") == "spaces"
        and all(os.environ.get(name) for name in NEEDED)
        and all(find_spec(package) for package in ("authlib", "itsdangerous"))
    )


def login_button() -> gr.LoginButton:
    """Sign in, or out again."""
    return gr.LoginButton(
        "Sign in with Hugging Face", "Sign out ({})", size="sm", elem_id="login", scale=0
    )


def account_of(request: gr.Request) -> str:
    """Whose books a signed-in visitor's are: a hash like `workshop.owner_of`; "" for others.

    The session is a cookie that only the server can have signed.
    """
    scope = getattr(request.request, "scope", None) or {}
    info = (scope.get("session") or {}).get("oauth_info")
    if not isinstance(info, dict) or (info.get("expires_at") or 0) < time.time():
        return ""
    account = str(info.get("userinfo", {}).get("sub", ""))
    return hashlib.sha256(f"huggingface {account}".encode()).hexdigest() if account else ""
