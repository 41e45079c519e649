"""The app, running beside a bench."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from tests.bench.__main__ import ROOT, free_port


class App:
    """`python app.py` on a free port, with its log."""

    def __init__(self, library: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        command = [sys.executable, "app.py", "--port", str(port), "--library", str(library)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.log: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.rstrip())

    def processor_seconds(self) -> float:
        """Of the app and of the process that has its models."""
        app = psutil.Process(self.process.pid)
        all_times = [p.cpu_times() for p in (app, *app.children(recursive=True))]
        return sum(times.user + times.system for times in all_times)

    def memory(self) -> float:
        """Gigabytes that the app and its processes have now; what they share counts once."""
        app = psutil.Process(self.process.pid)
        return sum(p.memory_full_info().pss for p in (app, *app.children(recursive=True))) / 1e9

    def told(self, pattern: str, since: int = 0, seconds: float = 1800) -> re.Match[str]:
        """What the log says from line `since` on, once it does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            for line in self.log[since:]:
                if found := re.search(pattern, line):
                    return found
            time.sleep(0.05)
        raise SystemExit("\n".join(self.log[-20:]) or "The app did not start.")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
