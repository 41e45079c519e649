"""Tokens a second of a GPT-2 of real size (124M, random weights) on this machine's processor:
transformers in float32 against CTranslate2 in int8, one text at a time and four together.

    python -m tests.bench.story_writer [--layers 12 --width 768]

Prints a table and one line of JSON. Random weights cost what trained ones cost. Both run through
the app's own code, with the settings of a story.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pipelines.presets import StoryConfig
from pipelines.story_ctranslate2 import convert_story
from pipelines.story_plain import continue_text, load_plain

VOCABULARY = 50257
CPU = torch.device("cpu")


def write_gpt2(folder: Path, *, layers: int, width: int) -> None:
    """A random GPT-2 as transformers saves it, with a byte-level tokenizer of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    end = VOCABULARY - 1
    config = GPT2Config(n_layer=layers, n_embd=width, n_head=width // 64, vocab_size=VOCABULARY,
                        bos_token_id=end, eos_token_id=end)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: n for n, letter in enumerate(letters)}
    vocabulary |= {f"word{n}": n for n in range(len(letters), end)}
    vocabulary["<|endoftext|>"] = end
    tokenizer: Any = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def main() -> None:
    options = argparse.ArgumentParser(description="Tokens a second of a random GPT-2")
    options.add_argument("--layers", type=int, default=12)
    options.add_argument("--width", type=int, default=768)
    options.add_argument("--tokens", type=int, default=64, help="of each text")
    options.add_argument(
        "--cpu", action="store_true", help="seconds of the processor, where other programs run too"
    )
    args = options.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    # A random model hardly ever ends a story: every text takes all the room there is.
    config = StoryConfig("a fox who wanted to fly", sentences=4, top_k=40)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        plain, converted = Path(place, "gpt2"), Path(place, "gpt2-int8")
        write_gpt2(plain, layers=args.layers, width=args.width)
        convert_story(str(plain), converted)
        for name, folder in (("transformers", plain), ("ctranslate2", converted)):
            begin = clock()
            model, tokenizer = load_plain(str(folder), CPU)
            found[f"{name} load s"] = clock() - begin
            for batch in (1, 4):
                generator = torch.Generator().manual_seed(1)
                begin, tokens = clock(), 0
                for texts in continue_text(
                    model, tokenizer, config.words, config, (), batch, generator
                ):
                    tokens = sum(t.tokens for t in texts)
                    if tokens >= batch * args.tokens:
                        break
                found[f"{name} batch {batch}"] = tokens / (clock() - begin)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}"
    print(machine)
    for name, value in found.items():
        print(f"{name:24s} {value:8.1f}")
    print(json.dumps({"machine": machine, **{k: round(v, 2) for k, v in found.items()}}))


if __name__ == "__main__":
    main()
