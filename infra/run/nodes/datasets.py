"""The data sets on the nodes of a cluster."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from infra.cluster.connections import ask_all
from infra.model import Cluster
from infra.node import datasets
from infra.node.datasets import StoredSet


@dataclass(frozen=True)
class HeldSet(StoredSet):
    """A version of a data set, and which nodes have it."""

    nodes: tuple[int, ...] = ()


def list_sets(cluster: Cluster) -> Sequence[HeldSet]:
    """Return the data sets on all nodes, each version once."""
    found: dict[str, HeldSet] = {}
    for rank, stored in ask_all(cluster, datasets.list_sets).items():
        for one in stored:
            before = found.get(one.version)
            jobs = sorted({*one.jobs, *(before.jobs if before else ())})
            changed = max(one.changed, before.changed if before else 0)
            nodes = (*(before.nodes if before else ()), rank)
            first = vars(before or one)
            found[one.version] = HeldSet(**{**first, "jobs": tuple(jobs), "changed": changed, "nodes": nodes})
    return list(found.values())


def remove_sets(cluster: Cluster, versions: Collection[str]) -> int:
    """Remove versions from all nodes that have them; return the freed bytes. Raises NodeError."""
    held = {one.version: one.nodes for one in list_sets(cluster)}
    freed = ask_all(
        cluster,
        lambda connection: datasets.remove_sets(
            connection, [version for version in versions if connection.rank in held.get(version, ())]
        ),
    )
    return sum(freed.values())
