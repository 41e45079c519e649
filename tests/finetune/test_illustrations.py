"""Sets of illustrations: the same each time, refused with a reason, ready to train on."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from finetune.data import illustrations
from finetune.data.curation import curate, examine
from finetune.data.illustrations import (
    IllustrationSet,
    batch,
    build,
    byte_batch,
    main,
    make_item,
    pictures_in,
)
from finetune.data.picture_sources import SIDE, UNKNOWN, ClipArt, Pictures, Source, StoryWorld
from finetune.data.scans import wear
from finetune.data.scenes import tags
from finetune.data.simplify import MOST_COLOURS, flatten, l0_smooth
from pipelines.colorize.lineart import draw_lines
from pipelines.errors import InvalidInput

COUNT = 6


def drawn(seed: int, side: int = 300) -> Image.Image:
    """A picture of a few coloured things, PIL RGB."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(rng.integers(120, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, r = (int(v) for v in rng.integers(10, side - 10, 3))
        r = 10 + r // 6
        colour = tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline="black", width=3)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures fit to learn from, and one of each kind that is not."""
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(5):
        drawn(n).save(folder / f"good{n}.png")
    drawn(0).resize((260, 260)).save(folder / "same.jpg", quality=60)
    drawn(9).resize((60, 60)).save(folder / "tiny.png")
    drawn(10).convert("L").save(folder / "grey.png")
    drawn(11).filter(ImageFilter.GaussianBlur(25)).save(folder / "blurred.png")
    page = Image.new("RGB", (400, 400), (255, 250, 210))
    text = ImageDraw.Draw(page)
    for line in range(20):
        words = "once upon a time there was a little fox"
        text.text((10, 5 + 20 * line), words, fill=(120, 20, 20), font=ImageFont.load_default(15))
    page.save(folder / "text.png")
    (folder / "broken.png").write_bytes((folder / "good1.png").read_bytes()[:500])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def sources(folder: Path) -> list[Source]:
    files = tuple(str(folder / f"good{n}.png") for n in range(5))
    return [Pictures(files, 1), StoryWorld(1), ClipArt(1)]


@pytest.fixture(scope="module")
def data(sources: list[Source], tmp_path_factory: pytest.TempPathFactory) -> IllustrationSet:
    return build(tmp_path_factory.mktemp("set"), sources, COUNT, seed=1)


def test_a_set(data: IllustrationSet) -> None:
    assert len(data) == COUNT
    assert data.pictures.shape == data.simplified.shape == (COUNT, SIDE, SIDE, 3)
    assert data.linearts.shape == (COUNT, SIDE, SIDE)
    assert {r["source"] for r in data.rows} <= {"pictures", "storyworld", "clipart"}
    for flat, picture in zip(data.simplified, data.pictures, strict=True):
        assert len(np.unique(flat.reshape(-1, 3), axis=0)) <= MOST_COLOURS
        assert np.abs(flat.astype(int) - picture).mean() < 25
    again = IllustrationSet(data.folder)
    assert again.rows == data.rows


def test_same_whatever_the_workers(
    data: IllustrationSet, sources: list[Source], tmp_path: Path
) -> None:
    other = build(tmp_path / "two", sources, COUNT, seed=1, workers=2)
    for name in ("pictures", "linearts", "simplified", "things", "rows"):
        assert np.array_equal(getattr(other, name), getattr(data, name))
    assert pickle.loads(pickle.dumps(sources)) == sources


def test_cells_are_named_where_it_is_known_what_they_show(tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    drawn(3).save(file)
    source = (Pictures((str(file),)), StoryWorld(), ClipArt())
    names = list(tags())
    page, *painted = ([make_item(n, 0, [one])[0]["things.npy"] for n in range(6)] for one in source)
    assert all((things == UNKNOWN).all() for things in page)  # nobody knows
    for n, (world, art) in enumerate(zip(*painted, strict=True)):
        row = make_item(n, 0, [StoryWorld()])[1]
        shown = {names[k] for k in np.unique(world)}
        place = row["brief"].split("@")[1].split()[0]
        assert f"@{place}" in shown
        assert all(word in row["brief"] for word in shown - {f"@{place}"})
        words = make_item(n, 0, [ClipArt()])[1]["words"]
        named = {names[k] for k in np.unique(art) if k != UNKNOWN}
        assert named
        assert named <= set(words)


def test_names_lie_where_the_thing_is() -> None:
    drawn_art = ClipArt().draw(0, random.Random(4))
    assert drawn_art.things is not None
    ground = np.asarray(drawn_art.picture, np.int16)[:, :1]  # the left edge shows ground alone
    differs = np.abs(np.asarray(drawn_art.picture, np.int16) - ground).max(axis=-1) > 60
    named = drawn_art.things != UNKNOWN
    assert named[differs].mean() > 0.9
    assert differs[named].mean() > 0.5


def test_sets_without_names_are_read(data: IllustrationSet, tmp_path: Path) -> None:
    for file in data.folder.iterdir():
        if file.name != "things.npy":
            shutil.copy(file, tmp_path)
    older = IllustrationSet(tmp_path)
    assert (batch(older, np.random.default_rng(0), 4).things == UNKNOWN).all()


def test_another_seed_another_set(sources: list[Source]) -> None:
    one, other = (make_item(seed, 0, sources)[0]["pictures.npy"] for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_unfinished_sets_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no finished set"):
        IllustrationSet(tmp_path)
    with pytest.raises(InvalidInput, match="at least one source"):
        build(tmp_path, [], 4)


@pytest.mark.parametrize(
    "regime, low, high",
    [("none", 0, 0), ("sparse", 1e-4, 1), ("full", 1, 1), ("coarse", 1, 1)],
)
def test_batches(data: IllustrationSet, regime: str, low: float, high: float) -> None:
    made = batch(data, np.random.default_rng(0), 4, regimes={regime: 1.0})
    assert made.lineart.shape == made.mask.shape == (4, 1, SIDE, SIDE)
    assert made.picture.shape == made.simplified.shape == (4, 3, SIDE, SIDE)
    assert made.hints.shape == (4, 4, SIDE // 4, SIDE // 4)
    for part in (made.lineart, made.picture, made.simplified, made.hints):
        assert part.dtype == torch.float32
        assert part.min() >= -1
        assert part.max() <= 1
    covered = made.hints[:, 3]
    assert set(covered.unique().tolist()) <= {0.0, 1.0}
    assert low <= covered.mean() <= high
    assert not made.hints[:, :3][(covered == 0)[:, None].expand(-1, 3, -1, -1)].any()
    assert set(made.mask.unique().tolist()) <= {0.0, 1.0}


def test_full_hints_are_the_flat_colours(data: IllustrationSet) -> None:
    made = batch(data, np.random.default_rng(0), 3, regimes={"full": 1.0})
    assert torch.allclose(made.hints[:, :3], made.simplified[..., 2::4, 2::4])


def test_batches_repeat_and_leave_the_set_alone(data: IllustrationSet) -> None:
    once, again = (byte_batch(data, np.random.default_rng(5), 4) for _ in "ab")
    for name in ("lineart", "picture", "simplified", "hints", "mask"):
        assert np.array_equal(getattr(once, name), getattr(again, name))
    assert np.array_equal(IllustrationSet(data.folder).pictures, data.pictures)


def test_worn_lines_stay_where_they_were() -> None:
    lines = draw_lines(np.asarray(drawn(1, SIDE)), strength=0.5, sigma=0.4)
    kept = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        worn = wear(lines, rng).astype(np.float32)
        assert worn.shape == lines.shape
        local = worn / np.maximum(cv2.GaussianBlur(worn, (0, 0), 12), 1)
        near = cv2.dilate((lines < 128).astype(np.uint8), np.ones((5, 5))) > 0
        kept.append(local[near].mean() < local[~near].mean() - 0.03)
    assert np.mean(kept) > 0.9
    assert not np.array_equal(
        wear(lines, np.random.default_rng(0)), wear(lines, np.random.default_rng(1))
    )


def test_smoothing_keeps_edges_and_takes_texture() -> None:
    rng = np.random.default_rng(0)
    step = np.full((3, 64, 64), 0.2, np.float32)
    step[:, :, 32:] = 0.8
    smooth = l0_smooth(step + rng.normal(0, 0.03, step.shape).astype(np.float32))
    assert np.abs(smooth - step).max() < 0.1
    assert smooth[:, 10:50, 5:28].std() < 0.01


def test_flat_colours_of_odd_pictures() -> None:
    plain = np.full((SIDE, SIDE, 3), 77, np.uint8)
    assert np.abs(flatten(plain).astype(int) - 77).max() <= 1
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert flatten(noise).shape == noise.shape


def test_unfit_pictures_are_refused(folder: Path) -> None:
    curation = curate(pictures_in(folder))
    assert {Path(f).stem for f in curation.kept} == {f"good{n}" for n in range(5)}
    reasons = {Path(f).stem: why for f, why in curation.refused}
    for name, words in (
        ("same", "looks like another picture: good0.png"),
        ("tiny", "too small: 60 × 60"),
        ("grey", "grey"),
        ("blurred", "blurred"),
        ("text", "mostly text"),
        ("broken", "cannot be read"),
    ):
        assert words in reasons[name]
    assert "5 pictures kept, 6 refused" in curation.report()


def test_an_interrupted_rebuild_leaves_no_set(
    sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, sources[2:], 1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(illustrations, "make_item", stop)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path, sources[2:], 1)
    with pytest.raises(InvalidInput, match="no finished set"):
        IllustrationSet(tmp_path)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(folder), "--out", str(tmp_path / "set"), "--count", "2"]
    main(command)
    said = capsys.readouterr()
    assert "mostly text (text.png)" in said.out
    assert "can be read here: 1 .txt" in said.out
    assert "looking: 100%" in said.err
    made = IllustrationSet(tmp_path / "set")
    assert len(made) == 2
    assert "blurred.png\tblurred" in (tmp_path / "set" / "refused.tsv").read_text()
    first = np.array(made.pictures)
    written = (made.folder / "pictures.npy").stat().st_mtime_ns
    main(command)
    assert "is ready: 2 items" in capsys.readouterr().out
    assert (made.folder / "pictures.npy").stat().st_mtime_ns == written
    main([*command, "--seed", "1"])
    assert "is ready" not in capsys.readouterr().out
    assert not np.array_equal(IllustrationSet(made.folder).pictures, first)


def test_a_folder_that_gives_nothing_is_said(folder: Path, tmp_path: Path) -> None:
    more = ["--out", str(tmp_path / "set"), "--count", "1", "--storyworld", "45"]
    with pytest.raises(SystemExit, match=f"no folder {tmp_path / 'typo'}"):
        main([str(folder), str(tmp_path / "typo"), *more])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.heic").touch()
    with pytest.raises(SystemExit, match="no picture to learn from"):
        main([str(tmp_path / "photos"), *more])
    drawn(9).resize((60, 60)).save(tmp_path / "photos" / "tiny.png")
    with pytest.raises(SystemExit, match="None of the pictures is fit"):
        main([str(tmp_path / "photos"), *more])
    with pytest.raises(SystemExit, match="at least one source"):
        main(["--out", str(tmp_path / "set")])
    assert not (tmp_path / "set" / "index.jsonl").exists()


def test_photos_are_learned_upright(tmp_path: Path) -> None:
    plain, turned, torn = (str(tmp_path / f"{n}.png") for n in range(3))
    picture, exif = drawn(3), Image.Exif()
    picture.save(plain)
    exif[0x0112] = 6  # to be turned to the right
    picture.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    picture.save(torn, exif=b"Exif\0\0no such thing")
    assert len({examine(file).hash for file in (plain, turned, torn)}) == 1
    one, *others = (
        np.asarray(Pictures((file,)).draw(0, random.Random(1)).picture)
        for file in (plain, turned, torn)
    )
    assert all(np.array_equal(one, other) for other in others)


def test_pages_are_taken_by_their_list(tmp_path: Path) -> None:
    rows = [
        {"image": "images/a.webp", "split": "train", "gray": False, "weak_picture": False},
        {"image": "images/a.webp", "split": "train", "gray": False, "weak_picture": False},
        {"image": "images/b.webp", "split": "test", "gray": False, "weak_picture": False},
        {"image": "images/c.webp", "split": "train", "gray": True, "weak_picture": False},
        {"image": "images/d.webp", "split": "train", "gray": False, "weak_picture": True},
    ]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / "pages.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "images").mkdir()
    for row in rows:
        (tmp_path / row["image"]).touch()
    assert pictures_in(tmp_path) == (str(tmp_path / "images/a.webp"),)
    assert pictures_in(tmp_path, "test") == (str(tmp_path / "images/b.webp"),)
