"""Copying and checking libraries, as functions and on the command line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.book import Book, Page
from pipelines.errors import StorageError
from storage.__main__ import main, opened
from storage.base import Library
from storage.bucket import Bucket, Stored
from storage.firebase import FirebaseLibrary
from storage.firestore import FirestoreIndex
from storage.local import LocalLibrary
from storage.memory import MemoryLibrary
from storage.transfer import Copied, copy, fingerprint, verify
from tests.storage.books import OWNER, make_book, version_of
from tests.storage.emulator import Faults, StorageServer
from tests.storage.listing import ListElsewhere


def filled(library: Library, books: int = 5) -> Library:
    for n in range(books):
        created = f"2026-01-{n + 1:02d}T00:00:00+00:00"
        library.save(make_book(id=f"{n:016x}", version=n, pages=2, created=created))
    return library


@pytest.fixture
def remote(bucket_name: str, tmp_path: Path) -> Iterator[FirebaseLibrary]:
    with closing(FirebaseLibrary(Bucket(bucket_name), tmp_path / "remote")) as library:
        yield library


def told(events: Iterator[Copied]) -> list[tuple[int, bool, bool]]:
    return [(e.number, e.written, bool(e.trouble)) for e in events]


def test_copied_oldest_first_and_only_once() -> None:
    source, target = filled(MemoryLibrary()), MemoryLibrary()
    begun = copy(source, target)
    assert [next(begun).book_id for _ in range(2)] == [f"{n:016x}" for n in range(2)]
    begun.close()
    assert target.count() == 2
    there = [(n, n > 2, False) for n in range(1, 6)]
    assert told(copy(source, target)) == there
    assert told(copy(source, target)) == [(n, False, False) for n in range(1, 6)]
    for book_id in source.ids():
        assert fingerprint(source.get(book_id)) == fingerprint(target.get(book_id))


def test_another_version_is_left_alone_unless_asked_for() -> None:
    source, target = filled(MemoryLibrary(), 1), MemoryLibrary()
    target.save(make_book(version=9))
    (event,) = copy(source, target)
    assert "--replace" in event.trouble
    assert version_of(target.get("0" * 16)) == 9
    assert told(copy(source, target, replace=True)) == [(1, True, False)]
    assert version_of(target.get("0" * 16)) == 0


def test_one_that_cannot_be_copied_does_not_stop_the_others() -> None:
    class Forgetful(MemoryLibrary):
        def save(self, book: object) -> None:
            if getattr(book, "id", "").endswith("2"):
                raise StorageError("no room")
            if not getattr(book, "id", "").endswith("3"):
                super().save(book)  # pyright: ignore[reportArgumentType]

    events = list(copy(filled(MemoryLibrary()), Forgetful()))
    assert [e.trouble.partition(":")[0] for e in events] == [
        "", "", "no room", "it was written, but reads differently", "",
    ]  # fmt: skip


def test_the_command_moves_a_library_there_and_back(
    storage_server: StorageServer,
    bucket_name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    filled(LocalLibrary(here))
    url = f"firebase://{bucket_name}?prefix=moved"
    assert main(["copy", str(here), url]) == 0
    assert "5 copied, 0 there already, 0 not copied" in capsys.readouterr().out
    assert main(["copy", url, f"sqlite://{back}"]) == 0
    for book_id in LocalLibrary(here).ids():
        assert LocalLibrary(back).get(book_id) == LocalLibrary(here).get(book_id)
    capsys.readouterr()
    assert main(["copy", str(here), url]) == 0
    assert "0 copied, 5 there already, 0 not copied" in capsys.readouterr().out
    assert main(["verify", url]) == main(["verify", str(here)]) == 0
    assert "5 good, 0 wrong" in capsys.readouterr().out
    name = next(n for n in storage_server.names(bucket_name) if n.endswith("page-02.png"))
    storage_server.storage.delete_file(bucket_name, name)
    assert main(["verify", url]) == 1
    assert "page-02.png" in capsys.readouterr().out
    assert main(["verify", "ftp://nowhere"]) == 1
    assert "Unknown kind of library" in capsys.readouterr().err


def test_addresses_need_a_bucket_and_a_key_that_signs(
    bucket_name: str, tmp_path: Path, remote: FirebaseLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(remote, 1)
    url = f"firebase://{bucket_name}"
    LocalLibrary(tmp_path / "here")
    for library, book_id, message in (
        (str(tmp_path / "here"), "0" * 16, "Only pictures in a bucket"),
        (url, "1" * 16, "There is no book"),
        (url, "..", "There is no book"),
        (url, "0" * 16, "This key cannot sign"),  # nobody has a key for the emulator
    ):
        assert main(["addresses", library, book_id]) == 1
        assert message in capsys.readouterr().err


def test_a_copy_that_was_cut_off_goes_on(
    storage_server: StorageServer, bucket_name: str, tmp_path: Path
) -> None:
    source = filled(MemoryLibrary(), 3)
    target = FirebaseLibrary(
        Bucket(bucket_name, read_seconds=0.3, write_seconds=0.3), tmp_path, kept_bytes=0
    )
    with closing(target):
        storage_server.fault = Faults.gone_after(12)
        events = list(copy(source, target))
        assert [bool(e.trouble) for e in events] == [False, True, True]
        storage_server.fault = None
        assert told(copy(source, target)) == [(1, False, False), (2, True, False), (3, True, False)]
        assert all(not found.trouble for found in verify(target))


def test_damage_in_a_local_library_is_found(tmp_path: Path) -> None:
    library = filled(LocalLibrary(tmp_path))
    picture = next((tmp_path / "books" / f"{3:016x}").glob("*/page-01.png"))
    picture.write_bytes(b"?")
    found = {c.name: c.trouble for c in verify(library)}
    assert len(found) == 5
    assert [name for name, trouble in found.items() if trouble] == [f"{3:016x}"]


@pytest.mark.parametrize("damage", [lambda data: b"?", lambda data: data[: len(data) // 2], None])
def test_a_cover_that_is_damaged_or_missing_is_found(
    tmp_path: Path, remote: FirebaseLibrary, damage: Callable[[bytes], bytes] | None
) -> None:
    local = LocalLibrary(tmp_path / "local")
    for library in (local, remote):
        library.save(make_book(id="e" * 16, pages=1))
        library.save(make_book(pages=1))
        library.save(Book("Not painted", (Page("A fox."),), id="f" * 16))
        assert [c.trouble for c in verify(library) if c.trouble] == []
    (file,) = (tmp_path / "local" / "books" / ("0" * 16)).glob("*/cover.webp")
    (name,) = (o.name for o in remote.bucket.list("books/" + "0" * 16) if "cover" in o.name)
    data = file.read_bytes()
    assert remote.bucket.read(name) == data
    remote.bucket.remove(name)
    file.unlink()
    if damage:
        remote.bucket.put(name, damage(data), "image/webp")
        file.write_bytes(damage(data))
    assert [c.name for c in verify(local) if c.trouble] == ["0" * 16]
    assert [c.name for c in verify(remote) if c.trouble] == [name]
    local.save(local.get("0" * 16))
    assert all(not c.trouble for c in verify(local))


def test_what_is_left_over_in_a_bucket_is_found_and_tidied(
    storage_server: StorageServer, bucket_name: str, remote: FirebaseLibrary
) -> None:
    filled(remote, 2)
    remote.delete(f"{1:016x}", owner=OWNER)
    orphan = f"books/{0:016x}/{'e' * 16}-{'e' * 16}/page-01.png"
    half = f"books/{7:016x}/{'e' * 16}-{'e' * 16}/page-01.png"
    for name in (orphan, half):
        remote.bucket.put(name, b"", "image/png")
    # Young objects may belong to a book that is being published.
    assert all(not c.trouble for c in verify(remote, tidy=True))
    assert {orphan, half} < set(storage_server.names(bucket_name))

    def aged(days: int) -> None:
        long_ago = datetime.now(UTC) - timedelta(days=days)
        for name in (orphan, half, f"books/{1:016x}/book.json"):
            stored = storage_server.storage.objects[bucket_name].get(name)
            if stored:
                stored["timeCreated"] = long_ago.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    aged(2)
    assert {c.name for c in verify(remote) if c.trouble} == {orphan, half}
    list(verify(remote, tidy=True))
    assert {orphan, half}.isdisjoint(storage_server.names(bucket_name))
    assert f"books/{1:016x}/book.json" in storage_server.names(bucket_name)
    aged(31)
    list(verify(remote, tidy=True))
    assert f"books/{1:016x}/book.json" not in storage_server.names(bucket_name)
    assert [c.trouble for c in verify(remote)] == [""]
    assert version_of(remote.get(f"{0:016x}")) == 0


def test_a_bucket_is_looked_through_book_by_book(
    remote: FirebaseLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody holds all objects of 100,000 books at once."""
    filled(remote, 4)
    damage(remote, 0)
    listed: list[str] = []
    of_bucket = remote.bucket.list

    def lists(prefix: str) -> Iterator[Stored]:
        listed.clear()
        for stored in of_bucket(prefix):
            listed.append(stored.name)
            yield stored

    monkeypatch.setattr(remote.bucket, "list", lists)
    assert next(verify(remote)).name == f"{0:016x}"
    assert {name.split("/")[1] for name in listed} == {f"{0:016x}", f"{1:016x}"}


