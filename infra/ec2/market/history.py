"""Past prices of spot machines, kept on this computer: the past does not change."""

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from infra import state
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.errors import GpujobError
from infra.model import Cluster, Node

log = logging.getLogger(__name__)

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html: up to the past 90 days, with the last
# change before the start. A machine is billed to the second at the price in effect:
# https://docs.aws.amazon.com/whitepapers/latest/cost-optimization-leveraging-ec2-spot-instances/how-spot-instances-work.html
HISTORY_S = 90 * 86_400.0
FRESH_S = 300.0


class Pool(NamedTuple):
    """An instance type in one zone."""

    instance_type: str
    zone: str


@dataclass(frozen=True)
class Prices:
    """What is known of the prices of a pool."""

    since: float
    until: float
    changes: tuple[tuple[float, float], ...]
    """Times, and the price in USD per hour from each on; the first may be before `since`."""


def add_spot_prices(account: Account, clusters: Sequence[Cluster], *, fresh_s: float = FRESH_S) -> tuple[Cluster, ...]:
    """Return a region's clusters with the prices of their spot machines since launch.

    Where AWS does not say, a machine has none, and so costs the most it can. Prices no older than `fresh_s` are not asked again.
    """
    wanted: dict[Pool, float] = {}
    for cluster in clusters:
        for node in filter(is_spot, cluster.nodes):
            pool = Pool(node.instance_type, node.zone)
            wanted[pool] = min(cluster.launched_at, wanted.get(pool, cluster.launched_at))
    if not wanted:
        return tuple(clusters)
    try:
        known = find_history(account, wanted, fresh_s)
    except GpujobError as error:
        log.info("spot prices in %s: %s", account.region, error.what)
        return tuple(clusters)
    return tuple(replace(one, nodes=tuple(add_prices(one, node, known) for node in one.nodes)) for one in clusters)


def is_spot(node: Node) -> bool:
    """Return whether a node is a spot machine."""
    return node.market == "spot"


def add_prices(cluster: Cluster, node: Node, known: Mapping[Pool, Prices]) -> Node:
    """Return a node with the prices since its launch."""
    found = known.get(Pool(node.instance_type, node.zone))
    if not is_spot(node) or found is None:
        return node
    before = [change for change in found.changes if change[0] <= cluster.launched_at]
    return replace(node, spot_prices=(*before[-1:], *found.changes[len(before) :]))


def find_history(account: Account, wanted: Mapping[Pool, float], fresh_s: float) -> dict[Pool, Prices]:
    """Return the prices of pools, each since a time, with at most one request for what is not known yet."""
    now = time.time()
    known: dict[Pool, Prices] = {}
    needed: dict[Pool, float] = {}
    for pool, since in wanted.items():
        start = max(since, now - HISTORY_S)
        kept = read_kept(account, pool)
        if kept is None or kept.since > start or not now - HISTORY_S < kept.until <= now:
            needed[pool] = start
        else:
            known[pool] = kept
            if kept.until < now - fresh_s:
                needed[pool] = kept.until
    found = ask_history(account, needed) if needed else {}
    for pool, start in needed.items():
        kept = known.get(pool)
        changes = merge(kept.changes if kept else (), found.get(pool, ()))
        known[pool] = Prices(kept.since if kept else start, now, changes)
        keep(account, pool, known[pool])
    return known


def merge(
    older: Iterable[tuple[float, float]], newer: Iterable[tuple[float, float]]
) -> tuple[tuple[float, float], ...]:
    """Return price changes in order, each time once."""
    return tuple(sorted({**dict(older), **dict(newer)}.items()))


def ask_history(account: Account, needed: Mapping[Pool, float]) -> dict[Pool, list[tuple[float, float]]]:
    """Return the price changes of pools since the earliest of these times, with the last one before."""
    found: dict[Pool, list[tuple[float, float]]] = {}
    pages = account.ec2.get_paginator("describe_spot_price_history").paginate(
        Filters=[
            {"Name": "instance-type", "Values": sorted({pool.instance_type for pool in needed})},
            {"Name": "availability-zone", "Values": sorted({pool.zone for pool in needed})},
        ],
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.fromtimestamp(min(needed.values()), UTC),
    )
    with aws_errors():
        for page in pages:
            for row in page["SpotPriceHistory"]:
                pool = Pool(str(row["InstanceType"]), row["AvailabilityZone"])
                found.setdefault(pool, []).append((row["Timestamp"].timestamp(), float(row["SpotPrice"])))
    return found


def history_file(account: Account, pool: Pool) -> str:
    """Return the name of the file with a pool's prices; each account has its own names for the zones."""
    return (
        f"{account.cloud}-{account.identity.account_id}-{account.region}-history-{pool.instance_type}-{pool.zone}.json"
    )


def read_kept(account: Account, pool: Pool) -> Prices | None:
    """Return the prices of a pool that this computer knows; None if it knows none."""
    try:
        kept = json.loads(state.cache_file(history_file(account, pool)).read_text(encoding="utf-8"))
        changes = tuple((float(since), float(price)) for since, price in kept["changes"])
        return Prices(float(kept["since"]), float(kept["until"]), changes)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(account: Account, pool: Pool, prices: Prices) -> None:
    """Record the prices of a pool."""
    state.write_private(state.cache_file(history_file(account, pool)), json.dumps(asdict(prices)))
