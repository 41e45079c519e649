"""The local library's folder: opening, migrations, damage, refusals."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.book import Book
from pipelines.errors import InvalidInput, NotFound, StorageError
from storage import database, index, local
from storage.base import HasChanged, open_library, search_words, searchable
from storage.database import Database
from storage.local import LocalLibrary
from storage.memory import MemoryLibrary
from tests.storage.books import OWNER, check_whole, make_book, version_of


def files_of(folder: Path, book_id: str = "0" * 16) -> Path:
    (revision,) = (folder / "books" / book_id).iterdir()
    return revision


def test_layout_and_wal(tmp_path: Path) -> None:
    library = LocalLibrary(tmp_path / "new" / "library")
    library.save(make_book())
    names = sorted(f.name for f in files_of(library.folder).iterdir())
    assert names == ["book.json", "cover.webp", "page-01.png", "page-02.png", "page-03.png"]
    with closing(sqlite3.connect(library.folder / "library.sqlite3")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    check_whole(library.folder, LocalLibrary(library.folder))


def test_migrations_are_applied_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LocalLibrary(tmp_path).save(make_book())
    runs: list[str] = []

    def m002_more(db: sqlite3.Connection) -> None:
        runs.append("more")
        db.execute("ALTER TABLE books ADD COLUMN more TEXT")

    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, m002_more))
    for _ in range(2):
        assert LocalLibrary(tmp_path).count() == 1
    assert runs == ["more"]
    monkeypatch.undo()
    with pytest.raises(StorageError, match=r"newer Storybrush \(m002_more\): update the app"):
        LocalLibrary(tmp_path)


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LocalLibrary(tmp_path).save(make_book())

    def m002_fails(db: sqlite3.Connection) -> None:
        db.execute("DROP TABLE books")
        raise sqlite3.OperationalError("no")

    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, m002_fails))
    with pytest.raises(StorageError, match="could not be read or written"):
        LocalLibrary(tmp_path)
    monkeypatch.undo()
    assert LocalLibrary(tmp_path).count() == 1


def test_books_of_the_first_version_are_listed_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(database, "MIGRATIONS", (database.m001_books,))
        LocalLibrary(tmp_path)
    folder = tmp_path / "books" / ("0" * 16) / ("1" * 16)
    folder.mkdir(parents=True)
    book = make_book()
    for name, data in local.encode_files(book).items():
        (folder / name).write_bytes(data)
    row = (book.id, folder.name, book.title, "", "oil", book.created, OWNER, 3, "fo\0x 神話")
    with closing(sqlite3.connect(tmp_path / "library.sqlite3")) as db:
        db.execute(f"INSERT INTO books VALUES ({', '.join('?' * len(row))})", row)
        db.commit()
    library = LocalLibrary(tmp_path)
    assert library.get(book.id) == book
    for search in ("", "fo", "fo\0x", "神話", "話", "x 神"):
        assert [s.id for s in library.list(search=search, style="oil")] == [book.id]
    stamp = library.stamp()
    library.save(make_book(version=2))
    assert library.stamp() != stamp
    assert library.count(search="神話") == 0


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.text("aab神\"'%\0 🦊", max_size=12), min_size=1, max_size=6),
    search=st.text('ab神"%\0 🦊', max_size=5),
    few=st.booleans(),
)
def test_the_index_finds_what_reading_every_text_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], search: str, few: bool
) -> None:
    database = Database(tmp_path / "index.sqlite3")
    database.migrate(lambda _: None)
    monkeypatch.setattr(index, "RARE", 1 if few else 2000)
    monkeypatch.setattr(index, "COMMON", 2 if few else 100_000)
    monkeypatch.setattr(index, "LONGEST", 3 if few else 64)
    with database.open() as db:
        db.execute("DELETE FROM books")
        books = [Book(text, (), style="ab"[n % 2]) for n, text in enumerate(texts)]
        for book in books:
            index.put(db, book, "1" * 16)
        words = search_words(search)
        for style in ("", "a"):
            held = {
                b.id
                for b in books
                if b.style == (style or b.style) and all(w in searchable(b) for w in words)
            }
            assert {row.id for row in index.find(db, words, style, 0, 99)} == held
            assert index.count(db, words, style) == len(held)
        db.execute("INSERT INTO books_text (books_text, rank) VALUES ('integrity-check', 1)")


def test_a_word_as_long_as_a_book_is_looked_for_quickly(tmp_path: Path) -> None:
    library = LocalLibrary(tmp_path)
    library.save(make_book("abc" * 100, pages=0))
    begin = time.monotonic()
    assert library.list(search="abc" * 100_000) == []
    assert library.count(search="abc" * 100_000) == 0
    assert library.count(search="abc" * 100) == 1
    assert library.count(search="abc" * 100 + "d") == 0
    assert time.monotonic() - begin < 5.0  # took 40 s, and half a gigabyte


def test_texts_are_not_read_for_a_word_of_a_few_old_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "RARE", 3)
    library = LocalLibrary(tmp_path)
    with library._database.open() as db, database.transaction(db):
        for n in range(100):
            old = f" dinosaur 狐{chr(0x4E00 + n)}" if n < 50 else ""
            index.put(db, Book(f"Fox{old}", (), created=f"2026-01-01T00:00:{n:02d}"), "1" * 16)
        read: list[str] = []

        def instr(text: str, word: str) -> int:
            read.append(text)
            return text.find(word) + 1

        db.create_function("instr", 2, instr)
        for search, held in (("dinosaur", 50), ("狐", 50), ("x", 100), ("q 狐", 0), ("o 狐", 50)):
            words = search_words(search)
            assert index.count(db, words, "") == held
            assert len(index.find(db, words, "", 0, 5)) == min(held, 5)
    assert read == []


def test_styles_are_counted_once_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, other = LocalLibrary(tmp_path), LocalLibrary(tmp_path)
    counted: list[int] = []
    count = index.styles
    monkeypatch.setattr(index, "styles", lambda db: counted.append(1) or count(db))
    for n in range(1, 3):
        other.save(make_book(id=f"{n:016x}", pages=0, style="oil"))
        assert library.styles() == library.styles() == [("oil", n)]
        assert len(counted) == n


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_file_is_in_the_way(tmp_path: Path, below: str) -> None:
    # Tests may run as root, whom permissions do not stop, but a file in the way does.
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=r"in the way.*Choose another folder"):
        LocalLibrary(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")
def test_a_folder_that_nobody_can_write() -> None:
    for folder in ("/proc/storybrush", "/proc/storybrush/books"):
        with pytest.raises(StorageError, match=f"{folder} cannot be made .*: choose another"):
            LocalLibrary(Path(folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written: allow this user"):
        LocalLibrary(tmp_path / "library")


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(30, "read-only")])
def test_permission_lost_while_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    library = LocalLibrary(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError, match="cannot be written: allow this user"):
        library.save(make_book())
    assert check_whole(tmp_path, library) == []


def test_the_folder_goes_away(tmp_path: Path) -> None:
    library = LocalLibrary(tmp_path / "library")
    library.save(make_book())
    shutil.rmtree(library.folder)
    for act in (
        library.list,
        lambda: library.get("0" * 16),
        lambda: library.save(make_book()),
        lambda: library.delete("0" * 16, owner=""),
    ):
        with pytest.raises(StorageError, match="is gone: put it back"):
            act()
    assert not library.folder.exists()


@pytest.mark.parametrize("damage", [b"\0" * 4096, b"SQLite format 3\0" + b"\xff" * 9000, b"text"])
def test_a_damaged_index_is_told_and_made_again(tmp_path: Path, damage: bytes) -> None:
    library = LocalLibrary(tmp_path)
    library.save(make_book(version=3))
    library.save(make_book(id="e" * 16))
    index = tmp_path / "library.sqlite3"
    index.write_bytes(damage)
    for act in (lambda: LocalLibrary(tmp_path), library.list, lambda: library.save(make_book())):
        with pytest.raises(StorageError, match=r"is damaged.*move every file named"):
            act()
    for file in tmp_path.glob("library.sqlite3*"):
        file.unlink()
    again = LocalLibrary(tmp_path)
    assert len(check_whole(tmp_path, again)) == 2
    assert version_of(again.get("0" * 16)) == 3
    again.delete("e" * 16, owner=OWNER)


def test_a_new_index_leaves_out_damaged_books(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = LocalLibrary(tmp_path)
    for book_id in ("0" * 16, "e" * 16):
        library.save(make_book(id=book_id))
    (files_of(tmp_path) / "page-02.png").write_bytes(b"?")
    (tmp_path / "books" / "notes.txt").write_text("mine")
    shutil.copytree(tmp_path / "books" / ("e" * 16), tmp_path / "books" / ("d" * 16))
    (tmp_path / "library.sqlite3").unlink()
    assert [s.id for s in LocalLibrary(tmp_path).list()] == ["e" * 16]
    assert "page-02.png is damaged" in caplog.text
    assert "book.json is of another book" in caplog.text
    version_of(LocalLibrary(tmp_path).get("e" * 16))
    assert (tmp_path / "books" / "notes.txt").exists()


@pytest.mark.parametrize("name", ["page-02.png", "book.json"])
@pytest.mark.parametrize("damage", [None, b"", b"?", b"{}", b"[" * 100_000, b'{"pages": [{}]}'])
def test_a_damaged_file_is_named_and_the_other_books_open(
    tmp_path: Path, name: str, damage: bytes | None
) -> None:
    library = LocalLibrary(tmp_path)
    for book_id in ("0" * 16, "e" * 16):
        library.save(make_book(id=book_id))
    file = files_of(tmp_path) / name
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    how = "missing" if damage is None else "damaged"
    with pytest.raises(StorageError, match=f"{name} is {how}.*Put the file back") as refused:
        library.get("0" * 16)
    assert not isinstance(refused.value, NotFound)
    assert library.count() == 2
    version_of(library.get("e" * 16))
    library.save(make_book(version=5))
    assert version_of(library.get("0" * 16)) == 5


def test_a_damaged_book_can_be_deleted_and_a_lost_cover_is_none(tmp_path: Path) -> None:
    library = LocalLibrary(tmp_path)
    library.save(make_book())
    shutil.rmtree(files_of(tmp_path))
    (summary,) = library.list()
    assert summary.cover is None
    library.delete(summary.id, owner=OWNER)
    assert check_whole(tmp_path, library) == []


def test_opening_sweeps_only_when_nobody_writes(tmp_path: Path) -> None:
    library = LocalLibrary(tmp_path)
    library.save(make_book())
    left = tmp_path / "writing" / f"{'0' * 16}.{'1' * 16}"
    (left / "files").mkdir(parents=True)
    unfinished = tmp_path / "books" / ("0" * 16) / ("1" * 16)
    unfinished.mkdir()
    foreign = tmp_path / "writing" / "notes"
    foreign.mkdir()
    writer = os.open(tmp_path / "writing", os.O_RDONLY)
    fcntl.flock(writer, fcntl.LOCK_SH)
    LocalLibrary(tmp_path)
    assert left.exists()
    assert unfinished.exists()
    os.close(writer)
    LocalLibrary(tmp_path)
    assert foreign.exists()
    foreign.rmdir()
    assert len(check_whole(tmp_path, library)) == 1


def test_waits_for_a_busy_index_then_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = LocalLibrary(tmp_path)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(tmp_path / "library.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="busy with the library"):
            library.save(make_book())
        assert library.list() == []
    assert check_whole(tmp_path, library) == []


@pytest.mark.parametrize(
    "url, folder",
    [
        ("sqlite://{}/a%20b", "{}/a b"),
        ("sqlite:///{}/c", "{}/c"),
        ("{}/100%#?.d", "{}/100%#?.d"),
        ("sqlite://~/e", "{}/home/e"),
        ("~/f", "{}/home/f"),
        ("sqlite://g/h", "{}/g/h"),
        ("  i  ", "{}/i"),
    ],
)
def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    library = open_library(url.format(tmp_path))
    assert isinstance(library, LocalLibrary)
    assert library.folder == Path(folder.format(tmp_path))
    library.save(make_book())
    assert library.count() == 1


def test_default_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STORYBRUSH_LIBRARY", raising=False)

    def opened() -> Path:
        library = open_library()
        assert isinstance(library, LocalLibrary)
        return library.folder.relative_to(tmp_path)

    for data in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", data)
        assert opened() == Path(".local/share/storybrush")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert opened() == Path("data/storybrush")
    monkeypatch.setenv("STORYBRUSH_LIBRARY", f"sqlite://{tmp_path}/named")
    assert opened() == Path("named")


def test_other_urls() -> None:
    assert isinstance(open_library("memory://"), MemoryLibrary)
    for url in ("ftp://host/path", "sqlite://", "a\0b"):
        with pytest.raises(InvalidInput, match="sqlite:///path"):
            open_library(url)


def test_a_book_saved_while_it_is_deleted_as_it_was_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, other, read = LocalLibrary(tmp_path), LocalLibrary(tmp_path), make_book()
    library.save(read)
    forget = index.forget

    def meanwhile(*arguments: Any) -> str:
        other.save(make_book(version=1))
        return forget(*arguments)

    monkeypatch.setattr(index, "forget", meanwhile)
    with pytest.raises(HasChanged):
        library.delete(read.id, owner="", only=read)
    assert [version_of(book) for book in check_whole(tmp_path, library)] == [1]
