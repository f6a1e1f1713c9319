"""What a group did and tried, in AWS's own words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors

FAILED = "Failed"
MOST = 100
UNSUPPORTED = "Unsupported - "


@dataclass(frozen=True)
class Activity:
    """A launch or an end of a machine by a group."""

    at: float
    status: str
    """As AWS names it: InProgress, Successful, Failed, Cancelled, and so on."""
    description: str
    cause: str
    message: str
    """Why it failed; "" if it did not."""


def read_activities(account: Account, name: str) -> list[Activity]:
    """Return a group's last activities, newest first."""
    with aws_errors():
        answer = account.scaling.describe_scaling_activities(AutoScalingGroupName=name, MaxRecords=MOST)
    return [
        Activity(
            one["StartTime"].timestamp(),
            one["StatusCode"],
            one.get("Description", ""),
            one.get("Cause", ""),
            one.get("StatusMessage", ""),
        )
        for one in answer["Activities"]
    ]


def find_obstacles(activities: Sequence[Activity]) -> list[str]:
    """Return why a group could not launch since it last did something, newest first.

    In AWS's words, each once. That a zone never has a type, which a group tries too, comes last.
    """
    failed = takewhile(lambda one: one.status == FAILED, activities)
    messages = dict.fromkeys(one.message for one in failed if one.message)
    return sorted(messages, key=lambda message: UNSUPPORTED in message)
