"""VQGAN checkpoints of others: converted without loss, kept, and refused with words that help."""

from __future__ import annotations

import collections
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.vqgan_clip import taming
from pipelines.vqgan_clip.loading import load_codec
from pipelines.vqgan_clip.vq_model import VQModelCodec
from tests.plain_vqgan import PlainVQGAN
from tests.tiny import CPU

KINDS: dict[str, dict[str, Any]] = {
    "f16": {},
    "f8 gumbel": {"multipliers": (1, 1, 2, 4), "attention": 3, "gumbel": True},
    "small": {"multipliers": (1, 2), "attention": 1, "blocks": 2},
    "no attention": {"multipliers": (1, 1, 2), "attention": -1},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "storybrush" / "vqgan"


def plain(kind: str = "small") -> PlainVQGAN:
    torch.manual_seed(4)
    return PlainVQGAN(**KINDS[kind]).eval().requires_grad_(False)


def pixels(side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, side, side // 2, generator=generator) * 2 - 1


def write(path: Path, state: dict[str, Any], **beside: Any) -> Path:
    torch.save({"state_dict": state, **beside}, path)
    return path


def config_of(**changed: Any) -> dict[str, Any]:
    """What the .yaml of "small" says."""
    network = {
        "z_channels": 16,
        "ch": 32,
        "ch_mult": [1, 2],
        "num_res_blocks": 2,
        "double_z": False,
    }
    params = {"embed_dim": 8, "n_embed": 24, "ddconfig": network, **changed}
    return {"model": {"target": "taming.models.vqgan.VQModel", "params": params}}


def same(codec: Any, original: PlainVQGAN) -> None:
    """Indices are equal, and what is decoded from them is equal to 1e-4."""
    seen = pixels(8 * codec.stride)
    latents = codec.encode(seen)
    indices = codec.quantizer.indices(latents).view(2, *latents.shape[2:])
    expected = original.indices(seen)
    assert torch.equal(indices, expected)
    assert len(expected.unique()) > 3, "a test of nothing if all positions have the same code"
    drawn = codec.decode(codec.quantise(latents))
    assert (drawn - original.draw(expected)).abs().max() < 1e-4
    assert drawn.std() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_checkpoint_is_the_published_network(kind: str, tmp_path: Path) -> None:
    original = plain(kind)
    path = write(tmp_path / "vqgan.ckpt", original.state_dict())
    same(load_codec(str(path), CPU), original)
    same(load_codec(str(path), CPU), original)  # from the converted copy


def test_latents_codes_and_gradients(tmp_path: Path) -> None:
    original = plain()
    codec = VQModelCodec.from_pretrained(
        str(write(tmp_path / "vqgan.ckpt", original.state_dict())), CPU
    )
    assert (codec.stride, codec.device) == (2, CPU)
    assert codec.latent_shape(64, 32) == (8, 16, 32)
    with pytest.raises(InvalidInput, match="Width must be a multiple of 2 pixels, not 65"):
        codec.latent_shape(65, 32)
    low, high = codec.bounds()
    assert torch.equal(low.flatten(), original.entries.amin(0))
    assert torch.equal(high.flatten(), original.entries.amax(0))
    found = codec.random_latents(64, 32, 2, torch.Generator().manual_seed(1))
    assert found.shape == (2, 8, 16, 32)
    assert torch.equal(codec.quantise(found), found)
    moved = (found + 0.01).requires_grad_(True)
    (gradient,) = torch.autograd.grad(codec.decode(codec.quantise(moved)).square().sum(), [moved])
    assert gradient.abs().min() > 0
    assert torch.equal(codec.finish(found), codec.decode(found))
    assert not any(p.requires_grad for p in codec.parameters())


def test_weights_of_others_in_the_file_are_dropped(tmp_path: Path) -> None:
    """COCO, FacesHQ and S-FLCKR come inside a transformer; Lightning adds losses and averages."""
    original = plain()
    state = {f"first_stage_model.{n}": t for n, t in original.state_dict().items()}
    state |= {"transformer.tok_emb.weight": torch.zeros(2, 2), "cond_stage_model.x": torch.zeros(1),
              "first_stage_model.loss.discriminator.w": torch.zeros(3)}  # fmt: skip
    inside = write(tmp_path / "coco.ckpt", state)
    settings = {"model": {"params": {"first_stage_config": config_of()["model"]}}}
    (tmp_path / "coco.yaml").write_text(yaml.safe_dump(settings))
    same(load_codec(str(inside), CPU), original)
    half = {n: t.half() for n, t in original.state_dict().items()}
    averaged = {f"model_ema.{n.replace('.', '')}": torch.zeros(1) for n in half}
    path = tmp_path / "averaged.safetensors"
    save_file({**half, **averaged, "loss.logvar": torch.zeros(1)}, path)
    drawn = load_codec(str(path), CPU).decode(torch.zeros(1, 8, 4, 4))
    exact = original.decoder(original.post_quant_conv(torch.zeros(1, 8, 4, 4)))
    assert (drawn - exact).abs().max() < 0.05


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Classes that can be pickled as Lightning's, and are gone when the file is read."""
    made = {
        "pytorch_lightning.callbacks.model_checkpoint": type("ModelCheckpoint", (), {}),
        "pytorch_lightning.utilities.parsing": type("AttributeDict", (dict,), {}),
    }
    with monkeypatch.context() as patch:
        for module, cls in made.items():
            cls.__module__ = module
            for n in range(1, module.count(".") + 2):
                name = ".".join(module.split(".")[:n])
                patch.setitem(sys.modules, name, types.ModuleType(name))
            setattr(sys.modules[module], cls.__name__, cls)
        yield list(made.values())
        patch.undo()


def test_lightning_checkpoints_are_read_without_lightning(tmp_path: Path, lightning: Any) -> None:
    original = plain()
    checkpoint, settings = lightning
    callback = checkpoint()
    callback.best = torch.ones(1)
    path = write(
        tmp_path / "last.ckpt", original.state_dict(), epoch=3, callbacks={checkpoint: callback},
        hyper_parameters=settings(lr=1.0),
        optimizer_states=[{"state": collections.defaultdict(dict, {0: {"step": 1}})}],
    )  # fmt: skip
    for name in [n for n in sys.modules if n.startswith("pytorch_lightning")]:
        del sys.modules[name]
    same(load_codec(str(path), CPU), original)


class Bomb:
    """Pickled, it asks its reader to write a file."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    import os
    import subprocess

    original, hit = plain(), tmp_path / "hit"
    shell = f"touch {hit}"
    refused = write(tmp_path / "a.ckpt", original.state_dict(), bomb=Bomb(os.system, shell))
    with pytest.raises(ModelUnavailable, match=r"a\.ckpt.*more than weights"):
        load_codec(str(refused), CPU)
    kept = write(tmp_path / "b.ckpt", original.state_dict(), bomb=Bomb(subprocess.getoutput, shell))
    same(load_codec(str(kept), CPU), original)
    old = tmp_path / "c.ckpt"
    torch.save({"state_dict": {}, "bomb": Bomb(subprocess.getoutput, shell)}, old,
               _use_new_zipfile_serialization=False)  # fmt: skip
    with pytest.raises(ModelUnavailable, match=r"c\.ckpt.*old format"):
        load_codec(str(old), CPU)
    assert not hit.exists()


# The converted copy


def test_the_converted_copy_is_read_instead(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = plain("f8 gumbel")
    path = write(tmp_path / "gumbel.ckpt", original.state_dict())
    load_codec(str(path), CPU)
    (folder,) = cache.iterdir()
    assert VQModel.from_pretrained(folder).config["num_vq_embeddings"] == 24
    with monkeypatch.context() as patch:
        patch.setattr(taming, "convert", lambda path: pytest.fail("converted again"))
        same(load_codec(str(path), CPU), original)
        same(load_codec(str(folder), CPU), original)  # the copy by its own name
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    same(load_codec(str(path), CPU), original)
    assert (folder / "diffusion_pytorch_model.safetensors").stat().st_size > 1000
    assert [p.name for p in cache.iterdir()] == [folder.name]


def test_without_a_place_for_the_copy_it_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    original = plain()
    same(load_codec(str(write(tmp_path / "vqgan.ckpt", original.state_dict())), CPU), original)
    assert "cannot be kept" in caplog.text


# What is refused


FILES = {
    "page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
    "nothing": (b"", "is an empty file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + b"0" * 100, "is another kind of file"),
    "broken": (b"\x80\x02junk", "half downloaded"),
    "tensors": (b"\x10\0\0\0\0\0\0\0{ not so  ", "half downloaded"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_kinds(name: str, tmp_path: Path) -> None:
    content, message = FILES[name]
    path = tmp_path / f"{name}.ckpt"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=rf"{name}\.ckpt.*{message}.*taming-transformers#"):
        load_codec(str(path), CPU)


def test_files_of_before_pytorch_1_6(tmp_path: Path) -> None:
    original, path = plain(), tmp_path / "old.ckpt"
    torch.save(original.state_dict(), path, _use_new_zipfile_serialization=False)
    same(load_codec(str(path), CPU), original)
    more = {"state_dict": original.state_dict(), "hooks": Path("odd")}
    torch.save(more, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ModelUnavailable, match=r"old\.ckpt is of an old format.*Save its weights"):
        load_codec(str(path), CPU)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_half_a_download(share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "vqgan.ckpt", plain().state_dict())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelUnavailable, match="only the beginning of a file"):
        load_codec(str(path), CPU)


def test_an_archive_with_a_damaged_table_of_contents(tmp_path: Path) -> None:
    path = tmp_path / "vqgan.ckpt"
    torch.save({}, path)
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK\0\0"))
    with pytest.raises(ModelUnavailable, match=r"vqgan\.ckpt is a damaged archive"):
        load_codec(str(path), CPU)


def test_a_missing_file_and_a_folder_of_several(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"nowhere\.ckpt cannot be read.*Get it \(https"):
        load_codec(str(tmp_path / "nowhere.ckpt"), CPU)
    with pytest.raises(ModelUnavailable, match=r"There is nothing at .*/nowhere”, where a VQGAN"):
        load_codec(str(tmp_path / "nowhere"), CPU)
    with pytest.raises(ModelUnavailable, match=r"should hold one VQGAN.*it holds nothing"):
        load_codec(str(tmp_path), CPU)
    (tmp_path / "clip").mkdir()  # of models that belong together the VQGAN is missing
    (tmp_path / "clip" / "config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"a folder vqgan as .* it holds clip/\."):
        load_codec(str(tmp_path), CPU)
    original = plain()
    write(tmp_path / "one.ckpt", original.state_dict())
    same(load_codec(str(tmp_path), CPU), original)
    write(tmp_path / "two.ckpt", original.state_dict())
    with pytest.raises(ModelUnavailable, match=r"it holds one\.ckpt, two\.ckpt"):
        load_codec(str(tmp_path), CPU)


def test_other_networks(tmp_path: Path) -> None:
    def refused(state: dict[str, Tensor], message: str) -> None:
        with pytest.raises(ModelUnavailable, match=message):
            load_codec(str(write(tmp_path / "other.ckpt", state)), CPU)

    state = plain().state_dict()
    refused({"layer.weight": torch.zeros(1)}, r"other weights \(layer\.weight, \.\.\.\)")
    refused({}, "holds no weights")
    refused({n: t for n, t in state.items() if "quantize" not in n}, "without a codebook")
    refused({n: t for n, t in state.items() if n != "decoder.conv_out.bias"}, "decoder.conv_out")
    grey = state | {"encoder.conv_in.weight": torch.zeros(32, 1, 3, 3)}
    refused(grey, "1 channels, not of red, green and blue")
    wide = state | {"decoder.mid.block_1.conv1.weight": torch.zeros(5, 64, 3, 3)}
    refused(wide, r"another shape than expected has decoder\.mid\.block_1\.conv1\.weight")
    del state["encoder.conv_out.weight"]
    refused(state, r"encoder\.conv_out\.weight' is missing")


def test_the_yaml_beside_belongs_to_it(tmp_path: Path) -> None:
    original = plain()
    path = write(tmp_path / "vqgan.ckpt", original.state_dict())
    beside = tmp_path / "vqgan.yaml"
    beside.write_text(yaml.safe_dump(config_of()))
    same(load_codec(str(path), CPU), original)
    same(load_codec(str(path), CPU), original)  # the copy, with the same .yaml
    beside.write_text(yaml.safe_dump(config_of(n_embed=16384)))
    for epoch in (1, 2):  # the converted copy, and another file: converted afresh
        with pytest.raises(ModelUnavailable, match=r"vqgan\.yaml says n_embed 16384, but .* 24"):
            load_codec(str(path), CPU)
        write(path, original.state_dict(), epoch=epoch)
    for text in ("model: [", "a web page", "model: {params: {ddconfig: 3}}",
                 "!!python/object/apply:os.system [ls]"):  # fmt: skip
        beside.write_text(text)
        with pytest.raises(ModelUnavailable, match=r"vqgan\.yaml is not the configuration"):
            load_codec(str(path), CPU)
    beside.unlink()
    same(load_codec(str(path), CPU), original)


# diffusers


def tiny_vq_model(**changed: Any) -> VQModel:
    torch.manual_seed(1)
    shape = {"block_out_channels": (32, 32), "num_vq_embeddings": 12, "latent_channels": 4,
             "down_block_types": ("DownEncoderBlock2D",) * 2,
             "up_block_types": ("UpDecoderBlock2D",) * 2, **changed}  # fmt: skip
    return VQModel(**shape).eval().requires_grad_(False)


@pytest.mark.parametrize("norm_type", ["group", "spatial"])
def test_folders_of_diffusers(tmp_path: Path, norm_type: str) -> None:
    model = tiny_vq_model(norm_type=norm_type)
    model.save_pretrained(tmp_path / "alone")
    model.save_pretrained(tmp_path / "pipeline" / "vqvae")
    latents = model.encode(pixels()).latents  # pyright: ignore[reportAttributeAccessIssue]
    expected = model.decode(latents).sample  # pyright: ignore[reportAttributeAccessIssue]
    for folder in ("alone", "pipeline"):
        codec = load_codec(str(tmp_path / folder), CPU)
        assert torch.equal(codec.encode(pixels()), latents)
        drawn = codec.decode(codec.quantise(latents))
        assert torch.allclose(drawn, expected, atol=1e-4)


def test_other_folders_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kl = AutoencoderKL(block_out_channels=(32,))
    kl.save_pretrained(tmp_path / "kl")
    with pytest.raises(ModelUnavailable, match=r"kl.*config\.json is of AutoencoderKL"):
        load_codec(str(tmp_path / "kl"), CPU)
    tiny_vq_model(in_channels=1).save_pretrained(tmp_path / "grey")
    with pytest.raises(ModelUnavailable, match="turns 1 channels into 3"):
        load_codec(str(tmp_path / "grey"), CPU)
    tiny_vq_model().save_pretrained(tmp_path / "half")
    weights = tmp_path / "half" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    del state["quant_conv.bias"]
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"half.*weights are missing, such as quant_conv\.b"):
        load_codec(str(tmp_path / "half"), CPU)
    weights.write_bytes(weights.read_bytes()[:-500])
    with pytest.raises(ModelUnavailable, match=r"half.*holds no VQGAN.*half downloaded"):
        load_codec(str(tmp_path / "half"), CPU)
    tiny_vq_model().save_pretrained(tmp_path / "gumbel")
    (tmp_path / "gumbel" / taming.PROJECTION).write_bytes(b"half")
    with pytest.raises(ModelUnavailable, match=r"gumbel.*holds no VQGAN.*half downloaded"):
        load_codec(str(tmp_path / "gumbel"), CPU)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match=r"hf download nobody/vqgan .*taming-transformers#"):
        load_codec("nobody/vqgan", CPU)
