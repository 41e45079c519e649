"""Films: what is written can be read back, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.camera import glide
from pipelines.errors import InvalidInput, StorageError
from pipelines.video import FORMATS, evenly, stream_mp4, write_video


def frames(count: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    return [Image.new("RGB", size, (20 * n, 100, 200 - 20 * n)) for n in range(count)]


def read_mp4(path: Path) -> tuple[list[np.ndarray[Any, Any]], Any]:
    import av

    with av.open(str(path)) as container:
        found = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return found, (container.streams.video[0], dict(container.metadata))


def test_mp4(tmp_path: Path) -> None:
    path = tmp_path / "fox.mp4"
    assert write_video(frames(5), path, 10.0, "made by a model") == 5
    found, (stream, metadata) = read_mp4(path)
    assert len(found) == 5 + 15  # the last one stays for a second and a half
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert stream.average_rate == 10
    assert metadata["comment"] == "made by a model"
    for n, frame in enumerate(found[:5]):
        assert frame.shape == (48, 64, 3)
        assert np.abs(frame.astype(int) - np.array([20 * n, 100, 200 - 20 * n])).mean() < 6
    assert [p.name for p in tmp_path.iterdir()] == ["fox.mp4"]


@pytest.mark.parametrize("ending", [".webp", ".gif"])
def test_animated_pictures(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"fox{ending}"
    write_video(frames(4), path, 10.0, "made by a model & <more>")
    assert b"made by a model &" in path.read_bytes()
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) == 4
        for n in range(4):
            picture.seek(n)
            pixel = np.array(picture.convert("RGB"))[24, 32].astype(int)
            assert np.abs(pixel - [20 * n, 100, 200 - 20 * n]).max() < 12


@pytest.mark.parametrize("ending", FORMATS)
def test_frames_of_any_size(tmp_path: Path, ending: str) -> None:
    """As they are while a page is painted: small at first, finished at twice the size."""
    path = tmp_path / f"fox{ending}"
    assert write_video([*frames(2, (32, 32)), *frames(1, (65, 51))], path) == 3
    if ending == ".mp4":
        assert read_mp4(path)[0][0].shape == (52, 66, 3)
    else:
        with Image.open(path) as picture:
            assert picture.size == (65, 51)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.mp4, \.webp, \.gif, not “fox\.avi”"):
        write_video(frames(1), tmp_path / "fox.avi")
    with pytest.raises(InvalidInput, match="at least one"):
        write_video([], tmp_path / "fox.mp4")
    for ending in FORMATS:
        with pytest.raises(StorageError, match="cannot be written"):
            write_video(frames(2), tmp_path / "nowhere" / f"fox{ending}")


@pytest.mark.parametrize("ending", FORMATS)
def test_an_old_film_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = tmp_path / f"fox{ending}"
    write_video(frames(2), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageError, match="No space left"):
        write_video(frames(3), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_evenly() -> None:
    pictures = frames(9)
    assert [*evenly(pictures, 20)] == pictures
    assert [*evenly(pictures, 3)] == [pictures[0], pictures[4], pictures[8]]
    assert [*evenly(pictures, 1)] == pictures[:1]
    assert [*evenly([], 3)] == []


@pytest.mark.parametrize("index", range(5))
def test_a_glide_keeps_the_shape_and_stays_within_the_picture(index: int) -> None:
    way = glide(index)
    views = [way.at(t) for t in (-1.0, 0.0, 0.3, 1.0, 2.0)]
    for left, top, right, bottom in views:
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert right - left == pytest.approx(bottom - top)
    assert views[0] == views[1] == way.begin
    assert views[3] == views[4] == way.end
    assert (way.begin == (0, 0, 1, 1)) is (index % 2 == 0)


def test_a_film_that_is_closed_midway_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fox.mp4"
    events = stream_mp4(iter(frames(9)), path, 10.0, {}, "")
    assert [next(events), next(events)] == [1, 2]
    events.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
