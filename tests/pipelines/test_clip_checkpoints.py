"""CLIPs of others: read without loss, several at once, and refused with words that help."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.tokenizer import load_tokenizer
from pipelines.vqgan_clip import openai_clip
from pipelines.vqgan_clip.clip_checkpoints import CLIP_MEAN, CLIP_STD, TransformersCLIP
from pipelines.vqgan_clip.loading import load_clip, load_clips, parse_weights
from pipelines.vqgan_clip.models import PictureTextModel
from pipelines.weights import save_model
from tests.plain_clip import CONTEXT, MERGES, TOKENS, PlainCLIP, write_archive, write_vocabulary
from tests.tiny import CLIP_CONFIG, CPU, clip

WORDS = ["an owl", "fox, fox and a fox and a fox and a fox"]


def load(name: Path | str) -> PictureTextModel:
    return load_clip(str(name), CPU)


def pixels(side: int) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return ((x + 1) / 2 - mean) / std


def plain(*, resnet: bool = False) -> PlainCLIP:
    torch.manual_seed(3)
    with torch.no_grad():
        return PlainCLIP(resnet=resnet)


def ids(texts: list[str]) -> Tensor:
    """By hand: merges in their order, every word ended, cut to the context, zeros behind."""
    rows = []
    for text in texts:
        row = [TOKENS.index("<|startoftext|>")]
        for word in re.findall(r"\w+|[^\w\s]+", text):
            parts = [*word[:-1], word[-1] + "</w>"]
            for a, b in MERGES:
                for n in reversed(range(len(parts) - 1)):
                    if (parts[n], parts[n + 1]) == (a, b):
                        parts[n : n + 2] = [a + b]
            row += [TOKENS.index(p) for p in parts]
        row = [*row[: CONTEXT - 1], TOKENS.index("<|endoftext|>")]
        rows.append(row + [0] * (CONTEXT - len(row)))
    return torch.tensor(rows)


# OpenAI's archives


@pytest.mark.parametrize("resnet", [False, True], ids=["ViT", "ResNet"])
def test_an_archive_is_the_published_network(resnet: bool, tmp_path: Path) -> None:
    original = plain(resnet=resnet)
    path = write_archive(original, tmp_path / "archive.pt")
    write_vocabulary(tmp_path)
    model = load(path)
    assert model.image_size == (64 if resnet else 32)
    seen = pixels(model.image_size).requires_grad_(True)
    found = model.embed_images(seen)
    exact = F.normalize(original.encode_image(normalised(seen)), dim=-1)
    assert (found - exact).abs().max() < 1e-5
    assert (found[0] - found[1]).abs().max() > 0.01
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), [seen])
    (wanted,) = torch.autograd.grad(exact[:, 0].sum(), [seen])
    assert torch.allclose(gradient, wanted, atol=1e-5)
    assert gradient.abs().max() > 1e-4
    read = F.normalize(original.encode_text(ids(WORDS)), dim=-1)
    assert (model.embed_texts(WORDS) - read).abs().max() < 1e-5
    # one text alone is what it is beside a longer one
    assert torch.allclose(model.embed_texts(WORDS[:1])[0], read[0], atol=1e-5)


def test_state_dicts_folders_and_other_vocabularies(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(openai_clip, "SHARED", "nobody/clip")
    original = plain()
    torch.save(original.state_dict(), tmp_path / "clip.pt")
    with pytest.raises(ModelUnavailable, match=r"vocabulary of CLIP is missing.*vocab\.json"):
        load(tmp_path)
    write_vocabulary(tmp_path)
    first = load(tmp_path)
    assert isinstance(first, TransformersCLIP)
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").unlink()
    for name in ("vocab.json", "merges.txt"):  # half a download
        (tmp_path / name).write_text('{"a": 1')
    with pytest.raises(ModelUnavailable, match=r"vocabulary of CLIP in .* is damaged"):
        load(tmp_path)
    first.tokenizer.save_pretrained(tmp_path)
    assert torch.equal(load(tmp_path).embed_texts(WORDS), first.embed_texts(WORDS))
    alone = tmp_path_factory.mktemp("alone") / "clip.pt"  # an archive, and an earlier download
    alone.write_bytes((tmp_path / "clip.pt").read_bytes())
    monkeypatch.setattr(openai_clip, "SHARED", str(tmp_path))
    assert torch.equal(load(alone).embed_texts(WORDS), first.embed_texts(WORDS))
    cut = original.state_dict()
    cut["token_embedding.weight"] = cut["token_embedding.weight"][:100]
    torch.save(cut, tmp_path / "clip.pt")
    with pytest.raises(ModelUnavailable, match="has 518 tokens, and the CLIP beside it 100"):
        load(tmp_path / "clip.pt")


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    path = tmp_path / "clip.pt"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelUnavailable, match=r"clip\.pt is a web page.*openai/CLIP"):
        load(path)
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ModelUnavailable, match=r"clip\.pt is not a CLIP archive.*text_projection"):
        load(path)
    state = plain().state_dict()
    del state["visual.ln_post.weight"]
    torch.save(state, path)
    with pytest.raises(ModelUnavailable, match=r"another shape than OpenAI's.*ln_post"):
        load(path)
    write_archive(plain(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelUnavailable, match="only the beginning of a file"):
        load(path)


class Bomb:
    """Pickled, it asks its reader to write a file."""

    def __init__(self, shell: str) -> None:
        self.shell = shell

    def __reduce__(self) -> Any:
        return os.system, (self.shell,)


def test_nothing_in_an_archive_is_run(tmp_path: Path) -> None:
    hit, path = tmp_path / "hit", tmp_path / "clip.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/data.pkl", pickle.dumps(Bomb(f"touch {hit}"), protocol=2))
        archive.writestr("clip/constants.pkl", b"")
    with pytest.raises(ModelUnavailable, match=r"clip\.pt.*more than weights.*system"):
        load(path)
    assert not hit.exists()


# transformers


def words_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=load_tokenizer(), eos_token="<end>", pad_token="<pad>"
    )


def test_any_clip_of_transformers(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(5)
    model: Any = CLIPModel(CLIPConfig(**CLIP_CONFIG)).eval()
    model.save_pretrained(tmp_path)
    words_tokenizer().save_pretrained(tmp_path)
    found = load(tmp_path)
    seen = pixels(32)
    texts = [WORDS[0] + "<end>", WORDS[1] + "<end>"]
    inputs = words_tokenizer()(texts, padding=True, return_tensors="pt")
    exact = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
                  pixel_values=normalised(seen))  # fmt: skip
    assert found.image_size == 32
    assert torch.allclose(found.embed_images(seen), exact.image_embeds, atol=1e-5)
    assert torch.allclose(found.embed_texts(texts), exact.text_embeds, atol=1e-5)
    long = "fox " * 200
    assert found.embed_texts([long]).isfinite().all()
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": '
                                                       "[1, 1, 1]}")  # fmt: skip
    exact = model.get_image_features(pixel_values=(seen + 1) / 2).pooler_output
    assert torch.allclose(load(tmp_path).embed_images(seen), F.normalize(exact), atol=1e-5)
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    del state["text_projection.weight"]
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(ModelUnavailable, match="1 of its weights are missing, such as text_proj"):
        load(tmp_path)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelUnavailable, match=r"holds no CLIP that can be read.*half downloaded"):
        load(tmp_path)


def siglip_tokenizer(folder: Path) -> Any:
    """The kind that SigLIPs on the hub declare: a spiece.model, and no tokenizer.json."""
    from sentencepiece import SentencePieceTrainer
    from transformers import SiglipTokenizer

    model = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 9), model_writer=model, vocab_size=40,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_any_siglip_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(5)
    tokenizer = siglip_tokenizer(tmp_path)
    part = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2}  # fmt: skip
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = SiglipConfig(
        text_config={
            **part, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 16
        },
        vision_config={**part, "image_size": 32, "patch_size": 16},
    )  # fmt: skip
    model = SiglipModel(config).eval()
    model.save_pretrained(tmp_path)
    found, seen = load(tmp_path), pixels(32)
    inputs = tokenizer(
        WORDS, padding="max_length", max_length=16, truncation=True, return_tensors="pt"
    )
    exact = model(input_ids=inputs["input_ids"], pixel_values=seen)  # mean and deviation 0.5
    assert torch.allclose(found.embed_images(seen), exact.image_embeds, atol=1e-5)
    assert torch.allclose(found.embed_texts(WORDS), exact.text_embeds, atol=1e-5)

    def lacking(*args: object, **options: object) -> Any:
        raise ImportError("SiglipTokenizer requires the SentencePiece library")

    from transformers import AutoTokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lacking)
    with pytest.raises(ModelUnavailable, match=r"SentencePiece.*pip install -r requirements\.txt"):
        load(tmp_path)


def test_weights_of_half_precision_guide_in_full(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(5)
    CLIPModel(CLIPConfig(**CLIP_CONFIG)).half().save_pretrained(tmp_path)
    words_tokenizer().save_pretrained(tmp_path)
    found = load(tmp_path)
    assert isinstance(found, TransformersCLIP)
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    seen = pixels(32).requires_grad_(True)
    (gradient,) = torch.autograd.grad(1e-6 * found.embed_images(seen)[:, 0].sum(), [seen])
    assert (gradient != 0).float().mean() > 0.9


def test_other_models_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)).save_pretrained(
        tmp_path / "writer"
    )
    with pytest.raises(ModelUnavailable, match=r"writer.*of gpt2, not of a CLIP or SigLIP"):
        load(tmp_path / "writer")
    with pytest.raises(ModelUnavailable, match="holds no CLIP that can be read"):
        load(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match="hf download openai/clip-vit-base-patch32 "):
        load("ViT-B/32")
    with pytest.raises(ModelUnavailable, match=r"give the path of RN50x4\.pt"):
        load("RN50x4")


# Several at once


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a", {"a": 1.0}),
        ("ViT-B/32:1,RN50.pt:0.5", {"ViT-B/32": 1.0, "RN50.pt": 0.5}),
        (" a : 2 , b,", {"a": 2.0, "b": 1.0}),
    ],
)
def test_names_and_weights(text: str, expected: dict[str, float]) -> None:
    assert parse_weights(text) == expected


@pytest.mark.parametrize("text", ["", " , ", "a:0", "a:-1", "a:x", "a:", "a:nan", "a:inf"])
def test_weights_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="CLIP"):
        parse_weights(text)


def test_several_at_once(tmp_path: Path) -> None:
    save_model(clip(), CLIP_CONFIG, tmp_path / "ours")
    torch.save(plain().state_dict(), tmp_path / "theirs.pt")
    write_vocabulary(tmp_path)
    ours, theirs = load_clips(f"{tmp_path}/ours:3, {tmp_path}/theirs.pt", CPU)
    assert (ours.weight, theirs.weight) == (0.75, 0.25)
    assert ours.model.embed_texts(WORDS).shape == (2, 32)
    assert theirs.model.embed_texts(WORDS).shape == (2, 24)
