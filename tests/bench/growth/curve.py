"""A curve: what something costs at several sizes, how fast that grows, and whether it keeps below its bar."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Measure = Callable[[Path, int], float]
"""What it costs at a size, given an empty folder."""
LEAST = 0.02  # below this, a growth is that of noise


@dataclass(frozen=True)
class Row:
    """Something that is measured at several sizes."""

    what: str
    by: str
    """What the sizes count."""
    sizes: tuple[int, ...]
    bar: tuple[int, float]
    """A size, and the most that it may cost."""
    measure: Measure
    unit: str = "CPU s"

    def draw(self, sizes: Sequence[int], costs: Sequence[float]) -> str:
        """Return two lines: the name and the bar, and below them the curve."""
        (at, most), found = self.bar, dict(zip(sizes, costs, strict=True))
        met = "" if at not in found else "met" if found[at] <= most else "NOT MET"
        points = "   ".join(f"{size:,}: {cost:.3f}" for size, cost in found.items())
        head = f"{self.what} [{self.unit} by {self.by}]"
        return f"{head:<72} bar {at:,}: {most:g} {met}\n    {points}   {grow(sizes, costs)}"


def grow(sizes: Sequence[int], costs: Sequence[float]) -> str:
    """Return the exponent of the growth between the last two sizes: 1 is linear, 2 quadratic."""
    points = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if size and cost >= LEAST]
    if len(points) < 2:
        return "(flat)"
    (less, cheaper), (more, dearer) = points[-2:]
    return f"(n^{math.log(dearer / cheaper) / math.log(more / less):.1f})"
