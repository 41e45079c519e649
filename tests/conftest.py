"""Settings that every test shares."""

from __future__ import annotations

import os

import pytest

import ui  # noqa: F401  before any test imports gradio, which is up sooner then

# Programs that tests start share the processor with other tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where pytest-xdist runs several workers, each keeps to one core: PyTorch's own threads would
# take the cores from the other workers. It must be set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


LONGEST = (
    "e2e/test_page.py",
    "test_readme.py",
    "e2e/",
    "pipelines/test_story.py",
    "pipelines/test_embedded.py",
    "finetune/test_vqgan.py",
    "pipelines/test_batch.py",
    "finetune/test_stablepaint.py",
    "storage/test_crash.py",
)
"""Files whose tests take longest: begun first, no worker is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        name = item.nodeid.removeprefix("tests/")
        return next((n for n, part in enumerate(LONGEST) if name.startswith(part)), len(LONGEST))

    items.sort(key=rank)  # stable: else the order stays
