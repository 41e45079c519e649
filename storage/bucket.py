"""Objects in a Cloud Storage bucket: retry, deadline, preconditions, and failures in plain words.

firebase-admin makes the client; it is imported when the first bucket is opened.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import InvalidInput, StorageError, Unreachable

if TYPE_CHECKING:
    from firebase_admin import App

logger = logging.getLogger(__name__)

READ_SECONDS, WRITE_SECONDS = 8.0, 45.0
"""How long a call is tried again and again; somebody waits for what is read."""

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0
"""How long one try waits for the server, to be there and to have taken what is written."""

METADATA_BYTES = 7000
"""What custom metadata may take; Cloud Storage refuses more than 8 KiB, names included."""

CHUNK = 2**20
"""Bytes of a resumable upload that are sent at once; what has arrived is not sent again.

The client takes resumable uploads for objects of more than 8 MiB.
"""

LONGEST_LIFETIME = timedelta(days=7)
"""Of a signed address; Cloud Storage signs none for longer."""

KEY = "FIREBASE_CREDENTIALS"


class Occupied(Exception):
    """The object is another one than was expected; nothing was written.

    Unless it is `unsure`: an earlier try, whose answer was lost, may have written the object, and
    somebody may have replaced it since.
    """

    unsure = False


@dataclass(frozen=True)
class Stored:
    """An object in the bucket. `generation` is another number after every write.

    `written` is when, by the server's clock.
    """

    name: str
    generation: int
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    data: bytes = b""
    written: datetime | None = None


class Bucket:
    """Objects whose names begin with `prefix`, in bucket `name`; names here leave it out.

    Safe to call from any thread. Failures raise StorageError, Unreachable where trying again
    later may help.
    """

    def __init__(
        self,
        name: str,
        prefix: str = "",
        read_seconds: float = READ_SECONDS,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        from firebase_admin import storage
        from google.cloud.storage.retry import DEFAULT_RETRY

        self.name = name
        self.prefix = prefix
        with explained(name):
            self._bucket = storage.bucket(name, app=app_for(name))
        # Waiting times are drawn at random up to these, so that writers do not meet again.
        retry = DEFAULT_RETRY.with_delay(initial=0.2, maximum=8.0, multiplier=2.0)

        def within(seconds: float, answer: float) -> dict[str, Any]:
            return {"retry": retry.with_timeout(seconds), "timeout": (CONNECT_SECONDS, answer)}

        self._reading = within(read_seconds, READ_SECONDS)
        self._writing = within(write_seconds, ANSWER_SECONDS)

    def put(
        self,
        name: str,
        data: bytes,
        kind: str,
        *,
        replaces: int = 0,
        metadata: Mapping[str, str] | None = None,
        lasting: bool = False,
    ) -> int:
        """Write an object whose generation is `replaces` (0: there is none yet); the new one.

        `lasting` promises browsers that what has this name is never another thing.
        Raises: Occupied.
        """
        blob = self._bucket.blob(self.prefix + name, chunk_size=CHUNK)
        blob.metadata = dict(metadata or {})
        blob.cache_control = "private, max-age=31536000, immutable" if lasting else "no-store"
        retry, failed = self._writing["retry"], 0

        def again(error: Exception) -> bool:
            nonlocal failed
            failed += 1
            return retry._predicate(error)

        how = self._writing | {"retry": retry.with_predicate(again)}
        try:
            with explained(self.name):
                blob.upload_from_string(
                    data, content_type=kind, if_generation_match=replaces, **how
                )
        except Occupied as e:
            e.unsure = failed > 1  # the last one said that it is occupied
            raise
        return int(blob.generation or 0)

    def get(self, name: str) -> Stored | None:
        """An object with its bytes, None where there is none."""
        while True:
            found = self.look(name)
            if found is None:
                return None
            blob = self._bucket.blob(self.prefix + name)
            try:
                with explained(self.name):
                    data = blob.download_as_bytes(
                        if_generation_match=found.generation, **self._reading
                    )
            except Occupied:
                continue  # replaced between the two calls
            except FileNotFoundError:
                return None
            return Stored(name, found.generation, found.metadata, data)

    def read(self, name: str) -> bytes | None:
        """The bytes of an object that is never written twice, None where there is none."""
        try:
            with explained(self.name):
                return self._bucket.blob(self.prefix + name).download_as_bytes(**self._reading)
        except FileNotFoundError:
            return None

    def look(self, name: str) -> Stored | None:
        """An object without its bytes, None where there is none."""
        with explained(self.name):
            blob = self._bucket.get_blob(self.prefix + name, **self._reading)
        if blob is None:
            return None
        return Stored(name, int(blob.generation or 0), blob.metadata or {})

    def list(self, prefix: str, glob: str | None = None) -> Iterator[Stored]:
        """Objects whose names begin with `prefix` and match `glob`, without their bytes."""
        whole = self.prefix + glob if glob else None
        with explained(self.name):
            for blob in self._bucket.list_blobs(
                prefix=self.prefix + prefix,
                match_glob=whole,
                fields="items(name,generation,metadata,timeCreated),nextPageToken",
                **self._reading,
            ):
                name = blob.name.removeprefix(self.prefix)
                generation = int(blob.generation or 0)
                yield Stored(name, generation, blob.metadata or {}, written=blob.time_created)

    def address(self, name: str, lifetime: timedelta) -> str:
        """A signed address of an object, for anybody, for at most seven days (V4)."""
        if not timedelta(0) < lifetime <= LONGEST_LIFETIME:
            raise InvalidInput("Addresses can be open for at most seven days: choose less.")
        try:
            with explained(self.name):
                return self._bucket.blob(self.prefix + name).generate_signed_url(
                    lifetime, version="v4", scheme="https"
                )
        except AttributeError as e:
            raise StorageError(
                f"This key cannot sign addresses: set {KEY} to a service account's key."
            ) from e

    def remove(self, name: str, generation: int | None = None) -> None:
        """Remove an object; one that is not there is none the less removed.

        Raises: Occupied where it is of another `generation` than the given one.
        """
        try:
            with explained(self.name):
                self._bucket.blob(self.prefix + name).delete(
                    if_generation_match=generation, **self._writing
                )
        except FileNotFoundError:
            return


def as_metadata(values: Mapping[str, str]) -> dict[str, str]:
    """Custom metadata out of any texts: no control characters, and the longest cut to fit."""
    clean = {
        name: "".join(c if c.isprintable() else " " for c in text).strip()
        for name, text in values.items()
    }
    room = METADATA_BYTES - sum(len(name) + 2 for name in clean)
    for name, text in sorted(
        clean.items(), key=lambda item: len(item[1].encode("utf-8", "ignore"))
    ):
        data = text.encode("utf-8", "ignore")[: max(room, 0)]
        clean[name] = data.decode("utf-8", "ignore")
        room -= len(data)
    return clean


_apps: dict[str, App] = {}
_apps_lock = threading.Lock()


def app_for(bucket: str) -> App:
    """The firebase-admin app of a bucket, with credentials from the environment.

    `FIREBASE_CREDENTIALS` is a service account's key, as JSON or as the path of a file;
    otherwise Google's own rules hold (`GOOGLE_APPLICATION_CREDENTIALS`, the machine's account).
    With `STORAGE_EMULATOR_HOST` (or Firebase's own name for it) nobody needs a key.

    Raises: StorageError for a key that cannot be used; it never repeats the key.
    """
    import firebase_admin
    from firebase_admin import credentials
    from google.auth.credentials import AnonymousCredentials

    emulator = os.environ.get("FIREBASE_STORAGE_EMULATOR_HOST", "")
    if emulator and "STORAGE_EMULATOR_HOST" not in os.environ:
        # firebase-admin for Python does not know it, and the client wants the scheme.
        os.environ["STORAGE_EMULATOR_HOST"] = f"http://{emulator.removeprefix('http://')}"
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    name = f"storybrush {bucket} {emulator}".rstrip()
    with _apps_lock:
        if name in _apps:
            return _apps[name]
        options = {"storageBucket": bucket}
        if emulator:
            credential, options["projectId"] = AnonymousCredentials(), "demo-storybrush"
        else:
            key = _service_account()
            try:
                credential = (
                    credentials.Certificate(key) if key else credentials.ApplicationDefault()
                )
            except (ValueError, OSError):
                # The library's own message may quote the key.
                raise StorageError(_bad_key()) from None
            if os.environ.get("GOOGLE_CLOUD_PROJECT"):
                options["projectId"] = os.environ["GOOGLE_CLOUD_PROJECT"]
        _apps[name] = firebase_admin.initialize_app(credential, options, name=name)
        return _apps[name]


def _service_account() -> dict[str, Any] | str | None:
    """What FIREBASE_CREDENTIALS holds: the key itself, the path of its file, or nothing."""
    given = os.environ.get(KEY, "").strip()
    if not given.startswith("{"):
        # os.path.isfile says no to a key without its brace, too long to be a path; pathlib raises.
        if given and not os.path.isfile(os.path.expanduser(given)):
            raise StorageError(
                f"{KEY} is neither a key in JSON nor a file that is there: "
                "paste the whole key that the Firebase console gave you, or the path of its file."
            )
        return str(Path(given).expanduser()) if given else None
    try:
        return json.loads(given)
    except ValueError:
        raise StorageError(_bad_key()) from None


def _bad_key() -> str:
    return (
        f"The key in {KEY} cannot be read: paste the whole JSON file that the Firebase console "
        "gave you (Project settings, Service accounts, Generate new private key)."
    )


@contextmanager
def explained(bucket: str) -> Iterator[None]:
    """Turn what the client raises into StorageError, FileNotFoundError or Occupied."""
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from google.cloud.storage.retry import DEFAULT_RETRY

    try:
        yield
    except api.PreconditionFailed as e:
        raise Occupied from e
    except api.NotFound as e:
        if "bucket does not exist" in str(e).lower():
            raise StorageError(
                f"There is no bucket {bucket}: look its name up in the Firebase console, "
                "under Storage."
            ) from e
        raise FileNotFoundError(bucket) from e
    except (api.Forbidden, api.Unauthorized) as e:
        raise StorageError(
            f"The key may not use the bucket {bucket}: give its service account the role "
            "“Storage Object Admin”, or use a key of the right project."
        ) from e
    except auth.DefaultCredentialsError as e:
        raise StorageError(
            f"There is no key for the bucket {bucket}: set {KEY} to the key that the Firebase "
            "console gave you (Project settings, Service accounts), or to the path of its file."
        ) from e
    except auth.RefreshError as e:
        if e.retryable:
            raise Unreachable(_gone(bucket)) from e
        raise StorageError(
            f"The key for the bucket {bucket} is refused: it was deleted, belongs to another "
            "project, or this computer's clock is wrong. Make a new one in the Firebase console."
        ) from e
    except (api.RetryError, auth.TransportError, requests.RequestException, OSError) as e:
        raise Unreachable(_gone(bucket)) from e
    except (api.GoogleAPICallError, InvalidResponse, DataCorruption) as e:
        if isinstance(e, DataCorruption) or DEFAULT_RETRY._predicate(e):
            raise Unreachable(_gone(bucket)) from e
        raise StorageError(
            f"The bucket {bucket} could not be read or written ({e.__class__.__name__})."
        ) from e


def _gone(bucket: str) -> str:
    return f"The bucket {bucket} cannot be reached: the network may be gone. Try again later."
