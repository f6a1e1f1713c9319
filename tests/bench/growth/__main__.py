"""Measure how the cost of commands grows with files, jobs and outputs, and print a curve for each.

Everything runs on this computer: the real client and the real agent, over pipes. Nothing is billed, and everything is removed.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.bench.growth.rows import ROWS
from tests.bench.measure import BenchError


def main() -> int:
    """Measure what the arguments ask for; return 0 if every row could be measured, whether or not its bar is met."""
    parser = argparse.ArgumentParser(prog="make bench-growth", description=__doc__)
    parser.add_argument("--rows", action="append", choices=ROWS, help="only these rows; may be repeated")
    parser.add_argument("--most", type=int, default=sys.maxsize, metavar="N", help="only sizes up to N")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpujob-growth-", ignore_cleanup_errors=True) as place:
        os.environ |= {name: f"{place}/{name}" for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
        try:
            for name in asked.rows or ROWS:
                measure(name, asked.most, Path(place))
        except BenchError as error:
            sys.stderr.write(f"bench-growth: {error}\n")
            return 1
    return 0


def measure(name: str, most: int, place: Path) -> None:
    """Measure a row at its sizes, and print it."""
    row, costs = ROWS[name], []
    sizes = [size for size in row.sizes if size <= most]
    for size in sizes:
        sys.stderr.write(f"{name} {size:,}\n")
        folder = place / f"{name}-{size}"
        folder.mkdir()
        costs.append(row.measure(folder, size))
    sys.stdout.write(f"{row.draw(sizes, costs)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
