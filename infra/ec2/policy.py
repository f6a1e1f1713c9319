"""The minimal IAM policy: describe everything, create tagged resources, change and delete only those.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
"""

from typing import Any

from infra.ec2.tags import CLUSTER_TAG, IMAGE_TAG, OWNER_ID_TAG

Statement = dict[str, Any]

# None of these can be limited to specific resources.
LOOK = (
    "autoscaling:DescribeAutoScalingGroups",
    "ec2:DescribeCapacityReservations",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRegions",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSnapshots",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "ec2:DescribeVpcs",
    "ec2:GetSpotPlacementScores",
    "pricing:GetProducts",
    "servicequotas:GetServiceQuota",
    "sts:DecodeAuthorizationMessage",
    "sts:GetCallerIdentity",
)
LAUNCH = ("ec2:CreateFleet", "ec2:RunInstances")
CREATE = ("ec2:CreateLaunchTemplate", "ec2:CreateSecurityGroup", "ec2:ImportKeyPair")
IMAGE = ("ec2:CreateImage",)
CHANGE = (
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateTags",
    "ec2:DeleteKeyPair",
    "ec2:DeleteLaunchTemplate",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteVolume",
    "ec2:GetConsoleOutput",
    "ec2:ModifyInstanceAttribute",
    "ec2:RevokeSecurityGroupIngress",
    "ec2:StartInstances",
    "ec2:StopInstances",
    "ec2:TerminateInstances",
)
UNBAKE = ("ec2:DeleteSnapshot", "ec2:DeregisterImage")
# The roles that EC2 creates once per account: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
SERVICE_ROLES = ("ec2fleet.amazonaws.com", "spot.amazonaws.com")

# For disks with a key of one's own: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
KEYS = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo")
BY_EC2 = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}}
GRANTED_BY_EC2 = BY_EC2 | {"Bool": {"kms:GrantIsForAWSResource": "true"}}
PASSED_TO_EC2 = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}

# The ARNs of these have no account number.
IMAGES = ["arn:aws:ec2:*::image/*", "arn:aws:ec2:*::snapshot/*"]
# Amazon's Deep Learning images, Canonical's Ubuntu (https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/),
# and the account's own images.
KNOWN_OWNERS = ["amazon", "099720109477", "${aws:PrincipalAccount}"]
# UserId in GetCallerIdentity: it survives renaming, and is never reused for another user or role.
CALLER = "${aws:userid}"


def make_policy(*, owner_only: bool = False) -> dict[str, Any]:
    """Return the policy in IAM's format.

    With `owner_only`, a user can change only what they launched, and boot only images of known owners.
    """
    created = ("instance", "network-interface", "spot-instances-request", "volume")
    ours = ("key-pair", "launch-template", "security-group")
    creating = [action.partition(":")[2] for action in (*LAUNCH, *CREATE, *IMAGE)]
    request, resource = (tagged(where, CLUSTER_TAG, owner_only) for where in ("Request", "Resource"))
    image_request, image_resource = (tagged(where, IMAGE_TAG, owner_only) for where in ("Request", "Resource"))
    known = {"StringEquals": {"ec2:Owner": KNOWN_OWNERS}} if owner_only else None
    creation: dict[str, Any] = {"ec2:CreateAction": sorted(creating)}
    creation |= {f"aws:RequestTag/{OWNER_ID_TAG}": CALLER} if owner_only else {}
    return {
        "Version": "2012-10-17",
        "Statement": [
            allow("Describe", LOOK, "*"),
            allow("FindImages", ("ssm:GetParameters",), "arn:aws:ssm:*::parameter/aws/service/*"),
            allow("LaunchImages", LAUNCH, "arn:aws:ec2:*::image/*", known),
            allow("LaunchInAnySubnet", LAUNCH, arns("capacity-reservation", "subnet")),
            allow("LaunchWithTagged", LAUNCH, arns(*ours), resource),
            allow("LaunchTagged", LAUNCH, arns("fleet", *created), request),
            allow("CreateTagged", CREATE, arns(*ours), request),
            allow("CreateGroupsInAnyNetwork", ("ec2:CreateSecurityGroup",), arns("vpc")),
            allow(
                "TagOnCreation",
                ("ec2:CreateTags",),
                [*arns("fleet", *created, *ours), *IMAGES],
                {"StringEquals": creation},
            ),
            # Only roles that are meant for it: passing a role to a machine gives its permissions to the caller.
            allow("PassRolesOfMachines", ("iam:PassRole",), "arn:aws:iam::*:role/gpujob-*", PASSED_TO_EC2),
            allow("UseKeysOfDisks", KEYS, "arn:aws:kms:*:*:key/*", BY_EC2),
            allow("GrantKeysOfDisks", ("kms:CreateGrant",), "arn:aws:kms:*:*:key/*", GRANTED_BY_EC2),
            allow("ImageTaggedMachines", IMAGE, arns("instance"), resource),
            allow("CreateTaggedImages", IMAGE, IMAGES, image_request),
            allow("DeleteTaggedImages", UNBAKE, IMAGES, image_resource),
            allow("ChangeTagged", CHANGE, arns("instance", "network-interface", "volume", *ours), resource),
            allow(
                "CreateServiceLinkedRoles",
                ("iam:CreateServiceLinkedRole",),
                "arn:aws:iam::*:role/aws-service-role/*",
                {"StringEquals": {"iam:AWSServiceName": list(SERVICE_ROLES)}},
            ),
        ],
    }


def tagged(where: str, tag: str, owner_only: bool) -> dict[str, Any]:
    """Return the condition that a resource has or gets gpujob's tag and, with `owner_only`, the caller's."""
    owned = {"StringEquals": {f"aws:{where}Tag/{OWNER_ID_TAG}": CALLER}} if owner_only else {}
    return {"StringLike": {f"aws:{where}Tag/{tag}": "?*"}, **owned}


def allow(
    sid: str, actions: tuple[str, ...], resource: str | list[str], condition: dict[str, Any] | None = None
) -> Statement:
    """Return a policy statement."""
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def arns(*kinds: str) -> list[str]:
    """Return the ARNs of all resources of these kinds, in any region of the policy's account."""
    return [f"arn:aws:ec2:*:*:{kind}/*" for kind in kinds]
