"""Costs of the machines that a group has ended, from what AWS says that the group did."""

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.ec2.account import Account
from infra.ec2.machines.instances import find_instances
from infra.ec2.market.history import add_spot_prices
from infra.ec2.scaling.activities import find_lives
from infra.ec2.scaling.groups import Group, find_groups
from infra.errors import PermissionsError
from infra.ledger.costs import note_file, read, record, span_of
from infra.model import Cluster, Node

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef


def record_replaced(account: Account, cluster: str = "*") -> None:
    """Record the cost of each machine that the groups of a cluster, or of all, have ended.

    Nothing is recorded where the caller may not list groups. Raises CloudError.
    """
    with suppress(PermissionsError):
        for group in find_groups(account, cluster):
            if account.identity.is_owner(group.owner):
                record_members(account, group)


def record_members(account: Account, group: Group) -> None:
    """Record the cost of each machine that a group has ended.

    What was recorded without knowing the end is replaced. A spot machine that EC2 has forgotten, which takes it an hour, is
    counted at its dearest type's on-demand price.
    """
    lives = find_lives(account, group.name)
    ended = [make_cluster(account, group, machine, begun) for machine, (begun, _) in lives.items()]
    ended = [each for each in ended if (read(note_file(each)) or {"missed": True}).get("missed")]
    if not ended:
        return
    seen = {one["InstanceId"]: one for one in find_instances(account, group.cluster)}
    known = [describe(each, seen[each.node.instance_id]) for each in ended if each.node.instance_id in seen]
    forgotten = [each for each in ended if each.node.instance_id not in seen]
    for alone in (*add_spot_prices(account, known, fresh_s=0), *forgotten):
        end = lives[alone.node.instance_id][1]
        span = span_of(alone, end or time.time())
        record(alone, span if end else {**span, "missed": True})


def make_cluster(account: Account, group: Group, machine: str, begun: float) -> Cluster:
    """Return a machine of a group as a cluster of its own, at its dearest type's price."""
    node = Node(machine, "running", "", 22, "", "", market=group.market, price_usd=group.price_usd)
    return Cluster(
        name=group.cluster,
        cloud=account.cloud,
        region=account.region,
        nodes=(node,),
        gpu=group.gpu,
        price_usd=group.price_usd,
        lease_until=group.lease_until,
        launched_at=begun,
        owner=group.owner,
        disk_usd=group.disk_usd,
        private=group.private,
    )


def describe(alone: Cluster, instance: "InstanceTypeDef") -> Cluster:
    """Return it with the type and zone that EC2 still knows, which its spot price depends on."""
    zone = instance["Placement"]["AvailabilityZone"]
    return replace(alone, nodes=(replace(alone.node, instance_type=instance["InstanceType"], zone=zone),))
