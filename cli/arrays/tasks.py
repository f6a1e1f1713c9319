"""Tasks of an array as typed: 12.17."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.notices.jobs import choose_task, describe_state
from cli.terminal import progress, show
from infra.node import client
from infra.node.tasks import list_tasks

if TYPE_CHECKING:
    from infra.model import Job, TaskRecord
    from infra.ssh.connection import Connection

POLL_S = 2.0


def find_task(connection: "Connection", job: "Job", index: int) -> "TaskRecord":
    """Return a task of an array; raises UsageError."""
    return choose_task(list_tasks(connection, job.number), index, job, connection.cluster.name)


def await_task(connection: "Connection", job: "Job", index: int) -> None:
    """Wait until a task of an array starts, or will not start any more; raises UsageError without it."""
    if find_task(connection, job, index).state != "queued":
        return
    show.say(f"task {job.number}.{index} has not started yet; waiting for it. Ctrl-C stops waiting.")
    while find_task(connection, job, index).state == "queued":
        time.sleep(POLL_S)


def cancel_tasks(connection: "Connection", array: "Job", indices: Sequence[int]) -> None:
    """Stop single tasks of an array, and show how each ended; raises UsageError for one that it has not."""
    for before in [find_task(connection, array, index) for index in indices]:
        name = f"{array.number}.{before.index}"
        if before.over:
            show.say(f"nothing to do: task {name} {before.state}")
            continue
        with progress.steps() as report:
            report(f"stopping task {name}")
            after = client.cancel(connection, name)
        later = "" if after.over else ": it ends as soon as its array is able to"
        show.say(f"task {name} {describe_state(after)}{later}")
