"""Terminate a cluster, downloading its outputs first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.notices import billing
from cli.notices.remains import expecting, make_chooser, show_drained
from cli.options.context import runs_here
from cli.terminal import formats, progress, show
from cli.uploads.stored import is_saved, show_stored
from infra.cluster import clusters
from infra.errors import CloudError, GpujobError, LossError
from infra.fetch.drain import drain
from infra.fetch.terms import Terms
from infra.ledger.known_clusters import recall

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.fetch.outputs import Fetched
    from infra.model import Cluster, Job
    from infra.node.listing import AllLeft


def find_accounts(name: str, region: str | None = None, dry_run: bool = False) -> "list[Account]":
    """Return the accounts that may have a cluster of this name."""
    with progress.steps() as report:
        report(f"looking for '{name}'")
        return clusters.locate(name, dry_run, region)


def terminate(name: str, accounts: "Sequence[Account]", *, drained: bool) -> bool:
    """Terminate a cluster; return whether it existed. `drained` says that its outputs are downloaded."""
    reserved, known = clusters.find_reserved(name, accounts), recall(name)
    try:
        with progress.steps() as report:
            found = clusters.remove(name, accounts, report)
    except CloudError as error:
        error.add_note(f"{name} may not be terminated" + "; its outputs are downloaded" * drained)
        raise
    if found:
        show.say(f"terminated {name}; " + (describe_reserved(reserved[0]) if reserved else "nothing left that bills"))
    if found and known and known.bucket:
        show_stored(known)
    return found


def describe_reserved(cluster: "Cluster") -> str:
    """Return that a cluster's capacity reservation is still billed, and how to cancel it."""
    key = cluster.reservation
    if cluster.is_local:
        return f"on AWS, its capacity reservation {key} would go on billing"
    cancel = f"aws ec2 cancel-capacity-reservation --region {cluster.region} --capacity-reservation-id {key}"
    return f"its capacity reservation {key} is billed until it ends\n  cancel it: {cancel}"


def drain_outputs(name: str, accounts: "Sequence[Account]", terms: Terms, told: int = 0) -> None:
    """Download a cluster's remaining outputs and report them, even if some failed.

    The report comes last, since lines would interrupt the spinner. Files of job number `told` were reported before.
    """
    homes: list[Fetched | AllLeft] = []
    try:
        with progress.steps() as report:
            counter = count_bytes(report)
            choose = expecting(counter.expect, terms.choose)
            homes.extend(drain(name, accounts, runs_here(), report, replace(terms, choose=choose, arrived=counter)))
    except KeyboardInterrupt as error:
        error.add_note(f"{name} is still running; outputs are still on it")
        raise
    finally:
        for home in homes:
            show_drained(home, name, told)


def count_bytes(report: progress.Steps) -> progress.Counter:
    """Return a counter of downloaded bytes, shown with their share of what a job still has."""
    before = end = 0

    def expect(total: int) -> None:
        nonlocal before, end
        before, end = counter.total, total

    def advance(_: int) -> None:
        done, whole = min(counter.total, end) - before, end - before
        report.advance(f"{formats.size(done)} of {formats.size(whole)}, {done / max(whole, 1):.0%}")

    counter = progress.Counter(advance, expect)
    return counter


def drain_terms(yes: bool, force: str = "", keeps_home: bool = False) -> Terms:
    """Return how to download remaining outputs without asking: `yes` includes very large ones.

    `force` is the command to suggest if something would be lost. With `keeps_home`, the user's home folder is kept.
    """
    return Terms(force, make_chooser(yes, may_ask=False), keeps_home, is_saved)


def terminate_after(cluster: "Cluster", job: "Job", downloaded: bool, yes: bool = False) -> None:
    """Terminate a cluster after its job, unless outputs would be lost or other jobs are active.

    Raises GpujobError, with the job's own exit code unless that is 0, if terminating it fails.
    """
    try:
        if not downloaded:
            raise LossError(f"some outputs of job {job.number} were not downloaded")
        accounts = find_accounts(cluster.name)
        drain_outputs(cluster.name, accounts, drain_terms(yes), told=job.number)
        terminate(cluster.name, accounts, drained=True)
    except LossError as error:
        show.say(
            f"--down did not terminate {cluster.name}: {error.what}" + f"\n  next: {error.hint}" * bool(error.hint)
        )
        billing.remind(cluster)
    except GpujobError as error:
        error.exit_code = job.exit_code or 1
        unsure = billing.running(cluster, certain=False)
        billing.add_notes(error, f"--down did not terminate {cluster.name}; {unsure}")
        raise
