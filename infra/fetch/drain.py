"""Download everything before a machine is terminated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra import state
from infra.cluster.clusters import Report, find_living
from infra.cluster.connections import reach
from infra.cluster.quiet import check_quiet
from infra.ec2.account import Account
from infra.errors import GoneError, LossError, NodeError, StoppedError
from infra.fetch.outputs import Fetched, Wanted, fetch
from infra.fetch.sent import drain_sent, find_sent
from infra.fetch.terms import Terms
from infra.ledger import known_clusters
from infra.ledger.drained import drained_file, is_drained
from infra.model import Cluster
from infra.node import client
from infra.node.listing import AllLeft, output_options
from infra.run.origins import find_runs
from infra.ssh.connection import Connection

NAMED = 3


def drain(
    name: str,
    accounts: Sequence[Account],
    runs: Path,
    report: Report,
    terms: Terms = Terms(),  # noqa: B008  it is frozen
) -> Iterator[Fetched | AllLeft]:
    """Download all jobs' outputs to their projects, or to `runs`; also yield files left elsewhere.

    Raises LossError while a job is running, if the machine exists but is unreachable, and if more than `minor` files were left
    elsewhere. Does nothing for a machine that no longer exists, or was stopped when everything was downloaded.
    """
    sent = find_sent(name, accounts)
    if sent:
        yield from drain_sent(sent, runs, report, terms)
        return
    cluster = known_clusters.recall(name)
    if cluster is None and not state.attempt_file(name).exists():  # an interrupted `up` has run no job
        cluster = next(iter(find_living(name, accounts)), None)
        if cluster and not state.key_file(name).exists():
            raise LossError(
                f"'{name}' was launched from another computer, so its outputs cannot be downloaded to this one",
                f"on that computer: gpujob down {name}; {terms.force}",
            )
    drained = drained_file(name).exists() and any(map(is_drained, find_living(name, accounts)))
    if cluster is not None and not drained:
        yield from fetch_all(cluster, runs, report, terms)


def fetch_all(cluster: Cluster, runs: Path, report: Report, terms: Terms) -> Iterator[Fetched | AllLeft]:
    """Download the outputs of all jobs of a known cluster, and yield files left elsewhere."""
    report(f"checking '{cluster.name}' for outputs to download")
    for rank in reversed(cluster.ranks):  # the first last: an array is complete once the others' tasks are here
        with handle_silence(cluster, terms), reach(cluster, rank) as connection:
            yield from fetch_node(connection, runs, report, terms)


def fetch_node(connection: Connection, runs: Path, report: Report, terms: Terms) -> Iterator[Fetched | AllLeft]:
    """Download the outputs of all jobs of a node, and yield files left elsewhere."""
    cluster, jobs = connection.cluster, client.list_jobs(connection)
    check_quiet(cluster, jobs, terms.force)
    where = f" from node {connection.rank}" if connection.rank else ""
    for job in jobs:
        if not job.fetched:
            report(f"downloading the outputs of job {job.number}{where}")
            own = find_runs(cluster, job.number) or runs
            fetched = fetch(connection, job.number, own, terms.arrived, Wanted(choose=terms.choose))
            yield fetched
            if not (fetched.fetched or terms.saved(cluster, fetched.receipt.job)):
                raise lost_outputs(fetched, terms)
    yield from check_left(connection, terms)


@contextmanager
def handle_silence(cluster: Cluster, terms: Terms) -> Iterator[None]:
    """Raise LossError if a node exists but does not answer; one that no longer exists has nothing left."""
    force = terms.force
    try:
        yield
    except GoneError:
        return
    except NodeError as error:
        hint = force or error.hint
        if isinstance(error, StoppedError):
            hint = f"{error.hint}, then gpujob down {cluster.name}; {force}"
        raise LossError(f"cannot download the outputs on '{cluster.name}': {error.what}", hint) from error


def lost_outputs(fetched: Fetched, terms: Terms) -> LossError:
    """Return the error that outputs of a job would be lost."""
    job = fetched.receipt.job
    fetch = f"gpujob fetch --cluster {fetched.receipt.cluster} {job.number}"
    if fetched.postponed:
        what, again = "were downloaded: the rest is too large to download without confirmation", f"{fetch} --yes"
    else:
        what, again = "could be downloaded", fetch
    hint = f"{again}; {terms.force}" if terms.force else again
    return LossError(f"not all outputs of job {job.number} {what}", hint)


def check_left(connection: Connection, terms: Terms) -> Iterator[AllLeft]:
    """Yield what jobs left outside their working folders; raises LossError if any of it is not minor."""
    listing = client.list_left(connection)
    lost = tuple(each for each in listing.left if not (terms.keeps_home and each.path.startswith("~")))
    if lost:
        yield AllLeft(lost, listing.complete)
    missed = [each for each in lost if not each.minor]
    if missed:
        cluster = connection.cluster
        names = ", ".join(map(repr, (each.path for each in missed[:NAMED]))) + ", ..." * (len(missed) > NAMED)
        own = [each for each in missed if each.jobs[:1] == missed[0].jobs[:1]]  # a fetch is for one job
        options = output_options(own) if missed[0].jobs else ""
        asked = f"gpujob fetch --cluster {cluster.name} {missed[0].jobs[0]} {options}" if options else ""
        hint = "; ".join(filter(None, [asked, terms.force]))
        raise LossError(f"not downloaded, outside the jobs' working folders on '{cluster.name}': {names}", hint)
