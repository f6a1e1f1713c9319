"""Measure gpujob side by side with OpenSSH and rsync on this machine, in one run, and print a table.

Both nodes are on loopback: a host of the local cloud, and a real OpenSSH server that is started and ended here. Nothing is
billed, and everything is removed at the end.
"""

import argparse
import signal
import sys
import time

from tests.bench.measure import BenchError
from tests.bench.rows import ROWS
from tests.bench.sizes import QUICK, Sizes
from tests.bench.table import Row, draw
from tests.bench.world import build


def main() -> int:
    """Measure what the arguments ask for; return 0 when every row could be measured, whether or not its bar is met."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one node: does it work, not how fast is it")
    parser.add_argument("--rows", action="append", choices=ROWS, help="only these rows; may be repeated")
    asked = parser.parse_args()
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)
    rows: list[Row] = []
    try:
        measure(asked.rows or list(ROWS), asked.quick, rows)
        code = 0
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        code = 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    sys.stdout.write(f"{draw(rows)}\n")
    return code


def measure(names: list[str], quick: bool, rows: list[Row]) -> None:
    """Append the rows of these names as they are measured."""
    began = time.monotonic()
    with build(one_node=quick) as world:
        for name in names:
            sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {name}\n")
            rows.extend(ROWS[name](world, QUICK if quick else Sizes()))
    sys.stderr.write(f"{time.monotonic() - began:5.0f} s  done\n")


if __name__ == "__main__":
    sys.exit(main())
