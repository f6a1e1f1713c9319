"""Local records of clusters: a copy of their tags, stored with their keys, and an ssh configuration.

A cluster's tags are authoritative: without these records, `ls` and `down` still work. Connecting to a node does not: the private
key is stored nowhere else.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from infra.model import GONE, Cluster
from infra.ssh.login import make_config
from infra.state import attempt_file, cluster_folder, ssh_config_file, state_folder, submissions_folder, write_private


def remember(cluster: Cluster) -> Cluster:
    """Record a cluster; return it with the nodes that it has lost, so that the others keep their ranks."""
    cluster = keep_ranks(cluster, recall(cluster.name))
    write_private(cluster_folder(cluster.name) / "cluster.json", json.dumps(cluster.to_dict(), indent=2))
    if ssh_config_file().exists():
        write_ssh_config()
    return cluster


def keep_ranks(cluster: Cluster, known: Cluster | None) -> Cluster:
    """Return a cluster with the nodes that it has lost since it was recorded, each in its place."""
    found = {node.instance_id: node for node in cluster.nodes}
    before = known.nodes if known else ()
    if not any(node.instance_id in found for node in before):
        return cluster
    kept = [found.pop(node.instance_id, replace(node, state=GONE)) for node in before]
    return replace(cluster, nodes=(*kept, *found.values()))


def recall(name: str) -> Cluster | None:
    """Return a cluster's record, or None."""
    try:
        return Cluster.from_dict(json.loads((cluster_folder(name) / "cluster.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def recall_all() -> Iterator[Cluster]:
    """Yield all recorded clusters by name."""
    for folder in sorted((state_folder() / "clusters").glob("*/cluster.json")):
        cluster = recall(folder.parent.name)
        if cluster is not None:
            yield cluster


def forget(name: str) -> bool:
    """Delete all records of a cluster, including its key; return whether there were any."""
    known = cluster_folder(name).exists() or attempt_file(name).exists()
    forget_cluster(name)
    forget_attempt(name)
    return known


def forget_cluster(name: str) -> None:
    """Delete a cluster's record and key, but not the record of an unfinished `up`."""
    shutil.rmtree(cluster_folder(name), ignore_errors=True)
    shutil.rmtree(submissions_folder(name), ignore_errors=True)
    if ssh_config_file().exists():
        write_ssh_config()


def forget_attempt(name: str) -> None:
    """Delete the record of an unfinished `up`."""
    attempt_file(name).unlink(missing_ok=True)


def write_ssh_config() -> Path:
    """Write gpujob's ssh_config with all recorded clusters; return its path."""
    write_private(ssh_config_file(), make_config(recall_all()))
    return ssh_config_file()
