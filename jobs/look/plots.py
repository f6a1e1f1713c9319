"""Pictures: matplotlib is imported here alone, and draws into files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

INK, BLUE, ORANGE, GREY = "#222222", "#2a6fbb", "#d9822b", "#bbbbbb"


@contextmanager
def figure(path: Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.0)) -> Iterator[Any]:
    """Yield the axes of a new picture, or its only axis; write it to `path` at the end."""
    drawn, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    try:
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(path, dpi=110)
    finally:
        plt.close(drawn)


def draw_curve(
    path: Path, x: Sequence[float], y: Sequence[float], labels: tuple[str, str], log: bool = False, mark: float = 0.0
) -> None:
    """Draw one line; `mark` is a place on the x axis worth a look."""
    with figure(path) as axis:
        axis.plot(x, y, color=BLUE)
        if log:
            axis.set_xscale("log")
        if mark:
            axis.axvline(mark, color=ORANGE, linestyle="--")
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
        axis.grid(alpha=0.3)
