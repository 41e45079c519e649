"""Anybody's pictures and their words: what is read, what is left out and said, what is held out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from finetune.data.bank import OwnBank
from finetune.data.folder import Order, find_pictures, sort_out, square, squares, uncut
from finetune.data.pairs import read_pairs
from pipelines.errors import InvalidInput, StorageError
from tests.tiny import CPU
from tests.tiny_pictures import folder, picture


def test_bad_pictures_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder(tmp_path / "mine", 4)
    (home / "broken.png").write_bytes((home / "00.png").read_bytes()[:300])
    (home / "text.jpg").write_text("no picture")
    (home / "empty.png").write_bytes(b"")
    picture(7, 40).save(home / "tiny.png")
    picture(8).convert("CMYK").save(home / "print.jpg")
    picture(9).convert("LA").save(home / "grey.png")
    (home / "twin.png").write_bytes((home / "01.png").read_bytes())
    picture(10, 500).save(home / "huge.png")
    Image.new("RGB", (200, 200), "navy").save(home / "plain.png")
    (home / ".hidden.png").write_bytes(b"")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)  # 500 x 500 is a bomb here
    found = sort_out(find_pictures(home))
    kept = {p.name for p in (*found.train, *found.test)}
    assert kept == {"00.png", "01.png", "02.png", "03.png", "print.jpg", "grey.png"}
    reasons = {Path(file).name: why for file, why in found.refused}
    assert reasons["tiny.png"].startswith("too small")
    assert reasons["twin.png"] == "the same file as another: 01.png"
    assert reasons["plain.png"] == "nearly empty"
    assert "megapixels" in reasons["huge.png"]
    for name in ("broken.png", "text.jpg", "empty.png"):
        assert reasons[name].startswith("cannot be read"), name
    told = "\n".join(found.lines())
    assert "5 pictures to learn from, 1 held out" in told
    assert "cannot be read: 4" in told
    assert square(home / "print.jpg", 64).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "name, top, kind", [("a.png", 65535, np.uint16), ("a.tif", 1, np.float32),
                        ("a.tif", 255, np.float32), ("a.tif", 65535, np.float32)]
)  # fmt: skip
def test_greys_of_more_than_8_bits_are_seen_as_they_are(
    tmp_path: Path, name: str, top: int, kind: type
) -> None:
    grey = np.asarray(picture(1, 200).convert("L"), np.float64)
    Image.fromarray((grey / 255 * top).astype(kind)).save(tmp_path / name)
    white = np.full((200, 200), 0.99 * top).astype(kind)
    Image.fromarray(white).save(tmp_path / f"white-{name}")
    picture(2, 200).save(tmp_path / "other.png")
    found = sort_out(find_pictures(tmp_path))
    assert {p.name for p in (*found.train, *found.test)} == {name, "other.png"}
    assert [why for _, why in found.refused] == ["nearly empty"]
    seen = square(tmp_path / name, 200)[..., 0].astype(int)
    assert np.abs(seen - grey).max() <= 1


def test_pictures_that_look_alike_stay_on_one_side(tmp_path: Path) -> None:
    home = folder(tmp_path, 10)
    for n in range(0, 10, 2):  # five pictures have a relative: smaller, or saved again
        picture(n).resize((150, 150)).save(home / f"again-{n:02d}.jpg", quality=80)
    tested = set[str]()
    for seed in range(8):
        found = sort_out(find_pictures(home), seed)
        assert found.alike == 5
        side = {p.stem: p in found.test for p in (*found.train, *found.test)}
        assert all(side[f"again-{n:02d}"] == side[f"{n:02d}"] for n in range(0, 10, 2))
        assert 1 <= len(found.test) <= 3
        again = sort_out(find_pictures(home), seed)
        assert (again.train, again.test) == (found.train, found.test)
        assert again.fingerprint == found.fingerprint
        tested |= {p.name for p in found.test}
    assert len(tested) > 2  # another seed holds out others


def test_a_vqgan_and_the_models_beside_it_hold_out_the_same_pictures(tmp_path: Path) -> None:
    home, other = folder(tmp_path / "mine", 12), tmp_path / "moved"
    shown = {p.read_bytes() for p in sort_out(find_pictures(home)).test}
    other.mkdir()
    for n, path in enumerate(sorted(home.glob("*.png"), reverse=True)):
        for copy in range(1 + n % 2):
            (other / f"{n:02d}-{copy}.png").write_bytes(path.read_bytes())
            (other / f"{n:02d}-{copy}.txt").write_text(path.with_suffix(".txt").read_text())
    for where in (home, other):
        pairs = read_pairs(where, tmp_path / "runs")
        assert {p.picture.read_bytes() for p in pairs.test} == shown
        assert not shown & {p.picture.read_bytes() for p in pairs.train}


def test_folders_that_nothing_can_be_learned_from(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder"):
        find_pictures(tmp_path / "gone")
    with pytest.raises(InvalidInput, match="no picture in"):
        find_pictures(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    picture(1).save(tmp_path / "b.png")
    with pytest.raises(InvalidInput, match=r"Of 2 pictures 1 can.*a\.png: cannot be read"):
        sort_out(find_pictures(tmp_path))


def test_a_full_disk_is_said_before_pictures_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = find_pictures(folder(tmp_path / "mine", 2))

    def full(descriptor: int, offset: int, size: int) -> None:
        assert size > 2 * 64 * 64 * 3
        raise OSError(28, "No space left on device")

    cache = tmp_path / "runs"
    assert uncut(2, 64, cache, "x") == 2 * 64 * 64 * 3
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(StorageError, match="free some disk"):
        squares(files, 64, cache, "x")
    monkeypatch.undo()
    assert list(cache.iterdir()) == []
    squares(files, 64, cache, "x")
    assert (cache / "x-64.npy").stat().st_blocks * 512 >= 2 * 64 * 64 * 3  # not sparse
    assert uncut(2, 64, cache, "x") == 0


def test_other_pictures_under_the_same_names_are_learned(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.bmp" for n in range(3)]  # of one size, whatever they show
    for n, file in enumerate(files):
        picture(n).save(file)
    before, known = squares(files, 64, tmp_path / "runs", "x").copy(), sort_out(files).fingerprint
    picture(9).save(files[0])
    after = squares(files, 64, tmp_path / "runs", "x")
    assert (after[0] == square(files[0], 64)).all()
    assert (after[1:] == before[1:]).all()
    assert sort_out(files).fingerprint != known


def test_an_order_takes_everything_once_an_epoch() -> None:
    order = Order(7, seed=3)
    taken = torch.cat([order.ids(step, 3) for step in range(14)]).tolist()
    epochs = [taken[n : n + 7] for n in range(0, 42, 7)]
    assert all(sorted(e) == list(range(7)) for e in epochs)
    assert len({tuple(e) for e in epochs}) > 3
    assert Order(7, seed=3).ids(9, 3).tolist() == taken[27:30]  # wherever it is resumed
    assert Order(7, seed=4).ids(0, 7).tolist() != taken[:7]
    full = Order(7, seed=3, batch=3)  # nothing twice in a batch, where that matters
    assert all(len(set(full.ids(step, 3).tolist())) == 3 for step in range(12))


def test_a_bank_of_own_pictures_gives_each_its_turn(tmp_path: Path) -> None:
    files = find_pictures(folder(tmp_path / "mine", 3))
    cut = squares(files, 256, tmp_path / "runs", "pictures")
    written = (tmp_path / "runs" / "pictures-256.npy").stat().st_mtime_ns
    assert np.array_equal(squares(files, 256, tmp_path / "runs", "pictures"), cut)
    assert (tmp_path / "runs" / "pictures-256.npy").stat().st_mtime_ns == written  # kept
    assert len(squares(files[:2], 256, tmp_path / "runs", "pictures")) == 2  # others: cut again
    bank = OwnBank(cut, CPU)
    whole, _, weights, styles = bank.crops(torch.Generator(), 3, 256, step=5)
    shown = ((whole + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    matches = [[n for n in range(3) if np.array_equal(s, cut[n])] for s in shown]
    assert sorted(matches) == [[0], [1], [2]]
    assert weights.unique().tolist() == [1.0]
    assert styles.tolist() == [0, 0, 0]


# --- pairs -------------------------------------------------------------------------------


GERMAN = "Ein Bär geht über die grüne Wiese und sucht süße Früchte für seine Mutter."


def test_pairs_of_a_folder(tmp_path: Path) -> None:
    home = folder(tmp_path, 5)
    (home / "03.txt").unlink()
    (home / "04.txt").write_bytes(b" \n")
    (home / "05.txt").write_text("words alone")
    (home / "02.txt").write_bytes(GERMAN.encode("latin-1"))
    picture(11).save(home / "06.png")
    (home / "06.txt").write_bytes(bytes(range(32)) * 4)
    found = read_pairs(home, tmp_path / "runs")
    pairs = {p.picture.name: p.text for p in (*found.train, *found.test)}
    assert pairs == {"00.png": "blob number 0", "01.png": "blob number 1", "02.png": GERMAN}
    told = "\n".join(found.lines())
    assert "pictures without words: 3 (03.png, 04.png, 06.png)" in told
    assert "words without a picture: 1 (05.txt)" in told
    assert "cannot be read" in told  # the binary file
    assert "not UTF-8" in told


def test_folders_as_classes(tmp_path: Path) -> None:
    for n in range(4):
        where = tmp_path / ("red_foxes" if n % 2 else "owls")
        where.mkdir(exist_ok=True)
        picture(n).save(where / f"{n}.png")
    picture(9).save(tmp_path / "stray.png")
    found = read_pairs(tmp_path, tmp_path / "runs", classes=True)
    assert {p.text for p in (*found.train, *found.test)} == {"owls", "red foxes"}
    assert "pictures outside any class: 1" in "\n".join(found.lines())


def _csv(home: Path, rows: list[tuple[str, str]]) -> Path:
    lines = ["file_name,caption", *(f'{name},"{text}"' for name, text in rows)]
    (home / "t.csv").write_text("\n".join(lines))
    return home / "t.csv"


def _jsonl(home: Path, rows: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"image": name, "text": text}) for name, text in rows]
    (home / "t.jsonl").write_text("\n".join(lines) + "\n")
    return home / "t.jsonl"


def _parquet(home: Path, rows: list[tuple[str, str]]) -> Path:
    names, texts = zip(*rows, strict=True)
    pq.write_table(pa.table({"picture": names, "sentence": texts}), home / "t.parquet")
    return home / "t.parquet"


def _semicolons(home: Path, rows: list[tuple[str, str]]) -> Path:
    lines = ["file_name;caption", *(f"{name};{text}" for name, text in rows)]
    (home / "t.csv").write_text("\n".join(lines))
    return home / "t.csv"


def _half_broken(home: Path, rows: list[tuple[str, str]]) -> Path:
    path = _jsonl(home, rows)
    more = '{"image": "01.png", "text"\n[1]\n{"text": "nothing"}\n'
    path.write_text(path.read_text() + more)
    return path


@pytest.mark.parametrize("write", [_csv, _jsonl, _parquet, _semicolons, _half_broken])
def test_pairs_of_a_table(
    tmp_path: Path, write: Callable[[Path, list[tuple[str, str]]], Path]
) -> None:
    home = folder(tmp_path, 3)
    rows = [("00.png", "A fox, red"), ("00.png", "The same"), ("01.png", "An owl"),
            ("02.png", ""), ("gone.png", "Gone")]  # fmt: skip
    found = read_pairs(write(home, rows), tmp_path / "runs")
    pairs = sorted((p.picture.name, p.text) for p in (*found.train, *found.test))
    assert pairs == [("00.png", "A fox, red"), ("00.png", "The same"), ("01.png", "An owl")]
    assert {p.picture for p in found.train}.isdisjoint(p.picture for p in found.test)
    told = "\n".join(found.lines())
    assert "pictures without words: 1 (row 4)" in told
    assert "words whose picture is missing: 1 (row 5)" in told
    assert ("lines that are no JSON: 2 (line 6, line 7)" in told) == (write is _half_broken)
    assert ("rows that name no picture: 1 (row 6)" in told) == (write is _half_broken)


def test_a_list_of_captions_is_several_pairs(tmp_path: Path) -> None:
    home = folder(tmp_path, 3)
    rows = [{"image": f"{n:02d}.png", "caption": [f"blob {n}", None, " "]} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), home / "t.parquet")
    (home / "t.jsonl").write_text('{"image": "00.png", "caption": ["a", "b"]}\n'
                                  '{"image": "01.png", "caption": []}\n'
                                  '{"image": "02.png", "caption": "c"}\n')  # fmt: skip
    for name, texts in (("t.parquet", ["blob 0", "blob 1", "blob 2"]), ("t.jsonl", list("abc"))):
        found = read_pairs(home / name, tmp_path / "runs")
        assert sorted(p.text for p in (*found.train, *found.test)) == texts


def test_pictures_inside_a_parquet(tmp_path: Path) -> None:
    for first in (0, 3):  # other pictures of the same size take the place of the first ones
        rows = list[dict[str, object]]()
        for n in range(3):
            data = io.BytesIO()
            picture(first + n).save(data, "BMP")
            rows.append({"image": {"bytes": data.getvalue(), "path": None}, "text": f"blob {n}"})
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
        found = read_pairs(tmp_path / "set.parquet", tmp_path / "runs")
        pairs = {p.text: p.picture for p in (*found.train, *found.test)}
        assert Image.open(pairs["blob 1"]).tobytes() == picture(first + 1).tobytes()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.csv", b"a,b\n1,2\n", "names no picture"),
        ("t.csv", b"image,text\n", "has no rows"),
        ("t.csv", b"image,text\n\0\0\0\0,x\n", "no csv"),
        ("t.jsonl", b'{"image": ', "no jsonl"),
        ("t.parquet", b"PAR1 no more", "no parquet"),
        ("t.xls", b"1", "neither a folder nor a table"),
        ("t.jsonl", b'{"image": "gone.png", "text": "x"}', "row 1: words whose picture"),
        ("t.jsonl", b'{"image": null, "text": "x"}', "row 1: rows that name no picture"),
        ("t.jsonl", b"[" * 100_000, "no jsonl"),
    ],
)
def test_tables_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_pairs(tmp_path / name, tmp_path)
