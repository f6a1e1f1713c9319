"""The permissions of machines, which upload to buckets, and of users, who read them."""

from dataclasses import dataclass
from typing import Any

from infra.ec2.policy import allow, make_document
from infra.ec2.scaling.policy import make_machine_statements, make_statements
from infra.node.agent.bucket.layout import OUT, RECORD, SENT, attempt_prefix

MINE = "gpujob-*"
"""The names of the buckets that `auto` makes."""
USER_ON_BUCKET = (
    "s3:CreateBucket",
    "s3:GetBucketTagging",
    "s3:ListBucket",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
)
USER_ON_OBJECTS = ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")
ATTEMPT = attempt_prefix("/cluster/token/")


@dataclass(frozen=True)
class Grant:
    """What a machine may do to a part of a bucket: for its policy, and for the check of its role."""

    sid: str
    actions: tuple[str, ...]
    part: str
    """A pattern, below the bucket."""
    example: str
    """A resource that matches it."""
    sent: bool = False
    """Whether only the machines of a sent job need it."""


MACHINE_GRANTS = (
    Grant("ListBucket", ("s3:ListBucket",), "", ""),
    Grant(
        "UploadJobs",
        ("s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
        "/*/tasks/*",
        f"{ATTEMPT}{RECORD}",
    ),
    Grant("DeleteReplaced", ("s3:DeleteObject",), f"/*/tasks/*/{OUT}*", f"{ATTEMPT}{OUT}{'0' * 64}"),
    Grant("ReadSentJobs", ("s3:GetObject",), "/*", f"/cluster/token/{SENT}", sent=True),
    Grant("SayThatItIsThere", ("s3:PutObject",), "/*/boots/*", "/cluster/token/boots/machine.json", sent=True),
)


def make_machine_policy(bucket: str = MINE) -> dict[str, Any]:
    """Return what a machine may do: upload to the bucket, delete what it replaced, leave its group."""
    own = (allow(each.sid, each.actions, f"arn:aws:s3:::{bucket}{each.part}") for each in MACHINE_GRANTS)
    return make_document(*own, *make_machine_statements())


def make_trust() -> dict[str, Any]:
    """Return who may have the role of machines: EC2's machines."""
    service = {"Service": "ec2.amazonaws.com"}
    return make_document({"Effect": "Allow", "Principal": service, "Action": "sts:AssumeRole"})


def make_user_policy(bucket: str = MINE) -> dict[str, Any]:
    """Return what a user of buckets needs besides: to make them, read them, remove jobs."""
    return make_document(*make_user_statements(bucket))


def make_send_policy(*, owner_only: bool = False) -> dict[str, Any]:
    """Return what a user of `send` needs besides; with `owner_only`, for their own groups only."""
    return make_document(*make_statements(owner_only=owner_only), *make_user_statements(MINE))


def make_user_statements(bucket: str) -> list[dict[str, Any]]:
    """Return what a user does to a bucket and its objects."""
    return [
        allow("MakeBuckets", USER_ON_BUCKET, f"arn:aws:s3:::{bucket}"),
        allow("ReadJobs", USER_ON_OBJECTS, f"arn:aws:s3:::{bucket}/*"),
        allow("FindRoleOfMachines", ("iam:GetInstanceProfile",), "arn:aws:iam::*:instance-profile/gpujob-*"),
        allow("AskWhatMachinesMayDo", ("iam:SimulatePrincipalPolicy",), "arn:aws:iam::*:role/gpujob-*"),
    ]
