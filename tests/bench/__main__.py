"""Measure gpujob side by side with OpenSSH and rsync on this machine, in one run, and print a table.

Both nodes are on loopback: a host of the local cloud, and a real OpenSSH server that is started and ended here. Nothing is
billed, and everything is removed at the end.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.bench.measure import BenchError
from tests.bench.rows import NO_CLOUD, ROWS
from tests.bench.sizes import QUICK, Sizes
from tests.bench.table import Row, draw
from tests.bench.world import build, without_cloud


def main() -> int:
    """Measure what the arguments ask for; return 0 when every row could be measured, whether or not its bar is met."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one node: does it work, not how fast is it")
    parser.add_argument("--rows", action="append", choices=ROWS, help="only these rows; may be repeated")
    parser.add_argument("--json", type=Path, help="also write the rows to this file, after each")
    asked = parser.parse_args()
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)
    rows: list[Row] = []
    try:
        measure(asked.rows or list(ROWS), asked.quick, rows, asked.json)
        code = 0
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        code = 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    sys.stdout.write(f"{draw(rows)}\n")
    return code


def measure(names: list[str], quick: bool, rows: list[Row], file: Path | None) -> None:
    """Append the rows of these names as they are measured."""
    began = time.monotonic()
    with without_cloud() if set(names) <= NO_CLOUD else build(one_node=quick) as world:
        for name in names:
            sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {name}\n")
            for row in ROWS[name](world, QUICK if quick else Sizes()):
                rows.append(row)
                sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {row.what}: {row.ours} {row.ratio}\n")
                if file:
                    write(file, rows)
    sys.stderr.write(f"{time.monotonic() - began:5.0f} s  done\n")


def write(file: Path, rows: list[Row]) -> None:
    """Write the rows so far, with the machine that they were measured on."""
    machine = {"machine": platform.platform(), "cores": os.cpu_count()}
    if torch := sys.modules.get("torch"):
        card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        machine |= {"torch": torch.__version__, "gpu": card}
    file.write_text(json.dumps({**machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
