"""The lease: a deadline, from hours and money, that the machine itself enforces.

The machine ends without anything outside it: no laptop, no server, no credentials. It powers off, and the instance's shutdown
behaviour is "terminate". `userdata` arms it.
"""

import math
from collections.abc import Sequence

from infra.base.money import format_rate, format_usd
from infra.errors import Change, UsageError
from infra.model import GONE, Cluster, LaunchRequest, Lease, Offer

# https://aws.amazon.com/vpc/pricing/ (public IPv4 addresses)
IPV4_HOUR_USD = 0.005
HOURS_A_MONTH = 730
WARNING_S = 120
LEAST_HOURS = 0.1


def make_lease(offers: Sequence[Offer], request: LaunchRequest, gib_month_usd: float, now: float) -> Lease:
    """Return the lease that hours and money allow, at the highest price of these offers.

    Its maximum cost covers machine, disk and public address of every node. Raises UsageError for too little money.
    """
    highest = max(offer.highest_usd for offer in offers)
    address = 0 if request.network.private else IPV4_HOUR_USD
    hourly = request.nodes * (highest + disk_hour_usd(request.disk_gib, gib_month_usd) + address)
    hours = request.max_hours
    if request.max_cost_usd is not None:
        hours = min(hours, request.max_cost_usd / hourly)
        if hours < min(LEAST_HOURS, request.max_hours):
            raise UsageError(
                f"{format_usd(request.max_cost_usd)} pays for {hours * 60:.1f} min at {format_rate(hourly)};"
                " this pays for an hour",
                change=Change("--max-cost", f"{math.ceil(hourly * 100) / 100:.2f}"),
            )
    seconds = hours * 3600
    return Lease(now + seconds, hours * hourly, request.idle_stop_s, min(WARNING_S, seconds / 10))


def disk_hour_usd(gib: float, gib_month_usd: float) -> float:
    """Return the price of a disk in USD per hour."""
    return gib * gib_month_usd / HOURS_A_MONTH


def is_over(cluster: Cluster, now: float) -> bool:
    """Return whether a cluster's lease has ended; a stopped cluster's does not count."""
    return cluster.node.state != "stopped" and 0 < cluster.lease_until <= now


def hourly_usd(cluster: Cluster) -> float:
    """Return a cluster's current cost in USD per hour; stopped nodes cost only their disks."""
    on = [node for node in cluster.nodes if node.state in ("pending", "running", "shutting-down")]
    addresses = 0 if cluster.private else len(on)
    return sum(node.price_usd for node in on) + IPV4_HOUR_USD * addresses + cluster.disk_usd


def hours_on(cluster: Cluster, until: float) -> float:
    """Return how long a cluster has run by a time, in hours, without the time for which it was stopped."""
    on = cluster.node.state in ("pending", "running", "shutting-down", GONE)
    return cluster.ran_hours + max(until - cluster.launched_at, 0) / 3600 * on


def spent_usd(cluster: Cluster, until: float) -> float:
    """Return a cluster's total cost by a time, in USD, if its state does not change."""
    return cluster.spent_usd + max(until - cluster.launched_at, 0) / 3600 * hourly_usd(cluster)
