"""The Firebase library: writers that meet, servers that fail, older and damaged books."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import mul
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.book import Page
from pipelines.errors import NotFound, StorageError, Unreachable
from storage import firebase, firestore, following, local, mirror
from storage.base import HasChanged
from storage.bucket import Bucket, Occupied, as_metadata
from storage.firebase import FirebaseLibrary
from storage.firestore import FirestoreIndex
from storage.manifest import sha256
from storage.mirror import Cache, Mirror
from storage.transfer import verify
from tests.storage.books import OWNER, STRANGER, make_book, picture, version_of
from tests.storage.emulator import Fault, Faults, Handler, StorageServer, drop, serving
from tests.storage.listing import ListElsewhere

ID = "0" * 16
MANIFEST = f"books/{ID}/book.json"

Machine = Callable[..., FirebaseLibrary]


@pytest.fixture
def machine(bucket_name: str, tmp_path: Path) -> Iterator[Machine]:
    """Makes libraries on the same bucket, each with a folder of its own as on another machine."""
    numbers = itertools.count()
    with ExitStack() as ends:

        def make(seconds: float = 10.0, refresh: float = 0.1) -> FirebaseLibrary:
            bucket = Bucket(bucket_name, read_seconds=seconds, write_seconds=seconds)
            library = FirebaseLibrary(bucket, tmp_path / str(next(numbers)), refresh=refresh)
            ends.callback(library.close)
            return library

        yield make


def check_bucket(server: StorageServer, bucket: str) -> list[str]:
    """Every book is whole, and nothing else is there; returns the ids of books."""
    there = set(server.names(bucket))
    ids = []
    for name in sorted(there):
        if not name.endswith("/book.json"):
            continue
        data = server.storage.get_file(bucket, name)
        there.remove(name)
        if "deleted" in json.loads(data):
            continue
        home = name.removesuffix("book.json")
        for file in json.loads(data)["files"].values():
            assert sha256(server.storage.get_file(bucket, home + file["object"])) == file["sha256"]
            there.remove(home + file["object"])
        ids.append(name.split("/")[1])
    assert there == set()
    return ids


def at_request(method: str, ending: str, act: Callable[[], object]) -> Fault:
    """Do something of one's own before the first request like this is served."""
    done: list[bool] = []

    def fault(handler: Handler) -> bool:
        if not done and (handler.command, handler.object_name.endswith(ending)) == (method, True):
            done.append(True)
            act()
        return False

    return fault


def writes(server: StorageServer) -> list[str]:
    return [name for method, name in server.requests if method == "POST"]


# The server itself


def test_the_server_holds_preconditions_and_turns_pages(
    storage_server: StorageServer, bucket_name: str
) -> None:
    bucket = Bucket(bucket_name, "a/")
    first = bucket.put("x", b"1", "text/plain")
    for wrong in (0, first + 1):
        with pytest.raises(Occupied):
            bucket.put("x", b"2", "text/plain", replaces=wrong)
    second = bucket.put("x", b"3", "text/plain", replaces=first)
    found = bucket.get("x")
    assert found is not None
    assert (found.data, found.generation) == (b"3", second)
    for n in range(20):
        bucket.put(f"many/{n:02d}", b"", "text/plain")
    storage_server.requests.clear()
    assert [s.name for s in bucket.list("many/")] == [f"many/{n:02d}" for n in range(20)]
    assert len(storage_server.requests) == 3


# Writers that meet


