"""All AWS resources of a cluster, found by its tag."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from infra.base.parallel import map_parallel
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.machines.instances import GONE, by_cluster, find_tagged, is_ours
from infra.ec2.machines.lease import HOURS_A_MONTH
from infra.ec2.scaling.groups import Group, find_groups
from infra.ec2.tags import (
    DISK_PRICE_TAG,
    GROUP_TAG,
    LAUNCH_TAG,
    read_cluster,
    read_number,
    read_owner,
    read_secrets,
    read_tags,
    resource_name,
)
from infra.errors import PermissionsError
from infra.node.agent.aws.parameters import name_parameter


@dataclass(frozen=True)
class Resource:
    """A resource with a cluster's tag."""

    kind: str
    key: str
    cluster: str
    owner: str
    token: str
    """Of the `up` that created it."""
    made_at: float
    """0.0 if AWS does not say."""
    month_usd: float
    """Its cost as long as it exists, without a machine's hours."""
    users: tuple[str, ...] = ()
    """The instances it is attached to."""
    keeps: int = 0
    """How many machines a group keeps, also while there is none."""
    lease_until: float = 0.0
    """Of a group; 0.0 if its tag is missing or invalid."""
    secrets: tuple[str, ...] = ()
    """Of a key pair, the parameters with the values of a sent job's secrets."""
    bucket: str = ""
    """Of a group whose machines work on a sent job, the bucket that has the job; "" for others."""


GROUP, KEY_PAIR = "group", "key pair"
# Kind, the call that lists it, the key of the list in the response, and the keys of each one's id, name and time.
LISTINGS = (
    ("volume", "describe_volumes", "Volumes", "VolumeId", "", "CreateTime"),
    ("network interface", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", "", ""),
    ("security group", "describe_security_groups", "SecurityGroups", "GroupId", "GroupName", ""),
    (
        "launch template",
        "describe_launch_templates",
        "LaunchTemplates",
        "LaunchTemplateId",
        "LaunchTemplateName",
        "CreateTime",
    ),
    (KEY_PAIR, "describe_key_pairs", "KeyPairs", "KeyName", "KeyName", "CreateTime"),
)


def list_resources(account: Account, name: str = "*") -> list[Resource]:
    """Return gpujob's resources with a cluster's tag; an instance counts until it is terminated.

    A tag alone is not enough: instances must have our key pair, and named resources a name that we would give. What foreign
    instances use is excluded, too.
    """

    def look(kind: str, call: str, answer: str, key: str, title: str, made: str) -> list[Resource]:
        items = [item for item in list_all(account, name, call, answer) if is_named(item, title)]
        return [make_resource(kind, item[key], item, item.get(made)) for item in items]

    looks: list[Callable[[], Any]] = [
        lambda: [one for one in find_tagged(account, name) if one["State"]["Name"] != GONE],
        lambda: list_groups(account, name),
        *(partial(look, *listing) for listing in LISTINGS),
    ]
    with aws_errors():
        machines, (groups, refusal), *listed = map_parallel(lambda one: one(), looks)
    if refusal and any(GROUP_TAG in read_tags(machine) for machine in machines):
        raise refusal  # unless it is ended first, a group would replace its machines
    foreign = {machine["InstanceId"] for machine in machines if not is_ours(machine)}
    launched = [machine for machine in machines if is_ours(machine)]
    found = [make_resource("instance", machine["InstanceId"], machine, machine["LaunchTime"]) for machine in launched]
    found += groups
    found += [thing for things in listed for thing in things if not foreign & set(thing.users)]
    return [thing for thing in found if thing.cluster]


def list_groups(account: Account, name: str = "*") -> tuple[list[Resource], PermissionsError | None]:
    """Return gpujob's Auto Scaling groups, or none with the error if the caller may not list them.

    Who may not list groups has made none, but another user's may be there.
    """
    try:
        found = find_groups(account, name)
    except PermissionsError as error:
        return [], error
    return [make_group_resource(one) for one in found], None


def make_group_resource(group: Group) -> Resource:
    """Return a group as a resource, which costs nothing by itself."""
    made = Resource(GROUP, group.name, group.cluster, group.owner, group.token, group.made_at, 0.0)
    bucket = group.bucket if group.sent else ""
    return replace(made, keeps=group.capacity, lease_until=group.lease_until, bucket=bucket)


def list_all(account: Account, name: str, call: str, answer: str) -> Iterator[dict[str, Any]]:
    """Yield everything that one of EC2's listings has of a cluster; a page may be empty but not the last."""
    ec2: Any = account.ec2
    if not ec2.can_paginate(call):
        yield from getattr(ec2, call)(Filters=by_cluster(name))[answer]
        return
    for page in ec2.get_paginator(call).paginate(Filters=by_cluster(name)):
        yield from page[answer]


def is_named(item: dict[str, Any], title: str) -> bool:
    """Return whether a resource has a name that `up` gives, if its kind has names at all."""
    name, given = resource_name(read_cluster(read_tags(item))), item.get(title)
    return not title or given in (name, f"{name}-on-demand", f"{name}-spot")


def make_resource(kind: str, key: str, item: dict[str, Any], made: datetime | None) -> Resource:
    """Return the resource from EC2's description of it."""
    tags = read_tags(item)
    hourly = read_number(tags, DISK_PRICE_TAG) if kind == "volume" else 0.0
    return Resource(
        kind,
        key,
        read_cluster(tags),
        read_owner(tags),
        tags.get(LAUNCH_TAG, ""),
        made.timestamp() if made else 0.0,
        hourly * HOURS_A_MONTH,
        find_users(item),
        secrets=find_secrets(tags) if kind == KEY_PAIR else (),
    )


def find_secrets(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the parameters that may have a sent job's secrets, by the tags of its key pair."""
    cluster, token = read_cluster(tags), tags.get(LAUNCH_TAG, "")
    if not token.isalnum() or not token.isascii():
        return ()
    return tuple(name_parameter(f"{cluster}/{token}/", each) for each in read_secrets(tags))


def find_users(item: dict[str, Any]) -> tuple[str, ...]:
    """Return the instances that a volume or network interface is attached to."""
    attached = [*item.get("Attachments", []), item.get("Attachment", {})]
    return tuple(one["InstanceId"] for one in attached if one.get("InstanceId"))
