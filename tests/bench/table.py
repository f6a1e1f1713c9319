"""The table: what, ours, theirs, ratio, bar, met or not."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

HEAD = ("what", "node", "ours", "theirs", "ratio", "bar", "met")


@dataclass(frozen=True)
class Row:
    """One line of the table, as it is printed."""

    what: str
    node: str
    ours: str
    theirs: str
    ratio: str
    bar: str
    met: str


def at_most(bar: float, what: str, node: str, ours_s: float, theirs_s: float) -> Row:
    """Return the row of something that may take at most `bar` times as long as theirs."""
    ratio = ours_s / theirs_s
    return Row(what, node, f"{ours_s:.3f} s", f"{theirs_s:.3f} s", f"{ratio:.2f}", f"<= {bar:g} x", word(ratio <= bar))


def at_least(bar: float, what: str, node: str, ours: float, theirs: float) -> Row:
    """Return the row of something that must be at least `bar` times as fast as theirs, in megabytes a second."""
    ratio = ours / theirs
    return Row(
        what, node, f"{ours:.0f} MB/s", f"{theirs:.0f} MB/s", f"{ratio:.2f}", f">= {bar:g} x", word(ratio >= bar)
    )


def under(bar: float, unit: str, what: str, node: str, ours: float) -> Row:
    """Return the row of something with a bar of its own."""
    digits = 0 if unit == "MB" else 3
    return Row(what, node, f"{ours:.{digits}f} {unit}", "", "", f"<= {bar:g} {unit}", word(ours <= bar))


def word(met: bool) -> str:
    """Return "yes" or "no"."""
    return "yes" if met else "no"


def draw(rows: Iterable[Row]) -> str:
    """Return the table as lines of text."""
    lines = [HEAD, *(astuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # What and where to the left, figures to the right.
    cells = [
        [
            text.ljust(width) if at < 2 else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in cells)
