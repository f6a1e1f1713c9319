"""The IAM policy for `send`, which users need together with that of `infra.ec2.policy`.

One managed policy has room for 6,144 letters only.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
"""

from typing import Any

from infra.ec2.policy import CALLER, allow, tagged
from infra.ec2.tags import CLUSTER_TAG, OWNER_ID_TAG

LOOK = ("autoscaling:DescribeScalingActivities", "autoscaling:DescribeScheduledActions")
"""None of these can be limited to specific groups."""
CHANGE = (
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DeleteAutoScalingGroup",
    "autoscaling:PutScheduledUpdateGroupAction",
    "autoscaling:ResumeProcesses",
    "autoscaling:SuspendProcesses",
    "autoscaling:UpdateAutoScalingGroup",
)
LEAVE, EMPTY = ("autoscaling:TerminateInstanceInAutoScalingGroup",), ("autoscaling:UpdateAutoScalingGroup",)
"""What a machine does to its group: leave it, and set it to 0 when all is done."""
MAX_SIZE = "autoscaling:MaxSize"
AT_ZERO = {"NumericEquals": {MAX_SIZE: "0"}}
"""No job can use its machine's role to launch more machines."""
GROUPS = "arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/gpujob-*"
TEMPLATES = "arn:aws:ec2:*:*:launch-template/*"
"""`extend` makes a new version, so that the next machines of a group know its new end."""
PARAMETERS = "arn:aws:ssm:*:*:parameter/gpujob/*"
"""The secrets of sent jobs. Users store and delete them, and cannot read them."""
READ = ("ssm:GetParameters",)
"""What a machine does to them."""
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/autoscaling-service-linked-role.html
ROLE = "arn:aws:iam::*:role/aws-service-role/autoscaling.amazonaws.com/*"
BY_SERVICE = {"StringEquals": {"iam:AWSServiceName": "autoscaling.amazonaws.com"}}


def make_statements(*, owner_only: bool = False) -> list[dict[str, Any]]:
    """Return what `send` needs in addition to `up`; with `owner_only`, for the caller's own groups only."""
    request, resource = (tagged(where, CLUSTER_TAG, owner_only) for where in ("Request", "Resource"))
    mine = {"StringEqualsIfExists": {f"aws:ResourceTag/{OWNER_ID_TAG}": CALLER}} if owner_only else {}
    return [
        allow("DescribeGroups", LOOK, "*"),
        allow("CreateTaggedGroups", ("autoscaling:CreateAutoScalingGroup",), GROUPS, request),
        allow("ChangeTaggedGroups", CHANGE, GROUPS, resource),
        allow("ReadTemplates", ("ec2:DescribeLaunchTemplateVersions",), "*"),
        allow("RenewTaggedTemplates", ("ec2:CreateLaunchTemplateVersion",), TEMPLATES, resource),
        # With `mine`, no user can make another's secret their own by its tags. Deleting one that is not there is allowed.
        allow("StoreTaggedSecrets", ("ssm:AddTagsToResource", "ssm:PutParameter"), PARAMETERS, request | mine),
        allow("ReplaceTaggedSecrets", ("ssm:PutParameter",), PARAMETERS, resource),
        allow("DeleteSecrets", ("ssm:DeleteParameters",), PARAMETERS, mine),
        allow("CreateServiceLinkedRoleOfGroups", ("iam:CreateServiceLinkedRole",), ROLE, BY_SERVICE),
    ]


def make_machine_statements() -> list[dict[str, Any]]:
    """Return what the machines of a group may do: leave it, set it to 0, read their job's secrets."""
    ours = tagged("Resource", CLUSTER_TAG, owner_only=False)
    return [
        allow("LeaveTaggedGroups", LEAVE, GROUPS, ours),
        allow("EmptyTaggedGroups", EMPTY, GROUPS, {**ours, **AT_ZERO}),
        allow("ReadSecrets", READ, PARAMETERS),
    ]
