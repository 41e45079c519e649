"""Settings that every test shares."""

from __future__ import annotations

import os

import pytest

# Where pytest-xdist runs several workers, each keeps to one core: PyTorch's own threads would
# take the cores from the other workers. It must be set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# First of all: pytest-xdist reads the groups in its own hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file is one worker's, and so are all that drive a browser: two browsers, their servers and
    a model are too much for two cores."""
    for item in items:
        browser = item.get_closest_marker("e2e") is not None
        item.add_marker(pytest.mark.xdist_group("browser" if browser else str(item.path)))
