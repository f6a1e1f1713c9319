"""The end of a group in AWS: a scheduled action that sets it to 0, without any machine's help.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-scheduled-scaling.html
"""

from datetime import UTC, datetime

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors

END = "gpujob-end"


def arm_end(account: Account, name: str, at: float) -> None:
    """Let AWS set a group to 0 at a time, or another time; raises GpujobError for a past one.

    One name for all: the call replaces the previous end, so that there is always exactly one.
    """
    with aws_errors():
        account.scaling.put_scheduled_update_group_action(
            AutoScalingGroupName=name,
            ScheduledActionName=END,
            StartTime=datetime.fromtimestamp(at, UTC),
            MinSize=0,
            MaxSize=0,
            DesiredCapacity=0,
        )


def find_end(account: Account, name: str) -> float | None:
    """Return when AWS sets a group to 0; None if it does not, or has done so."""
    with aws_errors():
        answer = account.scaling.describe_scheduled_actions(AutoScalingGroupName=name, ScheduledActionNames=[END])
    for action in answer["ScheduledUpdateGroupActions"]:
        if action.get("MaxSize") == 0 and "StartTime" in action:
            return float(action["StartTime"].timestamp())
    return None
