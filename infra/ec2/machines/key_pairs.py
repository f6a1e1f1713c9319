"""The key pair of a cluster, which also reserves its name."""

from collections.abc import Mapping

from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.tags import LAUNCH_TAG, resource_name, tag_specification
from infra.errors import UsageError


def import_key(account: Account, cluster: str, public_key: str, tags: Mapping[str, str]) -> None:
    """Import the cluster's public key into EC2, which also reserves the name.

    Raises UsageError if the name is taken, unless by this `up` before it was interrupted.
    """
    name = resource_name(cluster)
    with aws_errors():
        try:
            account.ec2.import_key_pair(
                KeyName=name,
                PublicKeyMaterial=public_key.encode(),
                TagSpecifications=[tag_specification("key-pair", tags)],
            )
        except ClientError as error:
            if code_of(error) != "InvalidKeyPair.Duplicate":
                raise
            if find_key_token(account, cluster) == tags[LAUNCH_TAG]:
                return
            raise UsageError(
                f"key pair '{name}' already exists: another launch uses the name, or it is not gpujob's",
                f"choose another name; or, if it is orphaned: gpujob down {cluster}",
            ) from error


def find_key_token(account: Account, cluster: str) -> str | None:
    """Return the token of the launch that created the cluster's key pair; None if there is none."""
    with aws_errors():
        pairs = account.ec2.describe_key_pairs(
            Filters=[
                {"Name": "key-name", "Values": [resource_name(cluster)]},
                {"Name": "tag-key", "Values": [LAUNCH_TAG]},
            ]
        )["KeyPairs"]
    return next((tag["Value"] for pair in pairs for tag in pair["Tags"] if tag["Key"] == LAUNCH_TAG), None)
