"""Stopped clusters with nothing left to download, which `down` need not start to find out."""

import json
from pathlib import Path

from infra import state
from infra.model import Cluster


def drained_file(name: str) -> Path:
    """Return the file that says since which launch a cluster has nothing left to download."""
    return state.cluster_folder(name) / "drained.json"


def note_drained(cluster: Cluster) -> None:
    """Record that everything on a stopped cluster's disk is downloaded; only for a single machine."""
    if len(cluster.nodes) == 1:
        state.write_private(drained_file(cluster.name), json.dumps(identify(cluster)))


def is_drained(cluster: Cluster) -> bool:
    """Return whether a cluster has remained stopped since its outputs were downloaded.

    EC2 counts from the last start: a machine that was started in the meantime, by whatever means, does not match.
    """
    try:
        noted = json.loads(drained_file(cluster.name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return cluster.node.state == "stopped" and len(cluster.nodes) == 1 and noted == identify(cluster)


def identify(cluster: Cluster) -> dict[str, object]:
    """Return what changes when a cluster's machine is started or replaced."""
    return {"instance": cluster.node.instance_id, "launched_at": cluster.launched_at}
