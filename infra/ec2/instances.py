"""Instances: find by tag, read the console, terminate."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from infra.ec2.account import Account, aws_errors
from infra.model import Cluster, Node

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

CLUSTER_TAG = "gpujob:cluster"
# Which `up` made a thing, so that one that fails removes its own and nothing else.
LAUNCH_TAG = "gpujob:launch"
# Where a host of the local cloud answers: 127.0.0.1:PORT.
ENDPOINT_TAG = "gpujob:endpoint"
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


def find_end(account: Account, name: str, token: str) -> str:
    """Return why the machine that the call with this token launched is no more, in EC2's words; "" while it lives or is unseen.

    EC2 goes on showing terminated machines for an hour, those of an earlier cluster of the same name too.
    """
    found = [i for i in find_instances(account, name) if tags_of(i).get(LAUNCH_TAG) == token]
    if not found or any(instance["State"]["Name"] in ("pending", "running") for instance in found):
        return ""
    return found[0].get("StateReason", {}).get("Message", "") or found[0]["State"]["Name"]


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
        nodes=tuple(make_node(account, instance) for instance in sorted(instances, key=lambda i: i["InstanceId"])),
        gpu=tags.get("gpujob:gpu", ""),
        price_usd=sum(float(tags_of(instance).get("gpujob:price", 0)) for instance in instances),
        lease_until=parse_time(tags.get("gpujob:lease-until", "")),
        launched_at=min(instance["LaunchTime"].timestamp() for instance in instances),
        owner=tags.get("gpujob:owner", ""),
    )


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
        image_id=instance.get("ImageId", ""),
        market=instance.get("InstanceLifecycle", "on-demand"),
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


def terminate(account: Account, instance_ids: list[str]) -> None:
    """Ask EC2 to end these instances; no harm if they have ended."""
    if instance_ids:
        with aws_errors():
            account.ec2.terminate_instances(InstanceIds=instance_ids)


def tags_of(resource: "InstanceTypeDef") -> dict[str, str]:
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
