"""Check whether the account can launch, with a fix for each failed check."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from infra.base.parallel import map_parallel
from infra.ec2.account import Account
from infra.ec2.errors import TRY_AGAIN, aws_errors
from infra.ec2.machines import images, network, permissions
from infra.ec2.market import quotas
from infra.errors import GpujobError, UsageError
from infra.model import Market

# AWS rejects a signature whose time is off by more: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
SKEW_S = 300
FAMILIES: tuple[tuple[Market, str], ...] = (("on-demand", "G and VT"), ("on-demand", "P"), ("spot", "G and VT"))


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    what: str
    ok: bool
    detail: str
    fix: str = ""


def run_checks(open_account: Callable[[], Account]) -> Iterator[Check]:
    """Yield every check in order; without an account, only the first."""
    try:
        account = open_account()
        identity = account.identity
    except GpujobError as error:
        yield fail("region" if isinstance(error, UsageError) else "credentials", error)
        return
    yield Check("credentials", True, identity.arn)
    looks: list[Callable[[], list[Check]]] = [
        lambda: [check_clock(account)],
        lambda: [attempt("region and default VPC", lambda: describe_network(account))],
        lambda: [attempt("image", lambda: images.find_image(account).name)],
        lambda: [attempt("address of this computer", lambda: network.find_caller_address(account))],
        lambda: check_quotas(account),
        lambda: [check_permissions(account)],
    ]
    for found in map_parallel(lambda look: look(), looks):
        yield from found


def attempt(what: str, look: Callable[[], str]) -> Check:
    """Return a check that passes unless `look` raises."""
    try:
        return Check(what, True, look())
    except GpujobError as error:
        return fail(what, error)


def fail(what: str, error: GpujobError) -> Check:
    """Return a failed check, replacing the error's hint if that is `gpujob check` itself."""
    return Check(what, False, error.what, TRY_AGAIN if error.hint == "gpujob check" else error.hint)


def describe_network(account: Account) -> str:
    """Return region, VPC and zones on one line."""
    vpc, subnets = network.find_subnets(account)
    return f"{account.region}, {vpc}, zones {', '.join(sorted(subnets))}"


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


def check_permissions(account: Account) -> Check:
    """Check the permissions needed by `up` and `down`."""
    try:
        found = permissions.find_permissions(account)
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
