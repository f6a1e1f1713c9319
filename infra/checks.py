"""Whether this account can rent: each thing that must be so, with the fix where it is not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.ec2 import network, offers
from infra.ec2.account import Account, aws_errors
from infra.errors import GpujobError


@dataclass(frozen=True)
class Check:
    """One thing that must be so."""

    what: str
    ok: bool
    detail: str
    fix: str = ""


def run_checks(open_account: Callable[[], Account]) -> Iterator[Check]:
    """Yield each check as it is made; without an account the first is the last."""
    try:
        account = open_account()
        with aws_errors():
            identity = account.sts.get_caller_identity()
    except GpujobError as error:
        yield Check("credentials", False, error.what, error.hint)
        return
    yield Check("credentials", True, identity["Arn"])
    yield attempt("region and default VPC", lambda: describe_network(account))
    yield attempt("image", lambda: offers.find_image(account).name)
    yield attempt("address of this laptop", lambda: network.find_caller_address(account))
    for family, name in (("g", "G and VT"), ("p", "P")):
        yield check_quota(account, family, name)


def attempt(what: str, look: Callable[[], str]) -> Check:
    """Return the check that passes if `look` returns."""
    try:
        return Check(what, True, look())
    except GpujobError as error:
        return Check(what, False, error.what, error.hint)


def describe_network(account: Account) -> str:
    """Return region, VPC and zones in one line."""
    vpc, subnets = network.find_subnets(account)
    return f"{account.region}, {vpc}, zones {', '.join(sorted(subnets))}"


def check_quota(account: Account, family: str, name: str) -> Check:
    """Return whether any machine of a family may run on demand; the quota of a new account is often 0."""
    what = f"quota of {name} machines"
    try:
        vcpus = offers.find_quota(account, family) or 0
    except GpujobError as error:
        return Check(what, False, error.what, error.hint)
    return Check(what, vcpus > 0, f"{vcpus} vCPUs", "" if vcpus else offers.quota_command(account, family, 8))
