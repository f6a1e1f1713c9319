"""Options of `up` about the network: where machines are, and from where they can be reached."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any, TypedDict

import click

from cli.options.declared import option
from infra import names
from infra.ec2.tags import check_tag, check_tags
from infra.errors import Change, UsageError
from infra.model import NetworkRequest

SUBNET = re.compile("subnet-[0-9a-f]{8,17}")
GROUP = re.compile("sg-[0-9a-f]{8,17}")
PROFILE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]{1,512}|[\w+=,.@-]{1,128}")
KEY = re.compile(
    r"arn:aws[\w-]*:kms:[\w-]+:\d{12}:(?:key|alias)/[\w/-]{1,256}|alias/[\w/-]{1,250}|(?:mrk-)?[0-9a-f-]{32,36}"
)


class NetworkOptions(TypedDict):
    """The options about the network."""

    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    private: bool
    proxy_jump: str | None
    tags: tuple[tuple[str, str], ...]
    ssh_from: tuple[str, ...]
    instance_profile: str | None
    kms_key: str | None
    login_user: str | None


def parse_subnet(value: str) -> str:
    """Return the id of a subnet."""
    if not SUBNET.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not a subnet ID, such as subnet-0123456789abcdef0")
    return value


def parse_group(value: str) -> str:
    """Return the id of a security group."""
    if not GROUP.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not a security group ID, such as sg-0123456789abcdef0")
    return value


def parse_jump(value: str) -> str:
    """Return a jump host."""
    if not names.JUMP.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not [USER@]HOST[:PORT], or the name of a host in your ssh config")
    return value


def parse_tag(text: str) -> tuple[str, str]:
    """Return the key and the value of a tag."""
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"'{text}' is not KEY=VALUE, such as team=vision")
    try:
        check_tag(key, value)
    except UsageError as error:
        raise click.BadParameter(error.what) from error
    return key, value


def parse_block(value: str) -> str:
    """Return a network of IPv4 addresses."""
    try:
        return str(ipaddress.IPv4Network(value))
    except ValueError as error:
        raise click.BadParameter(f"'{value}' is not a network such as 203.0.113.0/24") from error


def parse_profile(value: str) -> str:
    """Return the name or the ARN of an instance profile."""
    if not PROFILE.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not the name or the ARN of an instance profile")
    return value


def parse_key(value: str) -> str:
    """Return the id, alias or ARN of a KMS key."""
    if not KEY.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not a key ID, alias/NAME or ARN of a KMS key")
    return value


def parse_user(value: str) -> str:
    """Return a login user."""
    if not names.USER.fullmatch(value):
        raise click.BadParameter(f"'{value}' is not the name of a user, such as ec2-user")
    return value


OPTIONS = (
    option(
        "--subnet",
        "subnets",
        type=parse_subnet,
        multiple=True,
        metavar="ID",
        help="Subnet to launch in; repeat for alternatives in one VPC  [default: the default VPC's]",
    ),
    option(
        "--security-group",
        "security_groups",
        type=parse_group,
        multiple=True,
        metavar="ID",
        help="Existing security group to use, unchanged, instead of a new one; repeatable.",
    ),
    option("--private", is_flag=True, help="Private address only; reach it over a VPN, or with --proxy-jump."),
    option(
        "--proxy-jump",
        type=parse_jump,
        metavar="[USER@]HOST[:PORT]",
        help="Jump host that leads to the private address, as for ssh -J; your ssh config applies to it.",
    ),
    option(
        "--tag",
        "tags",
        type=parse_tag,
        multiple=True,
        metavar="KEY=VALUE",
        help="Tag for everything that is created; repeatable.",
    ),
    option(
        "--ssh-from",
        type=parse_block,
        multiple=True,
        metavar="CIDR",
        help="Network that may reach port 22; repeatable  [default: this computer's address]",
    ),
    option(
        "--instance-profile",
        type=parse_profile,
        metavar="NAME",
        help="Instance profile (name or ARN) whose role the machine gets  [default: none]",
    ),
    option(
        "--kms-key",
        type=parse_key,
        metavar="KEY",
        help="KMS key (ID, alias/NAME or ARN) that encrypts the disk  [default: the account's for EBS]",
    ),
    option(
        "--login-user",
        type=parse_user,
        metavar="NAME",
        help="Login user of the image  [default: ubuntu, or ec2-user on Amazon Linux]",
    ),
)


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about the network to a command."""
    for one in reversed(OPTIONS):
        command = one(command)
    return command


def make_tags(asked: NetworkOptions) -> tuple[tuple[str, str], ...]:
    """Return the user's tags; raises UsageError for too many."""
    tags = tuple(dict.fromkeys(asked["tags"]))
    check_tags(tags)
    return tags


def make_network(asked: NetworkOptions) -> NetworkRequest:
    """Return the request about the network."""
    if asked["proxy_jump"] and not asked["private"]:
        raise UsageError("--proxy-jump leads to a private address", change=Change("--private"))
    if asked["ssh_from"] and asked["security_groups"]:
        raise UsageError("--security-group is used as it is, so --ssh-from cannot be applied", "use one of them")
    return NetworkRequest(
        subnets=tuple(dict.fromkeys(asked["subnets"])),
        security_groups=tuple(dict.fromkeys(asked["security_groups"])),
        private=asked["private"],
        proxy_jump=asked["proxy_jump"] or "",
        ssh_from=tuple(dict.fromkeys(asked["ssh_from"])),
    )
