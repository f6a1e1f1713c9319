"""Check the caller's permissions by EC2's dry-run calls."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from botocore.exceptions import ClientError

from infra.base.parallel import map_parallel
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.machines.images import find_image
from infra.ec2.network.subnets import find_subnets
from infra.ec2.tags import CLUSTER_TAG, read_owner, read_tags, tag_specification
from infra.errors import GpujobError
from infra.model import LaunchRequest
from infra.ssh.keys import make_key

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html (DryRun)
ALLOWED = "DryRunOperation"
DENIED = re.compile("UnauthorizedOperation|AccessDenied")
# A policy may allow a launch only with the group and the key that `up` creates and tags: without them, a refusal says nothing.
CREATED = re.compile(r"on resource:? arn:aws[\w-]*:ec2:[^ ]*:(security-group|key-pair|launch-template)/")
NAME = "gpujob-check"
ON_MACHINES = ("ec2:GetConsoleOutput", "ec2:TerminateInstances")
Call = Callable[[], object]


@dataclass(frozen=True)
class Permissions:
    """Actions of `up` and `down` that the caller may not perform, and those that could not be tested."""

    denied: tuple[str, ...]
    untested: tuple[str, ...]


def find_permissions(account: Account, request: LaunchRequest) -> Permissions:
    """Try every action without effect; actions on machines are tried on one of the caller's, if any."""
    calls = {**make_calls(account), **make_launch(account, request), **make_machine_calls(account)}
    found = dict(zip(calls, map_parallel(is_allowed, calls.values()), strict=True))
    untested = [action for action, allowed in found.items() if allowed is None]
    untested += [action for action in ON_MACHINES if action not in calls]
    return Permissions(tuple(action for action, allowed in found.items() if allowed is False), tuple(untested))


def is_allowed(call: Call) -> bool | None:
    """Return whether the caller may do this; None if AWS refuses it for another reason."""
    with aws_errors():
        try:
            call()
        except ClientError as error:
            if DENIED.search(code_of(error)):
                return None if CREATED.search(str(error)) else False
            return True if code_of(error) == ALLOWED else None
    return True


def make_launch(account: Account, request: LaunchRequest) -> Mapping[str, Call]:
    """Return a launch with the real image, subnet and tags; nothing if those cannot be found."""
    tags = {CLUSTER_TAG: NAME, **account.identity.tags}
    try:
        image = find_image(account, request.image)
        subnets = find_subnets(account, request.network.subnets, private=request.network.private)
    except GpujobError:  # a check of its own says why
        return {}
    return {
        "ec2:RunInstances": lambda: account.ec2.run_instances(
            ImageId=image.image_id,
            InstanceType="g4dn.xlarge",
            MinCount=1,
            MaxCount=1,
            SubnetId=subnets[0].subnet_id,
            TagSpecifications=[tag_specification(kind, tags) for kind in ("instance", "volume", "network-interface")],
            DryRun=True,
        )
    }


def make_machine_calls(account: Account) -> Mapping[str, Call]:
    """Return what `up` and `down` do to a machine, for one of the caller's own; nothing without one."""
    with aws_errors():
        pages = account.ec2.describe_instances(Filters=[{"Name": "tag-key", "Values": [CLUSTER_TAG]}])
    machines = [machine for each in pages["Reservations"] for machine in each["Instances"]]
    own = [one["InstanceId"] for one in machines if account.identity.is_owner(read_owner(read_tags(one)))]
    if not own:
        return {}
    return {
        "ec2:GetConsoleOutput": lambda: account.ec2.get_console_output(InstanceId=own[0], DryRun=True),
        "ec2:TerminateInstances": lambda: account.ec2.terminate_instances(InstanceIds=own[:1], DryRun=True),
    }


def make_calls(account: Account) -> Mapping[str, Call]:
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
        "ec2:DescribeSpotPriceHistory": lambda: ec2.describe_spot_price_history(DryRun=True),
        "pricing:GetProducts": lambda: account.pricing.get_products(ServiceCode="AmazonEC2", MaxResults=1),
        "autoscaling:DescribeAutoScalingGroups": lambda: account.scaling.describe_auto_scaling_groups(MaxRecords=1),
        "ec2:DescribeInstances": lambda: ec2.describe_instances(DryRun=True),
        "ec2:DescribeVolumes": lambda: ec2.describe_volumes(DryRun=True),
        "ec2:DescribeNetworkInterfaces": lambda: ec2.describe_network_interfaces(DryRun=True),
    }
