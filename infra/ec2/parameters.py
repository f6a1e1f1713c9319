"""The values of a sent job's secrets, in AWS's Parameter Store, where its machines read them.

They are encrypted with the account's key aws/ssm. The job's key pair, which is deleted last, has their names in a tag.
https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-restrict-decryption.html
"""

from collections.abc import Mapping, Sequence

from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.tags import VALUE_LETTERS, join_secrets
from infra.errors import UsageError
from infra.names import SECRET
from infra.node.agent.aws.parameters import AT_ONCE, name_parameter

# https://docs.aws.amazon.com/general/latest/gr/ssm.html#limits_ssm
MOST_BYTES = 4096
"""Of a standard parameter, which costs nothing."""


def check_values(values: Mapping[str, str]) -> None:
    """Raise UsageError for secrets that cannot be stored."""
    for name, value in values.items():
        if not SECRET.fullmatch(name):
            raise UsageError(f"the secret {name} needs a name of letters from A to Z, digits and _", "rename it")
        if len(value.encode()) > MOST_BYTES:
            raise UsageError(
                f"the secret {name} has more than {MOST_BYTES} bytes, the most that AWS's Parameter Store takes",
                "keep it in AWS Secrets Manager, and let the script read it there with the machines' role",
            )
    if len(join_secrets(values)) > VALUE_LETTERS:
        raise UsageError(f"the names of {len(values)} secrets are too long for a tag", "use fewer secrets")


def put_values(account: Account, prefix: str, values: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Store the values of a job's secrets; `prefix` is that of its objects. Raises GpujobError."""
    own = [{"Key": key, "Value": value} for key, value in tags.items()]
    for name, value in values.items():
        path = name_parameter(prefix, name)
        with aws_errors():
            try:
                account.ssm.put_parameter(Name=path, Value=value, Type="SecureString", Tier="Standard", Tags=own)  # type: ignore[arg-type]
            except ClientError as error:
                if code_of(error) != "ParameterAlreadyExists":  # an interrupted `send` stored it
                    raise
                account.ssm.put_parameter(Name=path, Value=value, Type="SecureString", Tier="Standard", Overwrite=True)


def delete_values(account: Account, paths: Sequence[str]) -> None:
    """Delete stored values, of which some may be missing; raises GpujobError."""
    for start in range(0, len(paths), AT_ONCE):
        with aws_errors():
            account.ssm.delete_parameters(Names=[*paths[start : start + AT_ONCE]])
