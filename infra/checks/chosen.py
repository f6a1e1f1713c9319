"""Check what `up` would use here: network, instance profile, KMS key, capacity reservation."""

from collections.abc import Callable
from functools import partial

from infra.checks.model import Check, attempt
from infra.ec2.account import Account
from infra.ec2.capacity.reservations import check_free, find_reservation
from infra.ec2.errors import aws_errors
from infra.ec2.network.groups import check_groups, find_groups
from infra.ec2.network.subnets import find_subnets
from infra.ec2.storage.buckets import AUTO, check_place, name_bucket
from infra.ec2.storage.roles import check_role
from infra.errors import GpujobError, NotFoundError, PermissionsError
from infra.model import LaunchRequest, NetworkRequest


def list_chosen(account: Account, request: LaunchRequest) -> list[Callable[[], Check]]:
    """Return the checks of what a launch names, and of its network."""
    looks = [lambda: attempt("region and network", lambda: describe_network(account, request.network))]
    for what, name, describe in (
        ("instance profile", request.instance_profile, describe_profile),
        ("bucket", request.bucket, partial(describe_bucket, request.instance_profile)),
        ("KMS key", request.kms_key, describe_key),
        ("capacity reservation", request.reservation, describe_reservation),
    ):
        if name:
            looks.append(partial(attempt, what, partial(describe_if_allowed, describe, account, name)))
    return looks


def describe_if_allowed(describe: Callable[[Account, str], str], account: Account, name: str) -> str:
    """Return the description of what a launch names, or that it was not tested as that is not allowed."""
    try:
        return describe(account, name)
    except PermissionsError as error:
        return f"not tested: {error.what}"


def describe_network(account: Account, asked: NetworkRequest) -> str:
    """Return region, VPC, zones and the named security groups on one line."""
    subnets = find_subnets(account, asked.subnets, private=asked.private)
    groups = find_groups(account, asked.security_groups)
    check_groups(groups, subnets[0].vpc)
    zones = ", ".join(dict.fromkeys(one.zone for one in subnets))
    named = [*asked.subnets, *asked.security_groups]
    return f"{account.region}, {subnets[0].vpc}, zones {zones}" + f": {', '.join(named)}" * bool(named)


def describe_profile(account: Account, profile: str) -> str:
    """Return the role of an instance profile; raises GpujobError if it has none."""
    with aws_errors():
        found = account.iam.get_instance_profile(InstanceProfileName=profile.rpartition("/")[2])["InstanceProfile"]
    if not found["Roles"]:
        raise GpujobError(f"{profile} has no role", "aws iam add-role-to-instance-profile, or omit --instance-profile")
    return f"{profile} with the role {found['Roles'][0]['RoleName']}"


def describe_bucket(profile: str, account: Account, asked: str) -> str:
    """Return a bucket, and whether machines may write to it; raises GpujobError if not."""
    name = name_bucket(account, asked)
    try:
        check_place(account, name)
        found = f"{name}, {account.region}"
    except NotFoundError:
        if asked != AUTO:
            raise
        found = f"{name}, which gpujob up makes"
    try:
        check_role(account, profile, name)
    except PermissionsError as error:
        return f"{found}; not tested whether machines may write to it: {error.what}"
    try:
        check_role(account, profile, name, sent=True)
    except GpujobError as error:
        return f"{found}, writable by the role of {profile}; not enough for gpujob send: {error.what}"
    return f"{found}, writable by the role of {profile}"


def describe_key(account: Account, key: str) -> str:
    """Return a KMS key; raises GpujobError unless it is enabled and can encrypt disks."""
    region = key.split(":")[3] if key.startswith("arn:") else account.region
    if region != account.region:
        raise GpujobError(f"{key} is in {region}, but the machine in {account.region}", "use a key of that region")
    with aws_errors():
        found = account.kms.describe_key(KeyId=key)["KeyMetadata"]
    if found["KeyState"] != "Enabled":
        raise GpujobError(f"{key} is {found['KeyState']}", "enable it, or use another --kms-key")
    if found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        raise GpujobError(f"{key} is {found['KeySpec']}", "disks need a symmetric key: use another --kms-key")
    return f"{key}, enabled"


def describe_reservation(account: Account, reservation: str) -> str:
    """Return a capacity reservation; raises GpujobError unless it can take a machine now."""
    found = find_reservation(account, reservation)
    check_free(found, 1)
    return f"{found}, {found.instance_type} in {found.zone}, {found.free} of {found.total} free"
