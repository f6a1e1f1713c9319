"""Report when AWS could not be asked, so that no command claims that nothing is running."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cli.terminal import progress, show
from infra.cluster import clusters, groups
from infra.cluster.clouds import explain_unasked, used_only_local
from infra.cluster.overview import list_unasked
from infra.ec2.account import default_region
from infra.errors import CloudError, CredentialsError, GpujobError

if TYPE_CHECKING:
    from infra.cluster.groups import Wait
    from infra.ec2.account import Account
    from infra.model import Cluster


@dataclass(frozen=True)
class Scope:
    """Where a command looks for clusters and images; `str()` describes it."""

    dry_run: bool = False
    region: str | None = None
    everywhere: bool = False

    @cached_property
    def obstacle(self) -> CloudError | None:
        """Why AWS cannot be asked; None if it can, or if it should not be."""
        return None if self.dry_run else explain_unasked(self.region, everywhere=self.everywhere)

    def __str__(self) -> str:
        if self.dry_run or self.obstacle:
            return "on the local cloud"
        if self.everywhere:
            return "in any region"
        return f"in {self.region or default_region() or 'any region known to this computer'}"


def widen(command: str, scope: Scope) -> str:
    """Return a listing command with the flag that makes it search as widely as possible."""
    if scope.dry_run:
        return f"{command} --dry-run"
    return command if scope.obstacle else f"{command} --all-regions"


def check_asked(scope: Scope, again: str, refusal: CloudError | None = None) -> None:
    """Raise CloudError, suggesting to rerun the command `again`, if AWS could not be asked.

    `refusal` is AWS's error if the request failed.
    """
    obstacle = refusal or scope.obstacle
    if obstacle is None:
        return
    if isinstance(obstacle, CredentialsError):
        hint = f"log in (aws sso login, or aws configure), then: {again}; without AWS: {again} --dry-run"
    elif refusal:
        hint = refusal.hint
    else:
        hint = f"{again} --region us-east-1, or: aws configure set region us-east-1"
    what = f"could not ask AWS: {obstacle.what.rstrip('.')}. Cannot tell whether anything is running there"
    raise type(obstacle)(what, hint)


def list_clusters(scope: Scope) -> "tuple[tuple[Cluster, ...], CloudError | None]":
    """Return the clusters in a scope, and AWS's error if any; then its clusters are the recorded ones."""
    skip = None if scope.region else say_unasked
    try:
        with progress.waiting(describe_asking(scope)):
            return clusters.list_clusters(scope.dry_run, scope.region, everywhere=scope.everywhere, skip=skip), None
    except CloudError as error:
        if scope.dry_run:
            raise
        return list_unasked(), error


def list_waiting(scope: Scope) -> "list[Wait]":
    """Return the groups in a scope with fewer machines than they keep; none if AWS cannot be asked."""
    with progress.waiting(describe_asking(scope)):
        return groups.list_waiting(scope.dry_run, scope.region, everywhere=scope.everywhere)


def record_ended(scope: Scope) -> None:
    """Record the costs of the machines that groups in a scope have ended."""
    with progress.waiting(describe_asking(scope)):
        groups.record_ended(scope.dry_run, scope.region, everywhere=scope.everywhere)


def describe_asking(scope: Scope) -> str:
    """Return what a listing waits for."""
    return "asking the local cloud" if scope.dry_run else "asking AWS"


def report_unasked(scope: Scope, again: str, refusal: CloudError | None = None) -> None:
    """Report that AWS was not asked if only the local cloud was ever used; otherwise `check_asked`."""
    if refusal is None and isinstance(scope.obstacle, CredentialsError) and used_only_local():
        show.say(f"(AWS was not asked: {scope.obstacle.what})")
    else:
        check_asked(scope, again, refusal)


def say_unasked(account: "Account", error: GpujobError) -> None:
    """Report that a region could not be asked, and why."""
    show.say(f"could not ask {account.region}: {error.what}")
