"""The progress of a transfer in a job's log, and whether the disk has room for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from ..environment.uv import say
from ..records import AgentError

STEPS = 10  # how often progress is logged


class Progress:
    """The progress of a transfer, as lines in a job's log."""

    def __init__(self, log: BinaryIO, path: str, total_bytes: int) -> None:
        """Start at nothing."""
        self.log, self.path, self.total_bytes, self.done_bytes = log, path, total_bytes, 0
        self.said = 0

    def __call__(self, size_bytes: int) -> None:
        """Add bytes; log each tenth."""
        self.done_bytes += size_bytes
        step = self.done_bytes * STEPS // max(self.total_bytes, 1)
        if step > self.said:
            self.said = step
            say(self.log, f"data: {self.path}: {step * 100 // STEPS}% of {show_size(self.total_bytes)}")


def show_size(size_bytes: float) -> str:
    """Return a size with its unit."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def check_space(folder: Path, needed_bytes: int, path: str) -> None:
    """Raise AgentError if the disk has no room for the transfer."""
    disk = os.statvfs(folder)
    free_bytes = disk.f_bavail * disk.f_frsize
    if needed_bytes > free_bytes:
        raise AgentError(
            f"{path} needs {show_size(needed_bytes)}, but only {show_size(free_bytes)} are free on the disk"
        )
