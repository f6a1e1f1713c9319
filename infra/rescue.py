"""What must be home before a machine ends."""

from collections.abc import Iterator
from pathlib import Path

from infra.clusters import Report
from infra.errors import GoneError, LossError, NodeError
from infra.homecoming import Homecoming, fetch
from infra.model import Cluster
from infra.node import client
from infra.runs import reach


def rescue(cluster: Cluster, runs: Path, report: Report) -> Iterator[Homecoming]:
    """Fetch, one by one, what jobs of this cluster wrote and is not home; nothing if its machine is gone already.

    Raises LossError while a job runs, and when the machine lives but cannot be asked.
    """
    force = f"gpujob down {cluster.name} --force ends it all the same"
    report(f"asking '{cluster.name}' what is not home yet")
    try:
        with reach(cluster) as connection:
            jobs = client.list_jobs(connection)
            running = [job.number for job in jobs if not job.over]
            if running:
                raise LossError(
                    f"job {running[0]} of '{cluster.name}' still runs",
                    f"gpujob logs -f {running[0]} waits for it; {force}",
                )
            for job in jobs:
                if not job.fetched:
                    report(f"fetching what job {job.number} wrote")
                    yield fetch(connection, cluster, job.number, runs, lambda _: None)
    except GoneError:
        return
    except NodeError as error:
        raise LossError(f"what '{cluster.name}' holds could not be fetched: {error.what}", force) from error
