"""A cluster as --json prints it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.facts.times import instant, with_instants
from infra.ec2.machines.lease import hourly_usd, spent_usd
from infra.model import GONE, UNKNOWN, WAITING, format_gpu

if TYPE_CHECKING:
    from infra.model import Cluster, Node

ENDED = "ended"


def describe_cluster(cluster: "Cluster") -> str:
    """Return a cluster's state as EC2 names it, or that the machines of a sent job have ended."""
    return ENDED if cluster.sent and cluster.node.state == GONE else cluster.node.state


def cluster_facts(cluster: "Cluster", now: float) -> dict[str, Any]:
    """Return all that is known about a cluster; None for what is not."""
    state = cluster.node.state
    on, missing = state in ("pending", "running"), state in (GONE, UNKNOWN)
    ends = on or state in (UNKNOWN, WAITING)
    return {
        "name": cluster.name,
        "state": describe_cluster(cluster),
        "cloud": cluster.cloud,
        "region": cluster.region,
        "gpu": format_gpu(cluster.gpu) if cluster.gpu else None,
        "nodes": [node_facts(node) for node in cluster.nodes],
        "owner": cluster.owner,
        "launched_at": instant(cluster.launched_at),
        "up_s": now - cluster.launched_at if on else None,
        "usd_per_hour": cluster.price_usd if state == UNKNOWN else hourly_usd(cluster),
        "disk_usd_per_hour": cluster.disk_usd,
        "spent_usd": None if missing else spent_usd(cluster, now),
        "at_most": cluster.is_at_most,
        "lease_until": instant(cluster.lease_until),
        "lease_left_s": max(cluster.lease_until - now, 0.0) if ends else None,
        "idle_stop_s": cluster.idle_stop_s,
        "private": cluster.private,
        "proxy_jump": cluster.proxy_jump,
        "user": cluster.user,
    }


def node_facts(node: "Node") -> dict[str, Any]:
    """Return all that is known about a machine."""
    facts = with_instants(asdict(node), "stopped_at")
    facts = {name: value for name, value in facts.items() if name not in ("price_usd", "spot_prices")}
    return {**facts, "usd_per_hour": node.now_usd}
