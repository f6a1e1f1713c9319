"""Gateways, routes and security groups. Like `moto_state` it knows moto's internals."""

from collections.abc import Iterator
from typing import Any

from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.models.vpcs import VPCBackend

SSH = 22
ANYWHERE = "0.0.0.0/0"


def _add_gateway(create: Any) -> Any:
    """Give a region's default VPC its internet gateway, as AWS does and moto does not."""

    def create_with_gateway(ec2: Any) -> Any:
        vpc, gateway = create(ec2), ec2.create_internet_gateway()
        ec2.attach_internet_gateway(gateway.id, vpc.id)
        [table] = [one for one in ec2.route_tables.values() if one.vpc_id == vpc.id]
        ec2.create_route(table.id, ANYWHERE, gateway_id=gateway.id)
        return vpc

    return create_with_gateway


def _make_plain(create: Any) -> Any:
    """Make no subnet of another VPC a default one, as moto does with the first of a zone."""

    def create_plain(ec2: Any, vpc_id: str, *given: Any, **named: Any) -> Any:
        subnet = create(ec2, vpc_id, *given, **named)
        if not ec2.get_vpc(vpc_id).is_default:
            subnet.default_for_az = subnet.map_public_ip_on_launch = False
        return subnet

    return create_plain


VPCBackend.create_default_vpc = _add_gateway(VPCBackend.create_default_vpc)  # type: ignore[method-assign]
SubnetBackend.create_subnet = _make_plain(SubnetBackend.create_subnet)  # type: ignore[method-assign]


def is_public(instance: Any) -> bool:
    """Return whether an instance has a public address, and its subnet a route to a gateway."""
    if not has_public_address(instance):
        return False
    subnet = instance.nics[0].subnet
    tables = [one for one in instance.ec2_backend.route_tables.values() if one.vpc_id == subnet.vpc_id]
    own = [one for one in tables if any(each.get("SubnetId") == subnet.id for each in one.associations)]
    found = own or [one for one in tables if one.main_association_id]
    return any(
        route.destination_cidr_block == ANYWHERE and is_gateway(route.gateway)
        for table in found
        for route in table.routes
    )


def has_public_address(instance: Any) -> bool:
    """Return whether an instance has a public address."""
    interface = instance.nics.get(0)
    return interface is not None and bool(interface.public_ip or interface.public_ip_auto_assign)


def vpc_of(instance: Any) -> str:
    """Return the VPC of an instance."""
    return str(instance.nics[0].subnet.vpc_id) if instance.nics else ""


def is_gateway(gateway: Any) -> bool:
    """Return whether a route leads to an internet gateway."""
    return gateway is not None and str(gateway.id).startswith("igw-")


def find_sources(instance: Any) -> list[str]:
    """Return the networks from which the security groups of an instance let port 22 be reached."""
    return sorted({cidr for group in groups_of(instance) for cidr in open_to(group)})


def groups_of(instance: Any) -> list[Any]:
    """Return the security groups of an instance; without any, EC2 uses the VPC's default one."""
    interface = instance.nics.get(0)
    found = list(interface.group_set) if interface else list(instance.security_groups)
    if found or interface is None:
        return found
    default = instance.ec2_backend.get_security_group_from_name("default", vpc_id=interface.subnet.vpc_id)
    return [default] if default else []


def open_to(group: Any) -> Iterator[str]:
    """Yield the networks that a group's rules let reach port 22."""
    for rule in list(group.ingress_rules):
        low, high = int(rule.from_port or 0), int(rule.to_port or 65_535)
        if "CidrIp" in rule.ip_range and (
            rule.ip_protocol == "-1" or (rule.ip_protocol == "tcp" and low <= SSH <= high)
        ):
            yield str(rule.ip_range["CidrIp"])
