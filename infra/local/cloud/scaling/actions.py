"""Auto Scaling's calls about groups and their machines, with AWS's own refusals.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_Operations.html
"""

from collections.abc import Callable
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Tree
from infra.local.cloud.request import Request, items
from infra.local.cloud.scaling import groups
from infra.local.cloud.scaling.answers import INVALID, RefusedError
from infra.local.cloud.scaling.groups import PROCESSES, Group, Launch
from infra.local.cloud.scaling.schedule import read_sizes

PAGE = 50
MOST_OVERRIDES = 40
"""https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchTemplateOverrides.html"""
SPOT_DEFAULTS = {
    "OnDemandAllocationStrategy": "lowest-price",
    "OnDemandBaseCapacity": "0",
    "OnDemandPercentageAboveBaseCapacity": "100",
    "SpotAllocationStrategy": "lowest-price",
}
IN_USE = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group."
IN_PROGRESS = "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group."
AT_LEAST = (
    "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min size"
    " constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
)
Check = Callable[[Group], None]
"""Raises RefusedError if a group cannot launch, or its caller may not."""


def named(request: Request) -> Group:
    """Return the group that a request names; raises RefusedError if there is none."""
    return groups.find(request.region, request.params.get("AutoScalingGroupName", ""))


def changed(request: Request) -> Group:
    """Return the group that a request changes; raises RefusedError if it is being deleted."""
    group = named(request)
    if group.deleting:
        raise RefusedError(INVALID, f"AutoScalingGroup '{group.name}' is pending delete")
    return group


def create(request: Request, check: Check) -> dict[str, Tree]:
    """Answer CreateAutoScalingGroup."""
    asked = request.tree()
    name = asked["AutoScalingGroupName"]
    if (request.region, name) in groups.GROUPS:
        words = f"AutoScalingGroup by this name already exists - A group with the name {name} already exists"
        raise RefusedError("AlreadyExists", words)
    sizes = read_sizes(asked)
    minimum, maximum = sizes["MinSize"], sizes["MaxSize"]
    desired = sizes.get("DesiredCapacity", minimum)
    groups.check_sizes(minimum, maximum, desired)
    subnets, zones = read_places(request.region, asked)
    group = Group(
        name=name,
        region=request.region,
        launch=read_launch(asked),
        subnets=subnets,
        zones=zones,
        tags=read_tags(asked),
        minimum=minimum,
        maximum=maximum,
        desired=desired,
        grace_s=int(asked.get("HealthCheckGracePeriod", 0)),
        protects=asked.get("NewInstancesProtectedFromScaleIn") == "true",
    )
    check(group)
    groups.GROUPS[request.region, name] = group
    return {}


