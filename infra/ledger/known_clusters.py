"""Clusters that this laptop knows: a copy of what their tags say, kept beside their keys; and plain ssh told of them.

The truth about a cluster is its tags; all of this can be lost and `ls` and `down` still work. Reaching a node cannot: the
private key is nowhere else.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from infra.model import Cluster
from infra.ssh.login import make_config
from infra.state import attempt_file, cluster_folder, ssh_config_file, state_folder, submissions_folder, write_private


def remember(cluster: Cluster) -> None:
    """Keep what is known of a cluster."""
    write_private(cluster_folder(cluster.name) / "cluster.json", json.dumps(cluster.to_dict(), indent=2))
    if ssh_config_file().exists():
        write_ssh_config()


def recall(name: str) -> Cluster | None:
    """Return what is remembered of a cluster, or None."""
    try:
        return Cluster.from_dict(json.loads((cluster_folder(name) / "cluster.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def recall_all() -> Iterator[Cluster]:
    """Yield every cluster remembered, by name."""
    for folder in sorted((state_folder() / "clusters").glob("*/cluster.json")):
        cluster = recall(folder.parent.name)
        if cluster is not None:
            yield cluster


def forget(name: str) -> bool:
    """Drop all that is remembered of a cluster, its key included; return whether there was anything."""
    known = cluster_folder(name).exists() or attempt_file(name).exists()
    forget_cluster(name)
    forget_attempt(name)
    return known


def forget_cluster(name: str) -> None:
    """Drop what is remembered of a cluster, its key included, but not of an `up` that is not through."""
    shutil.rmtree(cluster_folder(name), ignore_errors=True)
    shutil.rmtree(submissions_folder(name), ignore_errors=True)
    if ssh_config_file().exists():
        write_ssh_config()


def forget_attempt(name: str) -> None:
    """Drop what is remembered of an `up` that is not through."""
    attempt_file(name).unlink(missing_ok=True)


def write_ssh_config() -> Path:
    """Write every cluster that is remembered as an ssh_config of our own; return its path."""
    write_private(ssh_config_file(), make_config(recall_all()))
    return ssh_config_file()
