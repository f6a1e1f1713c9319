"""A curve: what something costs at several sizes, how fast that grows, and whether it keeps below its bar."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Costs = Mapping[str, float]
"""What something costs, by who pays: the client, the node."""
Measure = Callable[[Path, int], Costs]
"""What it costs at a size, given an empty folder."""
LEAST = 0.02  # below this, a growth is that of noise


@dataclass(frozen=True)
class Row:
    """Something that is measured at several sizes."""

    what: str
    by: str
    """What the sizes count."""
    sizes: tuple[int, ...]
    at: int
    """The size at which it is judged."""
    bars: Costs
    """The most that it may cost there."""
    measure: Measure
    unit: str = "CPU s"

    def draw(self, sizes: Sequence[int], costs: Sequence[Costs]) -> str:
        """Return its curves: for each who pays, the bar, and below it the costs by size."""
        return "\n".join(
            self.draw_one(who, dict(zip(sizes, (each[who] for each in costs), strict=True))) for who in self.bars
        )

    def draw_one(self, who: str, found: Mapping[int, float]) -> str:
        """Return one curve."""
        most = self.bars[who]
        met = "" if self.at not in found else "met" if found[self.at] <= most else "NOT MET"
        points = "   ".join(f"{size:,}: {cost:.3f}" for size, cost in found.items())
        head = f"{self.what}, {who} [{self.unit} by {self.by}]"
        return f"{head:<72} bar {self.at:,}: {most:g} {met}\n    {points}   {grow(found)}"


def grow(found: Mapping[int, float]) -> str:
    """Return the exponent of the growth between the last two sizes: 1 is linear, 2 quadratic."""
    points = [(size, cost) for size, cost in found.items() if size and cost >= LEAST]
    if len(points) < 2:
        return "(flat)"
    (less, cheaper), (more, dearer) = points[-2:]
    return f"(n^{math.log(dearer / cheaper) / math.log(more / less):.1f})"
