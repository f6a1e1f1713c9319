"""Instances: find by tag, read the console, stop, start, terminate."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.network.address import LOOPBACK
from infra.ec2.network.groups import SSH
from infra.ec2.tags import (
    CLUSTER_TAG,
    DISK_PRICE_TAG,
    HOURS_TAG,
    IDLE_TAG,
    LAUNCH_TAG,
    LEASE_TAG,
    PRICE_TAG,
    PRIVATE_TAG,
    RANK_TAG,
    SENT_TAG,
    SPENT_AT_TAG,
    SPENT_TAG,
    parse_time,
    read_bucket,
    read_cluster,
    read_endpoint,
    read_gpu,
    read_jump,
    read_number,
    read_owner,
    read_tags,
    read_user,
    resource_name,
)
from infra.errors import CloudError, NotFoundError
from infra.model import Cluster, Node

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

GONE = "terminated"
MOMENT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


def by_cluster(name: str = "*") -> "list[FilterTypeDef]":
    """Return the filter for the resources of one cluster, or of all."""
    return [{"Name": f"tag:{CLUSTER_TAG}", "Values": [name]}]


def find_clusters(account: Account, name: str = "*") -> tuple[Cluster, ...]:
    """Return the clusters in this region that are not terminated, by name."""
    return group_clusters(account, find_instances(account, name))


def group_clusters(account: Account, instances: "Iterable[InstanceTypeDef]") -> tuple[Cluster, ...]:
    """Return the clusters that these instances make up, without those that are terminated, by name."""
    groups: dict[str, list[InstanceTypeDef]] = {}
    for instance in instances:
        if instance["State"]["Name"] != GONE:
            groups.setdefault(read_cluster(read_tags(instance)), []).append(instance)
    return tuple(make_cluster(account, cluster, members) for cluster, members in sorted(groups.items()))


def find_launched(account: Account, name: str, instance_ids: Collection[str]) -> "list[InstanceTypeDef]":
    """Return EC2's description of these instances of a cluster; new ones may not be visible yet."""
    return [instance for instance in find_instances(account, name) if instance["InstanceId"] in instance_ids]


def find_end(instances: "Iterable[InstanceTypeDef]") -> str:
    """Return EC2's reason why one of these instances ended; "" while all are pending or running."""
    for instance in instances:
        if instance["State"]["Name"] not in ("pending", "running"):
            return instance.get("StateReason", {}).get("Message", "") or instance["State"]["Name"]
    return ""


def is_launch(instance: "InstanceTypeDef", token: str) -> bool:
    """Return whether the call with this token launched the instance, and it is pending or running."""
    return read_tags(instance).get(LAUNCH_TAG) == token and instance["State"]["Name"] in ("pending", "running")


def find_instances(account: Account, name: str = "*") -> "Iterator[InstanceTypeDef]":
    """Yield EC2's description of every instance of a cluster, including terminated ones still visible."""
    return (instance for instance in find_tagged(account, name) if is_ours(instance))


def find_foreign(account: Account, name: str) -> "list[InstanceTypeDef]":
    """Return instances with a cluster's tag that no `up` launched; gpujob never touches them."""
    return [one for one in find_tagged(account, name) if not is_ours(one) and one["State"]["Name"] != GONE]


def find_tagged(account: Account, name: str) -> "Iterator[InstanceTypeDef]":
    """Yield EC2's description of every instance with a cluster's tag, whether or not gpujob launched it."""
    with aws_errors():
        for page in account.ec2.get_paginator("describe_instances").paginate(Filters=by_cluster(name)):
            for reservation in page["Reservations"]:
                yield from reservation["Instances"]


def is_ours(instance: "InstanceTypeDef") -> bool:
    """Return whether `up` launched an instance, by its key pair, which cannot be changed later."""
    cluster = read_cluster(read_tags(instance))
    forgotten = instance["State"]["Name"] == GONE and "KeyName" not in instance
    return bool(cluster) and (forgotten or instance.get("KeyName") == resource_name(cluster))


def make_cluster(account: Account, name: str, instances: "list[InstanceTypeDef]") -> Cluster:
    """Return the cluster that these instances and their tags describe."""
    every = [read_tags(instance) for instance in instances]
    tags = every[0]
    place = "block" if instances[0].get("InstanceLifecycle") == "capacity-block" else "reservation"
    return Cluster(
        name=name,
        cloud=account.cloud,
        region=account.region,
        nodes=tuple(make_node(account, instance) for instance in sorted(instances, key=rank_of)),
        gpu=read_gpu(tags),
        price_usd=sum(read_number(one, PRICE_TAG) for one in every),
        lease_until=parse_time(tags.get(LEASE_TAG, "")),
        launched_at=min(instance["LaunchTime"].timestamp() for instance in instances),
        owner=read_owner(tags),
        disk_usd=sum(read_number(one, DISK_PRICE_TAG) for one in every),
        spent_usd=read_number(tags, SPENT_TAG),
        ran_hours=read_number(tags, HOURS_TAG),
        spent_at=parse_time(tags.get(SPENT_AT_TAG, "")),
        idle_stop_s=read_number(tags, IDLE_TAG),
        private=PRIVATE_TAG in tags,
        proxy_jump=read_jump(tags),
        user=read_user(tags),
        bucket=read_bucket(tags),
        token=tags.get(LAUNCH_TAG, "") if SENT_TAG in tags else "",
        **{place: instances[0].get("CapacityReservationId", "")},
    )