def test_the_list_in_firestore_is_put_right(
    bucket_name: str, tmp_path: Path, firestore_emulator: None
) -> None:
    index = FirestoreIndex(bucket_name, f"list-{bucket_name}")
    library = FirebaseLibrary(Bucket(bucket_name), tmp_path / "a", index=index)
    with closing(library):
        filled(library, 3)
        index.erase(f"{0:016x}")
        index.remove(f"{1:016x}", 5)
        index.put(make_book(id="9" * 16), 7, "")
        assert {c.name for c in verify(library) if c.trouble} == {
            f"{0:016x}", f"{1:016x}", "9" * 16,
        }  # fmt: skip
        list(verify(library, tidy=True))
        assert all(not c.trouble for c in verify(library))
    other = FirebaseLibrary(Bucket(bucket_name), tmp_path / "b", index=index)
    with closing(other):
        other.refresh()
        assert [s.id for s in reversed(other.list())] == [f"{n:016x}" for n in range(3)]


def test_a_book_whose_files_were_removed_by_hand_leaves_every_list(
    bucket_name: str, tmp_path: Path, firestore_emulator: None
) -> None:
    index = FirestoreIndex(bucket_name, f"list-{bucket_name}")

    def machine(name: str) -> FirebaseLibrary:
        return FirebaseLibrary(Bucket(bucket_name), tmp_path / name, index=index)

    with closing(machine("a")) as one, closing(machine("b")) as other:
        filled(one, 2)
        other.refresh()
        for stored in list(one.bucket.list(f"books/{0:016x}/")):
            one.bucket.remove(stored.name)
        list(verify(one, tidy=True))
        for library in (one, other):
            library.refresh()
            assert library.ids() == [f"{1:016x}"]
        assert all(not c.trouble for c in verify(one))
        one.save(make_book(version=5))
        other.refresh()
        assert f"{0:016x}" in other.ids()


