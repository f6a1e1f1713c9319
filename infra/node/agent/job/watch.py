"""The hang watch: mark a job that neither prints nor computes, and log its stack traces."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Callable

from ..processes import tell
from ..records import read_json, write_json
from ..usage import cpu_seconds, gpu_use
from .runner import STALLED, STALLED_UNSEEN
from .stacks import write_stacks
from .times import TICK_S, Times

# CPU and GPU use below which a job counts as idle: threads polling a queue use about 1 %.
IDLE_CPU, IDLE_GPU_PERCENT = 0.02, 2
LONGEST_INTERVAL_S, LOOKS = 30.0, 20


def stalled_text(job: dict[str, Any]) -> str:
    """Return the recorded reason for a job that was killed because it stalled."""
    return f"stalled for {job['hang_after_s']:g} s"


class Watch:
    """The activity of a job at the last check."""

    def __init__(self, folder: Path, job: dict[str, Any], secrets: list[str] | None) -> None:
        """Start watching a job; `secrets` is None if they are no longer known."""
        self.folder, self.job, self.secrets = folder, job, secrets
        self.tick_s = min(job["hang_after_s"] / LOOKS, TICK_S)
        self.interval_s = min(job["hang_after_s"] / LOOKS, LONGEST_INTERVAL_S)
        self.looked_s = self.moved_s = time.monotonic()
        self.pids: list[int] = []
        self.log_bytes, self.cpu_s = -1, 0.0
        self.stalled = False
        self.times = Times(folder)

    def look_if_due(self, find: Callable[[int], list[int]], runner: int) -> None:
        """Record the log's length and check the job if it is due; `find` returns its processes."""
        self.times.note()
        if time.monotonic() - self.looked_s >= self.interval_s:
            self.look(find(runner), runner)

    def look(self, pids: list[int], runner: int) -> None:
        """Check the job's processes; mark it as stalled, or unmark it once it is active again."""
        if self.moves(sorted(pids)):
            self.moved_s = self.looked_s
            if self.stalled:
                self.mark(None)
        elif not self.stalled and self.looked_s - self.moved_s >= self.job["hang_after_s"]:
            seen = write_stacks(pids, self.job, self.folder / "log", self.secrets)
            self.log_bytes = self.log_size()
            self.mark(time.time())
            if self.job["kill_stalled"]:
                tell(runner, STALLED if seen else STALLED_UNSEEN)

    def moves(self, pids: list[int]) -> bool:
        """Return whether anything has happened since the last check."""
        now, cpu_s, log_bytes = time.monotonic(), cpu_seconds(pids), self.log_size()
        used = (cpu_s - self.cpu_s) / max(now - self.looked_s, 1e-3)
        # Without processes, a part of a job over several nodes has ended, and waits for the others.
        moved = not pids or log_bytes != self.log_bytes or pids != self.pids or used > IDLE_CPU or self.uses_gpu()
        self.looked_s, self.cpu_s, self.log_bytes, self.pids = now, cpu_s, log_bytes, pids
        return moved

    def uses_gpu(self) -> bool:
        """Return whether one of the job's GPUs is computing."""
        own = read_json(self.folder / "state.json", {}).get("gpus", [])
        return any(gpu["index"] in own and gpu["percent"] > IDLE_GPU_PERCENT for gpu in gpu_use())

    def log_size(self) -> int:
        """Return how much the job has printed."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").stat().st_size
        return 0

    def mark(self, stalled_at: float | None) -> None:
        """Record since when the job is stalled, or that it is not."""
        self.stalled = stalled_at is not None
        with contextlib.suppress(OSError):  # a full disk
            write_json(
                self.folder / "state.json", {**read_json(self.folder / "state.json", {}), "stalled_at": stalled_at}
            )