def rank_of(instance: "InstanceTypeDef") -> tuple[int, str]:
    """Return the sort key of an instance: its rank, or its id until that is tagged."""
    return int(read_number(read_tags(instance), RANK_TAG)), instance["InstanceId"]


def tag(account: Account, instance_ids: list[str], tags: Mapping[str, str]) -> None:
    """Tag instances, replacing tags of the same name."""
    with aws_errors():
        account.ec2.create_tags(Resources=instance_ids, Tags=[{"Key": k, "Value": v} for k, v in tags.items()])


def make_node(account: Account, instance: "InstanceTypeDef") -> Node:
    """Return the node of an instance; its host is empty until it has an address."""
    tags = read_tags(instance)
    address = instance.get("PrivateIpAddress", "") if PRIVATE_TAG in tags else instance.get("PublicIpAddress", "")
    # moto invents public addresses; its hosts are on this computer, each on its own port
    host, port = (address, SSH) if not account.is_local else read_endpoint(tags)
    return Node(
        instance_id=instance["InstanceId"],
        state=instance["State"]["Name"],
        host=host,
        port=port,
        instance_type=instance["InstanceType"],
        zone=instance["Placement"].get("AvailabilityZone", ""),
        market="spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand",
        price_usd=read_number(tags, PRICE_TAG),
        image_id=instance.get("ImageId", ""),
        address=LOOPBACK if account.is_local else instance.get("PrivateIpAddress", ""),
        stopped_at=(read_moment(instance) or 0.0) if instance["State"]["Name"] in ("stopping", "stopped") else 0.0,
    )


def read_console(account: Account, instance_id: str) -> str:
    """Return an instance's console output, as recent as its instance type allows.

    `Latest` works only on Nitro machines (https://github.com/jenkinsci/ec2-plugin/issues/707); on others it is minutes old.
    """
    with aws_errors():
        try:
            answer = account.ec2.get_console_output(InstanceId=instance_id, Latest=True)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "UnsupportedOperation":
                raise
            answer = account.ec2.get_console_output(InstanceId=instance_id)
    # botocore has already decoded the base64, unless a service encodes it twice.
    return answer.get("Output", "")


def read_moment(instance: "InstanceTypeDef") -> float | None:
    """Return when an instance was last stopped or terminated by a call; None if EC2 does not say."""
    found = MOMENT.search(instance.get("StateTransitionReason", ""))
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() if found else None


def read_end_time(account: Account, instance: "InstanceTypeDef") -> float | None:
    """Return when an instance ended; None if EC2 does not say.

    EC2 has no time for a machine that powered itself off (https://github.com/cloud-custodian/cloud-custodian/issues/6924), but
    the last console output is from its shutdown.
    """
    moment = read_moment(instance)
    if moment is not None:
        return moment
    try:
        with aws_errors():
            console = account.ec2.get_console_output(InstanceId=instance["InstanceId"])
    except (CloudError, NotFoundError):
        return None
    return console["Timestamp"].timestamp() if "Timestamp" in console else None


def stop(account: Account, instance_ids: list[str]) -> None:
    """Stop these instances."""
    with aws_errors():
        account.ec2.stop_instances(InstanceIds=instance_ids)


def start(account: Account, instance_ids: list[str]) -> None:
    """Start these instances, if any."""
    if instance_ids:
        with aws_errors():
            account.ec2.start_instances(InstanceIds=instance_ids)


def set_user_data(account: Account, instance_id: str, user_data: str) -> None:
    """Change a stopped instance's user data."""
    with aws_errors():
        account.ec2.modify_instance_attribute(InstanceId=instance_id, UserData={"Value": user_data.encode()})


def set_type(account: Account, instance_id: str, instance_type: str) -> None:
    """Change a stopped instance's type."""
    with aws_errors():
        account.ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": instance_type})


def terminate(account: Account, instance_ids: list[str]) -> None:
    """Terminate these instances, which may be terminated already."""
    if instance_ids:
        with aws_errors():
            account.ec2.terminate_instances(InstanceIds=instance_ids)
