"""Connect to the cluster and find the jobs that a command applies to."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.options.context import choose_name, cluster_flag, find_cluster, runs_here
from cli.options.values import JobName
from cli.terminal import progress, show
from infra.cluster import connections
from infra.errors import GoneError, GpujobError, NotFoundError, UsageError
from infra.model import UNFINISHED
from infra.node import client
from infra.results.folder import LOG
from infra.results.receipts import find_home, read_receipt
from infra.run.origins import choose_runs
from infra.run.preemption import mark_preempted

if TYPE_CHECKING:
    from infra.model import Cluster, Job
    from infra.ssh.connection import Connection


def reach(name: str | None) -> "tuple[Cluster, AbstractContextManager[Connection]]":
    """Return the cluster and an unopened connection to its node."""
    cluster = find_cluster(name)
    return cluster, connect(cluster)


@contextmanager
def connect(cluster: "Cluster", rank: int | None = None) -> "Iterator[Connection]":
    """Connect to a cluster's node; a terminal shows that this takes long.

    Raises GoneError for a sent job's machine: others may have worked on it before, so its state is in the bucket.
    """
    if cluster.sent:
        raise GoneError(
            f"the machines of '{cluster.name}' work on a sent job, and have no login",
            f"gpujob jobs{cluster_flag(cluster.name)}",
        )
    with ExitStack() as opened:
        with progress.waiting(f"connecting to {cluster.name}"):
            connection = opened.enter_context(connections.reach(cluster, rank))
        yield connection


@contextmanager
def reach_job(name: str | None, job: JobName | None) -> "Iterator[tuple[Cluster, Connection, Job]]":
    """Yield a cluster, a connection to its node and a job, by default the latest."""
    with reach_machine(name, job) as (cluster, connection):
        yield cluster, connection, find_job(connection, job)


@contextmanager
def reach_machine(name: str | None, job: JobName | None) -> "Iterator[tuple[Cluster, Connection]]":
    """Yield a cluster and a connection to its node.

    If one of them or the job no longer exists, the error names the job's results on this computer.
    """
    cluster = None
    try:
        cluster = find_cluster(name)
        with connect(cluster) as connection:
            yield cluster, connection
    except (NotFoundError, GoneError) as error:
        if not isinstance(job, str):
            point_to_results(error, choose_name(name), job)
        if cluster:
            note_preempted(error, cluster, runs_here())
        raise


def note_preempted(error: GpujobError, cluster: "Cluster", runs: Path) -> None:
    """If AWS has reclaimed the machine, record that in the receipts of its jobs, and add it to the error."""
    if isinstance(error, GoneError) and error.reclaimed:
        for number in mark_preempted(cluster, runs):
            error.add_note(
                f"job {number} was preempted; what was downloaded is in {find_home(runs, cluster.name, number)}"
            )


def find_job(connection: "Connection", asked: JobName | None) -> "Job":
    """Return a job by number or name, by default the latest; raises NotFoundError."""
    if isinstance(asked, str):
        return choose_job(connection.cluster, client.list_jobs(connection), asked)
    return client.find_job(connection, asked)


def find_jobs(connection: "Connection", asked: Sequence[JobName], *, certain: bool = False) -> "list[Job]":
    """Return these jobs, each once; raises NotFoundError, or UsageError as `choose_job` does."""
    jobs = client.list_jobs(connection)
    chosen = [choose_job(connection.cluster, jobs, each, certain=certain) for each in asked]
    return list({job.number: job for job in chosen}.values())


def choose_job(cluster: "Cluster", jobs: "Sequence[Job]", asked: JobName, *, certain: bool = False) -> "Job":
    """Return a job by number or name; of several with this name the latest, and says so.

    Raises NotFoundError, and with `certain` UsageError for an ambiguous name.
    """
    found = [job for job in jobs if asked == (job.number if isinstance(asked, int) else job.name)]
    if not found:
        what = f"no job {asked}" if isinstance(asked, int) else f"no job is named '{asked}'"
        raise NotFoundError(f"{what} on '{cluster.name}'", f"gpujob jobs{cluster_flag(cluster.name)}")
    if len(found) > 1:
        numbers = ", ".join(str(job.number) for job in found)
        if certain:
            raise UsageError(f"several jobs are named '{asked}': {numbers}", "use the number")
        show.say(f"several jobs are named '{asked}': {numbers}. Using the latest: {found[-1].number}")
    return found[-1]


def point_to_results(error: GpujobError, cluster: str, number: int | None) -> None:
    """Add to an error the path of a job's results, if they are on this computer."""
    home = find_home(choose_runs(cluster, number, runs_here()), cluster, number)
    receipt = read_receipt(home)
    log = f" (log: {LOG})" if (home / LOG).exists() else ""
    if receipt is None or (not log and receipt["job"].get("state") in UNFINISHED):  # nothing was downloaded yet
        return
    error.add_note(f"the results of job {receipt['job'].get('number')} are in {home}{log}")
    if isinstance(error, NotFoundError):
        error.hint = f"gpujob receipt{cluster_flag(cluster)} {receipt['job'].get('number')}"
