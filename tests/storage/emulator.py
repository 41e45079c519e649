"""A Cloud Storage server on this machine: gcp-storage-emulator, made to do what it leaves out.

On its own the emulator ignores `ifGenerationMatch` and pages of lists, serves one request at a
time, and answers a bucket that is not there like an object that is not there. Tests of writers
that meet would prove nothing against it. So every request passes `Handler` here first, which
checks preconditions (for a resumable upload at its beginning and at its end, as the real one
does), serves lists in pages, and says which it is that is missing. Requests are served by many
threads, those that write one after the other. `Faults` breaks requests in the ways networks and
servers do.
"""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesParser
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

PAGE = 7
"""Objects on a page of a list, so that even small tests turn pages."""

Fault = Callable[["Handler"], bool]
"""Called with every request; True when it has answered (or broken the connection) itself."""


class Handler(RequestHandler):
    """One request to the emulator."""

    @property
    def home(self) -> StorageServer:
        assert isinstance(self.server, StorageServer)
        return self.server

    def handle_one(self, method: str, serve: Callable[[], None]) -> None:
        url = urlparse(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.rfile = io.BytesIO(self.body)
        found = re.fullmatch(r"(?:/upload|/download)?/storage/v1/b/([^/]+)/o(?:/(.+))?", url.path)
        self.bucket_name, self.object_name = "", ""
        if found:
            self.bucket_name = found[1]
            self.object_name = unquote(found[2] or "") or self._uploaded_name()
        self.home.requests.append((method, self.object_name))
        if self.home.fault is not None and self.home.fault(self):
            return
        if found and found[1] not in self.storage.buckets:
            self.answer(404, {"error": {"message": "The specified bucket does not exist."}})
            return
        if method == "GET" and found and not self.object_name:
            self._list(found[1])
            return
        with self.home.writing:
            if self._precondition_fails():
                self.answer(412, {"error": {"message": "conditionNotMet"}})
                return
            serve()

    def do_GET(self) -> None:
        self.handle_one("GET", super().do_GET)

    def do_POST(self) -> None:
        self.handle_one("POST", super().do_POST)

    def do_PUT(self) -> None:
        self.handle_one("PUT", super().do_PUT)

    def do_DELETE(self) -> None:
        self.handle_one("DELETE", super().do_DELETE)

    def do_PATCH(self) -> None:
        self.handle_one("PATCH", super().do_PATCH)

    def answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_header(self, keyword: str, value: str) -> None:
        # Custom metadata may be in any language; Python's server writes Latin-1 alone.
        super().send_header(keyword, value.encode().decode("latin-1"))

    def _uploaded_name(self) -> str:
        if "name" in self.query:
            return self.query["name"]
        if "upload_id" in self.query:
            return self.storage.resumable.get(self.query["upload_id"], {}).get("name", "")
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            message = BytesParser().parsebytes(
                b"Content-Type: " + kind.encode() + b"\r\n\r\n" + self.body
            )
            parts = message.get_payload()
            assert isinstance(parts, list)
            assert isinstance(parts[0], Message)
            return json.loads(str(parts[0].get_payload()))["name"]
        if self.query.get("uploadType") == "resumable":
            return json.loads(self.body)["name"]
        return ""

    def _precondition_fails(self) -> bool:
        wanted = self.query.get("ifGenerationMatch")
        if wanted is None:
            return False
        there = self.storage.objects.get(self.bucket_name, {}).get(self.object_name)
        return (there["generation"] if there else "0") != wanted

    def _list(self, bucket: str) -> None:
        with self.home.writing:
            items, _ = self.storage.get_file_list(
                bucket, self.query.get("prefix"), None, self.query.get("matchGlob")
            )
            items = [dict(item) for item in items]
        after = self.query.get("pageToken", "")
        left = [item for item in items if item["name"] > after]
        page: dict[str, Any] = {"kind": "storage#objects", "items": left[:PAGE]}
        if len(left) > PAGE:
            page["nextPageToken"] = left[PAGE - 1]["name"]
        self.answer(200, page)


class _Memory(Storage):
    """Without a file that is written again, whole, after every request."""

    def __init__(self) -> None:
        super().__init__(use_memory_fs=True)

    def _write_config_to_file(self) -> None:
        pass


class StorageServer(ThreadingHTTPServer):
    """The emulator on a port of its own; `fault` breaks requests while it is set."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int = 0, storage: Storage | None = None) -> None:
        self.storage = storage or _Memory()
        super().__init__(("127.0.0.1", port), partial(Handler, self.storage))
        self.writing = threading.RLock()
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def new_bucket(self, name: str) -> None:
        buckets.create_bucket(name, self.storage)

    def names(self, bucket: str) -> list[str]:
        """Objects of a bucket."""
        with self.writing:
            return sorted(self.storage.objects.get(bucket, {}))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news here."""


@contextmanager
def serving(port: int = 0, storage: Storage | None = None) -> Iterator[StorageServer]:
    """A server until the end of the block; `storage` of an earlier one to start it again."""
    server = StorageServer(port, storage)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Faults:
    """Ways in which requests go wrong, for `StorageServer.fault`."""

    @staticmethod
    def status(code: int, times: int) -> Fault:
        """Answer the next `times` requests with this status."""
        left = times
        lock = threading.Lock()

        def fault(handler: Handler) -> bool:
            nonlocal left
            with lock:
                left -= 1
                if left < 0:
                    return False
            handler.answer(code, {"error": {"message": "broken on purpose"}})
            return True

        return fault

    @staticmethod
    def lost_answer(method: str, ending: str, *, then_gone: bool = False) -> Fault:
        """Do what the first such request asks, and drop the connection instead of answering.

        With `then_gone`, every later connection as well.
        """
        done = threading.Event()

        def fault(handler: Handler) -> bool:
            if done.is_set() and then_gone:
                drop(handler)
                return True
            if done.is_set() or handler.command != method:
                return False
            if not handler.object_name.endswith(ending):
                return False
            done.set()
            handler.wfile = io.BytesIO()
            with handler.home.writing:
                RequestHandler.do_POST(handler)
            drop(handler)
            return True

        return fault

    @staticmethod
    def slow(seconds: float) -> Fault:
        """Let every request wait."""

        def fault(handler: Handler) -> bool:
            time.sleep(seconds)
            return False

        return fault

    @staticmethod
    def gone_after(requests: int) -> Fault:
        """Serve some requests, then drop every connection."""
        left = requests
        lock = threading.Lock()

        def fault(handler: Handler) -> bool:
            nonlocal left
            with lock:
                left -= 1
                if left >= 0:
                    return False
            drop(handler)
            return True

        return fault


def drop(handler: Handler) -> None:
    """End the connection without an answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
