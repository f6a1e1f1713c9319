"""Who may reach a node: the default VPC, a security group open to one address, a key pair; each tagged as it is created."""

import ipaddress
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from infra.ec2.account import Account, aws_errors
from infra.ec2.instances import LAUNCH_TAG
from infra.errors import CloudError, NotFoundError, UsageError
from infra.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import IpPermissionTypeDef, TagSpecificationTypeDef

# How long AWS may deny, here and there, that something exists which it has just made.
SETTLING_S = 20


def tag_specification(kind: "ResourceTypeType", tags: Mapping[str, str]) -> "TagSpecificationTypeDef":
    """Return the tags in the shape that creating calls take."""
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def resource_name(cluster: str) -> str:
    """Return the name that a cluster's security group and key pair bear."""
    return f"gpujob-{cluster}"


def find_caller_address(account: Account) -> str:
    """Return the address that this laptop's calls come from, as a network of one: 203.0.113.7/32."""
    try:
        proxies = urllib.request.ProxyHandler({} if account.cloud == "local" else None)
        with urllib.request.build_opener(proxies).open(account.checkip_url, timeout=10) as answer:
            return str(ipaddress.ip_network(answer.read(100).decode().strip()))
    except (OSError, ValueError) as error:
        raise CloudError(
            f"this laptop's public address could not be found: {error}", "check the network, then type it again"
        ) from error


def find_subnets(account: Account) -> tuple[str, dict[str, str]]:
    """Return the default VPC's id and its default subnet by zone; raises NotFoundError where there is none."""
    fix = f"aws ec2 create-default-vpc --region {account.region}"
    with aws_errors():
        vpcs = account.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not vpcs:
            raise NotFoundError(f"{account.region} has no default VPC", fix)
        vpc = vpcs[0]["VpcId"]
        subnets = account.ec2.describe_subnets(
            Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "default-for-az", "Values": ["true"]}]
        )["Subnets"]
    if not subnets:
        raise NotFoundError(f"the default VPC of {account.region} has no default subnet", fix)
    return vpc, {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in subnets}


def open_to_caller(account: Account, cluster: str, vpc: str, tags: Mapping[str, str]) -> str:
    """Create the security group that lets this laptop's address reach port 22, and nobody else; return its id."""
    address = find_caller_address(account)
    with aws_errors():
        group = account.ec2.create_security_group(
            GroupName=resource_name(cluster),
            Description=f"gpujob cluster {cluster}: SSH from the laptop that rents it",
            VpcId=vpc,
            TagSpecifications=[tag_specification("security-group", tags)],
        )["GroupId"]
        rule: IpPermissionTypeDef = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp"}
        if ":" in address:
            rule["Ipv6Ranges"] = [{"CidrIpv6": address}]
        else:
            rule["IpRanges"] = [{"CidrIp": address}]
    # A group that was just made may not be known everywhere yet: https://github.com/boto/boto3/issues/620
    wait_until(lambda: allow(account, group, rule), SETTLING_S, retry_on=NotFoundError)
    return group


def allow(account: Account, group: str, rule: "IpPermissionTypeDef") -> bool:
    """Add one rule to a security group; return True."""
    with aws_errors():
        account.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return True


def import_key(account: Account, cluster: str, public_key: str, tags: Mapping[str, str]) -> None:
    """Give AWS the public half of the cluster's key pair, which also takes the name: of two callers one gets it.

    Raises UsageError if the name is taken.
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
            if error.response.get("Error", {}).get("Code") != "InvalidKeyPair.Duplicate":
                raise
            raise UsageError(
                f"there is a key pair '{name}' already: another gpujob up is at work, or one was broken off",
                f"wait, or: gpujob down {cluster}, or another name",
            ) from error


def find_key_token(account: Account, cluster: str) -> str | None:
    """Return the token of the call that made the cluster's key pair; None where there is no key pair of ours."""
    with aws_errors():
        pairs = account.ec2.describe_key_pairs(
            Filters=[
                {"Name": "key-name", "Values": [resource_name(cluster)]},
                {"Name": "tag-key", "Values": [LAUNCH_TAG]},
            ]
        )["KeyPairs"]
    return next((tag["Value"] for pair in pairs for tag in pair["Tags"] if tag["Key"] == LAUNCH_TAG), None)
