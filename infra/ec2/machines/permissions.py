"""Check the caller's permissions by EC2's dry-run calls."""

from collections.abc import Callable, Mapping

from botocore.exceptions import ClientError

from infra.base.parallel import map_parallel
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.machines.network import tag_specification
from infra.ec2.tags import CLUSTER_TAG
from infra.ssh.keys import make_key

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html (DryRun)
DENIED = "UnauthorizedOperation"
NAME = "gpujob-check"


def find_denied(account: Account) -> list[str]:
    """Return the actions that EC2 would deny; those it cannot check count as allowed."""
    calls = make_calls(account)
    return [action for action, denied in zip(calls, map_parallel(is_denied, calls.values()), strict=True) if denied]


def is_denied(call: Callable[[], object]) -> bool:
    """Return whether EC2 denies the caller this action."""
    with aws_errors():
        try:
            call()
        except ClientError as error:
            # Any other error, such as "no such group", means that the permission was already checked.
            return code_of(error) == DENIED
    return False


def make_calls(account: Account) -> Mapping[str, Callable[[], object]]:
    """Return the calls by action, tagged as `up` does: a policy may allow them only with our tag."""
    ec2 = account.ec2
    tags = {CLUSTER_TAG: NAME, **account.identity.tags}
    public_key = make_key()[1].encode()
    template = {"LaunchTemplateName": NAME, "Version": "$Latest"}
    return {
        "ec2:ImportKeyPair": lambda: ec2.import_key_pair(
            KeyName=NAME,
            PublicKeyMaterial=public_key,
            TagSpecifications=[tag_specification("key-pair", tags)],
            DryRun=True,
        ),
        "ec2:CreateSecurityGroup": lambda: ec2.create_security_group(
            GroupName=NAME, Description=NAME, TagSpecifications=[tag_specification("security-group", tags)], DryRun=True
        ),
        "ec2:CreateLaunchTemplate": lambda: ec2.create_launch_template(
            LaunchTemplateName=NAME,
            LaunchTemplateData={"InstanceInitiatedShutdownBehavior": "terminate"},
            TagSpecifications=[tag_specification("launch-template", tags)],
            DryRun=True,
        ),
        "ec2:CreateFleet": lambda: ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template}],  # type: ignore[typeddict-item]
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
            TagSpecifications=[tag_specification("fleet", tags)],
            DryRun=True,
        ),
        "ec2:DescribeInstances": lambda: ec2.describe_instances(DryRun=True),
        "ec2:DescribeVolumes": lambda: ec2.describe_volumes(DryRun=True),
        "ec2:DescribeNetworkInterfaces": lambda: ec2.describe_network_interfaces(DryRun=True),
    }
