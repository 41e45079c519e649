"""`python -m storage.export`: a book of a library as files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from storage.export import read_zip
from storage.export.__main__ import main
from storage.local import LocalLibrary
from tests.storage.books import make_book


@pytest.fixture
def library(tmp_path: Path) -> Path:
    LocalLibrary(tmp_path / "library").save(make_book())
    return tmp_path / "library"


def test_every_file_named_is_written(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["fox.pdf", "fox.EPUB", "fox.html", "fox.zip"]
    to = [str(tmp_path / name) for name in names]
    address = f"http://127.0.0.1:7860/?book={make_book().id}"
    assert main([str(library), address, "--to", *to]) == 0
    assert capsys.readouterr().out.split() == to
    assert Path(to[0]).read_bytes().startswith(b"%PDF-")
    assert zipfile.is_zipfile(to[1])
    assert read_zip(Path(to[3]).read_bytes()).title == make_book().title
    assert len(list(tmp_path.iterdir())) == 1 + len(names)


@pytest.mark.parametrize(
    "book, file, told",
    [
        ("0" * 16, "fox.docx", "must end in one of .pdf, .epub, .html, .zip, .mp4"),
        ("1" * 16, "fox.pdf", "There is no book"),
        ("../../etc", "fox.pdf", "There is no book"),
        ("0" * 16, "gone/fox.pdf", "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    book: str, file: str, told: str,
) -> None:  # fmt: skip
    assert main([str(library), book, "--to", str(tmp_path / file)]) == 1
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [library]


def test_a_folder_without_a_library_is_told_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typo = tmp_path / "typo"
    assert main([str(typo), "0" * 16, "--to", str(tmp_path / "fox.pdf")]) == 1
    assert f"There is no library in {typo}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
