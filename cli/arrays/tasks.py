"""Tasks of an array as typed: 12.17."""

import time
from typing import TYPE_CHECKING

from cli.options.context import cluster_flag
from cli.terminal import show
from infra.errors import UsageError
from infra.node.tasks import list_tasks

if TYPE_CHECKING:
    from infra.model import Job, TaskRecord
    from infra.ssh.connection import Connection

POLL_S = 2.0


def find_task(connection: "Connection", job: "Job", index: int) -> "TaskRecord":
    """Return a task of an array; raises UsageError."""
    tasks = list_tasks(connection, job.number)
    found = next((task for task in tasks if task.index == index), None)
    if found is None:
        what = f"job {job.number} has no task {index}" if tasks else f"job {job.number} is not an array"
        raise UsageError(what, f"gpujob logs{cluster_flag(connection.cluster.name)} {job.number}")
    return found


def await_task(connection: "Connection", job: "Job", index: int) -> None:
    """Wait until a task of an array starts, or will not start any more; raises UsageError if there is none."""
    if find_task(connection, job, index).state != "queued":
        return
    show.say(f"task {job.number}.{index} has not started yet; waiting for it. Ctrl-C stops waiting.")
    while find_task(connection, job, index).state == "queued":
        time.sleep(POLL_S)
