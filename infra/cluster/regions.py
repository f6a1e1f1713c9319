"""Query several regions in parallel; a failing or slow one does not affect the others."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from infra.base.parallel import try_parallel
from infra.ec2.account import Account
from infra.errors import GpujobError

R = TypeVar("R")
Skip = Callable[[Account, GpujobError], None]
LIMIT_S, LOCAL_LIMIT_S = 20.0, 120.0
"""Time limit for each of several regions; a call that AWS throttles is repeated for about that long.

All regions of a local cloud are one process, which may share its processor with jobs.
"""


def ask_regions(
    function: Callable[[Account], R], accounts: Sequence[Account]
) -> tuple[dict[Account, R], dict[Account, GpujobError]]:
    """Return the answers by region, and the regions that failed with their errors.

    Raises the first error of a cloud of which no region answered.
    """
    limit_s = LOCAL_LIMIT_S if any(account.is_local for account in accounts) else LIMIT_S
    answers, refused = try_parallel(function, accounts, limit_s if len(accounts) > 1 else None)
    for account, error in refused.items():
        if not any(answered.cloud == account.cloud for answered in answers):
            raise error
    return answers, refused


def ask_or_skip(function: Callable[[Account], R], accounts: Sequence[Account], skip: Skip | None) -> dict[Account, R]:
    """Return the answers by region; failed ones are passed to `skip`, or raised without it."""
    answers, refused = ask_regions(function, accounts)
    for account, error in refused.items():
        if skip is None:
            raise error
        skip(account, error)
    return answers
