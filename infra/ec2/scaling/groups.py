"""Auto Scaling groups: create at 0, set their size, find and delete them.

A group replaces machines that end, so it is set to 0 before its machines are terminated.
https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.scaling.activities import LAUNCH
from infra.ec2.scaling.schedule import arm_end, find_end
from infra.ec2.tags import (
    CLUSTER_TAG,
    DISK_PRICE_TAG,
    LAUNCH_TAG,
    LEASE_TAG,
    PRICE_TAG,
    PRIVATE_TAG,
    SENT_TAG,
    parse_time,
    read_bucket,
    read_cluster,
    read_gpu,
    read_number,
    read_owner,
    resource_name,
)
from infra.errors import CloudError, NotFoundError, UsageError
from infra.model import Gpu, Market

NOTHING = {"MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0}
# A group over several zones would end running machines to have the same number in each:
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/auto-scaling-benefits.html
SUSPENDED = ["AZRebalance"]
MISSING = "name not found"
# Security group, key and template are a second old, the instance profile perhaps, too; AWS does not know them everywhere yet:
# https://github.com/hashicorp/terraform-provider-aws/pull/5633
SETTLING_S = 20
MOST_TYPES = 40  # https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchTemplateOverrides.html
# Of a group that changes just now; the next look tries again.
PASSING = ("ResourceContention", "ResourceInUse", "ScalingActivityInProgress")


@dataclass(frozen=True)
class Pools:
    """What a group launches: a template with any of these types, in any of these subnets, on one market."""

    template_id: str
    instance_types: tuple[str, ...]
    """Cheapest first; a group has room for 40."""
    subnets: tuple[str, ...]
    """Of one VPC."""
    market: Market
    most_usd: float | None = None
    """The maximum spot price per hour; None for the on-demand price of each type, EC2's own limit."""


@dataclass(frozen=True)
class Member:
    """A machine of a group."""

    instance_id: str
    state: str
    """As Auto Scaling names it: Pending, InService, Terminating, and so on."""
    instance_type: str
    zone: str


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group with gpujob's tags."""

    name: str
    cluster: str
    owner: str
    token: str
    """Of the command that created it."""
    capacity: int
    """How many machines it keeps."""
    lease_until: float
    """By its tag; 0.0 if that is missing or invalid."""
    made_at: float
    members: tuple[Member, ...]
    gpu: Gpu | None
    """Of each machine, by its tag."""
    deleting: bool
    """Whether AWS is deleting it."""
    bucket: str
    """Of its jobs, by its tag; "" for none."""
    sent: bool
    """Whether its machines work on a sent job."""
    price_usd: float
    """Per hour, of each machine, by its tag: the dearest type's."""
    disk_usd: float
    """Per hour, of each machine's disk, by its tag."""
    private: bool
    market: Market
    halted: bool = False
    """Whether it launches no machine: AWS has stopped trying, as after a day without success."""

    @property
    def hour_usd(self) -> float:
        """Per hour, of each machine with its disk; at most."""
        return self.price_usd + self.disk_usd


def create_group(account: Account, cluster: str, pools: Pools, tags: Mapping[str, str]) -> str:
    """Create a cluster's group at 0, or find the one of this interrupted command; return its name.

    Its machines get its tags. Raises UsageError if another command created it.
    """
    name = resource_name(cluster)

    def make() -> bool:
        with aws_errors():
            try:
                account.scaling.create_auto_scaling_group(
                    AutoScalingGroupName=name,
                    **NOTHING,
                    MixedInstancesPolicy=make_policy(pools),
                    VPCZoneIdentifier=",".join(pools.subnets),
                    HealthCheckType="EC2",
                    CapacityRebalance=False,
                    Tags=make_tags(name, tags),
                )
            except ClientError as error:
                if code_of(error) != "AlreadyExists":
                    raise
                check_own(account, cluster, tags[LAUNCH_TAG])
        return True

    wait_until(make, SETTLING_S, retry_on=NotFoundError)
    with aws_errors():
        account.scaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=SUSPENDED)
    return name


def make_policy(pools: Pools) -> dict[str, Any]:
    """Return the mixed instances policy of these pools."""
    template = {"LaunchTemplateId": pools.template_id, "Version": "$Latest"}
    distribution = {
        "OnDemandBaseCapacity": 0,
        "OnDemandPercentageAboveBaseCapacity": 0 if pools.market == "spot" else 100,
        "OnDemandAllocationStrategy": "lowest-price",
        "SpotAllocationStrategy": "price-capacity-optimized",
        **({} if pools.most_usd is None else {"SpotMaxPrice": f"{pools.most_usd:.6f}"}),
    }
    overrides = [{"InstanceType": one} for one in pools.instance_types[:MOST_TYPES]]
    launch = {"LaunchTemplateSpecification": template, "Overrides": overrides}
    return {"LaunchTemplate": launch, "InstancesDistribution": distribution}


