"""Scheduled actions, on a clock that the fault `clock` moves.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutScheduledUpdateGroupAction.html
"""

import time
from typing import Any

from infra.local.cloud.answers import Tree
from infra.local.cloud.faults import Faults
from infra.local.cloud.request import Request, items
from infra.local.cloud.scaling import groups
from infra.local.cloud.scaling.answers import INVALID, RefusedError, parse_time
from infra.local.cloud.scaling.groups import Action, Group

SIZES = ("MinSize", "MaxSize", "DesiredCapacity")
MOST = 125
"""Actions of a group."""


def now(faults: Faults) -> float:
    """Return the time by Auto Scaling's clock."""
    return time.time() + (faults.number("clock") or 0.0)


def read_sizes(asked: dict[str, Any]) -> dict[str, int]:
    """Return the sizes in a part of a request."""
    return {name: int(asked[name]) for name in SIZES if name in asked}


def put(request: Request, faults: Faults) -> dict[str, Tree]:
    """Answer PutScheduledUpdateGroupAction."""
    group = groups.find(request.region, request.params.get("AutoScalingGroupName", ""))
    _put(group, request.tree(), faults)
    return {}


def put_all(request: Request, faults: Faults) -> dict[str, Tree]:
    """Answer BatchPutScheduledUpdateGroupAction, whose refusals are in its answer."""
    group = groups.find(request.region, request.params.get("AutoScalingGroupName", ""))
    failed: list[Tree] = []
    for asked in items(request.tree().get("ScheduledUpdateGroupActions", {}).get("member")):
        try:
            _put(group, asked, faults)
        except RefusedError as refusal:
            failed.append(_show_failed(asked["ScheduledActionName"], refusal))
    return {"FailedScheduledUpdateGroupActions": failed}


def _put(group: Group, asked: dict[str, Any], faults: Faults) -> None:
    name, sizes = asked["ScheduledActionName"], read_sizes(asked)
    if "Recurrence" in asked:
        raise RefusedError(INVALID, "The local cloud has no recurring actions.")
    if not sizes:
        raise RefusedError(INVALID, "At least one of desired capacity, min size or max size must be specified")
    if "StartTime" not in asked:
        raise RefusedError(INVALID, "Start time or recurrence must be specified")
    at = parse_time(asked["StartTime"])
    if at <= now(faults):
        raise RefusedError(INVALID, "Given start time is in the past")
    others = [one for one in group.actions.values() if one.name != name]
    if any(one.at == at for one in others):  # each action of a group has a time of its own
        raise RefusedError("AlreadyExists", "Another scheduled action has this start time")
    if len(others) >= MOST:
        raise RefusedError("LimitExceeded", f"You already have {MOST} scheduled actions")
    group.actions[name] = Action(name, at, sizes)


def describe(request: Request) -> dict[str, Tree]:
    """Answer DescribeScheduledActions."""
    wanted = request.params.get("AutoScalingGroupName")
    named = request.values("ScheduledActionNames.member")
    found: list[Tree] = [
        action.show(group.name)
        for group in groups.of_region(request.region)
        for action in sorted(group.actions.values(), key=lambda one: one.at)
        if wanted in (None, group.name) and (not named or action.name in named)
    ]
    return {"ScheduledUpdateGroupActions": found}


def delete(request: Request) -> dict[str, Tree]:
    """Answer DeleteScheduledAction."""
    group = groups.find(request.region, request.params.get("AutoScalingGroupName", ""))
    _delete(group, request.params.get("ScheduledActionName", ""))
    return {}


def delete_all(request: Request) -> dict[str, Tree]:
    """Answer BatchDeleteScheduledAction, whose refusals are in its answer."""
    group = groups.find(request.region, request.params.get("AutoScalingGroupName", ""))
    failed: list[Tree] = []
    for name in request.values("ScheduledActionNames.member"):
        try:
            _delete(group, name)
        except RefusedError as refusal:
            failed.append(_show_failed(name, refusal))
    return {"FailedScheduledActions": failed}


def _delete(group: Group, name: str) -> None:
    if group.actions.pop(name, None) is None:
        raise RefusedError(INVALID, f"Scheduled action name not found - Scheduled action '{name}' not found")


def _show_failed(name: str, refusal: RefusedError) -> Tree:
    return {"ScheduledActionName": name, "ErrorCode": refusal.code, "ErrorMessage": refusal.message}


def run_due(group: Group, at: float) -> str:
    """Run the actions whose time has come, in their order; return the cause of what follows, or "".

    While they are suspended, those whose time comes are lost.
    """
    cause = ""
    for action in sorted(group.actions.values(), key=lambda one: one.at):
        if action.at > at:
            break
        del group.actions[action.name]
        if "ScheduledActions" in group.suspended or group.deleting:
            continue
        before = group.desired
        try:
            group.resize(action.sizes)
        except RefusedError:  # sizes that contradict those of the group change nothing
            continue
        sizes = f"min: {group.minimum}, max: {group.maximum}, desired: {group.desired}"
        cause = f"a scheduled action update of AutoScalingGroup constraints to {sizes}"
        cause += (
            f" changing the desired capacity from {before} to {group.desired}. " if before != group.desired else ". "
        )
    return cause
