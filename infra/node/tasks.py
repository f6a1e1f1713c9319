"""The tasks of an array, as the agent lists them, and what each node has of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from infra.base.decoding import decode
from infra.errors import NodeError
from infra.model import Job, TaskRecord
from infra.node.calls import call
from infra.node.client import shift_time
from infra.node.listing import Outputs
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


def list_tasks(connection: Connection, number: int) -> tuple[TaskRecord, ...]:
    """Return the tasks of an array in the order of their indices, none for another job; raises NodeError."""
    answer = call(connection, "tasks", str(number))
    if not isinstance(answer, dict) or not isinstance(answer.get("now"), int | float):
        raise NodeError("invalid response from the agent: tasks without a time", "gpujob jobs")
    tasks = decode(tuple[TaskRecord, ...], answer.get("tasks"))
    check_values(tasks)
    nodes = connection.cluster.nodes

    def complete(task: TaskRecord) -> TaskRecord:
        machine = nodes[task.node].instance_id if task.node is not None and task.node < len(nodes) else ""
        return replace(task, started_at=shift_time(task.started_at, answer["now"]), machine=machine)

    return tuple(map(complete, tasks))


def check_values(tasks: Iterable[TaskRecord]) -> None:
    """Raise NodeError if a task has values that are no text."""
    for task in tasks:
        if not all(isinstance(each, str) for pair in task.values.items() for each in pair):
            raise NodeError(f"invalid response from the agent: the values of task {task.index}", "gpujob jobs")
