"""Options of `up` about the network: where machines are, and from where they can be reached."""

import ipaddress
import re
from collections.abc import Callable
from typing import TypedDict

import click

from cli.options.declared import add_options, option
from infra import names
from infra.ec2.tags import check_tag, check_tags
from infra.errors import Change, UsageError
from infra.model import NetworkRequest

SUBNET = re.compile("subnet-[0-9a-f]{8,17}")
RESERVATION = re.compile("cr-[0-9a-f]{8,17}")
GROUP = re.compile("sg-[0-9a-f]{8,17}")
TYPE = re.compile(r"[a-z0-9-]{2,20}\.[a-z0-9-]{2,20}")
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
    bucket: str | None
    kms_key: str | None
    login_user: str | None
    reservation: str | None


def matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    """Return a parser that accepts what the whole pattern matches, and otherwise says `what` is needed."""

    def parse(value: str) -> str:
        if not pattern.fullmatch(value):
            raise click.BadParameter(f"'{value}' is not {what}")
        return value

    return parse


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


network_options = add_options(
    option(
        "--reservation",
        type=matching(RESERVATION, "the ID of a capacity reservation, such as cr-0123456789abcdef0"),
        metavar="ID",
        help="Capacity reservation or Capacity Block to launch into; it decides instance type and zone.",
    ),
    option(
        "--subnet",
        "subnets",
        type=matching(SUBNET, "a subnet ID, such as subnet-0123456789abcdef0"),
        multiple=True,
        metavar="ID",
        help="Subnet to launch in; repeat for alternatives in one VPC  [default: the default VPC's]",
    ),
    option(
        "--security-group",
        "security_groups",
        type=matching(GROUP, "a security group ID, such as sg-0123456789abcdef0"),
        multiple=True,
        metavar="ID",
        help="Existing security group to use, unchanged, instead of a new one; repeatable.",
    ),
    option("--private", is_flag=True, help="Private address only; reach it over a VPN, or with --proxy-jump."),
    option(
        "--proxy-jump",
        type=matching(names.JUMP, "[USER@]HOST[:PORT], or the name of a host in your ssh config"),
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
        type=matching(PROFILE, "the name or the ARN of an instance profile"),
        metavar="NAME",
        help="Instance profile (name or ARN) whose role the machine gets  [default: none]",
    ),
    option(
        "--bucket",
        type=matching(names.BUCKET, "the name of a bucket, or auto"),
        metavar="NAME",
        help="Bucket that machines upload log and outputs to every minute: its name, or auto for gpujob-ACCOUNT-REGION"
        "  [default: none]",
    ),
    option(
        "--kms-key",
        type=matching(KEY, "a key ID, alias/NAME or ARN of a KMS key"),
        metavar="KEY",
        help="KMS key (ID, alias/NAME or ARN) that encrypts the disk  [default: the account's for EBS]",
    ),
    option(
        "--login-user",
        type=matching(names.USER, "the name of a user, such as ec2-user"),
        metavar="NAME",
        help="Login user of the image  [default: ubuntu, or ec2-user on Amazon Linux]",
    ),
)
"""Adds the options about the network to a command."""


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
