"""Check whether the account can launch, with a fix for each failed check."""

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

from infra.base.parallel import map_parallel
from infra.checks.chosen import list_chosen
from infra.checks.model import Check, attempt, fail
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.machines import images, permissions
from infra.ec2.market import quotas
from infra.ec2.network.address import find_caller_address
from infra.errors import GpujobError, UsageError
from infra.model import LaunchRequest, Market

# AWS rejects a signature whose time is off by more: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
SKEW_S = 300
FAMILIES: tuple[tuple[Market, str], ...] = (("on-demand", "G and VT"), ("on-demand", "P"), ("spot", "G and VT"))


def run_checks(open_account: Callable[[], Account], request: LaunchRequest) -> Iterator[Check]:
    """Yield every check in order, also of what a launch names; without an account, only the first."""
    try:
        account = open_account()
        identity = account.identity
    except GpujobError as error:
        yield fail("region" if isinstance(error, UsageError) else "credentials", error)
        return
    yield Check("credentials", True, identity.arn)
    looks: list[Callable[[], list[Check]]] = [
        lambda: [check_clock(account)],
        lambda: map_parallel(lambda look: look(), list_chosen(account, request)),
        lambda: [attempt("image", lambda: images.find_image(account, request.image).name)],
        lambda: [attempt("address of this computer", lambda: find_caller_address(account))],
        lambda: check_quotas(account),
        lambda: [check_permissions(account, request)],
    ]
    for found in map_parallel(lambda look: look(), looks):
        yield from found


def check_clock(account: Account) -> Check:
    """Check that the local clock is close to AWS's, which rejects requests signed at another time."""
    with aws_errors():
        headers = account.sts.get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]
    off_s = time.time() - parsedate_to_datetime(headers["date"]).timestamp()
    fix = "" if abs(off_s) < SKEW_S else "set the clock: sudo timedatectl set-ntp true"
    return Check("clock", not fix, f"{abs(off_s):.0f} s off", fix)


def check_quotas(account: Account) -> list[Check]:
    """Check that each instance family has quota left; a new account's is often 0."""
    try:
        used = quotas.count_used(account, FAMILIES)
        found = map_parallel(lambda key: quotas.find_quota(account, *key, used[key]), FAMILIES)
    except GpujobError as error:
        return [fail("quotas", error)]
    return [check_quota(account, quota) for quota in found if quota]


def check_quota(account: Account, quota: quotas.Quota) -> Check:
    """Check that an instance family has quota left."""
    detail = f"{quota.left_vcpus} of {quota.vcpus} vCPUs left"
    fix = "" if quota.left_vcpus else quotas.increase_command(account.region, quota.code, quota.used_vcpus + 8)
    return Check(f"quota of {quota.market} {quota.family} machines", quota.left_vcpus > 0, detail, fix)


def check_permissions(account: Account, request: LaunchRequest) -> Check:
    """Check the permissions needed by `up` and `down`."""
    try:
        found = permissions.find_permissions(account, request)
    except GpujobError as error:
        return fail("permissions", error)
    open_questions = f"; not tested: {', '.join(found.untested)}" if found.untested else ""
    if found.denied:
        return Check(
            "permissions",
            False,
            f"not allowed: {', '.join(found.denied)}{open_questions}",
            "send your AWS administrator the output of: gpujob policy",
        )
    return Check("permissions", True, f"sufficient for up and down{open_questions}")
