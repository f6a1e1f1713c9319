"""Count what clusters of more and more nodes cost.

Calls to EC2, SSH connections and bytes of the laptop, for `up`, for a job over all nodes with a project of 1 MB, and for `down`.
Counts, not seconds: all nodes are this computer. python -m tests.bench.nodes 1 2 4 8; the results are in docs/scale.md.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.local import process
from infra.local.cloud.server import control

REPOSITORY = Path(__file__).parents[2]
# Python imports this first in every command; paramiko has one place where bytes leave, and one where they arrive.
COUNT = """
import atexit, json, os
import paramiko.packet, paramiko.transport
counts = {"connections": 0, "sent": 0, "received": 0}
init, write, read = paramiko.Transport.__init__, paramiko.packet.Packetizer.write_all, paramiko.packet.Packetizer.read_all
def count_init(self, *words, **named):
    counts["connections"] += 1
    init(self, *words, **named)
def count_write(self, out):
    counts["sent"] += len(out)
    return write(self, out)
def count_read(self, n, check_rekey=False):
    counts["received"] += n
    return read(self, n, check_rekey)
paramiko.Transport.__init__ = count_init
paramiko.packet.Packetizer.write_all, paramiko.packet.Packetizer.read_all = count_write, count_read
atexit.register(lambda: open(os.environ["COUNTS"], "w").write(json.dumps(counts)))
"""


def main() -> int:
    """Print a line of JSON for each size and command."""
    for nodes in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="gpujob-nodes-", ignore_cleanup_errors=True) as place:
            measure(Path(place), nodes)
    return 0


def measure(place: Path, nodes: int) -> None:
    """Print what a cluster of this many nodes costs."""
    (place / "count").mkdir()
    (place / "count/sitecustomize.py").write_text(COUNT)
    project = place / "project"
    project.mkdir()
    (project / "data.bin").write_bytes(os.urandom(1 << 20))
    try:
        show(place, nodes, "up", "--dry-run", "--yes", "--nodes", str(nodes))
        show(place, nodes, "run", "--nodes", str(nodes), "--", "echo $GPUJOB_NODE_RANK")
        show(place, nodes, "run", "--nodes", str(nodes), "--", "echo again")
        show(place, nodes, "down", "--yes")
    finally:
        run(place, "local", "stop")


def show(place: Path, nodes: int, *words: str) -> None:
    """Run a command and print its counts."""
    cloud = process.find(place / "state/gpujob/local")
    if cloud:
        control.clear_trail(cloud)
    counts = run(place, *words)
    cloud = process.find(place / "state/gpujob/local")
    calls = sum(not event["inner"] for event in control.read_trail(cloud)) if cloud else 0
    sys.stdout.write(json.dumps({"nodes": nodes, "command": " ".join(words[:3]), "calls": calls, **counts}) + "\n")
    sys.stdout.flush()


def run(place: Path, *words: str) -> dict[str, int]:
    """Run a command as a person would; return its connections and bytes."""
    folders = {"HOME": place, "XDG_STATE_HOME": place / "state", "XDG_CACHE_HOME": place / "cache"}
    path = f"{place}/count{os.pathsep}{REPOSITORY}"
    env = {**os.environ, **{name: str(folder) for name, folder in folders.items()}, "PYTHONPATH": path}
    env |= {"COUNTS": f"{place}/counts", "GPUJOB_DRY_RUN": "1"}
    subprocess.run(
        [sys.executable, "-m", "cli", *words], cwd=place / "project", env=env, check=True, stdout=subprocess.DEVNULL
    )
    counts: dict[str, int] = json.loads((place / "counts").read_text())
    return counts


if __name__ == "__main__":
    sys.exit(main())
