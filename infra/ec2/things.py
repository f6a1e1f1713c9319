"""Everything of ours that AWS keeps for a cluster, found by its tag."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from infra.ec2.account import Account
from infra.ec2.instances import CLUSTER_TAG, GONE, OWNER_TAG, by_cluster, find_instances
from infra.ec2.lease import HOURS_A_MONTH
from infra.ec2.refusals import aws_errors
from infra.parallel import map_parallel


@dataclass(frozen=True)
class Thing:
    """One thing that bears a cluster's tag."""

    kind: str
    key: str
    cluster: str
    owner: str
    made_at: float
    """0.0 where AWS does not tell."""
    month_usd: float
    """What it costs as long as it exists; a machine's own hours are not in it."""


# Kind, the call that lists it, where its answer has them, and the names of id and time of each.
LISTINGS = (
    ("volume", "describe_volumes", "Volumes", "VolumeId", "CreateTime"),
    ("network interface", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", ""),
    ("security group", "describe_security_groups", "SecurityGroups", "GroupId", ""),
    ("launch template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId", "CreateTime"),
    ("key pair", "describe_key_pairs", "KeyPairs", "KeyName", "CreateTime"),
)


def list_things(account: Account, name: str = "*") -> list[Thing]:
    """Return whatever bears a cluster's tag in the region; an instance counts until it is terminated."""

    def look(kind: str, call: str, answer: str, key: str, made: str) -> list[Thing]:
        return [make_thing(kind, item[key], item, item.get(made)) for item in list_all(account, name, call, answer)]

    def look_at_instances() -> list[Thing]:
        living = (i for i in find_instances(account, name) if i["State"]["Name"] != GONE)
        return [make_thing("instance", i["InstanceId"], dict(i), i["LaunchTime"]) for i in living]

    looks: list[Callable[[], list[Thing]]] = [look_at_instances, *(partial(look, *listing) for listing in LISTINGS)]
    with aws_errors():
        return [thing for things in map_parallel(lambda one: one(), looks) for thing in things]


def list_all(account: Account, name: str, call: str, answer: str) -> Iterator[dict[str, Any]]:
    """Yield all that one of EC2's listings has of a cluster, page after page: one may be empty and yet not the last."""
    ec2: Any = account.ec2
    if not ec2.can_paginate(call):
        yield from getattr(ec2, call)(Filters=by_cluster(name))[answer]
        return
    for page in ec2.get_paginator(call).paginate(Filters=by_cluster(name)):
        yield from page[answer]


def make_thing(kind: str, key: str, item: dict[str, Any], made: datetime | None) -> Thing:
    """Return the thing that EC2's description of it tells of."""
    tags = {tag["Key"]: tag["Value"] for tag in item.get("Tags", item.get("TagSet", []))}
    try:
        hourly = float(tags.get("gpujob:disk-price", 0)) if kind == "volume" else 0.0
    except ValueError:
        hourly = 0.0
    return Thing(
        kind,
        key,
        tags.get(CLUSTER_TAG, ""),
        tags.get(OWNER_TAG, ""),
        made.timestamp() if made else 0.0,
        hourly * HOURS_A_MONTH,
    )
