"""The permissions of machines, which upload to buckets, and of users, who read them."""

from typing import Any

from infra.ec2.policy import allow, make_document

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
USER_ON_OBJECTS = ("s3:DeleteObject", "s3:GetObject")
MACHINE_ON_BUCKET = ("s3:ListBucket",)
MACHINE_ON_OBJECTS = ("s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject")


def make_machine_policy(bucket: str = MINE) -> dict[str, Any]:
    """Return what a machine may do: upload to the bucket, and delete what it replaced."""
    return make_document(
        allow("ListBucket", MACHINE_ON_BUCKET, f"arn:aws:s3:::{bucket}"),
        allow("UploadJobs", MACHINE_ON_OBJECTS, f"arn:aws:s3:::{bucket}/*/tasks/*"),
        allow("DeleteReplaced", ("s3:DeleteObject",), f"arn:aws:s3:::{bucket}/*/tasks/*/out/*"),
    )


def make_trust() -> dict[str, Any]:
    """Return who may have the role of machines: EC2's machines."""
    service = {"Service": "ec2.amazonaws.com"}
    return make_document({"Effect": "Allow", "Principal": service, "Action": "sts:AssumeRole"})


def make_user_policy(bucket: str = MINE) -> dict[str, Any]:
    """Return what a user of buckets needs besides: to make them, read them, remove jobs."""
    return make_document(
        allow("MakeBuckets", USER_ON_BUCKET, f"arn:aws:s3:::{bucket}"),
        allow("ReadJobs", USER_ON_OBJECTS, f"arn:aws:s3:::{bucket}/*"),
        allow("AskWhatMachinesMayDo", ("iam:SimulatePrincipalPolicy",), "arn:aws:iam::*:role/gpujob-*"),
    )
