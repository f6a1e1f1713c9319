"""Everything of ours that AWS keeps for a cluster, found by its tag."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.ec2.account import Account
from infra.ec2.instances import CLUSTER_TAG, GONE, by_cluster, find_instances
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


def list_things(account: Account, name: str = "*") -> list[Thing]:
    """Return whatever bears a cluster's tag in the region; an instance counts until it is terminated."""
    ec2, filters = account.ec2, by_cluster(name)
    looks: dict[tuple[str, str, str], Callable[[], Iterable[Any]]] = {
        ("instance", "InstanceId", "LaunchTime"): lambda: (
            i for i in find_instances(account, name) if i["State"]["Name"] != GONE
        ),
        ("volume", "VolumeId", "CreateTime"): lambda: ec2.describe_volumes(Filters=filters)["Volumes"],
        ("network interface", "NetworkInterfaceId", ""): lambda: ec2.describe_network_interfaces(Filters=filters)[
            "NetworkInterfaces"
        ],
        ("security group", "GroupId", ""): lambda: ec2.describe_security_groups(Filters=filters)["SecurityGroups"],
        ("launch template", "LaunchTemplateId", "CreateTime"): lambda: ec2.describe_launch_templates(Filters=filters)[
            "LaunchTemplates"
        ],
        ("key pair", "KeyName", "CreateTime"): lambda: ec2.describe_key_pairs(Filters=filters)["KeyPairs"],
    }
    with aws_errors():
        found = map_parallel(lambda look: list(look()), looks.values())
    return [
        make_thing(kind, item[key], item, item.get(made))
        for (kind, key, made), items in zip(looks, found, strict=True)
        for item in items
    ]


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
        tags.get("gpujob:owner", ""),
        made.timestamp() if made else 0.0,
        hourly * HOURS_A_MONTH,
    )
