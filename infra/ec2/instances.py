"""Instances: find by tag, read the console, terminate."""

import math
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.refusals import aws_errors
from infra.model import Cluster, Node

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        FilterTypeDef,
        InstanceTypeDef,
        KeyPairInfoTypeDef,
        LaunchTemplateTypeDef,
        SecurityGroupTypeDef,
        VolumeTypeDef,
    )

    Tagged = InstanceTypeDef | KeyPairInfoTypeDef | LaunchTemplateTypeDef | SecurityGroupTypeDef | VolumeTypeDef

CLUSTER_TAG = "gpujob:cluster"
OWNER_TAG = "gpujob:owner"
# Which `up` made a thing, so that one that fails removes its own and nothing else.
LAUNCH_TAG = "gpujob:launch"
# Where a host of the local cloud answers: 127.0.0.1:PORT.
ENDPOINT_TAG = "gpujob:endpoint"
RANK_TAG = "gpujob:rank"
SPENT_TAG = "gpujob:spent"
IDLE_TAG = "gpujob:idle-stop"
GONE = "terminated"


def by_cluster(name: str = "*") -> "list[FilterTypeDef]":
    """Return the filter that finds what belongs to one cluster of ours, or to any."""
    return [{"Name": f"tag:{CLUSTER_TAG}", "Values": [name]}]


def find_clusters(account: Account, name: str = "*") -> tuple[Cluster, ...]:
    """Return the clusters of ours in this region that are not terminated, by name."""
    groups: dict[str, list[InstanceTypeDef]] = {}
    for instance in find_instances(account, name):
        if instance["State"]["Name"] != GONE:
            groups.setdefault(tags_of(instance)[CLUSTER_TAG], []).append(instance)
    return tuple(make_cluster(account, cluster, instances) for cluster, instances in sorted(groups.items()))


def find_end(account: Account, name: str, instance_ids: Collection[str]) -> str:
    """Return why one of these machines of a cluster is no more, in EC2's words; "" while all live or are not to be seen yet."""
    for instance in find_instances(account, name):
        if instance["InstanceId"] in instance_ids and instance["State"]["Name"] not in ("pending", "running"):
            return instance.get("StateReason", {}).get("Message", "") or instance["State"]["Name"]
    return ""


def is_launch(instance: "InstanceTypeDef", token: str) -> bool:
    """Tell whether the call with this token launched the instance, and it lives or will."""
    return tags_of(instance).get(LAUNCH_TAG) == token and instance["State"]["Name"] in ("pending", "running")


def find_instances(account: Account, name: str = "*") -> "Iterable[InstanceTypeDef]":
    """Yield EC2's description of every instance of a cluster, the terminated ones that it still shows included."""
    with aws_errors():
        for page in account.ec2.get_paginator("describe_instances").paginate(Filters=by_cluster(name)):
            for reservation in page["Reservations"]:
                yield from reservation["Instances"]


def make_cluster(account: Account, name: str, instances: "list[InstanceTypeDef]") -> Cluster:
    """Return the cluster that these instances and their tags describe."""
    tags = tags_of(instances[0])
    return Cluster(
        name=name,
        cloud=account.cloud,
        region=account.region,
        nodes=tuple(make_node(account, instance) for instance in sorted(instances, key=rank_of)),
        gpu=tags.get("gpujob:gpu", ""),
        price_usd=sum(read_number(instance, "gpujob:price") for instance in instances),
        lease_until=parse_time(tags.get("gpujob:lease-until", "")),
        launched_at=min(instance["LaunchTime"].timestamp() for instance in instances),
        owner=tags.get(OWNER_TAG, ""),
        disk_usd=sum(read_number(instance, "gpujob:disk-price") for instance in instances),
        spent_usd=read_number(instances[0], SPENT_TAG),
        idle_stop_s=read_number(instances[0], IDLE_TAG),
    )


def rank_of(instance: "InstanceTypeDef") -> tuple[int, str]:
    """Return what instances of a cluster are ordered by: their rank, and until that is tagged their id."""
    return int(read_number(instance, RANK_TAG)), instance["InstanceId"]


def read_number(instance: "InstanceTypeDef", tag: str) -> float:
    """Return the number that a tag holds; 0 if it is missing or damaged."""
    try:
        number = float(tags_of(instance).get(tag, 0))
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def tag(account: Account, instance_ids: list[str], tags: Mapping[str, str]) -> None:
    """Put tags on instances, over those of the same name."""
    with aws_errors():
        account.ec2.create_tags(Resources=instance_ids, Tags=[{"Key": k, "Value": v} for k, v in tags.items()])


def make_node(account: Account, instance: "InstanceTypeDef") -> Node:
    """Return the node that an instance is; its host is empty until it has an address."""
    host, port = instance.get("PublicIpAddress", ""), "22"
    if (
        account.cloud == "local"
    ):  # moto invents public addresses; the hosts are on this machine, each on a port of its own
        host, _, port = tags_of(instance).get(ENDPOINT_TAG, "").partition(":")
    return Node(
        instance_id=instance["InstanceId"],
        state=instance["State"]["Name"],
        host=host,
        port=int(port or 22),
        instance_type=instance["InstanceType"],
        zone=instance["Placement"].get("AvailabilityZone", ""),
        market="spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand",
        price_usd=read_number(instance, "gpujob:price"),
        image_id=instance.get("ImageId", ""),
    )


def read_console(account: Account, instance_id: str) -> str:
    """Return what the instance has written to its console so far, as fresh as the machine allows.

    `Latest` exists on Nitro machines alone (https://github.com/jenkinsci/ec2-plugin/issues/707); others answer minutes later.
    """
    with aws_errors():
        try:
            answer = account.ec2.get_console_output(InstanceId=instance_id, Latest=True)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "UnsupportedOperation":
                raise
            answer = account.ec2.get_console_output(InstanceId=instance_id)
    # botocore has decoded the base64 already, except where a service sends it twice encoded.
    return answer.get("Output", "")


def stop(account: Account, instance_ids: list[str]) -> None:
    """Ask EC2 to stop these instances."""
    with aws_errors():
        account.ec2.stop_instances(InstanceIds=instance_ids)


def start(account: Account, instance_ids: list[str]) -> None:
    """Ask EC2 to start these instances, if there are any."""
    if instance_ids:
        with aws_errors():
            account.ec2.start_instances(InstanceIds=instance_ids)


def set_user_data(account: Account, instance_id: str, user_data: str) -> None:
    """Change what a stopped instance is told at its next boot."""
    with aws_errors():
        account.ec2.modify_instance_attribute(InstanceId=instance_id, UserData={"Value": user_data.encode()})


def terminate(account: Account, instance_ids: list[str]) -> None:
    """Ask EC2 to end these instances; no harm if they have ended."""
    if instance_ids:
        with aws_errors():
            account.ec2.terminate_instances(InstanceIds=instance_ids)


def tags_of(resource: "Tagged") -> dict[str, str]:
    """Return a resource's tags as a dictionary."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def format_time(seconds: float) -> str:
    """Return a time as tags hold it: 2026-11-24T12:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """Return the seconds since the epoch that a tag holds; 0.0 if it is damaged."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
