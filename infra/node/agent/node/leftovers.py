"""Detect work outside of jobs while no user is connected, such as a download left running in tmux."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ..identities import read_stat
from ..job.watch import IDLE_CPU
from ..processes import descendants
from ..usage import TICKS

LONGEST_INTERVAL_S = 60.0


class Leftovers:
    """The login user's processes, and the CPU time they had used at the last check."""

    def __init__(self, idle_s: float, ancestor: int | None = None) -> None:
        """Watch the descendants of one process, by default our parent: init on an AWS machine."""
        self.ancestor = ancestor or os.getppid()
        self.interval_s = min(idle_s / 5, LONGEST_INTERVAL_S)
        self.looked_s, self.used = time.monotonic(), self.measure()
        self.busy = False

    def work(self) -> bool:
        """Return whether they have computed recently; checks are rate-limited."""
        elapsed = time.monotonic() - self.looked_s
        if elapsed >= self.interval_s:
            before, self.used = self.used, self.measure()
            spent = sum(max(used - before.get(pid, 0.0), 0.0) for pid, used in self.used.items())
            self.busy = spent / max(elapsed, 1e-3) > IDLE_CPU
            self.looked_s += elapsed
        return self.busy

    def measure(self) -> dict[int, float]:
        """Return the CPU seconds used by each process and its reaped children."""
        found = {}
        for pid in {*descendants(self.ancestor)} - {os.getpid(), *descendants()}:
            with contextlib.suppress(OSError):
                if Path("/proc", str(pid)).stat().st_uid == os.getuid():
                    found[pid] = sum(map(int, read_stat(pid)[11:15])) / TICKS  # utime, stime, cutime, cstime
        return found
