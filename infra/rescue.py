"""What must be home before a machine ends."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from infra import state
from infra.clusters import Report, find_living
from infra.ec2.account import Account
from infra.errors import GoneError, LossError, NodeError, StoppedError
from infra.homecoming import Homecoming, fetch
from infra.model import Cluster
from infra.node import client
from infra.runs import check_quiet, reach


def rescue(name: str, accounts: Sequence[Account], runs: Path, report: Report, force: str = "") -> Iterator[Homecoming]:
    """Fetch, one by one, what jobs of this cluster wrote and is not home; nothing if its machine is gone already.

    Raises LossError, which says how to `force` it, while a job runs, and when the machine lives but cannot be asked.
    """
    cluster = state.recall(name)
    if cluster is None and not state.attempt_file(name).exists():  # an `up` that was broken off has run no job
        cluster = next(iter(find_living(name, accounts)), None)
        if cluster and not state.key_file(name).exists():
            raise LossError(
                f"'{name}' was not rented from this laptop, so what its jobs wrote cannot be fetched",
                f"gpujob down there; {force}",
            )
    if cluster is not None:
        yield from fetch_all(cluster, runs, report, force)


def fetch_all(cluster: Cluster, runs: Path, report: Report, force: str) -> Iterator[Homecoming]:
    """Fetch what jobs of a cluster that is known here wrote and is not home."""
    report(f"asking '{cluster.name}' what is not home yet")
    try:
        with reach(cluster) as connection:
            jobs = client.list_jobs(connection)
            check_quiet(cluster, jobs, force)
            for job in jobs:
                if not job.fetched:
                    report(f"fetching what job {job.number} wrote")
                    home = fetch(connection, cluster, job.number, runs, lambda _: None)
                    yield home
                    if not home.receipt.job.fetched:
                        again = f"try again: gpujob fetch --cluster {cluster.name} {job.number}"
                        raise LossError(f"not all that job {job.number} wrote could be fetched", force or again)
    except GoneError:
        return
    except NodeError as error:
        hint = force or error.hint
        if isinstance(error, StoppedError):
            hint = f"{error.hint}, then gpujob down {cluster.name}; {force}"
        raise LossError(f"what '{cluster.name}' holds could not be fetched: {error.what}", hint) from error
