"""Submit the parts of a job: first to node 0, which numbers it, then to all others at once."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import Any

from infra.base.parallel import map_parallel
from infra.cluster.connections import find_addresses, reach
from infra.errors import GpujobError, NodeError, UsageError
from infra.model import Cluster
from infra.node import client
from infra.node.peers import Peer, share
from infra.ssh.connection import Connection

KEY_BYTES = 32
SHARED_BYTES = 1_000_000  # for less, it takes longer to start sharing than to upload
Send = Callable[[Connection, Mapping[str, Any]], client.SubmitReply]


def check_nodes(cluster: Cluster, nodes: int) -> None:
    """Raise UsageError if a job wants more nodes than the cluster has."""
    if nodes > len(cluster.nodes):
        has = f"{len(cluster.nodes)} node{'s' * (len(cluster.nodes) != 1)}"
        raise UsageError(
            f"the job wants {nodes} nodes, but '{cluster.name}' has {has}", f"--nodes {len(cluster.nodes)}"
        )
    if nodes > 1 and cluster.together < nodes:
        raise NodeError(
            f"node {cluster.together} of '{cluster.name}' no longer exists, and a job over several nodes needs the first {nodes}",
            f"download what the others have: gpujob down {cluster.name}",
        )


def describe_group(cluster: Cluster, nodes: int, *, served: bool) -> dict[str, Any]:
    """Return the fields of a request that tie the parts of a job: none of them for a job on one node.

    `served` if its command runs on node 0 only.
    """
    if nodes == 1:
        return {"part": None, "key": ""}
    members = find_addresses(cluster).nodes[:nodes]
    part = {
        "rank": 0,
        "number": 0,
        "port": 0,
        "addresses": [node.address for node in members],
        "names": [node.instance_id for node in members],
        "served": served,
    }
    return {"part": part, "key": secrets.token_hex(KEY_BYTES)}


def submit_parts(
    connection: Connection, header: Mapping[str, Any], taken: client.SubmitReply, size_bytes: int, send: Send
) -> None:
    """Submit a job of this size that node 0 has accepted to its other nodes; if that fails, cancel it."""
    cluster, number = connection.cluster, taken.job

    def submit(rank: int, peer: Peer | None) -> None:
        part = {**header["part"], "rank": rank, "number": number, "port": taken.port}
        with reach(cluster, rank) as other:
            reply = send(other, {**header, "part": part, "peer": asdict(peer) if peer else None})
        if reply.job != number:
            raise NodeError(f"node {rank} of '{cluster.name}' numbered job {number} {reply.job}", "rerun")

    shared = share(connection, header["part"]["addresses"][0]) if size_bytes >= SHARED_BYTES else nullcontext()
    try:
        with shared as peer:
            map_parallel(lambda rank: submit(rank, peer), range(1, len(header["part"]["names"])))
    except BaseException:
        with suppress(GpujobError):
            client.cancel(connection, number)
        raise