def test_sixteen_writers_at_once(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    libraries = [machine(60.0) for _ in range(16)]

    def write(n: int) -> None:
        libraries[n].save(make_book(id="f" * 16, version=n, pages=1))
        libraries[n].save(make_book(id=f"{n:016x}", version=n, pages=1))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    assert len(check_bucket(storage_server, bucket_name)) == 17
    reader = machine()
    version_of(reader.get("f" * 16))
    assert [version_of(reader.get(f"{n:016x}")) for n in range(16)] == list(range(16))
    reader.refresh()
    assert reader.count() == 17


def test_a_book_deleted_or_replaced_while_it_is_saved(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    one, other = machine(), machine()
    for act, ending in itertools.product(
        (
            lambda: other.delete(ID, owner=OWNER),
            lambda: other.save(make_book(version=9, pages=2)),
        ),
        ("page-01.png", "page-02.png", "book.json"),
    ):
        one.save(make_book(version=1, pages=2))
        storage_server.fault = at_request("POST", ending, act)
        one.save(make_book(version=2, pages=2))
        storage_server.fault = None
        assert version_of(other.get(ID)) == 2
        assert check_bucket(storage_server, bucket_name) == [ID]


def test_a_book_saved_while_it_is_deleted_as_it_was_read_stays(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    one, other, read = machine(), machine(), make_book(version=1)
    one.save(read)
    act = partial(other.save, make_book(version=2))
    storage_server.fault = at_request("POST", "book.json", act)
    with pytest.raises(HasChanged):
        one.delete(ID, owner="", only=read)
    assert version_of(other.get(ID)) == 2
    assert check_bucket(storage_server, bucket_name) == [ID]


def test_a_book_replaced_or_deleted_while_it_is_read(
    storage_server: StorageServer, machine: Machine
) -> None:
    writer = machine()
    writer.save(make_book(version=1))
    reader = machine()
    storage_server.fault = at_request(
        "GET", "page-01.png", lambda: writer.save(make_book(version=2))
    )
    assert version_of(reader.get(ID)) == 2
    reader = machine()
    storage_server.fault = at_request("GET", "page-01.png", lambda: writer.delete(ID, owner=OWNER))
    with pytest.raises(NotFound):
        reader.get(ID)


def test_a_book_replaced_when_only_its_manifest_cannot_be_read(
    storage_server: StorageServer, machine: Machine, tmp_path: Path
) -> None:
    reader, writer = machine(0.3), machine()
    reader.save(make_book(version=1))
    writer.save(make_book(version=2))
    for file in (tmp_path / "0" / "cache").glob("*.png"):
        file.unlink()

    def fault(handler: Handler) -> bool:
        lost = (handler.command, handler.object_name) == ("GET", MANIFEST)
        if lost:
            drop(handler)
        return lost

    storage_server.fault = fault
    with pytest.raises(Unreachable, match="Try again later"):
        reader.get(ID)
    storage_server.fault = None
    assert version_of(reader.get(ID)) == 2


def test_a_page_more_costs_a_page(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    library = machine()
    book = make_book(version=7, pages=4)
    bare = [replace(page, picture=None) for page in book.pages]
    for n in range(4):
        storage_server.requests.clear()
        library.save(replace(book, pages=(*book.pages[: n + 1], *bare[n + 1 :])))
        sent = [name.rpartition("/")[2] for name in writes(storage_server)]
        assert sent == [f"page-{n + 1:02d}.png", *(["cover.webp"] if n == 0 else []), "book.json"]
    storage_server.requests.clear()
    library.save(book)
    assert writes(storage_server) == []
    assert check_bucket(storage_server, bucket_name) == [ID]


def test_others_see_what_changed_by_themselves(machine: Machine) -> None:
    writer, other = machine(), machine()
    assert other.list() == []

    def other_shows(expected: list[str]) -> bool:
        until = time.monotonic() + 60
        stamp = other.stamp()
        while [s.title for s in other.list()] != expected and time.monotonic() < until:
            while other.stamp() == stamp and time.monotonic() < until:
                time.sleep(0.02)
            stamp = other.stamp()
        return [s.title for s in other.list()] == expected

    writer.save(make_book(version=1))
    assert other_shows(["The fox 1"])
    for n in range(9):
        writer.save(make_book(id=f"{n + 1:016x}", version=n, pages=0, created=f"2026-01-0{n + 1}"))
    assert other_shows(["The fox 1", *(f"The fox {n}" for n in reversed(range(9)))])
    writer.delete(ID, owner=OWNER)
    assert other_shows([f"The fox {n}" for n in reversed(range(9))])


def test_a_list_is_kept_up_to_date_while_somebody_looks_and_no_longer(
    storage_server: StorageServer, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, other = machine(), machine()
    other.list()

    def comes_by_itself(count: int) -> bool:
        until = time.monotonic() + 5.0
        while len(other._mirror.ids()) != count and time.monotonic() < until:
            time.sleep(0.02)
        return len(other._mirror.ids()) == count

    for n in range(3):
        writer.save(make_book(id=f"{n:016x}", version=n, pages=0))
        assert comes_by_itself(n + 1)
    monkeypatch.setattr(following, "LOOKING_SECONDS", 0.0)
    until = time.monotonic() + 60
    while other._following._follower is not None and time.monotonic() < until:
        time.sleep(0.02)
    storage_server.requests.clear()
    time.sleep(0.5)
    assert storage_server.requests == []
    monkeypatch.undo()
    writer.delete(ID, owner=OWNER)
    other.stamp()
    assert comes_by_itself(2)


def test_of_a_deleted_book_no_machine_keeps_files(machine: Machine, tmp_path: Path) -> None:
    libraries = one, other = machine(), machine()
    one.save(make_book(version=7))
    one.save(make_book(version=8))
    one.save(make_book(id="e" * 16, version=9))
    for library in libraries:
        library.refresh()
        library.get(ID)
        library.get("e" * 16)
        library.list()
    one.delete(ID, owner=OWNER)
    other.refresh()
    for n, library in enumerate(libraries):
        kept = [path.name for path in (tmp_path / str(n) / "cache").iterdir()]
        assert sorted(name.rpartition(".")[2] for name in kept) == ["json", "png", "webp"]
        assert all(name.startswith("e" * 16) or name.endswith(".png") for name in kept)
        assert version_of(library.get("e" * 16)) == 9


def test_a_clock_that_runs_backwards(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's generations fall, and every later edition must be the later one still."""
    from gcp_storage_emulator.handlers import objects

    falling = itertools.count(10**18, -(10**12))
    clock = type("clock", (), {"time_ns": staticmethod(lambda: next(falling))})
    monkeypatch.setattr(objects, "time", clock)
    writer, other = machine(), machine()
    for version in range(3):
        writer.save(make_book(version=version, pages=1, created="1999-01-01T00:00:00"))
        other.refresh()
        assert [s.title for s in other.list()] == [f"The fox {version}"]
        assert version_of(other.get(ID)) == version
    writer.delete(ID, owner=OWNER)
    other.refresh()
    assert other.count() == writer.count() == 0


# Servers that fail


def test_errors_that_pass_are_not_noticed(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    library = machine()
    for code in (500, 503, 429):
        storage_server.fault = Faults.status(code, 2)
        library.save(make_book(version=code))
        storage_server.fault = Faults.status(code, 2)
        assert version_of(library.get(ID)) == code
        storage_server.fault = Faults.status(code, 1)
        library.refresh()
    storage_server.fault = Faults.slow(0.05)
    assert version_of(machine().get(ID)) == 429
    storage_server.fault = Faults.status(503, 2)
    library.delete(ID, owner=OWNER)
    assert check_bucket(storage_server, bucket_name) == []


@pytest.mark.parametrize("ending", ["page-02.png", "book.json"])
def test_an_answer_that_is_lost(
    storage_server: StorageServer, bucket_name: str, machine: Machine, ending: str
) -> None:
    library = machine()
    library.save(make_book(version=1))
    storage_server.fault = Faults.lost_answer("POST", ending)
    library.save(make_book(version=2))
    assert version_of(library.get(ID)) == 2
    assert check_bucket(storage_server, bucket_name) == [ID]


def test_a_book_replaced_after_an_answer_was_lost(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    """What was sent for the first try is gone with the version that it became."""
    one, other = machine(), machine()
    one.save(make_book(version=1))
    lost = Faults.lost_answer("POST", "book.json")
    then = at_request("POST", "book.json", partial(other.save, make_book(version=3)))
    storage_server.fault = lambda handler: lost(handler) or then(handler)
    one.save(make_book(version=2))
    assert version_of(other.get(ID)) == 2
    assert check_bucket(storage_server, bucket_name) == [ID]


def test_a_deletion_whose_answer_is_lost(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    library = machine()
    library.save(make_book())
    storage_server.fault = Faults.lost_answer("POST", "book.json")
    library.delete(ID, owner=OWNER)
    assert library.list() == []
    assert check_bucket(storage_server, bucket_name) == []
    with pytest.raises(NotFound):
        library.delete(ID, owner=OWNER)


def test_the_server_goes_away_at_any_request(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    machine().save(make_book(version=0))
    library = machine(0.3)
    failures = 0
    for requests in itertools.count():
        storage_server.fault = Faults.gone_after(requests)
        try:
            library.save(make_book(version=1, words=str(requests)))
        except Unreachable as e:
            assert "cannot be reached" in str(e)  # noqa: PT017
            failures += 1
        else:
            break
        storage_server.fault = None
        # The manifest may have been written, but never before its pictures.
        assert version_of(machine().get(ID)) in (0, 1)
        library.save(make_book(version=1, words=str(requests)))
        assert check_bucket(storage_server, bucket_name) == [ID]
        library.save(make_book(version=0, words=str(requests)))
    assert failures > 6


def test_the_server_is_killed_and_started_again_while_a_book_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = threading.Event()

    def fault(handler: Handler) -> bool:
        if handler.command == "POST" and handler.object_name.endswith("page-03.png"):
            killed.set()
        if killed.is_set():
            drop(handler)
        return killed.is_set()

    with ThreadPoolExecutor(1) as pool:
        with serving() as server:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
            server.new_bucket("killed")
            server.fault = fault
            bucket = Bucket("killed", read_seconds=60.0, write_seconds=60.0)
            library = FirebaseLibrary(bucket, tmp_path)
            saved = pool.submit(library.save, make_book(version=4, pages=6))
            assert killed.wait(30)
        time.sleep(0.2)
        assert not saved.done()
        with serving(server.server_address[1], server.storage) as server:
            saved.result(60)
            assert version_of(library.get(ID)) == 4
            assert check_bucket(server, "killed") == [ID]
            library.close()


def test_a_save_that_was_cut_off_goes_on(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    library = machine(0.3)
    storage_server.fault = Faults.gone_after(5)
    book = make_book(pages=6)
    with pytest.raises(Unreachable):
        library.save(book)
    storage_server.fault = None
    stored = storage_server.storage.objects[bucket_name]
    before = {name: item["generation"] for name, item in stored.items()}
    assert before
    assert MANIFEST not in before
    assert machine().list() == []
    library.save(book)
    after = {name: item["generation"] for name, item in stored.items()}
    assert before.items() <= after.items()
    assert check_bucket(storage_server, bucket_name) == [ID]


def test_a_book_that_is_just_being_written_is_not_tidied_away(
    storage_server: StorageServer,
    bucket_name: str,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library, tidier = machine(0.3), machine()
    tidier.save(make_book(id="f" * 16))
    storage_server.fault = Faults.gone_after(5)
    with pytest.raises(Unreachable):
        library.save(make_book(pages=6))
    stored = storage_server.storage.objects[bucket_name]
    begun = [item for name, item in stored.items() if ID in name]
    assert begun
    for item in begun:
        long_ago = datetime.now(UTC) - timedelta(days=2)
        item["timeCreated"] = long_ago.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    later = SimpleNamespace(
        time=lambda: time.time() + 2 * 86400, monotonic=time.monotonic, sleep=time.sleep
    )
    monkeypatch.setattr(firebase, "time", later)
    storage_server.fault = at_request(
        "POST", f"{ID}/book.json", lambda: list(verify(tidier, tidy=True))
    )
    library.save(make_book(pages=6))
    assert version_of(machine().get(ID)) == 0
    assert sorted(check_bucket(storage_server, bucket_name)) == [ID, "f" * 16]


def test_large_uploads_resume(storage_server: StorageServer, bucket_name: str) -> None:
    data = os.urandom(9 * 2**20)
    starts: list[str] = []

    def fault(handler: Handler) -> bool:
        if handler.command == "PUT":
            starts.append(handler.headers["Content-Range"])
            if len(starts) == 4:
                handler.answer(503, {})
                return True
        return False

    storage_server.fault = fault
    bucket = Bucket(bucket_name)
    bucket.put("large", data, "image/png")
    assert bucket.read("large") == data
    sent = [s for s in starts if not s.startswith("bytes */")]
    assert len(sent) <= 9 + 1


def test_without_the_network_lists_and_books_read_lately_are_there(
    storage_server: StorageServer, machine: Machine
) -> None:
    library = machine(0.2)
    library.save(make_book(version=1))
    library.save(make_book(version=2, id="e" * 16))
    other = machine(0.2)
    other.refresh()
    storage_server.fault = Faults.gone_after(0)
    assert library.count(search="fox") == 2
    assert all(s.cover is not None for s in library.list())
    assert [s.cover for s in other.list()] == [None, None]
    assert version_of(library.get(ID)) == 1
    for act in (
        lambda: library.save(make_book(version=3)),
        lambda: library.delete(ID, owner=OWNER),
        lambda: machine(0.2).get(ID),
        library.refresh,
    ):
        with pytest.raises(Unreachable, match="cannot be reached"):
            act()
    until = time.monotonic() + 60
    while not library.notice() and time.monotonic() < until:
        library.stamp()
        time.sleep(0.02)
    assert library.notice().startswith("The network is gone")
    storage_server.fault = None
    while library.notice() and time.monotonic() < until:
        library.stamp()
        time.sleep(0.02)
    assert library.notice() == ""


def test_a_key_without_rights(storage_server: StorageServer, machine: Machine) -> None:
    library = machine()
    storage_server.fault = Faults.status(403, 99)
    with pytest.raises(StorageError, match="Storage Object Admin"):
        library.save(make_book())


def test_a_bucket_that_is_not_there(storage_server: StorageServer, tmp_path: Path) -> None:
    library = FirebaseLibrary(Bucket("no-such-bucket"), tmp_path)
    with pytest.raises(StorageError, match="There is no bucket no-such-bucket"):
        library.save(make_book())
    library.close()


# What is in the bucket


def test_captions_pages_and_recipes_are_metadata(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    library = machine()
    text = "Füchse\n神話 <b>🦊</b> " * 2000
    pages = (Page(text, picture=picture(1)), make_book().pages[0])
    library.save(replace(make_book(), pages=pages))
    stored = storage_server.storage.objects[bucket_name]
    found = {name.rpartition("/")[2]: item["metadata"] for name, item in stored.items()}
    first, second = found["page-01.png"], found["page-02.png"]
    assert first["caption"].startswith("Füchse 神話 <b>🦊</b> Füchse")
    assert (first["page"], first["recipe"]) == ("1", "")
    assert (second["caption"], second["page"], len(second["recipe"])) == ("Page 0 of 0.", "2", 64)
    assert library.get(ID).pages == pages


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["caption", "page", "recipe"]),
        st.builds(mul, st.text(max_size=60), st.sampled_from([1, 150])),
    )
)
def test_metadata_always_fit(values: dict[str, str]) -> None:
    fitted = as_metadata(values)
    assert fitted.keys() == values.keys()
    assert sum(len(k) + len(v.encode()) for k, v in fitted.items()) <= 8 * 1024
    assert all(text.isprintable() for text in fitted.values())


def test_books_without_a_layout_are_read_and_renewed(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    """The files of a local library's book, uploaded as they are."""
    book = make_book(version=4)
    library = machine()
    for name, data in local.encode_files(book).items():
        library.bucket.put(f"books/{ID}/{name}", data, "image/png")
    library.refresh()
    assert [s.title for s in library.list()] == ["The fox 4"]
    assert library.get(ID) == book
    library.save(make_book(version=5))
    assert version_of(machine().get(ID)) == 5
    library.delete(ID, owner=OWNER)
    assert storage_server.names(bucket_name) == [MANIFEST]


@pytest.mark.parametrize(
    "damage, message",
    [
        (b"", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"pages": [{}]}', "damaged"),
        (b'{"layout": 2}', "newer Storybrush: update the app"),
        ("../../secret.png", "damaged"),
        ("no pictures", "damaged"),
        ("no number", "damaged"),
    ],
)
def test_a_damaged_manifest_is_told_and_can_be_deleted(
    storage_server: StorageServer,
    bucket_name: str,
    machine: Machine,
    damage: bytes | str,
    message: str,
) -> None:
    library = machine()
    library.save(make_book())
    library.save(make_book(id="e" * 16))
    there = library.bucket.get(MANIFEST)
    assert there is not None
    if isinstance(damage, str):
        fields = json.loads(there.data)
        if damage == "no pictures":
            fields["files"] = {}
        elif damage == "no number":
            fields["layout"] = math.inf
        else:
            fields["files"]["page-01.png"]["object"] = damage
        damage = json.dumps(fields).encode()
    edition = {"edition": "9", "owner": OWNER}
    library.bucket.put(
        MANIFEST, damage, "application/json", replaces=there.generation, metadata=edition
    )
    other = machine()
    other.refresh()
    assert [s.id for s in other.list()] == ["e" * 16]
    with pytest.raises(StorageError, match=message) as refused:
        other.get(ID)
    assert not isinstance(refused.value, NotFound)
    with pytest.raises(StorageError, match="Only the one who made"):
        other.delete(ID, owner=STRANGER)
    other.delete(ID, owner=OWNER)
    assert check_bucket(storage_server, bucket_name) == ["e" * 16]


def test_a_damaged_manifest_that_is_put_back_is_listed_again(machine: Machine) -> None:
    writer, reader = machine(), machine()
    writer.save(make_book())
    there = writer.bucket.get(MANIFEST)
    assert there is not None
    put = partial(writer.bucket.put, MANIFEST, kind="application/json", metadata=there.metadata)
    damaged = put(data=b"?", replaces=there.generation)
    reader.refresh()
    assert (reader.list(), list(reader.damaged())) == ([], [ID])
    put(data=there.data, replaces=damaged)
    reader.refresh()
    assert ([s.id for s in reader.list()], reader.damaged()) == ([ID], {})


def test_a_manifest_put_back_without_its_metadata_is_replaced_and_deleted(machine: Machine) -> None:
    """As in a backup of files alone: the bucket does not tell its edition any more."""
    writer, reader = machine(), machine()

    def put_back() -> None:
        there = writer.bucket.get(MANIFEST)
        assert there is not None
        writer.bucket.put(MANIFEST, there.data, "application/json", replaces=there.generation)

    for version in range(3):
        writer.save(make_book(version=version))
    reader.refresh()
    put_back()
    writer.save(make_book(version=3))
    reader.refresh()
    assert [s.title for s in writer.list()] == [s.title for s in reader.list()] == ["The fox 3"]
    put_back()
    writer._following.close()
    writer.delete(ID, owner=OWNER)
    assert writer.list() == []


@pytest.mark.parametrize("damage", [None, picture(99)])
def test_a_damaged_picture_is_named(
    storage_server: StorageServer, bucket_name: str, machine: Machine, damage: bytes | None
) -> None:
    library = machine()
    library.save(make_book(pages=1))  # pages alike are read once
    (name,) = (n for n in storage_server.names(bucket_name) if n.endswith("page-01.png"))
    library.bucket.remove(name)
    if damage:
        library.bucket.put(name, damage, "image/png")
    how = "damaged" if damage else "missing"
    with pytest.raises(StorageError, match=f"page-01.png.*{how}") as refused:
        machine().get(ID)
    assert not isinstance(refused.value, NotFound)


def test_a_deletion_that_was_cut_off_is_completed(
    storage_server: StorageServer, bucket_name: str, machine: Machine
) -> None:
    library = machine(0.2)
    library.save(make_book())
    removals: list[str] = []

    def fault(handler: Handler) -> bool:
        if handler.command == "DELETE":
            removals.append(handler.object_name)
            handler.answer(503, {})
            return True
        return False

    storage_server.fault = fault
    library.delete(ID, owner=OWNER)
    assert removals
    assert library.list() == []
    storage_server.fault = None
    with pytest.raises(NotFound):
        library.delete(ID, owner=OWNER)
    assert storage_server.names(bucket_name) == [MANIFEST]


# This machine


@pytest.mark.parametrize("left", [b"", b"\0" * 16, b"\xff"])
def test_a_name_of_the_machine_that_a_power_cut_damaged_is_made_anew(
    bucket_name: str, machine: Machine, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "machine").write_bytes(left)
    with closing(FirebaseLibrary(Bucket(bucket_name), tmp_path)) as library:
        library.save(make_book())
    with closing(FirebaseLibrary(Bucket(bucket_name), tmp_path)) as again:
        assert again._machine == library._machine
    assert version_of(machine().get(ID)) == 0  # its objects have names that a manifest may have


def test_a_large_bucket_is_waited_for_once(
    storage_server: StorageServer, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FIRST_SECONDS", 0.5)
    listed = threading.Event()

    def slow(handler: Handler) -> bool:
        return not listed.wait(30)

    library = machine()
    storage_server.fault = slow
    begin = time.monotonic()
    for _ in range(5):
        assert library.list() == []
        assert library.styles() == []
    waited = time.monotonic() - begin
    listed.set()
    assert 0.4 < waited < 2.0  # not at every call


def test_a_mirror_that_was_removed_fills_again(
    bucket_name: str, machine: Machine, tmp_path: Path
) -> None:
    class Changes(ListElsewhere):
        """Tells only what is new, as Firestore does."""

        @staticmethod
        def asks_for_everything(since: str) -> bool:
            return since != "asked"

        def update(self, mirror: Mirror, since: str) -> str:
            return "asked"

    machine().save(make_book())
    for _ in range(2):
        index: Any = Changes()
        library = FirebaseLibrary(Bucket(bucket_name), tmp_path / "other", index=index)
        assert library.ids() == [ID]
        library.close()
        shutil.rmtree(tmp_path / "other" / "mirror")


def test_a_book_read_before_it_was_deleted_is_not_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, book = Mirror(tmp_path), make_book()
    listed.put([(book, 1, "")])
    listed.drop([(ID, 2)])
    listed.put([(book, 1, "")])
    assert listed.ids() == []
    listed.put([(book, 3, "")])  # saved again since
    assert listed.editions() == {ID: 3}
    listed.drop([(ID, 4)])
    # Long after that a bucket may have lost the mark of the deletion, and counts anew.
    monkeypatch.setattr(mirror, "GONE_SECONDS", -1.0)
    listed.put([(book, 1, "")])
    assert listed.editions() == {ID: 1}


def test_the_cache_forgets_what_was_not_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most=1000)
    for n in range(9):
        cache.keep(f"{n}", bytes(100))
        os.utime(tmp_path / str(n), (n, n))
    assert cache.get("0") == bytes(100)  # used again
    cache.keep("9", bytes(100))
    cache.keep("10", bytes(100))
    assert cache.get("0") is not None
    assert cache.get("1") is None
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 1000
    assert cache.get("../0") is None
    (tmp_path / "0").write_bytes(b"")  # as a power cut may leave it
    assert cache.path("0") is None


def test_a_cache_that_cannot_be_written_harms_nobody(
    storage_server: StorageServer, bucket_name: str, tmp_path: Path
) -> None:
    library = FirebaseLibrary(Bucket(bucket_name), tmp_path)
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").write_text("in the way")
    library.save(make_book(version=3))
    assert version_of(library.get(ID)) == 3
    assert [s.cover for s in library.list()] == [None]
    library.close()


# The list in Firestore


def test_a_cache_that_was_removed_fills_again(machine: Machine, tmp_path: Path) -> None:
    library = machine()
    library.save(make_book())
    shutil.rmtree(tmp_path / "0" / "cache")
    assert all(s.cover is not None for s in library.list())
    shutil.rmtree(tmp_path / "0" / "cache")
    library.delete(ID, owner=OWNER)
    assert library.list() == []


def test_a_file_that_is_no_deletion_keeps_none_waiting(tmp_path: Path) -> None:
    index, untold = ListElsewhere(), firestore.Untold(tmp_path)
    index.put(make_book(), 1, "")
    (tmp_path / ".DS_Store").touch()
    untold.add(ID, 2)
    untold.tell(index)  # pyright: ignore[reportArgumentType]
    assert index.editions() == {}
    assert [file.name for file in tmp_path.iterdir()] == [".DS_Store"]


@pytest.fixture
def indexed(bucket_name: str, tmp_path: Path, firestore_emulator: None) -> Iterator[Machine]:
    """Makes libraries on the same bucket with a list in Firestore."""
    numbers = itertools.count()
    with ExitStack() as ends:

        def make() -> FirebaseLibrary:
            index = FirestoreIndex(bucket_name, f"books-{bucket_name}")
            folder = tmp_path / f"indexed-{next(numbers)}"
            library = FirebaseLibrary(Bucket(bucket_name), folder, index=index, refresh=60.0)
            ends.callback(library.close)
            return library

        yield make


def test_a_quiet_list_in_firestore_costs_no_documents(
    indexed: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, read = datetime.now(UTC), []
    into = firestore._into
    monkeypatch.setattr(firestore, "_clock", lambda: now)
    monkeypatch.setattr(
        firestore, "_into", lambda m, documents: (read.extend(documents), into(m, documents))
    )

    def asked(**later: float) -> int:
        nonlocal now
        now += timedelta(**later)
        read.clear()
        other.refresh()
        return len(read)

    writer, other = indexed(), indexed()
    for n in range(4):
        writer.save(make_book(id=f"{n:016x}", version=n, pages=0))
    assert asked() == 4
    assert asked(seconds=5) == 4  # writes may still be seen out of order
    assert asked(seconds=100) == 4  # for the last time
    for _ in range(3):
        assert asked(days=15) == 0  # long quiet, but never unasked for long
    writer.save(make_book(id="e" * 16, version=9, pages=0))
    assert asked(seconds=5) > 0
    assert asked(seconds=100) > 0
    assert asked(seconds=5) == 0
    assert asked(days=21) == 5  # it may have missed that a book was deleted
    assert other.count() == 5  # last: whoever counts has the list followed in the background


def test_a_list_in_firestore_switched_on_for_a_bucket_with_books(
    machine: Machine, indexed: Machine
) -> None:
    plain = machine()
    for n in range(3):
        plain.save(make_book(id=f"{n:016x}", version=n, pages=0))
    library = indexed()
    assert library.count() == 3
    library.save(make_book(id=f"{1:016x}", version=7, pages=0))
    other = indexed()
    other.refresh()
    assert sorted(s.title for s in other.list()) == ["The fox 0", "The fox 2", "The fox 7"]
    library.delete(f"{2:016x}", owner=OWNER)
    other.refresh()
    assert other.count() == 2


def test_firestore_fails_while_a_book_is_deleted(
    storage_server: StorageServer,
    bucket_name: str,
    indexed: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library, other = indexed(), indexed()
    library.save(make_book())
    other.refresh()
    assert library.index is not None
    with monkeypatch.context() as broken:
        gone = Unreachable("no network")
        broken.setattr(library.index, "remove", lambda *_: (_ for _ in ()).throw(gone))
        library.delete(ID, owner=OWNER)
    assert storage_server.names(bucket_name) == [MANIFEST]
    assert library.list() == []
    with pytest.raises(NotFound):
        library.get(ID)
    library.tell_deletions()
    other.refresh()
    assert other.count() == 0
