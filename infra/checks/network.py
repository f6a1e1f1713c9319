"""Measure the network between the nodes of a cluster, in a ring, and judge it by what AWS promises."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

from infra.base.parallel import map_parallel
from infra.checks.peaks import PLAUSIBLE
from infra.cluster.connections import find_addresses, reach
from infra.errors import GpujobError
from infra.model import Cluster
from infra.node.measures import Place, Way, measure_way

KEY_BYTES = 32
PATIENCE_S = 120.0  # for the slowest of them to connect or to measure
REFUSED = "the security group must allow all traffic from itself"


def measure_ring(cluster: Cluster) -> list[Way]:
    """Return the way from each node to the next one, and from the last to the first.

    All are measured at once: every node sends and receives. The cost grows with the nodes, not with their pairs. Raises
    NodeError for an unreachable node.
    """
    nodes = find_addresses(cluster).nodes
    key = secrets.token_hex(KEY_BYTES)
    places: dict[int, Place] = {}
    barrier = threading.Barrier(len(nodes), timeout=PATIENCE_S)

    def measure(rank: int) -> Way:
        def meet(own: Place) -> Place:
            places[rank] = own
            barrier.wait()
            return places[(rank + 1) % len(nodes)]

        try:
            with reach(cluster, rank) as connection:
                return measure_way(connection, nodes[rank].address, key, meet, barrier.wait)
        except threading.BrokenBarrierError:
            return Way(0.0, 0.0, "another node could not be measured")
        except BaseException:
            barrier.abort()  # the others wait for this one
            raise

    return map_parallel(measure, range(len(nodes)))


def judge_ring(cluster: Cluster, busy: int) -> Iterator[tuple[str, Literal["ok", "failed", "not measured"], str]]:
    """Yield each node, whether its way to the next one is good, and what was measured.

    Nothing is measured while a job is `busy`, whose own messages would be slowed down.
    """
    nodes = cluster.nodes
    if busy:
        yield nodes[0].instance_id, "not measured", f"job {busy} is using GPUs"
        return
    promised_gbps = 0.0 if cluster.is_local else find_promised(cluster)
    for rank, way in enumerate(measure_ring(cluster)):
        yield (
            nodes[rank].instance_id,
            *judge_way(way, f"to {nodes[(rank + 1) % len(nodes)].instance_id}", promised_gbps),
        )


def find_promised(cluster: Cluster) -> float:
    """Return the Gbit/s that AWS promises for the cluster's machines; 0 if it may not be asked."""
    from infra.cluster.clusters import open_known  # boto3, which only this needs
    from infra.ec2.market.offers import find_network_gbps

    with suppress(GpujobError):
        return find_network_gbps(open_known(cluster), cluster.node.instance_type)
    return 0.0


def judge_way(way: Way, to: str, promised_gbps: float) -> tuple[Literal["ok", "failed"], str]:
    """Judge the way to another node; a speed of 0 is one that AWS does not promise."""
    if way.error:
        return "failed", f"{to}: {way.error}; {REFUSED}"
    gbps = way.bytes_s * 8 / 1e9
    slow = gbps < PLAUSIBLE * promised_gbps
    of = f" of {promised_gbps:g}" if promised_gbps else ""
    return (
        "failed" if slow else "ok",
        f"{to}: {gbps:.1f}{of} Gbit/s, {way.latency_s * 1e3:.2f} ms" + ": too slow" * slow,
    )