@pytest.fixture
def told_elsewhere(remote: FirebaseLibrary) -> ListElsewhere:
    """The list of `remote`."""
    remote.index = listed = ListElsewhere()  # pyright: ignore[reportAttributeAccessIssue]
    return listed


def test_a_copy_that_was_cut_off_before_firestore_heard_of_it_goes_on(
    remote: FirebaseLibrary, told_elsewhere: ListElsewhere
) -> None:
    source = filled(MemoryLibrary(), 2)
    told_elsewhere.gone = True
    assert [bool(e.trouble) for e in copy(source, remote)] == [True, True]
    told_elsewhere.gone = False
    assert told(copy(source, remote)) == [(1, False, False), (2, False, False)]
    assert told_elsewhere.editions().keys() == set(source.ids())
    assert all(not found.trouble for found in verify(remote))


def damage(remote: FirebaseLibrary, number: int) -> None:
    """Leave nothing of what a book's manifest says."""
    name = f"books/{number:016x}/book.json"
    there = remote.bucket.get(name)
    assert there is not None
    remote.bucket.put(name, b"?", "application/json", replaces=there.generation)


def test_a_damaged_book_stops_no_tidying_of_the_list_in_firestore(
    remote: FirebaseLibrary, told_elsewhere: ListElsewhere
) -> None:
    filled(remote, 3)
    damage(remote, 0)
    told_elsewhere.erase(f"{2:016x}")
    list(verify(remote, tidy=True))
    assert told_elsewhere.editions().keys() == {f"{n:016x}" for n in range(3)}
    assert {c.name for c in verify(remote) if c.trouble} == {f"{0:016x}"}


def test_a_book_saved_while_the_list_in_firestore_is_put_right_is_told_of(
    remote: FirebaseLibrary, told_elsewhere: ListElsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(remote, 1)
    told_elsewhere.books.clear()
    erase = told_elsewhere.erase

    def meanwhile(book_id: str) -> None:
        monkeypatch.undo()
        remote.save(make_book(version=2))
        erase(book_id)

    monkeypatch.setattr(told_elsewhere, "erase", meanwhile)
    list(verify(remote, tidy=True))
    assert told_elsewhere.books == {f"{0:016x}": 2}


def test_libraries_are_opened_without_outbox_and_cache(bucket_name: str, tmp_path: Path) -> None:
    with opened(f"firebase://{bucket_name}?folder={tmp_path / 'never'}") as library:
        assert isinstance(library, FirebaseLibrary)
        library.save(make_book())
        assert version_of(library.get("0" * 16)) == 0
    assert not (tmp_path / "never").exists()
    assert list(itertools.islice(tmp_path.iterdir(), 1)) == []


def test_a_folder_without_a_library_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typo, target = str(tmp_path / "typo"), str(tmp_path / "target")
    for command in (["verify", typo], ["copy", typo, target], ["addresses", typo, "0" * 16]):
        assert main(command) == 1
        assert f"There is no library in {typo}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    filled(LocalLibrary(tmp_path / "empty"), 0)
    assert main(["verify", str(tmp_path / "empty")]) == 0


def test_what_cannot_be_copied_is_told(
    bucket_name: str,
    tmp_path: Path,
    remote: FirebaseLibrary,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled(remote, 2)
    damage(remote, 1)
    waiting = tmp_path / "outbox" / "waiting"
    filled(LocalLibrary(waiting), 1)
    url = f"firebase://{bucket_name}?folder={tmp_path / 'outbox'}"
    assert main(["copy", url, str(tmp_path / "backup")]) == 1
    said = capsys.readouterr()
    assert "1 copied, 0 there already, 1 not copied" in said.out
    assert f"2/2 {1:016x}: This book cannot be read" in said.out
    assert "1 of this machine's books waits to be published" in said.err
