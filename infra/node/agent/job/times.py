"""Record how long a job's log was at which time, one line per second in which it grew.

By the monotonic clock: a wrong clock of the machine may have been set since. After a reboot, more than was asked for may be
shown.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ..tasks.one import place_of

TICK_S = 1.0


class Times:
    """The time record of one job."""

    def __init__(self, folder: Path) -> None:
        """Start at the log's first byte."""
        self.folder, self.size_bytes = folder, -1

    def note(self) -> None:
        """Record the log's length if it has grown; a full disk only costs this record."""
        with contextlib.suppress(OSError):
            size_bytes = (self.folder / "log").stat().st_size
            if size_bytes != self.size_bytes:
                with (self.folder / "times").open("a") as book:
                    book.write(f"{time.monotonic():.0f} {size_bytes}\n")
                self.size_bytes = size_bytes


def find_since(number: str, ago_s: str) -> dict[str, int]:
    """Return an offset just before everything printed in the last `seconds`."""
    since, offset = time.monotonic() - float(ago_s), 0
    book = place_of(number) / "times"
    for line in book.read_text().splitlines() if book.exists() else []:
        when, size_bytes = map(float, line.split())
        if when > since:
            break
        offset = int(size_bytes)
    return {"offset": offset}
