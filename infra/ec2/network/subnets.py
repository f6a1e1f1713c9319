"""The subnets that machines are launched in: those named, or the default VPC's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.base.parallel import call_parallel
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.tags import read_tags
from infra.errors import Change, NotFoundError, PermissionsError, UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, RouteTypeDef, SubnetTypeDef

SHOWN = 12
ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Subnet:
    """A subnet, which is in one zone."""

    subnet_id: str
    name: str
    zone: str
    vpc: str
    public: bool | None
    """Whether it has a route to an internet gateway; None if the caller may not ask."""

    def __str__(self) -> str:
        kind = {True: "public", False: "private", None: "public or private"}[self.public]
        return " ".join(filter(None, (self.subnet_id, self.name, f"{self.zone}, {kind}, {self.vpc}")))


def find_subnets(account: Account, wanted: Sequence[str] = (), *, private: bool = False) -> tuple[Subnet, ...]:
    """Return the subnets with these ids, or the default VPC's; all are in one VPC.

    Unless `private`, this computer must be able to reach them through the internet. Raises NotFoundError for a missing subnet or
    default VPC, and UsageError for subnets of several VPCs.
    """
    default: FilterTypeDef = {"Name": "default-for-az", "Values": ["true"]}
    named: FilterTypeDef = {"Name": "subnet-id", "Values": list(wanted)}
    found = list_subnets(account, [named if wanted else default])
    if not found and not wanted:
        raise no_default_vpc(account, private=private)
    missing = sorted(set(wanted) - {one.subnet_id for one in found})
    if missing:
        raise NotFoundError(f"{' and '.join(missing)} not found in {account.region}", list_command(account))
    check_vpc(found)
    return found if private else choose_public(account, found, named=bool(wanted))


def check_vpc(found: Sequence[Subnet]) -> None:
    """Raise UsageError for subnets of several VPCs: a security group is in one."""
    if len({one.vpc for one in found}) > 1:
        places = ", ".join(f"{one.subnet_id} is in {one.vpc}" for one in found)
        raise UsageError(f"the subnets are in several VPCs: {places}", "use subnets of one VPC")


def choose_public(account: Account, found: Sequence[Subnet], *, named: bool) -> tuple[Subnet, ...]:
    """Return the subnets with a way to the internet; raises NotFoundError for others by name, or none."""
    closed = [one for one in found if one.public is False]
    if closed and (named or len(closed) == len(found)):
        which = " and ".join(one.subnet_id for one in closed) if named else f"the default VPC of {account.region}"
        raise NotFoundError(
            f"{which} has no route to an internet gateway, so this computer cannot reach a machine there",
            "use --private, over a VPN or with --proxy-jump; or another --subnet",
        )
    return tuple(one for one in found if one.public is not False)


def list_blocks(account: Account, vpc: str) -> tuple[str, ...]:
    """Return the networks of a VPC's private addresses."""
    with aws_errors():
        [described] = account.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    blocks = [one["CidrBlock"] for one in described.get("CidrBlockAssociationSet", [])]
    return tuple(dict.fromkeys([described["CidrBlock"], *blocks]))


def list_subnets(account: Account, filters: "Sequence[FilterTypeDef]" = ()) -> tuple[Subnet, ...]:
    """Return subnets by zone, each with whether it is public."""

    def describe() -> "list[SubnetTypeDef]":
        with aws_errors():
            pages = account.ec2.get_paginator("describe_subnets").paginate(Filters=list(filters))
            return [one for page in pages for one in page["Subnets"]]

    listed, public = call_parallel(describe, lambda: find_public(account))
    found = [make_subnet(one, public) for one in listed]
    return tuple(sorted(found, key=lambda one: (one.zone, one.subnet_id)))


def make_subnet(described: "SubnetTypeDef", public: Mapping[str, bool] | None) -> Subnet:
    """Return a subnet from EC2's description; without a route table of its own, it has its VPC's."""
    key, vpc = described["SubnetId"], described["VpcId"]
    reached = None if public is None else public.get(key, public.get(vpc, False))
    return Subnet(key, read_tags(described).get("Name", ""), described["AvailabilityZone"], vpc, reached)


def find_public(account: Account) -> dict[str, bool] | None:
    """Return whether each subnet's routes, or its VPC's, lead to an internet gateway; None if denied.

    https://docs.aws.amazon.com/vpc/latest/userguide/configure-subnets.html#subnet-types
    """
    public = {}
    try:
        with aws_errors():
            for page in account.ec2.get_paginator("describe_route_tables").paginate():
                for table in page["RouteTables"]:
                    reached = any(is_way_out(route) for route in table.get("Routes", []))
                    for each in table.get("Associations", []):
                        public[table["VpcId"] if each.get("Main") else each.get("SubnetId", "")] = reached
    except PermissionsError:
        return None
    return public


def is_way_out(route: "RouteTypeDef") -> bool:
    """Return whether a route leads to the internet, both ways."""
    gateway, target = route.get("GatewayId", ""), route.get("DestinationCidrBlock")
    return gateway.startswith("igw-") and target == ANYWHERE and route.get("State") != "blackhole"


def no_default_vpc(account: Account, *, private: bool) -> NotFoundError:
    """Return the error for an account without a default VPC, with the subnets that could be used instead."""
    found = list_subnets(account)
    usable = [one for one in found if private or one.public is not False]
    what = f"{account.region} has no default VPC, or that has no subnet"
    if not found:
        return NotFoundError(what, f"aws ec2 create-default-vpc --region {account.region}")
    if usable:
        best = usable[0].subnet_id  # commands other than `up` suggest it as it is
        error = NotFoundError(what, f"gpujob up --subnet {best}", Change("--subnet", best))
    else:
        error = NotFoundError(f"{what}; no other is public", f"gpujob up --subnet {found[0].subnet_id} --private")
    for one in found[:SHOWN]:
        error.add_note(str(one))
    if len(found) > SHOWN:
        error.add_note(f"and {len(found) - SHOWN} more: {list_command(account)}")
    return error


def list_command(account: Account) -> str:
    """Return the command that lists a region's subnets."""
    return f"aws ec2 describe-subnets --region {account.region}"
