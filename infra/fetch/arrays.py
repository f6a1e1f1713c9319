"""What each node has of an array: the tasks that ran there last, whose outputs all go to one folder."""

from infra.cluster.connections import reach
from infra.errors import NodeError
from infra.model import Job
from infra.node import client
from infra.node.tasks import Portion, list_tasks
from infra.ssh.connection import Connection


def find_portion(connection: Connection, job: Job, settled: bool) -> Portion:
    """Return what a node has of a job: all that it lists, unless the job is an array.

    While that runs, only node 0 says which tasks ran where.
    """
    rank = connection.rank
    if job.tasks is None or (settled and rank):
        return Portion(rank, job)
    if rank:
        try:
            with reach(connection.cluster) as first:
                return Portion(rank, client.find_job(first, job.number), list_tasks(first, job.number), asked=0)
        except NodeError:  # node 0 was lost
            pass
    return Portion(rank, job, list_tasks(connection, job.number), asked=rank)
