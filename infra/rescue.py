"""What must be home before a machine ends."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from infra import state
from infra.clusters import Report, find_living
from infra.ec2.account import Account
from infra.errors import GoneError, LossError, NodeError
from infra.homecoming import Homecoming, fetch
from infra.model import Cluster
from infra.node import client
from infra.runs import check_quiet, reach


def rescue(name: str, accounts: Sequence[Account], runs: Path, report: Report) -> Iterator[Homecoming]:
    """Fetch, one by one, what jobs of this cluster wrote and is not home; nothing if its machine is gone already.

    Raises LossError while a job runs, and when the machine lives but cannot be asked.
    """
    cluster = state.recall(name)
    if cluster is not None:
        yield from fetch_all(cluster, runs, report)
    elif (
        find_living(name, accounts) and not state.key_file(name).exists()
    ):  # with the key, it is an `up` of ours broken off
        raise LossError(
            f"'{name}' was not rented from this laptop, so what its jobs wrote cannot be fetched",
            f"gpujob down there, or: gpujob down {name} --force",
        )


def fetch_all(cluster: Cluster, runs: Path, report: Report) -> Iterator[Homecoming]:
    """Fetch what jobs of a cluster that is known here wrote and is not home."""
    force = f"gpujob down {cluster.name} --force ends it all the same"
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
                        raise LossError(f"not all that job {job.number} wrote could be fetched", force)
    except GoneError:
        return
    except NodeError as error:
        raise LossError(f"what '{cluster.name}' holds could not be fetched: {error.what}", force) from error
