"""Terminate a cluster's instances and delete its resources, until AWS shows nothing of it."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from infra.base.waiting import wait_until
from infra.ec2.account import Account, is_same_owner
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.machines.instances import GONE, find_instances, terminate
from infra.ec2.machines.resources import GROUP, KEY_PAIR, Resource, list_groups, list_resources
from infra.ec2.parameters import delete_values
from infra.ec2.scaling.groups import delete_group
from infra.ec2.tags import LAUNCH_TAG, read_owner, read_tags
from infra.errors import CloudError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

Meant = Callable[[str, str], bool]
TERMINATION_S = 600


def remove_cluster(
    account: Account,
    name: str,
    report: Callable[[str], None],
    tokens: Collection[str] | None = None,
    owner: str | None = None,
) -> bool:
    """Delete all of a cluster's resources; return whether there were any. Some may be missing already.

    With `tokens`, only what the launches with these tokens created: another `up` with the name may be running. With `owner`, only
    what belongs to that user or role.

    The order matters: groups, which would replace instances; instances; then what they use
    (https://github.com/nchammas/flintrock/issues/113). Raises CloudError, with the remaining resources, if AWS still shows any at
    the end. Interrupted anywhere, it can be repeated.
    """

    def is_meant(token: str, arn: str) -> bool:
        return (tokens is None or token in tokens) and (owner is None or is_same_owner(owner, arn))

    grouped = remove_groups(account, name, is_meant, report)
    existing = [
        instance["InstanceId"]
        for instance in find_instances(account, name)
        if instance["State"]["Name"] != GONE and is_meant(*marks_of(instance))
    ]
    found = bool(grouped or existing or find_remains(account, name, is_meant))
    try:
        if existing:
            report(f"terminating {', '.join(existing)}")
            terminate(account, existing)
            wait_until(lambda: are_terminated(account, name, existing), TERMINATION_S)
        left = find_left(account, name, is_meant)
    except KeyboardInterrupt as error:
        error.add_note(f"resources of '{name}' may be left; rerun: gpujob down {name}")
        raise
    if left:
        what = ", ".join(f"{one.kind} {one.key}" for one in left)
        raise CloudError(f"AWS still shows {what} of '{name}'", f"gpujob down {name}")
    return found


def remove_groups(account: Account, name: str, is_meant: Meant, report: Callable[[str], None]) -> bool:
    """Set a cluster's groups to 0 and delete them with their machines; return whether there were any.

    Raises CloudError for a group that AWS still shows at the end, which may launch machines.
    """

    def find() -> list[str]:
        return [one.key for one in list_groups(account, name)[0] if is_meant(one.token, one.owner)]

    found = find()
    if found:
        report(f"ending the group {', '.join(found)}, and its machines")
        wait_until(lambda: False not in [delete_group(account, one) for one in found], TERMINATION_S)
        if not wait_until(lambda: not find(), TERMINATION_S):
            what = f"AWS still shows the group {', '.join(found)} of '{name}'"
            raise CloudError(what, f"gpujob down {name}")
    return bool(found)


def marks_of(instance: "InstanceTypeDef") -> tuple[str, str]:
    """Return the token of the launch that created an instance, and its owner."""
    tags = read_tags(instance)
    return tags.get(LAUNCH_TAG, ""), read_owner(tags)


def are_terminated(account: Account, name: str, instance_ids: Collection[str]) -> bool:
    """Return whether these instances of a cluster are terminated."""
    states = {one["InstanceId"]: one["State"]["Name"] for one in find_instances(account, name)}
    return all(states.get(one, GONE) == GONE for one in instance_ids)


def find_remains(account: Account, name: str, is_meant: Meant = lambda *_: True) -> list[Resource]:
    """Return a cluster's remaining resources; an instance counts until it is terminated.

    `is_meant` decides by its token and owner whether a resource counts.
    """
    return [one for one in list_resources(account, name) if is_meant(one.token, one.owner)]


def find_left(account: Account, name: str, is_meant: Meant) -> list[Resource]:
    """Delete a cluster's remaining resources; return those that AWS still shows after two minutes."""
    left: list[Resource] = []

    def is_clear() -> bool:
        left[:] = remove_remains(account, name, is_meant)
        return not left

    wait_until(is_clear, 120)
    return left


def remove_remains(account: Account, name: str, is_meant: Meant) -> list[Resource]:
    """Delete the resources that remain after the instances; return those that AWS still shows."""
    remains = find_remains(account, name, is_meant)
    refused = [one for one in remains if one.kind != KEY_PAIR and not delete(account, one.kind, one.key)]
    if not refused:  # the key pair is deleted last: no other launch can use the name, and it knows the secrets
        for pair in (one for one in remains if one.kind == KEY_PAIR):
            delete_values(account, pair.secrets)
            delete(account, KEY_PAIR, pair.key)
    return find_remains(account, name, is_meant) if remains else []


def delete(account: Account, kind: str, key: str) -> bool:
    """Delete a resource unless it is still in use; return whether it was deleted."""
    ec2 = account.ec2
    if kind == GROUP:
        return delete_group(account, key)
    removers: dict[str, Callable[[], object]] = {
        "volume": lambda: ec2.delete_volume(VolumeId=key),
        "network interface": lambda: ec2.delete_network_interface(NetworkInterfaceId=key),
        "security group": lambda: ec2.delete_security_group(GroupId=key),
        "launch template": lambda: ec2.delete_launch_template(LaunchTemplateId=key),
        KEY_PAIR: lambda: ec2.delete_key_pair(KeyName=key),
    }
    if kind not in removers:
        return False
    with aws_errors():
        try:
            removers[kind]()
        except ClientError as error:
            if not is_passing(error):
                raise
            return False
    return True


def is_passing(error: ClientError) -> bool:
    """Return whether a refusal to delete means "in use" or "not found", both of which resolve themselves."""
    code = code_of(error)
    # An interface that is still attached: https://github.com/gruntwork-io/cloud-nuke/issues/431
    in_use = "in use" in str(error.response.get("Error", {}).get("Message", ""))
    return (
        in_use
        or code.endswith((".NotFound", ".NotFoundException", "InUse"))
        or code in {"DependencyViolation", "IncorrectState"}
    )
