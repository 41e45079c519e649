"""List the SHA-256 of every embedded file: `python -m finetune.checksums` after any training."""

from __future__ import annotations

from pipelines.weights import EMBEDDED, sha256


def main() -> None:
    files = sorted(p for p in EMBEDDED.rglob("*") if p.is_file())
    names = {p.relative_to(EMBEDDED).as_posix(): p for p in files}
    listed = [n for n in names if not n.endswith(".md") and n != "SHA256SUMS"]
    lines = [f"{sha256(names[n])}  {n}" for n in listed]
    (EMBEDDED / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{len(lines)} files")


if __name__ == "__main__":
    main()
