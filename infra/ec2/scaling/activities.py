"""What a group did and tried, in AWS's own words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of

LAUNCH = "Launch"
"""A process, which AWS may suspend."""
FAILED, LAUNCHING = ("Failed", "Cancelled"), "Launching"
MOST, MOST_PAGES = 100, 200  # a month in which a group tries twice in five minutes
UNSUPPORTED = "is not supported in your requested Availability Zone"
MACHINE = re.compile(r"^(Launching|Terminating) .*?\b(i-[0-9a-f]{8,17})\b")


@dataclass(frozen=True)
class Activity:
    """A launch or an end of a machine by a group."""

    at: float
    ended_at: float | None
    """None while it is in progress."""
    status: str
    """As AWS names it: InProgress, Successful, Failed, Cancelled, and so on."""
    description: str
    cause: str
    message: str
    """Why it failed; "" if it did not."""


def read_activities(account: Account, name: str, pages: int = 1) -> list[Activity]:
    """Return a group's last activities, newest first; none if it was just deleted.

    AWS keeps those of six weeks.
    """
    limit = {"PageSize": MOST, "MaxItems": MOST * pages}
    with aws_errors():
        asked = account.scaling.get_paginator("describe_scaling_activities")
        try:
            answers = [*asked.paginate(AutoScalingGroupName=name, PaginationConfig=limit)]
        except ClientError as error:
            if code_of(error) != "ValidationError":
                raise
            return []
    return [make_activity(one) for answer in answers for one in answer["Activities"]]


def make_activity(item: Mapping[str, Any]) -> Activity:
    """Return an activity from AWS's description of it."""
    return Activity(
        at=item["StartTime"].timestamp(),
        ended_at=item["EndTime"].timestamp() if "EndTime" in item else None,
        status=item["StatusCode"],
        description=item.get("Description", ""),
        cause=item.get("Cause", ""),
        message=item.get("StatusMessage", ""),
    )


def find_lives(account: Account, name: str) -> dict[str, tuple[float, float | None]]:
    """Return when each machine that a group has ended was launched and ended, by its id.

    The end is None while it is being ended, and else when the group had done with it; AWS may bill less.
    """
    begun: dict[str, float] = {}
    ended: dict[str, float | None] = {}
    for one in read_activities(account, name, MOST_PAGES):
        found = MACHINE.match(one.description)
        if found and found[1] == LAUNCHING:
            begun[found[2]] = one.at
        elif found:
            ended[found[2]] = one.ended_at
    return {machine: (at, ended[machine]) for machine, at in begun.items() if machine in ended}


def find_obstacles(activities: Sequence[Activity]) -> list[str]:
    """Return why a group could not launch since a machine was last in service, newest first.

    In AWS's words, each once. A machine that ended before it was in service, as without a grant for the key of its disk, is a
    launch that was cancelled. That a zone never has a type, which a group tries too, comes last.
    """
    launches = (one for one in activities if one.description.startswith(LAUNCHING))
    failed = takewhile(lambda one: one.status in FAILED and one.message, launches)
    messages = dict.fromkeys(one.message for one in failed)
    return sorted(messages, key=lambda message: UNSUPPORTED in message)


def resume_launches(account: Account, name: str) -> None:
    """Let a group try again to launch machines, which AWS may have suspended after a day without success.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
    """
    with aws_errors():
        account.scaling.resume_processes(AutoScalingGroupName=name, ScalingProcesses=[LAUNCH])
