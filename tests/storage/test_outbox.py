"""The outbox: nothing is lost while the network is gone, and nothing is shown twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import InvalidInput, NotFound, StorageError, Unreachable
from storage.base import open_library
from storage.bucket import Bucket
from storage.firebase import FirebaseLibrary
from storage.firestore import Untold
from storage.memory import MemoryLibrary
from storage.outbox import Address, Deleted, OutboxLibrary
from tests.storage.books import OWNER, STRANGER, make_book, version_of
from tests.storage.emulator import Faults, Handler, StorageServer, drop
from tests.storage.listing import ListElsewhere
from tests.storage.test_firebase import at_request, check_bucket

ID = "0" * 16

Opener = Callable[..., OutboxLibrary]


@pytest.fixture
def opened(bucket_name: str, tmp_path: Path) -> Iterator[Opener]:
    """Opens an outbox in a folder, with little patience."""
    with ExitStack() as ends:

        def make(folder: str = "a") -> OutboxLibrary:
            bucket = Bucket(bucket_name, read_seconds=0.2, write_seconds=0.2)
            remote = FirebaseLibrary(bucket, tmp_path / folder, refresh=0.05)
            library = OutboxLibrary(remote, tmp_path / folder, first_pause=0.05)
            ends.callback(library.close)
            return library

        yield make


def until(condition: Callable[[], object]) -> None:
    """Wait for what happens by itself; fails after a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_books_wait_while_the_network_is_gone(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    storage_server.fault = Faults.gone_after(0)
    library = opened()
    library.save(make_book(version=1, style="oil"))
    until(library.notice)
    assert library.notice().startswith("1 book waits for the network")
    library.save(make_book(id="e" * 16, version=2))
    library.save(make_book(id="d" * 16, version=3))
    assert library.notice().startswith("3 books wait for the network")
    assert version_of(library.get(ID)) == 1
    assert [s.title for s in library.list(limit=2)] == ["The fox 3", "The fox 2"]
    assert (library.count(), library.styles()) == (3, [("oil", 1)])
    library.delete("d" * 16, owner=OWNER)
    stamp = library.stamp()
    storage_server.fault = None
    until(lambda: not library.waiting.count())
    until(lambda: not library.notice())
    assert library.stamp() != stamp
    assert check_bucket(storage_server, bucket_name) == [ID, "e" * 16]
    assert version_of(library.get(ID)) == 1
    assert library.count() == 2


def test_deleting_what_is_published_needs_the_network(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    library = opened()
    library.save(make_book())
    until(lambda: not library.waiting.count())
    storage_server.fault = Faults.gone_after(0)
    with pytest.raises(Unreachable):
        library.delete(ID, owner=OWNER)
    storage_server.fault = None
    library.delete(ID, owner=OWNER)
    assert library.list() == []
    assert check_bucket(storage_server, bucket_name) == []


def test_what_waits_is_not_deleted_alone_when_the_book_is_published_already(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    library = opened()
    library.save(make_book(version=1))
    until(lambda: not library.waiting.count())
    storage_server.fault = Faults.gone_after(0)
    library.save(make_book(version=2))
    with pytest.raises(Unreachable):
        library.delete(ID, owner=OWNER)
    assert version_of(library.get(ID)) == 2  # a deletion that fails changes nothing
    with pytest.raises(StorageError, match="Only the one who made"):
        library.delete(ID, owner=STRANGER)
    storage_server.fault = None
    library.delete(ID, owner=OWNER)
    assert library.list() == []
    assert check_bucket(storage_server, bucket_name) == []


def test_a_book_deleted_after_its_last_answer_was_lost_does_not_come_back(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    library = opened()
    storage_server.fault = Faults.lost_answer("POST", "book.json", then_gone=True)
    library.save(make_book())
    until(library.notice)
    library.delete(ID, owner=OWNER)  # it has arrived, but nobody here knows
    assert library.list() == []
    assert library._deleted.all() == [(ID, OWNER)]
    storage_server.fault = None
    until(lambda: not library._deleted.all())
    assert check_bucket(storage_server, bucket_name) == []
    library.remote.refresh()
    assert library.list() == []


def test_a_deletion_is_noted_before_anybody_elsewhere_is_asked(
    storage_server: StorageServer, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_server.fault = Faults.gone_after(0)
    library = opened()
    library.save(make_book())
    seen: list[list[tuple[str, str]]] = []

    def ask(book_id: str, *, owner: str) -> None:
        seen.append(library._deleted.all())
        raise NotFound("never published")

    monkeypatch.setattr(library.remote, "delete", ask)
    library.delete(ID, owner=OWNER)
    assert seen[0] == [(ID, OWNER)]
    assert library._deleted.all() == []


def test_a_book_deleted_while_nobody_could_tell_and_saved_again_stays(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    library = opened()
    storage_server.fault = Faults.lost_answer("POST", "book.json", then_gone=True)
    library.save(make_book(version=1))
    until(library.notice)
    library.delete(ID, owner=OWNER)
    library.save(make_book(version=2))
    storage_server.fault = None
    until(lambda: not library.waiting.count())
    assert library._deleted.all() == []
    assert library.publish()
    assert check_bucket(storage_server, bucket_name) == [ID]
    assert version_of(library.get(ID)) == 2


def test_a_book_deleted_by_another_process_while_it_is_published_does_not_come_back(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    library, other = opened(), opened()
    written = threading.Event()

    def fault(handler: Handler) -> bool:
        if written.is_set():
            drop(handler)
        elif (handler.command, handler.object_name) == ("POST", f"books/{ID}/book.json"):
            other.delete(ID, owner=OWNER)
            written.set()  # which is served still; after it the network is gone
            return False
        return written.is_set()

    storage_server.fault = fault
    library.save(make_book())
    until(written.is_set)
    until(lambda: not library.waiting.count())
    until(lambda: library._trouble or other._trouble)
    storage_server.fault = None
    until(lambda: not library._deleted.all())
    assert check_bucket(storage_server, bucket_name) == []


def test_a_deletion_that_firestore_does_not_hear_of_is_told_later(
    bucket_name: str, tmp_path: Path
) -> None:
    def opened() -> OutboxLibrary:
        remote = FirebaseLibrary(Bucket(bucket_name), tmp_path)
        remote.index = listed  # pyright: ignore[reportAttributeAccessIssue]
        return OutboxLibrary(remote, tmp_path, first_pause=0.05)

    listed = ListElsewhere()
    with closing(opened()) as library:
        library.save(make_book())
        until(lambda: not library.waiting.count())
        assert listed.editions().keys() == {ID}
        listed.gone = True
        library.delete(ID, owner=OWNER)
        assert library.list() == []
        assert listed.editions().keys() == {ID}
    with closing(opened()):  # also after a start
        listed.gone = False
        until(lambda: not listed.editions())
    until(lambda: not list((tmp_path / "untold").iterdir()))


def test_saved_again_or_deleted_while_it_is_published(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    library = opened()
    again = at_request("POST", "page-02.png", lambda: library.save(make_book(version=2)))
    storage_server.fault = again
    library.save(make_book(version=1))
    until(lambda: not library.waiting.count())
    assert version_of(library.remote.get(ID)) == 2
    gone = at_request("POST", "page-02.png", lambda: library.waiting.delete(ID, owner=OWNER))
    storage_server.fault = gone
    library.save(make_book(version=3))
    until(lambda: not library.waiting.count())
    library.delete(ID, owner=OWNER)
    assert library.list() == []
    with pytest.raises(NotFound):
        library.get(ID)
    assert check_bucket(storage_server, bucket_name) == []


def test_a_book_of_someone_else_is_kept_and_told(opened: Opener) -> None:
    mine, other = opened("a"), opened("b")
    other.save(make_book(version=1, owner=STRANGER))
    until(lambda: not other.waiting.count())
    until(lambda: mine.list())
    with pytest.raises(StorageError, match="belongs to someone else"):
        mine.save(make_book(version=2))
    # This machine may not know yet that there is such a book.
    mine.remote._following.close()
    mine.remote._mirror.drop([(ID, 99)])
    mine.save(make_book(version=2))
    until(mine.notice)
    assert "Kept on this machine" in mine.notice()
    assert "belongs to someone else" in mine.notice()
    assert version_of(mine.get(ID)) == 2
    assert version_of(other.get(ID)) == 1


def test_a_refused_book_keeps_nobody_waiting_and_can_be_deleted(opened: Opener) -> None:
    mine, other = opened("a"), opened("b")
    other.remote.save(make_book(version=1, owner=STRANGER))
    mine.remote._following.close()  # this machine knows of no such book
    mine.waiting.save(make_book(version=2))
    mine._wake.set()
    until(mine.notice)
    refused = mine._refused[ID]
    mine._refused[ID] = replace(refused, pause=60.0, until=time.monotonic() + 60)
    begin = time.monotonic()
    mine.save(make_book(version=3, id="e" * 16))
    until(lambda: mine.waiting.owner("e" * 16) is None)
    assert time.monotonic() - begin < 5.0
    assert version_of(other.get("e" * 16)) == 3
    assert mine._refused[ID].pause == 60.0  # not tried again before its time
    mine.delete(ID, owner=OWNER)
    assert mine.waiting.count() == 0
    assert version_of(other.get(ID)) == 1


def test_a_book_that_is_just_leaving_is_not_replaced(
    storage_server: StorageServer, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_server.fault = Faults.gone_after(0)
    library = opened()
    library.save(make_book(version=1))
    until(library.notice)
    owner = library.remote.owner

    def published_after_the_look(book_id: str) -> str | None:
        kept = owner(book_id)
        storage_server.fault = None
        until(lambda: owner(book_id))
        end = time.monotonic() + 0.5
        while library.waiting.count() and time.monotonic() < end:
            time.sleep(0.01)
        return kept

    monkeypatch.setattr(library.remote, "owner", published_after_the_look)
    with pytest.raises(StorageError, match="belongs to someone else"):
        library.save(make_book(version=2, owner=STRANGER))
    until(lambda: not library.waiting.count())
    assert version_of(library.get(ID)) == 1


def test_two_processes_share_a_folder(
    storage_server: StorageServer, bucket_name: str, opened: Opener
) -> None:
    one, other = opened(), opened()
    for n in range(6):
        (one, other)[n % 2].save(make_book(id=f"{n:016x}", version=n, pages=1))
    until(lambda: not one.waiting.count())
    assert len(check_bucket(storage_server, bucket_name)) == 6
    assert one.count() == other.count() == 6


def test_lists_are_those_of_one_library(storage_server: StorageServer, opened: Opener) -> None:
    """Some books are elsewhere, some wait, some are both with other words."""
    draw = random.Random(3)
    library, plain = opened(), MemoryLibrary()
    books = [
        make_book(
            draw.choice(["Fox", "Owl"]),
            id=f"{n:016x}",
            version=n,
            pages=0,
            style=draw.choice(["", "oil", "pencil"]),
            created=f"2026-01-{draw.randint(1, 9):02d}",
        )
        for n in range(12)
    ]
    for book in books[:8]:
        library.remote.save(book)
        plain.save(book)
    storage_server.fault = Faults.gone_after(0)
    for book in [*books[8:], *(replace(b, title="Hen", style="oil") for b in books[2:8:3])]:
        library.save(book)
        plain.save(book)
    for search, style in (("", ""), ("fox", ""), ("hen", ""), ("", "oil"), ("owl", "pencil")):
        every = [s.id for s in plain.list(search=search, style=style)]
        assert library.count(search=search, style=style) == len(every)
        for offset in range(len(every) + 2):
            for limit in (0, 1, 3, 99):
                page = library.list(offset=offset, limit=limit, search=search, style=style)
                assert [s.id for s in page] == every[offset : offset + limit]
    assert library.styles() == plain.styles()


@pytest.mark.parametrize("requests", [4, 25])
def test_killed_while_it_publishes(
    storage_server: StorageServer, bucket_name: str, tmp_path: Path, requests: int
) -> None:
    """kill -9 in the middle: what was saved is published by the next one to open the library."""
    url = f"firebase://{bucket_name}?folder={tmp_path}"
    storage_server.fault = Faults.slow(0.02)
    command = [sys.executable, "-m", "tests.storage.publisher", url, "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "saved\n"
        until(lambda: len(storage_server.requests) > requests)
        publisher.kill()
    storage_server.fault = None
    library = open_library(url)
    assert isinstance(library, OutboxLibrary)
    with closing(library):
        assert library.count() == 4
        until(lambda: not library.waiting.count())
        assert [version_of(library.get(f"{n:016x}")) for n in range(4)] == [0, 1, 2, 3]
    assert len(check_bucket(storage_server, bucket_name)) == 4


def test_addresses(
    storage_server: StorageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for wrong in (
        "firebase://",
        "firebase://Bucket",
        "firebase://a/b",
        "firebase://bucket?prefx=1",
        "firebase://bucket?index=sql",
        "firebase://bucket?prefix=../other",
    ):
        with pytest.raises(InvalidInput, match=r"address of a library|plain names"):
            open_library(wrong)
    storage_server.new_bucket("named")
    homes = set[Path]()
    for query, prefix in (("", ""), ("?prefix=a/b/", "a/b/"), ("?prefix=c", "c/")):
        library = open_library(f"firebase://named{query}")
        assert isinstance(library, OutboxLibrary)
        with closing(library):
            assert (library.remote.bucket.name, library.remote.bucket.prefix) == ("named", prefix)
            homes.add(library.waiting.folder)
            assert library.waiting.folder.is_relative_to(tmp_path / "storybrush" / "firebase")
            library.save(make_book())
            until(lambda library=library: not library.waiting.count())
    assert len(homes) == 3
    places = ("named", "named?prefix=a", "other", "named?prefix=a&index=firestore:mine")
    found = [Address.parse(p if "index" in p else f"{p}{'&' if '?' in p else '?'}index=firestore")
             for p in places]  # fmt: skip
    assert len({address.collection for address in found}) == len(places)
    assert found[-1].collection == "mine"
    assert len([n for n in storage_server.names("named") if n.endswith("book.json")]) == 3


def test_a_deletion_is_noted_as_a_whole_and_what_is_no_note_is_left_alone(tmp_path: Path) -> None:
    notes = Deleted(tmp_path / "deleted")
    notes.add(ID, OWNER)
    for name, data in ((f"{ID}.tmp", b'{"owner": "x"}'), (".DS_Store", b"\x80"), ("f" * 16, b"")):
        (tmp_path / "deleted" / name).write_bytes(data)
    assert notes.all() == [(ID, OWNER)]
    notes.forget(ID)
    assert notes.all() == []


def test_no_power_cut_undoes_a_note_of_a_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[tuple[int, list[str]]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        on_disk.append((os.fstat(descriptor).st_ino, [path.name for path in tmp_path.iterdir()]))

    monkeypatch.setattr(os, "fsync", fsync)
    notes = Deleted(tmp_path)
    notes.add(ID, OWNER)
    note, folder = (tmp_path / ID).stat().st_ino, tmp_path.stat().st_ino
    assert [inode for inode, _ in on_disk] == [note, folder]  # first what it says, then its name
    notes.forget(ID)
    Untold(tmp_path).add(ID, 3)
    assert on_disk[2] == (folder, [])
    assert on_disk[-1] == (folder, [f"{ID}.3"])