def make_tags(name: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the tags of a group and of the machines that it launches."""
    about = {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
    return [{**about, "Key": key, "Value": value} for key, value in tags.items()]


def check_own(account: Account, cluster: str, token: str) -> None:
    """Raise UsageError unless the command with this token created the cluster's group."""
    if not any(one.token == token and not one.deleting for one in find_groups(account, cluster)):
        raise UsageError(
            f"the group '{resource_name(cluster)}' already exists, created by another launch",
            f"choose another name; or, if it is orphaned: gpujob down {cluster}",
        )


def set_tags(account: Account, name: str, tags: Mapping[str, str]) -> None:
    """Tag a group, and the machines that it launches from now on."""
    with aws_errors():
        account.scaling.create_or_update_tags(Tags=make_tags(name, tags))


def set_capacity(account: Account, name: str, machines: int) -> None:
    """Make a group keep this many machines; raises CloudError if nothing would end it."""
    if find_end(account, name) is None:
        raise CloudError(f"the group '{name}' has no end in AWS, or has reached it; nothing was launched", "gpujob ls")
    with aws_errors():
        account.scaling.update_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=machines, DesiredCapacity=machines
        )


def move_end(account: Account, cluster: str, at: float) -> None:
    """Move the end of a cluster's group; raises CloudError if AWS has set it to 0 already."""
    arm_end(account, resource_name(cluster), at)
    if not find_group(account, cluster).capacity:
        raise CloudError(f"'{cluster}' has ended; its group keeps no machine any more", f"gpujob down {cluster}")


def set_to_zero(account: Account, name: str) -> None:
    """Make a group end its machines and launch none; it may be missing."""
    with aws_errors():
        try:
            account.scaling.update_auto_scaling_group(AutoScalingGroupName=name, **NOTHING)
        except ClientError as error:
            if not is_missing(error):
                raise


def find_groups(account: Account, cluster: str = "*") -> list[Group]:
    """Return the groups of one cluster, or of all, that have gpujob's tag and name."""
    filters = [{"Name": "tag-key", "Values": [CLUSTER_TAG]}]
    if cluster != "*":
        filters = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]}]
    with aws_errors():
        pages = account.scaling.get_paginator("describe_auto_scaling_groups").paginate(Filters=filters)
        found = [make_group(one) for page in pages for one in page["AutoScalingGroups"]]
    return [one for one in found if one.cluster and one.name == resource_name(one.cluster)]


def find_group(account: Account, cluster: str) -> Group:
    """Return a cluster's group; raises NotFoundError without one."""
    found = find_groups(account, cluster)
    if not found:
        raise NotFoundError(f"there is no group '{resource_name(cluster)}' in {account.region}", "gpujob ls")
    return found[0]


def make_group(item: Mapping[str, Any]) -> Group:
    """Return the group from AWS's description of it."""
    tags = {tag["Key"]: tag.get("Value", "") for tag in item.get("Tags", ())}
    return Group(
        name=item["AutoScalingGroupName"],
        cluster=read_cluster(tags),
        owner=read_owner(tags),
        token=tags.get(LAUNCH_TAG, ""),
        capacity=int(item["DesiredCapacity"]),
        lease_until=parse_time(tags.get(LEASE_TAG, "")),
        made_at=item["CreatedTime"].timestamp(),
        members=tuple(make_member(one) for one in item.get("Instances", ())),
        gpu=read_gpu(tags),
        deleting=bool(item.get("Status")),  # AWS sets it for a group that is being deleted, and for no other
        bucket=read_bucket(tags),
        sent=SENT_TAG in tags,
        price_usd=read_number(tags, PRICE_TAG),
        disk_usd=read_number(tags, DISK_PRICE_TAG),
        private=PRIVATE_TAG in tags,
        market="spot" if is_spot(item) else "on-demand",
        halted=LAUNCH in [one["ProcessName"] for one in item.get("SuspendedProcesses", ())],
    )


def is_spot(item: Mapping[str, Any]) -> bool:
    """Return whether a group's machines are spot machines."""
    distribution = item.get("MixedInstancesPolicy", {}).get("InstancesDistribution", {})
    return bool(distribution.get("OnDemandPercentageAboveBaseCapacity") == 0)


def make_member(item: Mapping[str, Any]) -> Member:
    """Return the machine from AWS's description of it."""
    zone, kind = item.get("AvailabilityZone", ""), item.get("InstanceType", "")
    return Member(item["InstanceId"], item["LifecycleState"], kind, zone)


def delete_group(account: Account, name: str) -> bool:
    """Set a group to 0 and delete it with its machines; return whether AWS accepted that.

    AWS deletes also one that it refuses to set to 0. It may be missing, and the call can be repeated after an interruption.
    """
    with aws_errors():
        try:
            account.scaling.update_auto_scaling_group(AutoScalingGroupName=name, **NOTHING)
        except ClientError as error:
            if code_of(error) not in (*PASSING, "ValidationError"):  # such as a template that was deleted
                raise
        try:
            account.scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
        except ClientError as error:
            if code_of(error) in PASSING:
                return False
            if not is_missing(error):
                raise
    return True


def is_missing(error: ClientError) -> bool:
    """Return whether there is no such group; Auto Scaling has no code of its own for it."""
    message = str(error.response.get("Error", {}).get("Message", ""))
    return code_of(error) == "ValidationError" and MISSING in message
