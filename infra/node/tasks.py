"""The tasks of an array, as the agent lists them."""

from dataclasses import replace

from infra.base.decoding import decode
from infra.errors import NodeError
from infra.model import TaskRecord
from infra.node.calls import call
from infra.node.client import shift_time
from infra.ssh.connection import Connection


def list_tasks(connection: Connection, number: int) -> tuple[TaskRecord, ...]:
    """Return the tasks of an array in the order of their indices, none for another job; raises NodeError."""
    answer = call(connection, "tasks", str(number))
    if not isinstance(answer, dict) or not isinstance(answer.get("now"), int | float):
        raise NodeError("invalid response from the agent: tasks without a time", "gpujob jobs")
    tasks = decode(tuple[TaskRecord, ...], answer.get("tasks"))
    for task in tasks:
        if not all(isinstance(each, str) for pair in task.values.items() for each in pair):
            raise NodeError(f"invalid response from the agent: the values of task {task.index}", "gpujob jobs")
    nodes = connection.cluster.nodes

    def complete(task: TaskRecord) -> TaskRecord:
        machine = nodes[task.node].instance_id if task.node is not None and task.node < len(nodes) else ""
        return replace(task, started_at=shift_time(task.started_at, answer["now"]), machine=machine)

    return tuple(map(complete, tasks))
