"""Access to clusters by name for ssh, scp, rsync and editors."""

import os
import re
import socket
from pathlib import Path

from infra import state
from infra.cluster.connections import check_login, reach
from infra.errors import NodeError, UsageError
from infra.ledger import builds, known_clusters
from infra.model import GONE, Cluster, Node

PROBE_S = 3


def choose_node(cluster: Cluster, rank: int) -> tuple[Cluster, Node]:
    """Return a cluster and a node of it, with current addresses; raises UsageError for an unknown one.

    If it does not respond, check with the cloud whether its or this computer's address changed; raises NodeError if not.
    """
    check_login(cluster)
    check_rank(cluster, rank)
    if builds.find_closed(cluster, rank):
        with reach(cluster, rank):  # explains an unfinished bake, where ssh would warn about changed host keys
            pass
    if cluster.nodes[rank].state == GONE:
        with reach(cluster, rank):  # says that it no longer exists
            pass
    if not cluster.proxy_jump and not answers(cluster.nodes[rank]):
        # Imported late: it imports boto3, which takes a third of a second and is rarely needed.
        from infra.cluster.clusters import find_again

        node = cluster.nodes[rank]
        cluster = find_again(cluster, NodeError(f"no response from {node.host}:{node.port}", "gpujob ls"), rank)
    return cluster, cluster.nodes[rank]


def check_rank(cluster: Cluster, rank: int | None) -> None:
    """Raise UsageError if a cluster has no node of this rank."""
    if rank is not None and rank >= len(cluster.nodes):
        raise UsageError(f"'{cluster.name}' has no node {rank}: numbers start at 0", f"--node {len(cluster.nodes) - 1}")


def answers(node: Node) -> bool:
    """Return whether something listens on the port of the node's SSH server."""
    try:
        socket.create_connection((node.host, node.port), timeout=PROBE_S).close()
    except OSError:
        return False
    return True


def config_file() -> Path:
    """Return the user's ssh_config."""
    return Path.home() / ".ssh" / "config"


def write_config() -> tuple[Path, list[str]]:
    """Write gpujob's ssh_config with all known clusters; return its path and the names in it."""
    path = known_clusters.write_ssh_config()
    lines = path.read_text(encoding="utf-8").splitlines()
    return path, [line.removeprefix("Host ") for line in lines if line.startswith("Host ")]


def include_line(path: Path) -> str:
    """Return the line that includes gpujob's ssh_config."""
    return f'Include "{path}"'


def is_included(path: Path) -> bool:
    """Return whether the user's ssh_config includes gpujob's at the top, where it takes effect."""
    try:
        lines = config_file().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    entries = (number for number, line in enumerate(lines) if re.match(r"\s*(host|match)\b", line, re.IGNORECASE))
    return include_line(path) in lines[: next(entries, len(lines))]


def include(path: Path) -> None:
    """Include gpujob's ssh_config at the top of the user's: below a `Host` line it would not be global."""
    file = config_file()
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    before = "".join(line for line in text.splitlines(keepends=True) if line.strip() != include_line(path))
    target = Path(os.path.realpath(file))  # it may be a link to a dotfiles folder
    state.write_private(target, f"{include_line(path)}\n\n{before}" if before else f"{include_line(path)}\n")
