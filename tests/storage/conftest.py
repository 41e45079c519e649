"""Cloud Storage and Firestore for the tests of storage."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.emulator import StorageServer, serving

RULES = Path(__file__).resolve().parents[2] / "storage" / "rules"
JAR = "cloud-firestore-emulator.jar"
_names = (f"bucket-{n}" for n in itertools.count())


@pytest.fixture(scope="session")
def storage_server() -> Iterator[StorageServer]:
    """The emulator, where clients made from now on find it."""
    with serving() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", server.url)
        environment.delenv("FIREBASE_CREDENTIALS", raising=False)
        yield server


@pytest.fixture
def bucket_name(storage_server: StorageServer) -> Iterator[str]:
    """A bucket of its own for a test; the server works when it begins and when it ends."""
    name = next(_names)
    storage_server.new_bucket(name)
    storage_server.requests.clear()
    yield name
    storage_server.fault = None


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[None]:
    """Google's Firestore emulator; skips where there is none (it is part of google-cloud-cli)."""
    folders = ["/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk"]
    jars = [j for f in folders for j in Path(f).glob(f"platform/*/{JAR}")]
    if not jars or shutil.which("java") is None:
        pytest.skip(f"there is no {JAR} with Java on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["java", "-Xmx256m", "-cp", str(jars[0])]
    command += ["com.google.cloud.datastore.emulator.firestore.CloudFirestore", "start"]
    emulator = subprocess.Popen(
        [*command, "--host=127.0.0.1", f"--port={port}", f"--rules={RULES / 'firestore.rules'}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and emulator.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{port}")
            yield
    finally:
        emulator.terminate()
        emulator.wait()
