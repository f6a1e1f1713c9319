"""Giving back: end a cluster's instances, remove what belongs to it alone, and read AWS again until nothing is left."""

from collections.abc import Callable, Collection

from botocore.exceptions import ClientError

from infra.base.waiting import wait_until
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.machines.instances import GONE, find_instances, terminate
from infra.ec2.machines.resources import list_things
from infra.ec2.tags import LAUNCH_TAG, read_tags
from infra.errors import CloudError

TERMINATION_S = 600
KEY_PAIR = "key pair"


def remove_cluster(
    account: Account, name: str, report: Callable[[str], None], tokens: Collection[str] | None = None
) -> bool:
    """Remove everything of ours that bears the cluster's tag; return whether there was anything. Parts may be missing already.

    With `tokens` only what the calls with these tokens made: another `up` of the name may be at work.

    The order is the one that works: instances, then what they hold on to (https://github.com/nchammas/flintrock/issues/113).
    Raises CloudError, with what is left, if AWS still shows something at the end.
    """

    def is_meant(token: str) -> bool:
        return tokens is None or token in tokens

    living = [
        instance["InstanceId"]
        for instance in find_instances(account, name)
        if instance["State"]["Name"] != GONE and is_meant(read_tags(instance).get(LAUNCH_TAG, ""))
    ]
    found = bool(living or find_remains(account, name, is_meant))
    try:
        if living:
            report(f"terminating {', '.join(living)}")
            terminate(account, living)
            wait_until(lambda: are_gone(account, name, living), TERMINATION_S)
        left = find_left(account, name, is_meant)
    except KeyboardInterrupt as error:
        error.add_note(f"some of '{name}' may be left; gpujob down {name} goes on")
        raise
    if left:
        what = ", ".join(f"{kind} {key}" for kind, key in left)
        raise CloudError(f"AWS still shows {what} of '{name}'", f"gpujob down {name}")
    return found


def are_gone(account: Account, name: str, instance_ids: Collection[str]) -> bool:
    """Tell whether these instances of a cluster are terminated."""
    states = {one["InstanceId"]: one["State"]["Name"] for one in find_instances(account, name)}
    return all(states.get(one, GONE) == GONE for one in instance_ids)


def find_remains(
    account: Account, name: str, is_meant: Callable[[str], bool] = lambda _: True
) -> list[tuple[str, str]]:
    """Return kind and name of whatever still bears the cluster's tag; an instance counts until it is terminated.

    `is_meant` tells by its token whether a thing counts.
    """
    return [(thing.kind, thing.key) for thing in list_things(account, name) if is_meant(thing.token)]


def find_left(account: Account, name: str, is_meant: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Delete what is left of a cluster until AWS shows nothing; return what it shows after two minutes."""
    left: list[tuple[str, str]] = []

    def is_clear() -> bool:
        left[:] = remove_remains(account, name, is_meant)
        return not left

    wait_until(is_clear, 120)
    return left


def remove_remains(account: Account, name: str, is_meant: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Delete what is left once the instances have gone; return what AWS still shows afterwards."""
    remains = find_remains(account, name, is_meant)
    refused = [thing for thing in remains if thing[0] != KEY_PAIR and not delete(account, *thing)]
    if not refused:  # the key pair goes last: while it is there, nobody else can take the name
        for thing in remains:
            if thing[0] == KEY_PAIR:
                delete(account, *thing)
    return find_remains(account, name, is_meant) if remains else []


def delete(account: Account, kind: str, key: str) -> bool:
    """Delete something, unless something else still uses it; return whether it went."""
    ec2 = account.ec2
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
    """Tell whether a refusal to delete means "still in use" or "gone already", both of which mend themselves."""
    code = code_of(error)
    # An interface that is still attached: https://github.com/gruntwork-io/cloud-nuke/issues/431
    in_use = "in use" in str(error.response.get("Error", {}).get("Message", ""))
    return (
        in_use
        or code.endswith((".NotFound", ".NotFoundException", "InUse"))
        or code in {"DependencyViolation", "IncorrectState"}
    )
