"""The lease: a deadline, from hours and money, that the machine itself enforces.

The machine ends without anything outside it: no laptop, no server, no credentials. It powers off, and the instance's shutdown
behaviour is "terminate". `userdata` arms it.
"""

import math
from collections.abc import Sequence

from infra.base.money import format_rate, format_usd
from infra.errors import Change, UsageError
from infra.model import GONE, Cluster, LaunchRequest, Lease, Node, Offer

# https://aws.amazon.com/vpc/pricing/ (public IPv4 addresses)
IPV4_HOUR_USD = 0.005
HOURS_A_MONTH = 730
WARNING_S = 120
LEAST_HOURS = 0.1
# A machine is billed until its system is down. At the end of the lease that takes at most what systemd waits for services.
SHUTDOWN_S = 90
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StartInstances.html: a minimum of one minute for each start
LEAST_BILLED_S = 60
ON = ("pending", "running", "shutting-down")
OFF = ("stopping", "stopped")


def make_lease(
    offers: Sequence[Offer], request: LaunchRequest, gib_month_usd: float, now: float, latest: float = math.inf
) -> Lease:
    """Return the lease that hours, money and the latest end allow, at the highest price of these offers.

    Its maximum cost covers machine, disk and public address of every node. Raises UsageError for too little money.
    """
    highest = max(offer.most_usd for offer in offers)
    address = 0 if request.network.private else IPV4_HOUR_USD
    hourly = request.nodes * (highest + disk_hour_usd(request.disk_gib, gib_month_usd) + address)
    hours = request.max_hours
    if request.max_cost_usd is not None:
        hours = min(hours, request.max_cost_usd / hourly - SHUTDOWN_S / 3600)
        if hours < min(LEAST_HOURS, request.max_hours):
            raise UsageError(
                f"{format_usd(request.max_cost_usd)} pays for {max(hours, 0) * 60:.1f} min at {format_rate(hourly)};"
                " this pays for an hour",
                change=Change("--max-cost", f"{math.ceil(hourly * (100 + SHUTDOWN_S / 36)) / 100:.2f}"),
            )
    hours = min(hours, (latest - now) / 3600)
    if hours < min(LEAST_HOURS, request.max_hours):
        raise UsageError(
            f"{request.reservation} ends in {max(hours, 0) * 60:.0f} min, which is too soon",
            "use another --reservation",
        )
    seconds = hours * 3600
    return Lease(
        now + seconds, (seconds + SHUTDOWN_S) / 3600 * hourly, request.idle_stop_s, min(WARNING_S, seconds / 10)
    )


def disk_hour_usd(gib: float, gib_month_usd: float) -> float:
    """Return the price of a disk in USD per hour."""
    return gib * gib_month_usd / HOURS_A_MONTH


def address_usd(cluster: Cluster) -> float:
    """Return what a machine's public address costs in USD per hour; 0 for private machines."""
    return 0.0 if cluster.private else IPV4_HOUR_USD


def is_over(cluster: Cluster, now: float) -> bool:
    """Return whether a cluster's lease has ended; a stopped cluster's does not count."""
    return cluster.node.state != "stopped" and 0 < cluster.lease_until <= now


def hourly_usd(cluster: Cluster) -> float:
    """Return a cluster's current cost in USD per hour; stopped nodes cost only their disks."""
    on = [node for node in cluster.nodes if node.state in ON]
    return sum(node.now_usd for node in on) + address_usd(cluster) * len(on) + cluster.disk_usd


def most_until_usd(cluster: Cluster, now: float, until: float) -> float:
    """Return a cluster's maximum total cost if all its machines run from now until the lease's end."""
    hourly = sum(node.price_usd + address_usd(cluster) for node in cluster.nodes) + cluster.disk_usd
    return spent_usd(cluster, now) + (max(until - now, 0) + SHUTDOWN_S) / 3600 * hourly


def hours_on(cluster: Cluster, until: float) -> float:
    """Return how long a cluster has run by a time, in hours, without the time for which it was stopped."""
    return cluster.ran_hours + max((ran_s(cluster, node, until) for node in cluster.nodes), default=0.0) / 3600


def ran_s(cluster: Cluster, node: Node, until: float) -> float:
    """Return how long a node has run by a time since what is in `spent_usd`, in seconds."""
    begun = max(cluster.launched_at, cluster.spent_at)
    if node.state in (*ON, GONE):
        return max(until - begun, 0.0)
    return max(min(node.stopped_at, until) - begun, 0.0) if node.state in OFF else 0.0


def spent_usd(cluster: Cluster, until: float) -> float:
    """Return a cluster's total cost by a time, in USD, if its state does not change."""
    begun = max(cluster.launched_at, cluster.spent_at)
    total = cluster.spent_usd
    least_s = LEAST_BILLED_S if cluster.spent_at <= cluster.launched_at else 0.0
    for node in cluster.nodes:
        seconds = ran_s(cluster, node, until)
        billed_s = max(seconds, least_s) if seconds else 0.0
        total += node.usd_between(begun, begun + billed_s) + billed_s / 3600 * address_usd(cluster)
    existed_s = max(until - (cluster.spent_at or cluster.launched_at), 0.0)
    if existed_s and not cluster.spent_at:
        existed_s = max(existed_s, LEAST_BILLED_S)
    return total + existed_s / 3600 * cluster.disk_usd
