"""Auto Scaling on the local cloud: its calls, and launches through a fleet as AWS's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from xml.etree import ElementTree

from infra.local.cloud import accounts, moto_state
from infra.local.cloud.answers import Answer, Tree
from infra.local.cloud.machines import fleet
from infra.local.cloud.machines.capacity import Capacity, Pool
from infra.local.cloud.machines.launch import MARKET, Moto
from infra.local.cloud.machines.templates import Templates
from infra.local.cloud.request import Request
from infra.local.cloud.scaling import actions, schedule, tags
from infra.local.cloud.scaling.answers import INVALID, RefusedError, scaling_answer
from infra.local.cloud.scaling.groups import Group
from infra.local.cloud.scaling.reconciler import Outcome

VERSION = "2016-11-15"
NAME_TAG = "aws:autoscaling:groupName"
CODES = ("errorCode", "errorMessage", "Code", "Message")
UNFORMED = "You must use a valid fully-formed launch template."
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-launch-template.html
MARKET_TWICE = (
    "Incompatible launch template: You cannot use a launch template that is set to request Spot Instances"
    " (InstanceMarketOptions) when you configure an Auto Scaling group with a mixed instances policy."
)
Allow = Callable[[Request], str]
"""Returns why the caller may not make a request, or ""."""


@dataclass(frozen=True)
class Launcher:
    """Launches the machines of groups."""

    capacity: Capacity
    templates: Templates

    def launch(self, moto: Moto, group: Group, subnet: str, spot: bool) -> Outcome:
        """Launch one machine through an instant fleet in one subnet, as Auto Scaling does."""
        with moto_state.LOCK:
            asked = make_fleet(group, subnet, spot)
            answer = fleet.create_fleet(asked, moto, self.templates, self.capacity)
            outcome = read_outcome(answer, group.launch.mixed, spot)
            if outcome.instance_id:
                told = {key: value for key, (value, propagated) in group.tags.items() if propagated}
                added = {**told, NAME_TAG: group.name}  # the last is AWS's own, which no call can set
                moto_state.backend(group.region).create_tags([outcome.instance_id], added)
        return outcome

    def check(self, group: Group, allow: Allow) -> None:
        """Raise RefusedError for a template that cannot be launched, or that the caller may not launch."""
        found = self.templates.find(group.region, group.launch.template)
        if found is None:
            name = group.launch.template.get("LaunchTemplateId") or group.launch.template.get("LaunchTemplateName")
            raise RefusedError(
                INVALID, f"{UNFORMED} The specified launch template, with template ID {name}, does not exist."
            )
        if group.launch.mixed and MARKET in found.data:
            raise RefusedError(INVALID, MARKET_TWICE)
        kind = (group.launch.overrides or [{}])[0].get("InstanceType") or found.data.get("InstanceType", "")
        params = {"Action": "RunInstances", "Version": VERSION, **found.data, "InstanceType": kind}
        params |= {"LaunchTemplate.LaunchTemplateId": found.template_id}
        request = make_request(group.region, "RunInstances", params)
        wrong = accounts.find_profile_fault(request, self.capacity.faults)
        wrong = wrong if "ImageId" in params else "The request must contain the parameter ImageId"
        pool = Pool(group.region, kind, "", spot=False)
        # EC2 does not know a new security group everywhere yet, as in a fleet.
        _, unsettled = self.capacity.find_bar(found.template_id, group.id, pool) or ("", "")
        wrong = wrong or unsettled
        if wrong:
            raise RefusedError(INVALID, f"{UNFORMED} {wrong}")
        denied = allow(request)
        if (
            denied
        ):  # https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
            raise RefusedError(
                "AccessDenied", f"You are not authorized to use launch template: {found.template_id}. {denied}"
            )


def answer(request: Request, launcher: Launcher, allow: Allow) -> Answer:
    """Answer one of Auto Scaling's calls."""
    check = partial(launcher.check, allow=allow)
    faults = launcher.capacity.faults
    calls: Mapping[str, Callable[[], dict[str, Tree]]] = {
        "CreateAutoScalingGroup": lambda: actions.create(request, check),
        "UpdateAutoScalingGroup": lambda: actions.update(request, check),
        "SetDesiredCapacity": lambda: actions.set_desired_capacity(request),
        "DeleteAutoScalingGroup": lambda: actions.delete(request),
        "DescribeAutoScalingGroups": lambda: actions.describe(request),
        "DescribeAutoScalingInstances": lambda: actions.describe_instances(request),
        "DescribeScalingActivities": lambda: actions.describe_activities(request),
        "TerminateInstanceInAutoScalingGroup": lambda: actions.terminate(request),
        "SetInstanceHealth": lambda: actions.set_health(request),
        "SetInstanceProtection": lambda: actions.protect(request),
        "SuspendProcesses": lambda: actions.suspend(request),
        "ResumeProcesses": lambda: actions.resume(request),
        "PutScheduledUpdateGroupAction": lambda: schedule.put(request, faults),
        "BatchPutScheduledUpdateGroupAction": lambda: schedule.put_all(request, faults),
        "DescribeScheduledActions": lambda: schedule.describe(request),
        "DeleteScheduledAction": lambda: schedule.delete(request),
        "BatchDeleteScheduledAction": lambda: schedule.delete_all(request),
        "CreateOrUpdateTags": lambda: tags.put(request),
        "DeleteTags": lambda: tags.delete(request),
    }
    try:
        if request.action not in calls:
            raise RefusedError("InvalidAction", f"The local cloud has no {request.action}.")
        with moto_state.LOCK:
            return scaling_answer(request.action, calls[request.action]())
    except RefusedError as refusal:
        return refusal.answer()


