"""Which part of a job failed first: when one fails, others often do at once, because they miss it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

from ..records import Ending

FAILURE = "failure"  # the file in which torchrun notes when a process of its failed, before it has ended the others
SETTLE_S = 1.5  # how long to wait for word of an earlier failure
RECENT_S = 60.0
FOLLOWING = (1, 134)  # how processes end that have lost another one: with an exception, or aborted by NCCL


class Failure(NamedTuple):
    """When a process failed, on the monotonic clock of its node, and its exit code."""

    at_s: float
    code: int


def read_failure(folder: Path) -> Failure | None:
    """Return the failure that torchrun noted for a part; None if there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        at_s, code = (folder / FAILURE).read_text().split()[:2]
        return Failure(float(at_s), int(code))
    return None


class Failures:
    """The failures of parts that part 0 has heard of, until it decides which was first."""

    def __init__(self) -> None:
        """Begin without one."""
        self.known: dict[int, Failure] = {}
        self.due_s: float | None = None
        """When to decide; None while no part has ended."""

    def note(self, rank: int, age_s: float, code: int) -> None:
        """Note that a process of a part failed so long ago; the first note of a part counts, if recent."""
        now = time.monotonic()
        known = self.known.get(rank)
        if known is None or now - age_s - known.at_s > RECENT_S:
            self.known[rank] = Failure(now - age_s, code)

    def begin(self) -> None:
        """Decide soon, because a part has ended."""
        if self.due_s is None:
            self.due_s = time.monotonic() + SETTLE_S

    def is_due(self) -> bool:
        """Return whether it is time to decide."""
        return self.due_s is not None and time.monotonic() >= self.due_s

    def find_first(self) -> tuple[int, Ending]:
        """Return the part that failed first, and how; one with a code of its own before those that followed."""
        rank = min(self.known, key=lambda rank: (self.known[rank].code in FOLLOWING, self.known[rank].at_s))
        return rank, Ending(self.known[rank].code)
