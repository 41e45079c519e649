"""Convert public models once, for quicker starts: `python -m pipelines.convert --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines.errors import AppError, InvalidInput


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m pipelines.convert", description=__doc__)
    kinds = p.add_subparsers(dest="kind", required=True)
    story = kinds.add_parser(
        "story", help="a language model to CTranslate2, which is quicker on a processor"
    )
    story.add_argument("name", help="hub name or folder of a causal language model, such as gpt2")
    story.add_argument("folder", type=Path, help="where the converted model goes")
    story.add_argument("--quantization", default="int8", help="int8, float16, ... (%(default)s)")
    vqgan = kinds.add_parser("vqgan", help="a checkpoint of taming-transformers to safetensors")
    vqgan.add_argument("checkpoint", type=Path, help="the .ckpt file")
    vqgan.add_argument("folder", type=Path, help="where the converted model goes")
    return p


def convert_vqgan(checkpoint: Path, folder: Path) -> None:
    """Raises AppError."""
    from pipelines.vqgan_clip.taming import convert, save_converted

    if folder.exists():
        raise InvalidInput(f"{folder} is there already: name another folder, or delete it.")
    save_converted(*convert(checkpoint), folder)


def main() -> int:
    """Exit status: 0 done, 1 when it cannot be done."""
    args = parser().parse_args()
    try:
        if args.kind == "story":
            from pipelines.story_ctranslate2 import convert_story

            convert_story(args.name, args.folder, args.quantization)
        else:
            convert_vqgan(args.checkpoint, args.folder)
    except (AppError, OSError) as e:
        print(f"storybrush: {e}", file=sys.stderr)
        return 1
    print(f"{args.folder} is ready: name it with --{args.kind}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
