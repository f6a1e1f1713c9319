"""When a job printed what: how long its log was at which time, a line for each second in which it grew."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ..records import folder_of

TICK_S = 1.0


class Times:
    """Keeps the book for one job."""

    def __init__(self, folder: Path) -> None:
        """Begin at the log's first byte."""
        self.folder, self.size_bytes = folder, -1

    def note(self) -> None:
        """Write down how long the log is, if it has grown; a full disk does no harm but to the book."""
        with contextlib.suppress(OSError):
            size_bytes = (self.folder / "log").stat().st_size
            if size_bytes != self.size_bytes:
                with (self.folder / "times").open("a") as book:
                    book.write(f"{time.time():.0f} {size_bytes}\n")
                self.size_bytes = size_bytes


def find_since(number: str, ago_s: str) -> dict[str, int]:
    """Return an offset behind which lies all that was printed in the last so many seconds, and little more."""
    since, offset = time.time() - float(ago_s), 0
    book = folder_of(number) / "times"
    for line in book.read_text().splitlines() if book.exists() else []:
        when, size_bytes = map(float, line.split())
        if when > since:
            break
        offset = int(size_bytes)
    return {"offset": offset}
