"""Keys come from the environment, and never come back out of it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipelines.errors import InvalidInput, StorageError
from storage.bucket import Bucket, app_for


@pytest.fixture(autouse=True)
def no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "FIREBASE_STORAGE_EMULATOR_HOST", "FIREBASE_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture(scope="module")
def key() -> str:
    """A service account's key that opens nothing."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "storybrush-test",
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": "nobody@storybrush-test.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": "https://oauth2.invalid/token",
        }
    )


@pytest.mark.parametrize("as_file", [False, True])
def test_a_key_as_json_or_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, as_file: bool
) -> None:
    if as_file:
        (tmp_path / "key.json").write_text(key)
    monkeypatch.setenv("FIREBASE_CREDENTIALS", str(tmp_path / "key.json") if as_file else key)
    app = app_for(f"with-a-key-{as_file}")
    assert app.project_id == "storybrush-test"


def test_keys_that_cannot_be_used_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = json.loads(key)["private_key"][40:80]
    damaged = key.replace("BEGIN PRIVATE", "BEGAN PRIVATE")
    (tmp_path / "key.json").write_text(damaged)
    # Pasted without its brace it looks like a path, whose parts may be too long for any file.
    unbraced = (key[1:], key[1:].replace("/", "+"))
    files = (str(tmp_path / "key.json"), str(tmp_path / "none"))
    for given in (damaged, key[:-30], *unbraced, *files):
        monkeypatch.setenv("FIREBASE_CREDENTIALS", given)
        with pytest.raises(StorageError, match="FIREBASE_CREDENTIALS") as refused:
            app_for("bucket-with-a-bad-key")
        error: BaseException | None = refused.value
        while error is not None:
            assert secret not in str(error)
            error = error.__cause__
        assert secret not in caplog.text


def test_addresses_are_signed_for_a_while(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("FIREBASE_CREDENTIALS", key)
    bucket = Bucket("bucket-that-signs", "here/")
    url = urlsplit(bucket.address("books/1/page 1.png", timedelta(hours=2)))
    assert url.scheme == "https"
    assert (url.netloc + url.path).endswith("bucket-that-signs/here/books/1/page%201.png")
    fields = dict(parse_qsl(url.query))
    assert fields["X-Goog-Expires"] == "7200"
    assert fields["X-Goog-Credential"].startswith("nobody@storybrush-test.iam")
    assert len(bytes.fromhex(fields["X-Goog-Signature"])) == 256
    for wrong in (timedelta(days=8), timedelta(0), timedelta(seconds=-1)):
        with pytest.raises(InvalidInput, match="seven days"):
            bucket.address("x", wrong)


def test_no_key_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"There is no key .*FIREBASE_CREDENTIALS"):
        Bucket("bucket-without-a-key").get("x")
