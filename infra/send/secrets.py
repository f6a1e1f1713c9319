"""The secrets of a sent job: stored before its machines, and named by its key pair, which is last."""

from collections.abc import Mapping

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.parameters import delete_values, put_values
from infra.ec2.tags import SECRETS_TAG, join_secrets, read_secrets, read_tags, resource_name
from infra.node.agent.aws.parameters import name_parameter


def make_tag(values: Mapping[str, str]) -> dict[str, str]:
    """Return the tag with the names of secrets; none without any."""
    return {SECRETS_TAG: join_secrets(values)} if values else {}


def store_secrets(account: Account, prefix: str, values: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Store the values of a job's secrets; `prefix` is that of its objects. Raises GpujobError.

    A key pair of an interrupted `send` may name others: they are deleted, as nothing would know of them afterwards.
    """
    name = resource_name(prefix.partition("/")[0])
    with aws_errors():
        [pair] = account.ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"]
    before = read_secrets(read_tags(pair))
    if {*before} != {*values}:
        delete_values(account, [name_parameter(prefix, each) for each in before if each not in values])
        with aws_errors():
            account.ec2.create_tags(
                Resources=[pair["KeyPairId"]], Tags=[{"Key": SECRETS_TAG, "Value": join_secrets(values)}]
            )
    put_values(account, prefix, values, tags)
