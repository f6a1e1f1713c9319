"""The groups, their machines and what they did; the state behind Auto Scaling's calls.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AutoScalingGroup.html
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from infra.local.cloud.answers import Tree
from infra.local.cloud.scaling.answers import INVALID, RefusedError, format_time

PROCESSES = (
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
)
KEPT = 500
"""How many activities of a group are kept; AWS keeps those of six weeks."""
WORDS = {True: "Healthy", False: "Unhealthy"}


@dataclass
class Member:
    """A machine of a group."""

    instance: Any
    subnet: str
    spot: bool
    protected: bool
    state: str = "Pending"
    healthy: bool = True

    @property
    def id(self) -> str:
        """The instance's id."""
        return str(self.instance.id)

    @property
    def is_leaving(self) -> bool:
        """Whether the group has begun to end it."""
        return self.state == "Terminating"


@dataclass
class Action:
    """A scheduled action; it runs once."""

    name: str
    at: float
    sizes: dict[str, int]
    """By MinSize, MaxSize, DesiredCapacity."""

    def show(self, group: str) -> dict[str, Tree]:
        """Return it as AWS describes it."""
        when = format_time(self.at)
        named: dict[str, Tree] = {"AutoScalingGroupName": group, "ScheduledActionName": self.name}
        return {**named, "StartTime": when, "Time": when, **self.sizes}


@dataclass
class Activity:
    """A launch or an end of a machine."""

    group: str
    description: str
    cause: str
    began_at: float
    status: str = "InProgress"
    message: str = ""
    instance_id: str = ""
    ended_at: float | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def finish(self, status: str = "Successful", message: str = "") -> None:
        """Note how it ended."""
        self.status, self.message, self.ended_at = status, message, time.time()

    def show(self) -> dict[str, Tree]:
        """Return it as AWS describes it."""
        ended: dict[str, Tree] = {} if self.ended_at is None else {"EndTime": format_time(self.ended_at)}
        told: dict[str, Tree] = {"StatusMessage": self.message} if self.message else {}
        why = f".  Status Reason: {self.message}" if self.message else ""
        return {
            "ActivityId": self.id,
            "AutoScalingGroupName": self.group,
            "Description": f"{self.description}{why}",
            "Cause": self.cause,
            "StartTime": format_time(self.began_at),
            "StatusCode": self.status,
            "Progress": 50 if self.ended_at is None else 100,
            "Details": "{}",
            **ended,
            **told,
        }


@dataclass
class Launch:
    """What a group launches."""

    template: dict[str, str]
    overrides: list[dict[str, str]]
    distribution: dict[str, str]
    mixed: bool
    """Whether it has a mixed instances policy."""


@dataclass
class Group:
    """An Auto Scaling group."""

    name: str
    region: str
    launch: Launch
    subnets: list[str]
    zones: list[str]
    tags: dict[str, tuple[str, bool]]
    """Each value, and whether machines get it."""
    minimum: int
    maximum: int
    desired: int
    grace_s: int = 0
    protects: bool = False
    """Whether new machines are protected from scale in."""
    deleting: bool = False
    suspended: set[str] = field(default_factory=set)
    members: list[Member] = field(default_factory=list)
    actions: dict[str, Action] = field(default_factory=dict)
    activities: list[Activity] = field(default_factory=list)
    retry_s: float = 0.0
    """In monotonic seconds, before which it does not try to launch again."""
    created_at: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def arn(self) -> str:
        """The group's ARN."""
        return arn_of(self.region, self.name, self.id)

    @property
    def staying(self) -> list[Member]:
        """The machines that it is not ending."""
        return [one for one in self.members if not one.is_leaving]

    def resize(self, sizes: dict[str, int]) -> None:
        """Set sizes; a size that is not given follows the others, as on AWS."""
        minimum, maximum = sizes.get("MinSize", self.minimum), sizes.get("MaxSize", self.maximum)
        desired = sizes.get("DesiredCapacity", min(max(self.desired, minimum), maximum))
        check_sizes(minimum, maximum, desired)
        self.minimum, self.maximum, self.desired = minimum, maximum, desired
        self.retry_s = 0.0

    def begin(self, description: str, cause: str, instance_id: str = "") -> Activity:
        """Note the beginning of an activity."""
        made = Activity(self.name, description, f"At {format_time(time.time())} {cause}", time.time())
        made.instance_id = instance_id
        self.activities.insert(0, made)
        del self.activities[KEPT:]
        return made

    def finish(self, instance_id: str, status: str = "Successful", message: str = "") -> None:
        """Note the end of the activities of a machine."""
        for activity in self.activities:
            if activity.instance_id == instance_id and activity.ended_at is None:
                activity.finish(status, message)


