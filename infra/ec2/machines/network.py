"""Network access to nodes: the default VPC, a security group open to one address, a key pair."""

import http.client
import ipaddress
import urllib.request
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.tags import CLUSTER_TAG, LAUNCH_TAG, read_tags, resource_name
from infra.errors import CloudError, NotFoundError, UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import (
        FilterTypeDef,
        IpPermissionTypeDef,
        SecurityGroupTypeDef,
        TagSpecificationTypeDef,
    )

# How long a new resource may be invisible in parts of AWS.
SETTLING_S = 20
SSH = 22
LOOPBACK = "127.0.0.1"
MOST_BYTES = 64  # of a response that is an address
RULE = "gpujob: SSH from the owner"


def tag_specification(kind: "ResourceTypeType", tags: Mapping[str, str]) -> "TagSpecificationTypeDef":
    """Return the tags in the form that creating calls expect."""
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirects: a network's sign-in page could answer with any address."""

    def redirect_request(self, *_: object) -> None:
        """Refuse every redirect."""


def find_caller_address(account: Account) -> str:
    """Return this computer's public address as a network of one: 203.0.113.7/32.

    Port 22 is opened to it, so it must be one public IPv4 address; nodes have no IPv6. Raises CloudError.
    """
    url = urlsplit(account.checkip_url)
    if url.scheme != "https" and url.hostname != LOOPBACK:
        raise UsageError(
            f"{account.checkip_url} is not https, so the response could be forged", "unset GPUJOB_CHECKIP_URL"
        )
    proxies = urllib.request.ProxyHandler({} if account.is_local else None)
    try:
        with urllib.request.build_opener(proxies, NoRedirect).open(account.checkip_url, timeout=10) as answer:
            return read_address(answer.read(MOST_BYTES + 1), url.hostname or "")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CloudError(
            f"cannot find this computer's public address: {error}",
            f"check the network (curl {account.checkip_url}), then rerun",
        ) from error


def read_address(answer: bytes, host: str) -> str:
    """Return the address in a response as a network of one; raises ValueError unless it is public IPv4.

    The loopback address is accepted from the local cloud, whose `host` is this computer.
    """
    if len(answer) > MOST_BYTES:
        raise ValueError(f"{host} sent more than an address")
    text = answer.decode("ascii").strip()
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise ValueError(f"{host} sent {text[:45]!r}, which is not an IPv4 address") from error
    if not (address.is_global and not address.is_multicast) and not (address.is_loopback and host == LOOPBACK):
        raise ValueError(f"{host} sent {address}, which is not a public address")
    return f"{address}/32"


def find_subnets(account: Account) -> tuple[str, dict[str, str]]:
    """Return the default VPC's id and default subnets by zone; raises NotFoundError if there are none."""
    default: FilterTypeDef = {"Name": "default-for-az", "Values": ["true"]}
    with aws_errors():
        subnets = account.ec2.describe_subnets(Filters=[default])["Subnets"]
    if not subnets:
        raise NotFoundError(
            f"{account.region} has no default VPC, or that has no subnet",
            f"aws ec2 create-default-vpc --region {account.region}",
        )
    return subnets[0]["VpcId"], {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in subnets}


def create_group(account: Account, cluster: str, vpc: str, tags: Mapping[str, str]) -> str:
    """Create the cluster's closed security group, or find that of the interrupted `up`; return its id."""
    name = resource_name(cluster)
    with aws_errors():
        try:
            return account.ec2.create_security_group(
                GroupName=name,
                Description=f"cluster {cluster}: SSH from the owner",
                VpcId=vpc,
                TagSpecifications=[tag_specification("security-group", tags)],
            )["GroupId"]
        except ClientError as error:
            if code_of(error) != "InvalidGroup.Duplicate":
                raise
        filters: list[FilterTypeDef] = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        found = account.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    if not found or read_tags(found[0]).get(LAUNCH_TAG) != tags[LAUNCH_TAG]:
        raise UsageError(
            f"security group '{name}' already exists, created by another launch",
            f"choose another name; or, if it is orphaned: gpujob down {cluster}",
        )
    return found[0]["GroupId"]


def open_group(account: Account, group: str, address: str, nodes: int) -> None:
    """Open port 22 to the caller's address only, and all ports between several nodes."""
    rules = [make_rule(address)]
    if nodes > 1:
        rules.append({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group, "Description": "between nodes"}]})
    for rule in rules:
        # A new group may not be visible everywhere yet: https://github.com/boto/boto3/issues/620
        wait_until(partial(allow, account, group, rule), SETTLING_S, retry_on=NotFoundError)


def make_rule(address: str) -> "IpPermissionTypeDef":
    """Return the rule that opens port 22 to a network."""
    rule: IpPermissionTypeDef = {"FromPort": SSH, "ToPort": SSH, "IpProtocol": "tcp"}
    if ":" in address:
        rule["Ipv6Ranges"] = [{"CidrIpv6": address, "Description": RULE}]
    else:
        rule["IpRanges"] = [{"CidrIp": address, "Description": RULE}]
    return rule


def allow(account: Account, group: str, rule: "IpPermissionTypeDef") -> bool:
    """Add a rule to a security group, which may already have it; return True."""
    with aws_errors():
        try:
            account.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        except ClientError as error:
            if code_of(error) != "InvalidPermission.Duplicate":
                raise
    return True


def update_address(account: Account, cluster: str) -> str | None:
    """Open the cluster's port 22 to this computer's current address, and close it to its previous ones.

    Return the new address, or None if nothing changed. Rules added by others stay.
    """
    address = find_caller_address(account)
    with aws_errors():
        filters: list[FilterTypeDef] = [
            {"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]},
            {"Name": "group-name", "Values": [resource_name(cluster)]},
        ]
        groups = account.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    updated = None
    for group in groups:
        known = find_addresses(group)
        if address not in known:
            allow(account, group["GroupId"], make_rule(address))
            updated = address
        for old in known - {address}:
            with aws_errors():
                account.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[make_rule(old)])
    return updated


def find_addresses(group: "SecurityGroupTypeDef") -> set[str]:
    """Return the addresses that our rules of a group allow."""
    found = set()
    for rule in group.get("IpPermissions", []):
        if (rule.get("FromPort"), rule.get("ToPort")) == (SSH, SSH):
            found |= {r["CidrIp"] for r in rule.get("IpRanges", []) if r.get("Description") == RULE}
            found |= {r["CidrIpv6"] for r in rule.get("Ipv6Ranges", []) if r.get("Description") == RULE}
    return found


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
