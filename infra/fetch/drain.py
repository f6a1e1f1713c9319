"""What must be downloaded before a machine ends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra import state
from infra.cluster.clusters import Report, find_living
from infra.cluster.connections import reach
from infra.cluster.quiet import check_quiet
from infra.ec2.account import Account
from infra.errors import GoneError, LossError, NodeError, StoppedError
from infra.fetch.outputs import Choose, Fetched, Wanted, fetch, take_all
from infra.ledger import known_clusters
from infra.model import Cluster
from infra.node import client
from infra.node.listing import AllLeft, output_options
from infra.run.origins import find_runs
from infra.ssh.connection import Connection

NAMED = 3


@dataclass(frozen=True)
class Terms:
    """On what terms a machine may lose what it holds."""

    force: str = ""
    """How to end it anyway, in words."""
    choose: Choose = take_all
    keeps_home: bool = False
    """Whether what lies in the user's home stays."""


def drain(
    name: str, accounts: Sequence[Account], runs: Path, report: Report, terms: Terms = Terms()
) -> Iterator[Fetched | AllLeft]:
    """Download what jobs of this cluster wrote, each to its own project, else to `runs`; then yield what they left elsewhere.

    Raises LossError while a job runs, when the machine lives but cannot be asked, and if more than is `minor` was left elsewhere.
    There is nothing to do for a machine that is gone already.
    """
    cluster = known_clusters.recall(name)
    if cluster is None and not state.attempt_file(name).exists():  # an `up` that was broken off has run no job
        cluster = next(iter(find_living(name, accounts)), None)
        if cluster and not state.key_file(name).exists():
            raise LossError(
                f"'{name}' was not rented from this laptop, so what its jobs wrote cannot be fetched",
                f"gpujob down there; {terms.force}",
            )
    if cluster is not None:
        yield from fetch_all(cluster, runs, report, terms)


def fetch_all(cluster: Cluster, runs: Path, report: Report, terms: Terms) -> Iterator[Fetched | AllLeft]:
    """Download what jobs of a cluster that is known here wrote, and yield what they left elsewhere."""
    force = terms.force
    report(f"asking '{cluster.name}' what is not downloaded yet")
    try:
        with reach(cluster) as connection:
            jobs = client.list_jobs(connection)
            check_quiet(cluster, jobs, force)
            for job in jobs:
                if not job.fetched:
                    report(f"downloading what job {job.number} wrote")
                    own = find_runs(cluster, job.number) or runs
                    home = fetch(connection, job.number, own, lambda _: None, Wanted(choose=terms.choose))
                    yield home
                    check_fetched(home, terms)
            yield from check_left(connection, terms)
    except GoneError:
        return
    except NodeError as error:
        hint = force or error.hint
        if isinstance(error, StoppedError):
            hint = f"{error.hint}, then gpujob down {cluster.name}; {force}"
        raise LossError(f"what '{cluster.name}' holds could not be fetched: {error.what}", hint) from error


def check_fetched(home: Fetched, terms: Terms) -> None:
    """Raise LossError unless all that a job wrote was downloaded."""
    if home.receipt.job.fetched:
        return
    fetch = f"gpujob fetch --cluster {home.receipt.cluster} {home.receipt.job.number}"
    if home.postponed:
        what, again = "was downloaded: it is too much to go unasked", f"{fetch} --yes"
    else:
        what, again = "could be downloaded", fetch
    hint = f"{again}; {terms.force}" if terms.force else again
    raise LossError(f"not all that job {home.receipt.job.number} wrote {what}", hint)


def check_left(connection: Connection, terms: Terms) -> Iterator[AllLeft]:
    """Yield what jobs left outside of their working folders, if anything; raises LossError if it is more than is minor."""
    told = client.list_left(connection)
    lost = tuple(each for each in told.left if not (terms.keeps_home and each.path.startswith("~")))
    if lost:
        yield AllLeft(lost, told.complete)
    missed = [each for each in lost if not each.minor]
    if missed:
        cluster = connection.cluster
        names = ", ".join(map(repr, (each.path for each in missed[:NAMED]))) + ", ..." * (len(missed) > NAMED)
        own = [each for each in missed if each.jobs[:1] == missed[0].jobs[:1]]  # one fetch is of one job
        options = output_options(own) if missed[0].jobs else ""
        asked = f"gpujob fetch --cluster {cluster.name} {missed[0].jobs[0]} {options}" if options else ""
        hint = "; ".join(filter(None, [asked, terms.force]))
        raise LossError(f"not downloaded, outside of the jobs' working folders on {cluster.name}: {names}", hint)
