"""Many books from a file of requests: `python -m pipelines batch prompts.jsonl --out shelf/`."""
