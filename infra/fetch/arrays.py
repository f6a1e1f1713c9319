"""What each node has of an array: the tasks that ran there last, whose outputs all go to one folder."""

from dataclasses import dataclass, replace
from functools import cached_property

from infra.cluster.connections import reach
from infra.errors import NodeError
from infra.model import Job, TaskRecord
from infra.node import client
from infra.node.listing import Outputs
from infra.node.tasks import list_tasks
from infra.ssh.connection import Connection


@dataclass(frozen=True)
class Portion:
    """What a node has of an array."""

    rank: int
    job: Job
    """The array as node 0 knows it, or this node if node 0 does not answer."""
    tasks: tuple[TaskRecord, ...] = ()
    asked: int | None = None
    """The node that listed them; None if none was asked."""

    @cached_property
    def nodes(self) -> dict[str, int | None]:
        """The node of each task, by the names of its outputs: 17 and 17.log."""
        return {name: task.node for task in self.tasks for name in (f"{task.index}", f"{task.index}.log")}

    def has(self, path: str) -> bool:
        """Return whether an output is this node's: not that of a task which then ran on another one."""
        return self.nodes.get(path.partition("/")[0], self.rank) == self.rank

    def choose(self, told: Outputs) -> Outputs:
        """Return a listing of a node's outputs without those that are not its own."""
        own = tuple(output for output in told.outputs if output.outside or self.has(output.path))
        return told if len(own) == len(told.outputs) else replace(told, outputs=own)

    def update(self, known: tuple[TaskRecord, ...]) -> tuple[TaskRecord, ...]:
        """Return what is known of all tasks, with what this node says."""
        if self.asked is None:
            return known
        if not self.asked:
            return self.tasks
        own = {task.index: task for task in self.tasks if task.node == self.rank}
        before = {task.index: task for task in known}
        return tuple(own.get(task.index, before.get(task.index, task)) for task in self.tasks)


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
