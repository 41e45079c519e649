"""Settings that every test shares."""

from __future__ import annotations

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import ui  # noqa: F401  before any test imports gradio, which is up sooner then

# Programs that tests start share the processor with other tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where pytest-xdist runs several workers, each keeps to one core: PyTorch's own threads would
# take the cores from the other workers. It must be set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


BROWSER = "e2e/"
LONGEST = (
    BROWSER,
    "test_readme.py",
    "pipelines/test_story.py",
    "pipelines/test_embedded.py",
    "finetune/test_vqgan.py",
    "pipelines/test_batch.py",
    "finetune/test_stablepaint.py",
    "storage/test_crash.py",
)
"""Files whose tests take longest: begun first, no worker is left alone with one at the end."""


class OneBrowser(LoadFileScheduling):
    """A file is one worker's, and all that drive a browser are one worker's together: such tests
    wait for a page much of the time, which others use meanwhile; two of them only get into each
    other's way."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return BROWSER if file.startswith(f"tests/{BROWSER}") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    return OneBrowser(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        name = item.nodeid.removeprefix("tests/")
        return next((n for n, part in enumerate(LONGEST) if name.startswith(part)), len(LONGEST))

    items.sort(key=rank)  # stable: else the order stays
