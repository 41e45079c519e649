"""List the SHA-256 of every embedded file: `python -m finetune.checksums` after copying some there.

Training commands list what they write themselves.
"""

from __future__ import annotations

from pipelines.weights import EMBEDDED, list_hashes


def main() -> None:
    list_hashes(EMBEDDED)


if __name__ == "__main__":
    main()