def make_fleet(group: Group, subnet: str, spot: bool) -> Request:
    """Return the request for an instant fleet of one machine."""
    config = "LaunchTemplateConfigs.1"
    params = {"Action": "CreateFleet", "Version": VERSION, "Type": "instant"}
    params |= {f"{config}.LaunchTemplateSpecification.{name}": value for name, value in group.launch.template.items()}
    most = group.launch.distribution.get("SpotMaxPrice")
    for number, override in enumerate(group.launch.overrides or [{}], 1):
        at = f"{config}.Overrides.{number}"
        params |= {f"{at}.SubnetId": subnet, f"{at}.Priority": str(number)}
        params |= {f"{at}.InstanceType": override["InstanceType"]} if "InstanceType" in override else {}
        params |= {f"{at}.MaxPrice": most} if spot and most else {}
    strategy = group.launch.distribution.get("SpotAllocationStrategy" if spot else "OnDemandAllocationStrategy", "")
    params |= {f"{'Spot' if spot else 'OnDemand'}Options.AllocationStrategy": strategy}
    target = "TargetCapacitySpecification"
    params |= {f"{target}.TotalTargetCapacity": "1"}
    params |= {f"{target}.DefaultTargetCapacityType": "spot" if spot else "on-demand"}
    return make_request(group.region, "CreateFleet", params)


def make_request(region: str, action: str, params: dict[str, str]) -> Request:
    """Return a request that Auto Scaling makes by its own role."""
    return Request("", region, "ec2", action, params=params)


def read_outcome(answer: Answer, mixed: bool, spot: bool) -> Outcome:
    """Return the machine of a fleet's answer, or its main refusal in Auto Scaling's words.

    https://repost.aws/knowledge-center/eks-spot-managed-node-group
    """
    tree = ElementTree.fromstring(answer.body)  # noqa: S314 - made here
    ids = [one.text for one in tree.iter() if one.text and one.text.startswith("i-")]
    if ids:
        return Outcome(ids[0], "")
    texts = {name: [one.text or "" for one in tree.iter() if one.tag.rpartition("}")[2] == name] for name in CODES}
    codes = texts["errorCode"] or texts["Code"]
    messages = texts["errorMessage"] or texts["Message"]
    told = list(zip(codes, messages, strict=True)) or [fleet.UNFULFILLABLE]
    code, message = next((one for one in told if one[0] != fleet.UNFULFILLABLE[0]), told[0])
    market = "Spot" if spot else "On-Demand"
    start = f"Could not launch {market} Instances. {code} - " if mixed else ""
    return Outcome("", f"{start}{message} Launching EC2 instance failed.")


def terminate(moto: Moto, group: Group, instance_id: str) -> None:
    """Terminate a machine of a group."""
    params = {"Action": "TerminateInstances", "Version": VERSION, "InstanceId.1": instance_id}
    moto(make_request(group.region, "TerminateInstances", params))
