"""Weight files: written, read back, and refused by name when something is wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from pipelines import weights
from pipelines.errors import ModelUnavailable, StorageError
from pipelines.vqgan_clip import VQGANCLIPPipeline
from pipelines.vqgan_clip.clip import CLIP
from pipelines.vqgan_clip.code_transformer import CodeTransformer
from pipelines.vqgan_clip.vqgan import VQGAN
from pipelines.weights import load_weights, read_config, save_model, sha256
from tests import tiny

Loader = Callable[[Path, torch.device], nn.Module]
LOADERS: dict[str, Loader] = {
    "vqgan": VQGAN.from_pretrained,
    "clip": CLIP.from_pretrained,
    "code_transformer": CodeTransformer.from_pretrained,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models"))


@pytest.fixture
def embedded(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny models in the place of the embedded ones, with their SHA-256."""
    folder = tmp_path / "weights"
    shutil.copytree(models, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [f"{sha256(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="ascii")
    monkeypatch.setattr(weights, "EMBEDDED", folder)
    return folder


@pytest.mark.parametrize("name", LOADERS)
def test_a_model_comes_back_to_half_precision(models: Path, name: str) -> None:
    original = getattr(tiny, "transformer" if name == "code_transformer" else name)()
    loaded = LOADERS[name](models / name, tiny.CPU)
    assert loaded.config == original.config
    state = loaded.state_dict()
    for key, value in original.state_dict().items():
        expected = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(state[key], expected), key
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_large_models_are_written_in_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(6)))  # 544 bytes each, in float16
    monkeypatch.setattr(weights, "MAX_FILE", 1200)
    save_model(model, {}, tmp_path)
    files = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(files) == 3
    again = nn.Sequential(*(nn.Linear(16, 16) for _ in range(6)))
    load_weights(again, tmp_path)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a.half().float(), b)

    monkeypatch.setattr(weights, "MAX_FILE", 1_000_000)  # a later model leaves no old files
    save_model(model, {}, tmp_path)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["config.json", "model-01.safetensors"]


def test_a_full_disk_leaves_the_model_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = nn.Linear(16, 16), nn.Sequential(*(nn.Linear(16, 16) for _ in range(6)))
    save_model(old, {"old": 1}, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(weights, "MAX_FILE", 1200)
    begun = list[str]()
    write = safetensors.torch.save_file

    def full(shard: dict[str, torch.Tensor], path: Path) -> None:
        begun.append(path.name)
        if len(begun) > 1:
            raise OSError(28, "No space left on device")
        write(shard, path)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(StorageError, match="free some disk"):
        save_model(new, {"new": 1}, tmp_path)
    assert len(begun) == 2
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    with pytest.raises(StorageError, match="could not be written"):
        save_model(new, {}, tmp_path / "config.json")  # a file is there


def test_a_tensor_above_the_limit_has_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(2, 2, bias=False))
    monkeypatch.setattr(weights, "MAX_FILE", 100)
    save_model(model, {}, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) == 2
    load_weights(model, tmp_path)


# what is wrong is named


def test_untouched_embedded_weights_are_taken(embedded: Path) -> None:
    assert VQGANCLIPPipeline.from_pretrained(str(embedded)).name == embedded.name


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("file", ["model-01.safetensors", "config.json"])
def test_a_flipped_byte_is_found(embedded: Path, name: str, file: str) -> None:
    path = embedded / name / file
    expected = sha256(path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelUnavailable) as caught:
        LOADERS[name](embedded / name, tiny.CPU)
    for part in (str(path), expected, sha256(path), "git checkout"):
        assert part in str(caught.value)


