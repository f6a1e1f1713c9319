"""What ssh, scp, rsync and editors need to reach clusters by name."""

import os
import re
import socket
from pathlib import Path

from infra import state
from infra.cluster.connections import reach
from infra.errors import NodeError, UsageError
from infra.ledger import builds, known_clusters
from infra.model import Cluster, Node

PROBE_S = 3


def choose_node(cluster: Cluster, rank: int) -> tuple[Cluster, Node]:
    """Return a cluster and one node of it, where it can be reached now; raises UsageError for a node that it has not.

    Where nobody answers, the cloud is asked whether an address changed, the machine's or this laptop's; raises NodeError if not.
    """
    if rank >= len(cluster.nodes):
        raise UsageError(
            f"'{cluster.name}' has no machine {rank}: they are counted from 0", f"--node {len(cluster.nodes) - 1}"
        )
    if builds.find_closed(cluster, rank):
        with reach(cluster, rank):  # tells of the bake where ssh itself would cry out at the new host keys
            pass
    if not answers(cluster.nodes[rank]):
        # Imported here: it brings boto3, which takes a third of a second and is rarely needed.
        from infra.cluster.clusters import find_again

        node = cluster.nodes[rank]
        cluster = find_again(cluster, NodeError(f"{node.host}:{node.port} does not answer", "gpujob ls"))
    return cluster, cluster.nodes[rank]


def answers(node: Node) -> bool:
    """Tell whether anything listens where the node's SSH server should."""
    try:
        socket.create_connection((node.host, node.port), timeout=PROBE_S).close()
    except OSError:
        return False
    return True


def config_file() -> Path:
    """Return the person's own ssh_config."""
    return Path.home() / ".ssh" / "config"


def write_config() -> tuple[Path, list[str]]:
    """Write every cluster that is known here as an ssh_config of our own; return its path and the names in it."""
    path = known_clusters.write_ssh_config()
    lines = path.read_text(encoding="utf-8").splitlines()
    return path, [line.removeprefix("Host ") for line in lines if line.startswith("Host ")]


def include_line(path: Path) -> str:
    """Return the line of ssh_config that includes ours."""
    return f'Include "{path}"'


def is_included(path: Path) -> bool:
    """Return whether the person's ssh_config includes ours where it takes effect: above every other entry."""
    try:
        lines = config_file().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    entries = (number for number, line in enumerate(lines) if re.match(r"\s*(host|match)\b", line, re.IGNORECASE))
    return include_line(path) in lines[: next(entries, len(lines))]


def include(path: Path) -> None:
    """Add ours to the person's ssh_config, or move it, to the head: below a `Host` line it would hold for that host only."""
    file = config_file()
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    before = "".join(line for line in text.splitlines(keepends=True) if line.strip() != include_line(path))
    target = Path(os.path.realpath(file))  # it may be a link into a folder of dotfiles
    state.write_private(target, f"{include_line(path)}\n\n{before}" if before else f"{include_line(path)}\n")
