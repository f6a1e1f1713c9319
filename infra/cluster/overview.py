"""An overview for the status page: what is running, from the clouds or, if slow, from records."""

from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, replace
from typing import TypeVar

from infra.base.parallel import start
from infra.cluster import groups
from infra.cluster.clouds import explain_unasked
from infra.cluster.clusters import list_clusters
from infra.errors import CloudError, GpujobError
from infra.ledger import known_clusters
from infra.model import UNKNOWN, Cluster

R = TypeVar("R")


@dataclass(frozen=True)
class Overview:
    """The clusters, and why AWS could not be queried; then its clusters are the recorded ones."""

    clusters: tuple[Cluster, ...]
    unasked: str = ""


def look(dry_run: bool, limit_s: float) -> Overview:
    """Return the clusters of the local cloud, and those of AWS if it answers within a time limit."""
    try:
        obstacle = None if dry_run else explain_unasked(None)
        if obstacle is None:
            return Overview(call_within(limit_s, lambda: list_all(dry_run)), "")
        why = obstacle.what
    except GpujobError as error:
        why = error.what
    return Overview(list_unasked(), why)


def list_unasked() -> tuple[Cluster, ...]:
    """Return the clusters of the local cloud, and the recorded ones on AWS."""
    recorded = tuple(known_clusters.recall_all())
    try:
        local = list_all(dry_run=True)
    except GpujobError:
        local = tuple(map(mark_unknown, (cluster for cluster in recorded if cluster.is_local)))
    return (*local, *(mark_unknown(cluster) for cluster in recorded if not cluster.is_local))


def list_all(dry_run: bool) -> tuple[Cluster, ...]:
    """Return all clusters, also those that wait for a machine."""
    return tuple(groups.merge(list_clusters(dry_run), groups.list_waiting(dry_run)))


def mark_unknown(cluster: Cluster) -> Cluster:
    """Return a recorded cluster with its state marked as unknown."""
    return replace(cluster, nodes=tuple(replace(node, state=UNKNOWN) for node in cluster.nodes))


def call_within(limit_s: float, function: Callable[[], R]) -> R:
    """Return what a function returns; raises CloudError if that takes longer than the limit."""
    future = start(function)
    if not wait([future], limit_s).done:
        raise CloudError(f"no answer within {limit_s:g} s")
    return future.result()