def test_a_model_trained_anew_takes_the_place_of_the_embedded_one(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = (embedded / "SHA256SUMS").read_text("ascii")
    others = [line for line in sums.splitlines() if "  vqgan/" not in line]
    for size, value in ((5_000, 1.0), (1_000_000, 2.0)):  # many files, then one
        monkeypatch.setattr(weights, "MAX_FILE", size)
        model = tiny.vqgan()
        nn.init.constant_(next(model.parameters()), value)
        save_model(model, tiny.VQGAN_CONFIG, embedded / "vqgan")
        again = VQGAN.from_pretrained(embedded / "vqgan", tiny.CPU)
        assert (next(again.parameters()) == value).all()
    now = (embedded / "SHA256SUMS").read_text("ascii").splitlines()
    assert set(now) > set(others)
    assert len(now) == len(others) + 2


def test_a_hash_is_not_renewed_by_another_model(embedded: Path) -> None:
    (embedded / "clip" / "config.json").write_text("{}")
    save_model(tiny.vqgan(), tiny.VQGAN_CONFIG, embedded / "vqgan")
    with pytest.raises(ModelUnavailable, match="damaged"):
        CLIP.from_pretrained(embedded / "clip", tiny.CPU)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("file", ["model-01.safetensors", "config.json"])
def test_a_missing_embedded_file_is_named_with_its_hash(
    embedded: Path, name: str, file: str
) -> None:
    path = embedded / name / file
    expected = sha256(path)
    path.unlink()
    with pytest.raises(ModelUnavailable, match="is missing") as caught:
        LOADERS[name](embedded / name, tiny.CPU)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("file", ["model-01.safetensors", "config.json"])
def test_a_missing_file_is_named(models: Path, tmp_path: Path, name: str, file: str) -> None:
    folder = tmp_path / name
    shutil.copytree(models / name, folder)
    (folder / file).unlink()
    with pytest.raises(ModelUnavailable, match="is missing") as caught:
        LOADERS[name](folder, tiny.CPU)
    assert str(folder / file) in str(caught.value)


def test_one_missing_file_of_several_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MAX_FILE", 20_000)
    save_model(tiny.vqgan(), tiny.VQGAN_CONFIG, tmp_path / "vqgan")
    files = sorted((tmp_path / "vqgan").glob("model-*"))
    assert len(files) > 2
    lines = [f"{sha256(p)}  vqgan/{p.name}\n" for p in files]
    (tmp_path / "SHA256SUMS").write_text("".join(lines), encoding="ascii")
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path)
    files[1].unlink()
    with pytest.raises(ModelUnavailable, match="is missing") as caught:
        VQGAN.from_pretrained(tmp_path / "vqgan", tiny.CPU)
    assert str(files[1]) in str(caught.value)


def test_one_missing_file_of_a_folder_without_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "MAX_FILE", 20_000)
    save_model(tiny.vqgan(), tiny.VQGAN_CONFIG, tmp_path)
    (tmp_path / "model-02.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="a file is missing"):
        VQGAN.from_pretrained(tmp_path, tiny.CPU)


@pytest.mark.parametrize("left", [0, 4, 100, -30])
def test_a_file_cut_short_is_named(models: Path, tmp_path: Path, left: int) -> None:
    folder = tmp_path / "vqgan"
    shutil.copytree(models / "vqgan", folder)
    path = folder / "model-01.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ModelUnavailable, match="is damaged") as caught:
        VQGAN.from_pretrained(folder, tiny.CPU)
    assert str(path) in str(caught.value)
    assert sha256(path) in str(caught.value)


@pytest.mark.parametrize("change", [{"coarse_channels": 64}, {"groups": 4, "code_channels": 2}])
def test_weights_of_another_shape(models: Path, tmp_path: Path, change: dict[str, int]) -> None:
    folder = tmp_path / "vqgan"
    shutil.copytree(models / "vqgan", folder)
    config = read_config(folder) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="belong to another model") as caught:
        VQGAN.from_pretrained(folder, tiny.CPU)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("other", LOADERS)
def test_a_folder_of_another_model(models: Path, name: str, other: str) -> None:
    if name == other:
        LOADERS[name](models / other, tiny.CPU)
        return
    with pytest.raises(ModelUnavailable) as caught:
        LOADERS[name](models / other, tiny.CPU)
    assert str(models / other) in str(caught.value)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"width": "wide"}', '{"groups": 0}', "\x80"]
)
def test_a_config_that_is_none(models: Path, tmp_path: Path, name: str, text: str) -> None:
    folder = tmp_path / name
    shutil.copytree(models / name, folder)
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelUnavailable) as caught:
        LOADERS[name](folder, tiny.CPU)
    assert str(folder) in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="nowhere"):
        VQGANCLIPPipeline.from_pretrained(str(tmp_path / "nowhere"))


def test_no_device(models: Path) -> None:
    from pipelines.errors import InvalidInput

    with pytest.raises(InvalidInput, match="“abacus”"):
        VQGANCLIPPipeline.from_pretrained(str(models), device="abacus")


def test_config_is_plain_json(models: Path) -> None:
    data: dict[str, Any] = json.loads((models / "vqgan" / "config.json").read_text())
    assert data["decoder_blocks"] == [1, 1]
    assert data["codebook_size"] == tiny.VQGAN_CONFIG.codebook_size
