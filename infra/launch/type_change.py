"""Change the instance type of a stopped cluster, whose disks stay: learn on a T4, train on an A10G.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-resize.html
"""

import time
from dataclasses import dataclass, replace

from infra.base.parallel import call_parallel, map_parallel, try_parallel
from infra.ec2.account import Account
from infra.ec2.machines import instances
from infra.ec2.machines.lease import hours_on, spent_usd
from infra.ec2.market import offers, quotas
from infra.ec2.market.catalogue import describe_types
from infra.ec2.market.compatibility import check_compatible
from infra.ec2.market.quotas import Quota
from infra.ec2.tags import GPU_TAG, PRICE_TAG
from infra.errors import CloudError, GpujobError, NotFoundError, UsageError
from infra.launch import power
from infra.launch.readiness import check_gpu
from infra.launch.selection import allowed
from infra.ledger import costs, known_clusters
from infra.model import Cluster, LaunchRequest, Node, Offer, format_gpu
from infra.node.packing import install_agent
from infra.ssh.connection import connect


@dataclass(frozen=True)
class TypeChange:
    """A change of a stopped cluster's instance type, checked but not made."""

    before: Cluster
    after: Cluster
    """With the new type and its price; what it has cost so far is in `spent_usd`."""
    offer: Offer
    quota: Quota | None
    """None if AWS has none for this family."""


def plan_change(account: Account, cluster: Cluster, instance_type: str) -> TypeChange:
    """Return the change of a stopped cluster to another instance type, without changing anything.

    Raises UsageError if its machines cannot become that, NotFoundError if its zone does not offer the type, CloudError without a
    price, and QuotaError if AWS would refuse to start it.
    """
    check_changeable(cluster, instance_type)
    nodes, family = cluster.nodes, quotas.family_of(instance_type, "on-demand")
    listed, types, machines, used, limit = call_parallel(
        lambda: offers.list_offers(account, (instance_type,)),
        lambda: describe_types(account, sorted({instance_type, *(node.instance_type for node in nodes)})),
        lambda: instances.find_launched(account, cluster.name, {node.instance_id for node in nodes}),
        lambda: quotas.count_used(account, [("on-demand", family)]),
        lambda: quotas.find_quota(account, "on-demand", family),
    )
    offer = next((one for one in listed if one.market == "on-demand"), None)
    other = f"choose another type: gpujob offers --region {cluster.region}"
    if offer is None:
        raise CloudError(f"AWS lists no price for {instance_type} in {cluster.region}", other)
    by_name = {str(info["InstanceType"]): info for info in types}
    for machine in machines:
        check_compatible(machine, by_name.get(machine["InstanceType"], {}), by_name[instance_type], other)
    check_zones(cluster, offer, other)
    quota = replace(limit, used_vcpus=used["on-demand", family]) if limit else None
    allowed((offer,), [quota] if quota else [], LaunchRequest(nodes=len(nodes)), cluster.region)
    return TypeChange(cluster, change_type(cluster, offer, time.time()), offer, quota)


def check_changeable(cluster: Cluster, instance_type: str) -> None:
    """Raise an error unless EC2 can change the type of all machines of a cluster."""
    name, states = cluster.name, {node.state for node in cluster.nodes}
    if any(node.market == "spot" for node in cluster.nodes):
        raise UsageError(
            "the type of a spot machine cannot be changed",
            f"gpujob down {name}, then: gpujob up {name} --instance-type {instance_type}",
        )
    if cluster.reservation or cluster.block:
        raise UsageError(
            f"'{name}' is in the capacity reservation {cluster.reservation or cluster.block}, which is for"
            f" {cluster.node.instance_type} only",
            f"start it as it is: gpujob start {name}",
        )
    if states - {"stopped"}:
        running = "running" in states
        raise UsageError(
            f"'{name}' is {'running' if running else cluster.node.state}; only a stopped machine's type can be changed",
            f"gpujob stop {name}, then rerun" if running else "wait a minute, then rerun",
        )


def check_zones(cluster: Cluster, offer: Offer, hint: str) -> None:
    """Raise NotFoundError unless each machine's zone, where its disk is, offers the type."""
    zones = sorted({node.zone for node in cluster.nodes} - offer.prices.keys())
    if zones:
        raise NotFoundError(
            f"{', '.join(zones)}, where the disk of '{cluster.name}' is, does not offer {offer.instance_type};"
            f" {', '.join(sorted(offer.prices))} do",
            hint,
        )


def change_type(cluster: Cluster, offer: Offer, now: float) -> Cluster:
    """Return a stopped cluster with another type, and with the hours until now at its present price."""
    nodes = tuple(
        replace(node, instance_type=offer.instance_type, price_usd=offer.prices[node.zone]) for node in cluster.nodes
    )
    return replace(
        cluster,
        nodes=nodes,
        gpu=offer.gpu,
        price_usd=sum(node.price_usd for node in nodes),
        spent_usd=spent_usd(cluster, now),
        ran_hours=hours_on(cluster, now),
        spent_at=now,
    )


def apply_change(account: Account, change: TypeChange) -> Cluster:
    """Change the type of all machines or of none, and their tags; return the changed cluster.

    Until every machine has the new type, the tags have the higher of both prices, so that an interrupted change costs less than
    they say; the same command finishes it.
    """
    before, after = change.before, change.after
    ids = [node.instance_id for node in before.nodes]
    dearer = max(before.node.price_usd, after.node.price_usd)
    tags = power.spent_tags(before, after.spent_at) | {PRICE_TAG: f"{dearer:.6f}"}
    with power.noted(account, before, ids, tags):
        change_machines(account, before.nodes, change.offer.instance_type)
    costs.record_days(before, after.spent_at)
    instances.tag(account, ids, {PRICE_TAG: f"{after.node.price_usd:.6f}", GPU_TAG: format_gpu(after.gpu)})
    known_clusters.remember(after)
    return after


def change_machines(account: Account, nodes: tuple[Node, ...], instance_type: str) -> None:
    """Change the type of machines; if one is refused, change the others back."""
    differing = [node for node in nodes if node.instance_type != instance_type]
    _, refused = try_parallel(lambda node: instances.set_type(account, node.instance_id, instance_type), differing)
    if refused:
        try_parallel(lambda node: instances.set_type(account, node.instance_id, node.instance_type), differing)
        raise next(iter(refused.values()))


def start_changed(account: Account, change: TypeChange, hours: float, report: power.Report) -> Cluster:
    """Change the type, start the machines with a new lease, and test their GPUs.

    An error after the change says what type they have now, and how to go back.
    """
    name, old, new = change.before.name, change.before.node.instance_type, change.offer.instance_type
    report(f"changing {old} to {new}")
    changed = apply_change(account, change)
    try:
        found = power.start(account, changed, hours, report)
        map_parallel(lambda rank: check_node(found, rank, report), range(len(found.nodes)))
    except GpujobError as error:
        if old != new:
            error.add_note(
                f"'{name}' is a {new} now; to go back, once it is stopped: gpujob start {name} --instance-type {old}"
            )
        raise
    return found


def check_node(cluster: Cluster, rank: int, report: power.Report) -> None:
    """Raise NodeError if the GPUs of a started node do not work with its driver."""
    with connect(cluster, rank, patience_s=10) as connection:
        install_agent(connection)
        hint = f"test it again: gpujob verify {cluster.name}; install its driver: gpujob setup {cluster.name} --tags nvidia"
        check_gpu(connection, hint, report)
