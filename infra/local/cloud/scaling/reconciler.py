"""Keep the size of groups: launch what is missing, replace what ended, end what is too much.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.local.cloud import moto_state
from infra.local.cloud.faults import Faults
from infra.local.cloud.scaling import schedule
from infra.local.cloud.scaling.groups import DELETED, GROUPS, Group, Member

RETRY_S = 1.0
"""Between two attempts to launch; AWS waits longer, and longer each time."""
ENDED = "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped."
IMPAIRED = "an instance was taken out of service in response to an EC2 instance status checks failure."
REPORTED = "an instance was taken out of service in response to a user health-check."
SHRINKING = (
    "an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the"
    " capacity from {} to {}."
)
GROWING = (
    "an instance was started in response to a difference between desired and actual capacity, increasing the capacity"
    " from {} to {}."
)
BALANCING = (
    "instances were launched to balance instances in zones with other zones resulting in more than desired number of"
    " instances in the group."
)
UNEVEN = 2
"""The difference between two zones from which on machines are moved."""
PERCENT = 100
STILLBORN = "Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: {}"


@dataclass(frozen=True)
class Outcome:
    """What one attempt to launch gave: an instance, or why not."""

    instance_id: str
    refusal: str


@dataclass(frozen=True)
class Reconciler:
    """Compare every group with its machines and act."""

    faults: Faults
    launch: Callable[[Group, str, bool], Outcome]
    """Launches one machine of a group in a subnet, on the spot market or not."""
    terminate: Callable[[Group, str], None]
    is_impaired: Callable[[str], bool]
    """Returns whether the system of an instance does not respond, which EC2's status checks find."""

    def reconcile(self) -> None:
        """Take one step for every group."""
        for key, group in list(GROUPS.items()):
            with moto_state.LOCK:
                cause = schedule.run_due(group, schedule.now(self.faults))
                self._check_health(group)
                self._finish(group)
                self._shrink(group, cause)
                self._grow(group, cause)
                self._rebalance(group)
                if group.deleting and not group.members:
                    del GROUPS[key]
                    DELETED.append(group)

    def _check_health(self, group: Group) -> None:
        for member in group.staying:
            state = member.instance.state
            if state == "running" and member.state == "Pending":
                member.state = "InService"
                group.finish(member.id)
            ended = state not in ("pending", "running")
            impaired = state == "running" and self.is_impaired(member.id)
            if "HealthCheck" not in group.suspended and (ended or impaired):
                member.healthy = False
            if not member.healthy and "ReplaceUnhealthy" not in group.suspended:
                self._end(group, member, ENDED if ended else IMPAIRED if impaired else REPORTED)

    def _end(self, group: Group, member: Member, cause: str) -> None:
        if "Terminate" in group.suspended:
            return
        lost = cause == ENDED and member.state == "Pending"
        group.finish(member.id, "Cancelled", STILLBORN.format(member.instance.state_reason.message) if lost else "")
        group.retry_s = time.monotonic() + RETRY_S if lost else group.retry_s
        group.begin(f"Terminating EC2 instance: {member.id}", cause, member.id)
        member.state = "Terminating"

    def _finish(self, group: Group) -> None:
        """Terminate what is leaving; drop what has ended."""
        for member in [one for one in group.members if one.is_leaving]:
            if member.instance.state == "terminated":
                group.members.remove(member)
                group.finish(member.id)
            elif member.instance.state != "shutting-down":
                self.terminate(group, member.id)

    def _shrink(self, group: Group, cause: str) -> None:
        while len(group.staying) > group.desired and "Terminate" not in group.suspended:
            loose = [one for one in group.staying if not one.protected or group.deleting]
            if not loose:
                return
            before = len(group.staying)
            zones = [one.subnet for one in group.staying]
            chosen = max(loose, key=lambda one: zones.count(one.subnet))  # the oldest where most are
            self._end(group, chosen, cause + SHRINKING.format(before, before - 1))

    def _grow(self, group: Group, cause: str) -> None:
        if "Launch" in group.suspended or time.monotonic() < group.retry_s:
            return
        while len(group.staying) < group.desired:
            if not self._add(group, cause):
                group.retry_s = time.monotonic() + RETRY_S
                return

    def _add(self, group: Group, cause: str) -> bool:
        """Launch one machine where fewest are; if that fails, elsewhere."""
        zones = [one.subnet for one in group.staying]
        words = cause + GROWING.format(len(zones), group.desired)
        return any(self._launch(group, subnet, words) for subnet in sorted(group.subnets, key=zones.count))

    def _launch(self, group: Group, subnet: str, cause: str) -> bool:
        spot = is_spot_next(group)
        outcome = self.launch(group, subnet, spot)
        if not outcome.instance_id:
            group.begin("Launching a new EC2 instance", cause).finish("Failed", outcome.refusal)
            return False
        group.begin(f"Launching a new EC2 instance: {outcome.instance_id}", cause, outcome.instance_id)
        instance = moto_state.find_instance(group.region, outcome.instance_id)
        group.members.append(Member(instance, subnet, spot, group.protects))
        return True

    def _rebalance(self, group: Group) -> None:
        """Launch where too few are, whereupon a machine that runs elsewhere is ended.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/auto-scaling-benefits.html#AutoScalingBehavior.InstanceUsage
        """
        still = {"AZRebalance", "Launch", "Terminate"} & group.suspended or time.monotonic() < group.retry_s
        zones = [one.subnet for one in group.staying]
        fewest = min(group.subnets, key=zones.count)
        if still or len(zones) != group.desired or max(map(zones.count, group.subnets)) - zones.count(fewest) < UNEVEN:
            return
        if not self._launch(group, fewest, BALANCING):
            group.retry_s = time.monotonic() + RETRY_S


def is_spot_next(group: Group) -> bool:
    """Return whether the next machine is a spot machine, by the group's distribution."""
    if not group.launch.mixed:
        return False
    told = group.launch.distribution
    base, percent = int(told["OnDemandBaseCapacity"]), int(told["OnDemandPercentageAboveBaseCapacity"])
    above = max(group.desired - base, 0)
    on_demand = min(base, group.desired) + -(-above * percent // PERCENT)
    return sum(not one.spot for one in group.staying) >= on_demand
