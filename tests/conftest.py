"""Settings that every test shares."""

from __future__ import annotations

import os

# Programs that tests start share the processor with other tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where pytest-xdist runs several workers, each keeps to one core: PyTorch's own threads would
# take the cores from the other workers. It must be set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