GROUPS: dict[tuple[str, str], Group] = {}
"""By region and name. Like moto's state it is changed while holding `moto_state.LOCK`."""
DELETED: list[Group] = []
"""Their activities can still be read."""


def check_sizes(minimum: int, maximum: int, desired: int) -> None:
    """Raise RefusedError for sizes that contradict each other."""
    if minimum > maximum:
        raise RefusedError(INVALID, f"Max bound, {maximum}, must be greater than or equal to min bound, {minimum}")
    if not minimum <= desired <= maximum:
        words = f"must be between the specified min size:{minimum} and max size:{maximum}"
        raise RefusedError(INVALID, f"Desired capacity:{desired} {words}")


def arn_of(region: str, name: str, key: str = "*") -> str:
    """Return the ARN of a group."""
    return f"arn:aws:autoscaling:{region}:123456789012:autoScalingGroup:{key}:autoScalingGroupName/{name}"


def find(region: str, name: str) -> Group:
    """Return a group; raises RefusedError if there is none."""
    found = GROUPS.get((region, name))
    if found is None:
        raise RefusedError(INVALID, f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return found


def find_member(region: str, instance_id: str) -> tuple[Group, Member]:
    """Return a machine and its group; raises RefusedError if it is in none."""
    for group in of_region(region):
        for member in group.members:
            if member.id == instance_id:
                return group, member
    raise RefusedError(INVALID, f"Instance Id not found - No managed instance found for instance ID {instance_id}")


def of_region(region: str) -> Iterator[Group]:
    """Yield the groups of a region by name."""
    return (group for (place, _), group in sorted(GROUPS.items()) if place == region)


def tags_of(region: str, name: str) -> dict[str, str]:
    """Return a group's tags; empty if there is none."""
    group = GROUPS.get((region, name))
    return {key: value for key, (value, _) in group.tags.items()} if group else {}


def group_of(region: str, instance_id: str) -> str:
    """Return the name of a machine's group, or ""."""
    return next((one.name for one in of_region(region) for each in one.members if each.id == instance_id), "")


def show_member(group: Group, member: Member) -> dict[str, Tree]:
    """Return a machine as AWS describes it."""
    return {
        "InstanceId": member.id,
        "InstanceType": str(member.instance.instance_type),
        "AvailabilityZone": str(member.instance.placement.zone),
        "LifecycleState": member.state,
        "HealthStatus": WORDS[member.healthy],
        "LaunchTemplate": show_template(group.launch.template),
        "ProtectedFromScaleIn": member.protected,
    }


def show_template(template: dict[str, str]) -> dict[str, Tree]:
    """Return a launch template as AWS describes it."""
    return dict(template)


def show(group: Group) -> dict[str, Tree]:
    """Return a group as AWS describes it."""
    about: dict[str, Tree] = {"ResourceId": group.name, "ResourceType": "auto-scaling-group"}
    tags: Tree = [
        {**about, "Key": k, "Value": value, "PropagateAtLaunch": on} for k, (value, on) in sorted(group.tags.items())
    ]
    template = show_template(group.launch.template)
    overrides: Tree = [dict(one) for one in group.launch.overrides]
    inner: Tree = {"LaunchTemplateSpecification": template, "Overrides": overrides}
    policy: Tree = {"LaunchTemplate": inner, "InstancesDistribution": dict(group.launch.distribution)}
    return {
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        **({"MixedInstancesPolicy": policy} if group.launch.mixed else {"LaunchTemplate": template}),
        "MinSize": group.minimum,
        "MaxSize": group.maximum,
        "DesiredCapacity": group.desired,
        "DefaultCooldown": 300,
        "AvailabilityZones": list(group.zones),
        "HealthCheckType": "EC2",
        "HealthCheckGracePeriod": group.grace_s,
        "Instances": [show_member(group, one) for one in group.members],
        "CreatedTime": format_time(group.created_at),
        "SuspendedProcesses": [
            {"ProcessName": one, "SuspensionReason": "User suspended"} for one in sorted(group.suspended)
        ],
        "VPCZoneIdentifier": ",".join(group.subnets),
        "Tags": tags,
        "TerminationPolicies": ["Default"],
        "NewInstancesProtectedFromScaleIn": group.protects,
        "CapacityRebalance": False,
        **({"Status": "Delete in progress"} if group.deleting else {}),
    }
