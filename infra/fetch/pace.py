"""Limit downloads while a job runs: large changing files less often, huge ones only on request."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from infra.model import Output

UNASKED_BYTES = 1_000_000_000
RATE = 2e9 / 3600  # bytes per second for any one changing file: less than 0.20 USD an hour at AWS's price
DIGITS = re.compile(r"\d+")


class Pace:
    """Which of a running job's outputs are due: a changed file waits as long as its size takes at `RATE`.

    Files whose names differ only by a number, such as checkpoints of which only the latest few are kept, count as one.
    """

    def __init__(self, most_bytes: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with everything due; keep at most `most_bytes` of all files together."""
        self.most_bytes = most_bytes
        self.clock = clock
        self.due: dict[str, float] = {}
        self.sizes: dict[str, int] = {}

    def choose(self, missing: Sequence[Output]) -> list[Output]:
        """Return which of these outputs to download now, and record that."""
        now = self.clock()
        due = [output for output in missing if now >= self.due.get(series_of(output), now)]
        chosen = fit(due, self.most_bytes - sum(self.sizes.values()) + sum(self.sizes.get(o.path, 0) for o in due))
        series_bytes: Counter[str] = Counter()
        for output in chosen:
            self.sizes[output.path] = output.size_bytes
            series_bytes[series_of(output)] += output.size_bytes
        self.due.update({series: now + size_bytes / RATE for series, size_bytes in series_bytes.items()})
        return chosen

    def forget(self, paths: Iterable[str]) -> None:
        """Forget deleted files, which no longer need space."""
        for path in paths:
            self.sizes.pop(path, None)


def series_of(output: Output) -> str:
    """Return the name that a file shares with those that differ only by numbers."""
    return DIGITS.sub("#", output.path)


def fit(outputs: Iterable[Output], room_bytes: float) -> list[Output]:
    """Return as many of these outputs as fit, smallest first."""
    chosen, files = [], set()
    for output in sorted(outputs, key=lambda output: output.size_bytes):
        room_bytes -= 0 if output.file in files else output.size_bytes
        if room_bytes < 0:
            break
        files.add(output.file)
        chosen.append(output)
    return chosen


def total_bytes(outputs: Iterable[Output]) -> int:
    """Return the total size of these outputs, counting hard-linked files once."""
    return sum({output.file: output.size_bytes for output in outputs}.values())