def read_places(region: str, asked: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the subnets and zones of a group; raises RefusedError without any."""
    subnets = [one.strip() for one in asked.get("VPCZoneIdentifier", "").split(",") if one.strip()]
    zones = list(asked.get("AvailabilityZones", {}).get("member", {}).values())
    subnets = subnets or [moto_state.default_subnet(region, zone) for zone in zones]
    if not subnets:
        raise RefusedError(INVALID, "At least one Availability Zone or VPC Subnet is required.")
    found = [moto_state.zone_of(region, one) for one in subnets]
    missing = [one for one, zone in zip(subnets, found, strict=True) if not zone]
    if missing:
        raise RefusedError(INVALID, f"The subnet ID '{missing[0]}' does not exist")
    return subnets, list(dict.fromkeys(found))


def read_launch(asked: dict[str, Any]) -> Launch:
    """Return what a group launches; raises RefusedError unless exactly one way is named."""
    policy, template = asked.get("MixedInstancesPolicy"), asked.get("LaunchTemplate")
    if bool(policy) == bool(template):
        words = "LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter."
        raise RefusedError(INVALID, f"Valid requests must contain either {words}")
    if template:
        return Launch(dict(template), [], {}, mixed=False)
    inner = policy["LaunchTemplate"] if policy else {}
    overrides = items(inner.get("Overrides", {}).get("member"))
    if len(overrides) > MOST_OVERRIDES:
        raise RefusedError(INVALID, f"You can specify up to {MOST_OVERRIDES} instance types per Auto Scaling group.")
    given = policy.get("InstancesDistribution", {}) if policy else {}
    return Launch(dict(inner["LaunchTemplateSpecification"]), overrides, {**SPOT_DEFAULTS, **given}, mixed=True)


def read_tags(asked: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Return the tags in a request."""
    found = items(asked.get("Tags", {}).get("member"))
    return {tag["Key"]: (tag.get("Value", ""), tag.get("PropagateAtLaunch") == "true") for tag in found}


def update(request: Request, check: Check) -> dict[str, Tree]:
    """Answer UpdateAutoScalingGroup; one whose template was deleted cannot be changed.

    https://github.com/hashicorp/terraform-provider-aws/issues/33912
    """
    group, asked = changed(request), request.tree()
    template = group.launch.template
    key, name = template.get("LaunchTemplateId"), template.get("LaunchTemplateName")
    if moto_state.find_template(request.region, key, name) is None:
        raise RefusedError(INVALID, f"The specified launch template, with template ID {key or name}, does not exist.")
    launch = read_launch(asked) if "MixedInstancesPolicy" in asked or "LaunchTemplate" in asked else None
    places = read_places(request.region, asked) if "VPCZoneIdentifier" in asked else None
    group.resize(read_sizes(asked))
    if places:
        group.subnets, group.zones = places
    if launch:
        group.launch = launch
        check(group)
    return {}


def set_desired_capacity(request: Request) -> dict[str, Tree]:
    """Answer SetDesiredCapacity."""
    group, wanted = changed(request), int(request.params["DesiredCapacity"])
    for above, limit, word in ((True, group.maximum, "above max"), (False, group.minimum, "below min")):
        if wanted > limit if above else wanted < limit:
            words = f"New SetDesiredCapacity value {wanted} is {word} value {limit} for the AutoScalingGroup."
            raise RefusedError(INVALID, words)
    group.resize({"DesiredCapacity": wanted})
    return {}


def delete(request: Request) -> dict[str, Tree]:
    """Answer DeleteAutoScalingGroup; with ForceDelete the machines end first, later."""
    group = named(request)
    if request.params.get("ForceDelete") == "true":
        group.resize({"MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0})
        group.deleting = True
        return {}
    if group.members:
        raise RefusedError("ResourceInUse", IN_USE)
    if any(one.ended_at is None for one in group.activities):
        raise RefusedError("ScalingActivityInProgress", IN_PROGRESS)
    group.deleting = True
    return {}


def describe(request: Request) -> dict[str, Tree]:
    """Answer DescribeAutoScalingGroups, a page at a time."""
    names = request.values("AutoScalingGroupNames.member")
    filters = [
        (one["Name"], list(one.get("Values", {}).get("member", {}).values()))
        for one in items(request.tree().get("Filters", {}).get("member"))
    ]
    found = [one for one in groups.of_region(request.region) if not names or one.name in names]
    shown: list[Tree] = [dict(groups.show(one)) for one in found if all(is_meant(one, *each) for each in filters)]
    return turn_page(request, "AutoScalingGroups", shown)


def is_meant(group: Group, name: str, values: list[str]) -> bool:
    """Return whether a group passes a filter; Auto Scaling's have no wildcards."""
    tags = {key: value for key, (value, _) in group.tags.items()}
    if name.startswith("tag:"):
        return tags.get(name.removeprefix("tag:")) in values
    return bool(set(tags if name == "tag-key" else tags.values()) & set(values))


def describe_instances(request: Request) -> dict[str, Tree]:
    """Answer DescribeAutoScalingInstances."""
    wanted = request.values("InstanceIds.member")
    found: list[Tree] = [
        {**groups.show_member(group, one), "AutoScalingGroupName": group.name}
        for group in groups.of_region(request.region)
        for one in group.members
        if not wanted or one.id in wanted
    ]
    return {"AutoScalingInstances": found}


def describe_activities(request: Request) -> dict[str, Tree]:
    """Answer DescribeScalingActivities, newest first."""
    name = request.params.get("AutoScalingGroupName")
    found = list(groups.of_region(request.region))
    if request.params.get("IncludeDeletedGroups") == "true":
        found += [one for one in groups.DELETED if one.region == request.region]
    elif name:
        groups.find(request.region, name)
    activities = [each for one in found if name in (None, one.name) for each in one.activities]
    activities.sort(key=lambda one: one.began_at, reverse=True)
    return turn_page(request, "Activities", [one.show() for one in activities])


def turn_page(request: Request, name: str, found: list[Tree]) -> dict[str, Tree]:
    """Return the page that was asked for, and which follows."""
    start, most = int(request.params.get("NextToken") or 0), int(request.params.get("MaxRecords") or PAGE)
    more: dict[str, Tree] = {"NextToken": str(start + most)} if len(found) > start + most else {}
    return {name: found[start : start + most], **more}


def terminate(request: Request) -> dict[str, Tree]:
    """Answer TerminateInstanceInAutoScalingGroup; the machine ends a moment later."""
    group, member = groups.find_member(request.region, request.params.get("InstanceId", ""))
    smaller = request.params.get("ShouldDecrementDesiredCapacity") == "true"
    if smaller and group.desired <= group.minimum:
        raise RefusedError(INVALID, AT_LEAST.format(group.minimum))
    cause = "instance was taken out of service in response to a user request"
    before, group.desired = group.desired, group.desired - smaller
    cause += f", shrinking the capacity from {before} to {group.desired}." if smaller else "."
    activity = group.begin(f"Terminating EC2 instance: {member.id}", cause, member.id)
    member.state = "Terminating"
    return {"Activity": activity.show()}


def set_health(request: Request) -> dict[str, Tree]:
    """Answer SetInstanceHealth."""
    _, member = groups.find_member(request.region, request.params.get("InstanceId", ""))
    member.healthy = request.params.get("HealthStatus") == "Healthy"
    return {}


def protect(request: Request) -> dict[str, Tree]:
    """Answer SetInstanceProtection."""
    group, wanted = named(request), request.values("InstanceIds.member")
    members = [groups.find_member(request.region, one)[1] for one in wanted]
    for member in members:
        if member in group.members:
            member.protected = request.params.get("ProtectedFromScaleIn") == "true"
    return {}


def suspend(request: Request) -> dict[str, Tree]:
    """Answer SuspendProcesses; without names, all are."""
    group = changed(request)
    group.suspended |= read_processes(request)
    return {}


def resume(request: Request) -> dict[str, Tree]:
    """Answer ResumeProcesses; without names, all are."""
    group = changed(request)
    group.suspended -= read_processes(request)
    return {}


def read_processes(request: Request) -> set[str]:
    """Return the processes that a request names; raises RefusedError for an unknown one."""
    wanted = set(request.values("ScalingProcesses.member")) or set(PROCESSES)
    unknown = sorted(wanted - set(PROCESSES))
    if unknown:
        raise RefusedError(INVALID, f"{unknown[0]} is not a valid process type.")
    return wanted
