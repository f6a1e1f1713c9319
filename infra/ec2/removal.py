"""Giving back: end a cluster's instances, remove what belongs to it alone, and read AWS again until nothing is left."""

from collections.abc import Callable

from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.instances import GONE, find_instances, terminate
from infra.ec2.refusals import aws_errors, code_of
from infra.ec2.things import list_things
from infra.errors import CloudError
from infra.waiting import wait_until

TERMINATION_S = 600


def remove_cluster(account: Account, name: str, report: Callable[[str], None]) -> bool:
    """Remove everything that bears the cluster's tag; return whether there was anything. Any part may be missing already.

    The order is the one that works: instances, then what they hold on to (https://github.com/nchammas/flintrock/issues/113).
    Raises CloudError, with what is left, if AWS still shows something at the end.
    """
    living = [i["InstanceId"] for i in find_instances(account, name) if i["State"]["Name"] != GONE]
    found = bool(living or find_remains(account, name))
    try:
        if living:
            report(f"terminating {', '.join(living)}")
            terminate(account, living)
            wait_until(lambda: all(i["State"]["Name"] == GONE for i in find_instances(account, name)), TERMINATION_S)
        wait_until(lambda: not remove_remains(account, name), 120)
    except KeyboardInterrupt as error:
        error.add_note(f"some of '{name}' may be left; gpujob down {name} goes on")
        raise
    left = find_remains(account, name)
    if left:
        what = ", ".join(f"{kind} {key}" for kind, key in left)
        raise CloudError(f"AWS still shows {what} of '{name}'", f"gpujob down {name}")
    return found


def find_remains(account: Account, name: str) -> list[tuple[str, str]]:
    """Return kind and name of whatever still bears the cluster's tag; an instance counts until it is terminated."""
    return [(thing.kind, thing.key) for thing in list_things(account, name)]


def remove_remains(account: Account, name: str) -> list[tuple[str, str]]:
    """Delete what is left once the instances have gone; return what would not go yet because something still uses it."""
    ec2 = account.ec2
    removers: dict[str, Callable[[str], object]] = {
        "volume": lambda key: ec2.delete_volume(VolumeId=key),
        "network interface": lambda key: ec2.delete_network_interface(NetworkInterfaceId=key),
        "security group": lambda key: ec2.delete_security_group(GroupId=key),
        "launch template": lambda key: ec2.delete_launch_template(LaunchTemplateId=key),
        "key pair": lambda key: ec2.delete_key_pair(KeyName=key),
    }
    remains = find_remains(account, name)
    for kind, key in remains:
        # The key pair goes last: while it is there, nobody else can take the name.
        last = kind == "key pair" and any(other != "key pair" for other, _ in remains)
        if kind in removers and not last:
            with aws_errors():
                try:
                    removers[kind](key)
                except ClientError as error:
                    if not is_passing(error):
                        raise
    return find_remains(account, name)


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
