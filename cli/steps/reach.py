"""Connect to the cluster and find the job that a command applies to."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from cli.options.context import choose_name, cluster_flag, find_cluster, runs_here
from infra.cluster import connections
from infra.errors import GoneError, GpujobError, NotFoundError
from infra.node import client
from infra.results.folder import LOG
from infra.results.receipts import find_home, read_receipt
from infra.run.origins import choose_runs

if TYPE_CHECKING:
    from infra.model import Cluster, Job
    from infra.ssh.connection import Connection


def reach(name: str | None) -> "tuple[Cluster, AbstractContextManager[Connection]]":
    """Return the cluster and an unopened connection to its node."""
    cluster = find_cluster(name)
    return cluster, connections.reach(cluster)


@contextmanager
def reach_job(name: str | None, number: int | None) -> "Iterator[tuple[Cluster, Connection, Job]]":
    """Yield a cluster, a connection to its node and a job, by default the latest.

    If one of them no longer exists, the error names the job's results on this computer.
    """
    try:
        cluster = find_cluster(name)
        with connections.reach(cluster) as connection:
            yield cluster, connection, client.find_job(connection, number)
    except (NotFoundError, GoneError) as error:
        point_to_results(error, choose_name(name), number)
        raise


def point_to_results(error: GpujobError, cluster: str, number: int | None) -> None:
    """Add to an error the path of a job's results, if they are on this computer."""
    home = find_home(choose_runs(cluster, number, runs_here()), cluster, number)
    receipt = read_receipt(home)
    if receipt is None:
        return
    log = f" (log: {LOG})" if (home / LOG).exists() else ""
    error.add_note(f"the results of job {receipt['job'].get('number')} are in {home}{log}")
    if isinstance(error, NotFoundError):
        error.hint = f"gpujob receipt{cluster_flag(cluster)} {receipt['job'].get('number')}"
