"""Security groups: a new one, open to one address, or existing ones, which are never changed."""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.network.address import find_caller_address
from infra.ec2.tags import CLUSTER_TAG, LAUNCH_TAG, read_tags, resource_name, tag_specification
from infra.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        FilterTypeDef,
        IpPermissionTypeDef,
        SecurityGroupTypeDef,
    )

# How long a new resource may be invisible in parts of AWS.
SETTLING_S = 20
SSH = 22
RULE = "gpujob: SSH from the owner"
LASTING = "gpujob: SSH from this network"
"""Of rules that do not follow the address of this computer."""


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


@dataclass(frozen=True)
class Group:
    """An existing security group, with what it lets in."""

    group_id: str
    name: str
    vpc: str
    rules: tuple[Any, ...] = field(repr=False)
    """As EC2 describes them."""

    def opens(self, port: int, address: str) -> bool | None:
        """Return whether it lets an address (or "", any) reach a port; None if its rules do not say."""
        covering = [rule for rule in self.rules if covers(rule, port)]
        if not address:
            return any(
                rule.get(kind) for rule in covering for kind in ("IpRanges", "PrefixListIds", "UserIdGroupPairs")
            )
        ranges = [one["CidrIp"] for rule in covering for one in rule.get("IpRanges", [])]
        if any(ipaddress.ip_network(address).subnet_of(ipaddress.ip_network(one)) for one in ranges):  # type: ignore[arg-type]
            return True
        return None if any(rule.get("PrefixListIds") for rule in covering) else False

    def joins(self, group_ids: Collection[str]) -> bool:
        """Return whether it lets machines with one of these groups reach any port."""
        wide = [rule for rule in self.rules if rule.get("IpProtocol") == "-1"]
        return any(pair.get("GroupId") in group_ids for rule in wide for pair in rule.get("UserIdGroupPairs", []))


def covers(rule: Mapping[str, Any], port: int) -> bool:
    """Return whether a rule is about a TCP port."""
    if rule.get("IpProtocol") == "-1":
        return True
    return rule.get("IpProtocol") == "tcp" and rule.get("FromPort", 0) <= port <= rule.get("ToPort", 65_535)


def find_groups(account: Account, wanted: Collection[str]) -> tuple[Group, ...]:
    """Return existing security groups by their ids; raises NotFoundError for a missing one."""
    if not wanted:
        return ()
    filters: list[FilterTypeDef] = [{"Name": "group-id", "Values": list(wanted)}]
    with aws_errors():
        described = account.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    found = {one["GroupId"]: one for one in described}
    missing = [one for one in wanted if one not in found]
    if missing:
        raise NotFoundError(
            f"{' and '.join(missing)} not found in {account.region}",
            f"aws ec2 describe-security-groups --region {account.region}",
        )
    groups = (found[one] for one in wanted)
    return tuple(Group(g["GroupId"], g["GroupName"], g["VpcId"], tuple(g["IpPermissions"])) for g in groups)


def check_groups(groups: Collection[Group], vpc: str) -> None:
    """Raise UsageError for a security group of another VPC than the subnets'."""
    for group in groups:
        if group.vpc != vpc:
            raise UsageError(
                f"{group.group_id} is in {group.vpc}, but the subnets are in {vpc}",
                "use a security group and subnets of one VPC",
            )


def find_gaps(groups: Collection[Group], address: str, nodes: int) -> list[str]:
    """Return warnings of what existing security groups do not let in, as far as their rules tell."""
    if not groups:
        return []
    ids, gaps = [group.group_id for group in groups], []
    opened = [group.opens(SSH, address) for group in groups]
    if True not in opened:
        known = "" if None not in opened else ", unless a prefix list of its rules does"
        gaps.append(f"{' and '.join(ids)} does not let {address or 'any address'} reach port 22{known}")
    if nodes > 1 and not any(group.joins(ids) for group in groups):
        gaps.append(f"{' and '.join(ids)} does not let the machines reach each other")
    return gaps


def open_group(account: Account, group: str, sources: "Sequence[IpPermissionTypeDef]", nodes: int) -> None:
    """Open port 22 as these rules say only, and all ports between several nodes."""
    rules = list(sources)
    if nodes > 1:
        rules.append({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group, "Description": "between nodes"}]})
    for rule in rules:
        # A new group may not be visible everywhere yet: https://github.com/boto/boto3/issues/620
        wait_until(partial(allow, account, group, rule), SETTLING_S, retry_on=NotFoundError)


def make_rule(address: str, why: str = RULE) -> "IpPermissionTypeDef":
    """Return the rule that opens port 22 to a network."""
    rule: IpPermissionTypeDef = {"FromPort": SSH, "ToPort": SSH, "IpProtocol": "tcp"}
    if ":" in address:
        rule["Ipv6Ranges"] = [{"CidrIpv6": address, "Description": why}]
    else:
        rule["IpRanges"] = [{"CidrIp": address, "Description": why}]
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

    Return the new address, or None if nothing changed. Rules added by others stay, and so do groups that are open to networks
    that the user named.
    """
    with aws_errors():
        filters: list[FilterTypeDef] = [
            {"Name": f"tag:{CLUSTER_TAG}", "Values": [cluster]},
            {"Name": "group-name", "Values": [resource_name(cluster)]},
        ]
        groups = account.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    groups = [group for group in groups if not find_addresses(group, LASTING)]
    address, updated = find_caller_address(account) if groups else "", None
    for group in groups:
        known = find_addresses(group)
        if address not in known:
            allow(account, group["GroupId"], make_rule(address))
            updated = address
        for old in known - {address}:
            with aws_errors():
                account.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[make_rule(old)])
    return updated


def find_addresses(group: "SecurityGroupTypeDef", why: str = RULE) -> set[str]:
    """Return the addresses that our rules of a group allow."""
    found = set()
    for rule in group.get("IpPermissions", []):
        if (rule.get("FromPort"), rule.get("ToPort")) == (SSH, SSH):
            found |= {r["CidrIp"] for r in rule.get("IpRanges", []) if r.get("Description") == why}
            found |= {r["CidrIpv6"] for r in rule.get("Ipv6Ranges", []) if r.get("Description") == why}
    return found
