"""A language model on the processor in int8, through CTranslate2: several times as quick there.

The package is optional (`pip install ctranslate2`). `python -m pipelines.convert story gpt2 FOLDER`
converts a model once; its folder is then named like any other model.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.hub import load_named, located, short

if TYPE_CHECKING:
    import torch

    from pipelines.presets import StoryConfig
    from pipelines.story_plain import Continuation, Continuations

PACKAGE = "ctranslate2"
POSITIONS = "storybrush.json"
"""Beside a converted model: how many tokens it can read, which CTranslate2 does not write down."""

_seeding = threading.Lock()


def _package() -> Any:
    """Raises ModelUnavailable that says how to install it."""
    try:
        import ctranslate2
    except ImportError as e:
        raise ModelUnavailable(
            f"Converted language models need the package {PACKAGE}: “.venv/bin/python -m pip "
            f"install {PACKAGE}”. Or name the model itself instead of its converted copy."
        ) from e
    return ctranslate2


class ConvertedModel:
    """A converted model. Safe to share: every continuation has a generator of its own."""

    def __init__(self, folder: Path, device: str, threads: int) -> None:
        """Raises ModelUnavailable when the folder holds no model that can be read."""
        self.folder, self.device, self.threads = folder, device, threads
        try:
            self.positions = int(json.loads((folder / POSITIONS).read_text("utf-8"))["positions"])
            self._generator()
        except (OSError, ValueError, LookupError, TypeError, RuntimeError) as e:
            raise ModelUnavailable(
                f"{folder} holds no converted language model that can be read ({short(e)}): it is "
                "damaged or only half there. Convert it again: python -m pipelines.convert story."
            ) from e

    def _generator(self) -> Any:
        return _package().Generator(
            str(self.folder), device=self.device, intra_threads=self.threads, inter_threads=1
        )

    def steps(
        self,
        texts: Continuations,
        config: StoryConfig,
        banned: Sequence[list[int]],
        generator: torch.Generator,
    ) -> Iterator[list[Continuation]]:
        """The texts after every few tokens, as `story_plain.continue_text` has them. Raises
        InvalidInput as that does.

        CTranslate2 draws by itself, seeded from `generator`. A thread of it takes its seed when it
        first draws, so that only a fresh one draws the same again.
        """
        import torch

        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        tokenizer = texts.tokenizer
        prompt = tokenizer.convert_ids_to_tokens(texts.prompt)

        def over(result: Any) -> bool:
            # Written down in CTranslate2's own thread: a text must end at the same token every
            # time, as those that go on share their draws with it.
            texts.add(result.batch_id, result.token_id, result.log_prob or 0.0)
            return texts.ended[result.batch_id]

        with _seeding:  # the seed is one for the whole process
            _package().set_random_seed(seed)
            results = self._generator().generate_tokens(
                [prompt] * len(texts.ended),
                max_length=texts.room(self.positions),
                sampling_topk=config.top_k,
                sampling_topp=config.top_p,
                sampling_temperature=config.temperature,
                repetition_penalty=config.repetition_penalty,
                suppress_sequences=[tokenizer.convert_ids_to_tokens(b) for b in banned],
                return_log_prob=True,
                callback=over,
            )
            next(results, None)
        shown = 0
        try:
            for result in results:
                if result.step >= shown + 4:
                    shown = result.step
                    yield texts.read()
        finally:
            results.close()
        yield texts.read()


def load_converted(folder: Path, device: torch.device) -> tuple[ConvertedModel, Any]:
    """A folder that `convert_story` wrote, with its tokenizer. Raises ModelUnavailable."""
    import torch
    from transformers import AutoTokenizer

    where = device.type if device.type == "cuda" else "cpu"
    model = ConvertedModel(folder, where, torch.get_num_threads())
    tokenizer = load_named(
        str(folder), "tokenizer", lambda local: AutoTokenizer.from_pretrained(folder),
        needs="tokenizer.json beside model.bin", instead="the model it was converted from",
    )  # fmt: skip
    return model, tokenizer


def convert_story(name: str, folder: Path, quantization: str = "int8") -> None:
    """Write the language model `name` (hub name or folder) into `folder`, all of it or nothing.

    Raises InvalidInput when the folder is there or the model is of a kind that CTranslate2 does not
    know, ModelUnavailable when there is no such model.
    """
    from transformers import AutoConfig, AutoTokenizer

    _package()
    from ctranslate2.converters import TransformersConverter

    if folder.exists():
        raise InvalidInput(f"{folder} is there already: name another folder, or delete it.")
    name = located(name)
    config, tokenizer = load_named(
        name, "language model",
        lambda local: (AutoConfig.from_pretrained(name, local_files_only=local),
                       AutoTokenizer.from_pretrained(name, local_files_only=local)),
        needs="config.json, model.safetensors and the tokenizer's files",
        instead="another model",
    )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        fresh = Path(place) / "model"
        try:
            TransformersConverter(name).convert(str(fresh), quantization=quantization)
        except (NotImplementedError, ValueError, RuntimeError, AttributeError) as e:
            raise InvalidInput(
                f"“{name}” cannot be converted ({short(e)}). It runs as it is: --story {name}."
            ) from e
        _complete(fresh / "config.json", tokenizer.eos_token or "</s>")
        positions = int(getattr(config, "max_position_embeddings", 1024))
        (fresh / POSITIONS).write_text(json.dumps({"positions": positions}), encoding="utf-8")
        tokenizer.save_pretrained(fresh)
        shutil.move(fresh, folder)


def _complete(path: Path, end: str) -> None:
    """Special tokens that a tokenizer lacks: CTranslate2 writes them as null and cannot read it."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values = {k: end if v is None and k.endswith("_token") else v for k, v in values.items()}
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")
