"""How much is downloaded at a time: large files that keep changing are downloaded less often, and very much not unasked."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from infra.model import Output

UNASKED_BYTES = 1_000_000_000
RATE = 2e9 / 3600  # bytes a second, of any one file that keeps changing: at AWS's price less than 0.20 USD an hour
DIGITS = re.compile(r"\d+")


class Pace:
    """What of a running job's outputs is due: a file that changed again waits as long as its size takes at `RATE`.

    Files that differ by a number alone, as checkpoints do of which a script keeps the latest few, count as one.
    """

    def __init__(self, most_bytes: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with everything due; at most `most_bytes` are kept of all files together."""
        self.most_bytes = most_bytes
        self.clock = clock
        self.due: dict[str, float] = {}
        self.sizes: dict[str, int] = {}

    def choose(self, missing: Sequence[Output]) -> list[Output]:
        """Return which of these outputs to download now, and note that they are."""
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
        """Take note that files are gone, and take no room any more."""
        for path in paths:
            self.sizes.pop(path, None)


def series_of(output: Output) -> str:
    """Return what a file has in common with those that differ from it by numbers alone."""
    return DIGITS.sub("#", output.path)


def fit(outputs: Iterable[Output], room_bytes: float) -> list[Output]:
    """Return as many of these outputs as there is room for, the smallest first."""
    chosen, files = [], set()
    for output in sorted(outputs, key=lambda output: output.size_bytes):
        room_bytes -= 0 if output.file in files else output.size_bytes
        if room_bytes < 0:
            break
        files.add(output.file)
        chosen.append(output)
    return chosen


def total_bytes(outputs: Iterable[Output]) -> int:
    """Return how much these outputs are, each file counted once, whatever number of names it has among them."""
    return sum({output.file: output.size_bytes for output in outputs}.values())
