"""Terminate clusters: down."""

import difflib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cli.notices import billing
from cli.notices.asked import Scope, report_unasked, say_unasked, widen
from cli.options.context import name_to_end, note_cluster
from cli.options.declared import (
    hidden_dry_run_option,
    if_exists_option,
    personal_region_option,
    typed_cluster_argument,
    typed_option,
    yes_option,
)
from cli.options.retype import retype_name
from cli.steps.termination import drain_outputs, drain_terms, find_accounts, terminate
from cli.terminal import clouds, formats, show
from cli.terminal.questions import confirm
from infra.cluster import clusters
from infra.errors import GpujobError, NotFoundError, UsageError
from infra.ledger import choice
from infra.ledger.costs import read_ended

if TYPE_CHECKING:
    from infra.ec2.account import Account


@dataclass(frozen=True)
class Removal:
    """How to remove clusters."""

    scope: Scope
    force: bool
    """Whether outputs may be lost."""
    yes: bool
    """Whether to skip confirmation."""


@click.command()
@typed_cluster_argument
@typed_option("--all", "everything", is_flag=True, help="Terminate all clusters that you launched.")
@typed_option(
    "--force", is_flag=True, help="Terminate even if a job is running or outputs are not downloaded; they are lost."
)
@if_exists_option
@hidden_dry_run_option
@personal_region_option
@yes_option
def down(
    name: str | None, everything: bool, force: bool, if_exists: bool, dry_run: bool, region: str | None, yes: bool
) -> None:
    """Download remaining outputs and terminate the cluster.

    Returns once nothing is left that bills. NAME defaults to this folder's cluster.
    """
    if name and everything:
        raise UsageError("NAME cannot be used with --all", f"gpujob down {shlex.quote(name)}, or: gpujob down --all")
    removal = Removal(Scope(dry_run, region), force, yes)
    if everything:
        remove_all(removal)
        return
    doomed = name_to_end(name, "gpujob down {name}")
    if not remove(doomed, removal):
        report_missing(doomed, removal.scope, if_exists, named=name is not None)


def remove_all(removal: Removal) -> None:
    """Terminate all of the caller's clusters; raises GpujobError at the end if any failed."""
    scope = removal.scope
    refused: list[str] = []

    def skip(account: "Account", error: GpujobError) -> None:
        say_unasked(account, error)
        refused.append(f"clusters in {account.region}")

    names = clusters.list_own(scope.dry_run, scope.region, skip)
    for name in names:
        try:
            remove(name, removal, own_only=True)
        except GpujobError as error:
            refused.append(name)
            show.say(f"{name} was not terminated: {error.what}" + f"\n  next: {error.hint}" * bool(error.hint))
    if refused:
        raise GpujobError(f"not terminated: {', '.join(refused)}", "see the reasons above; then: gpujob ls")
    if not names:
        show.say(f"nothing to do: you have no clusters {scope}")
    report_unasked(scope, "gpujob down --all")


def report_missing(name: str, scope: Scope, if_exists: bool, named: bool) -> None:
    """Report a missing cluster; raises NotFoundError with similar names unless `if_exists`."""
    report_unasked(scope, f"gpujob down {name}")
    what = f"no cluster '{name}' {scope}" + describe_end(name)
    if if_exists:
        show.say(f"nothing to do: {what}")
        return
    others = dict.fromkeys(choice.list_known(), "launch incomplete")
    others |= {one.name: billing.standing(one) for one in clusters.list_clusters(scope.dry_run, scope.region)}
    near = difflib.get_close_matches(name, others, 3) if named else list(others)
    if not near:
        raise NotFoundError(what, widen("gpujob ls", scope))
    offered = ", ".join(f"{one} ({others[one]})" for one in near)
    question = f"Did you mean {offered}?" if named else f"Existing clusters: {offered}"
    raise NotFoundError(f"{what}. {question}", retype_name(name, near))


def describe_end(name: str) -> str:
    """Return when the last cluster of this name ended; "" if unknown."""
    ends = [note["ended_at"] for note in read_ended().values() if note["cluster"] == name]
    return f"; the last one ended at {formats.clock(max(ends))}" if ends else ""


def remove(name: str, removal: Removal, *, own_only: bool = False) -> bool:
    """Download remaining outputs and terminate a cluster; return whether it existed.

    With `own_only`, another user's cluster of this name is refused; otherwise its owner is named in the question.
    """
    note_cluster(name)
    accounts = find_accounts(name, removal.scope.region, removal.scope.dry_run)
    if own_only:
        others = {account.region: clusters.find_other_owners(name, account) for account in accounts}
        accounts = [account for account in accounts if not others[account.region]]
        if not accounts and any(others.values()):
            whose = ", ".join(sorted({owner for owners in others.values() for owner in owners}))
            raise GpujobError(f"it belongs to {whose}", f"if you may terminate it: gpujob down {name}")
    owners = {cluster.owner for cluster in clusters.find_living(name, accounts)}
    whose = f", launched by {', '.join(sorted(owners))}," if owners else ""
    confirm(f"Terminate '{name}'{whose} on AWS?", removal.yes or clouds.are_local(accounts))
    if not removal.force:
        terms = drain_terms(removal.yes, f"terminate it anyway: gpujob down {name} --force")
        drain_outputs(name, accounts, terms)
    return terminate(name, accounts, drained=not removal.force)
