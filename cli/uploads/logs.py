"""What uploaded jobs printed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.notices.jobs import choose_task
from cli.terminal import show
from infra.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from infra.model import Output
    from infra.saved.search import Saved


def read_job_log(job: "Saved", node: int | None) -> bytes:
    """Return what a job printed: on all nodes, or on one; an array itself prints on the first.

    Raises UsageError for a node that it did not run on, NotFoundError for one that uploaded nothing.
    """
    from infra.run.nodes.merging import Lines  # this loads fabric

    number, nodes = job.job.number, job.job.nodes
    if node is not None and node >= nodes:
        where = f"nodes 0 to {nodes - 1}" if nodes > 1 else "one node"
        raise UsageError(f"job {number} ran on {where}", "omit --node")
    if nodes == 1 or (job.job.tasks and node is None):
        return b"".join(job.read_log(0))
    if node is not None:
        part = next((part for part in job.parts if part.rank == node), None)
        if part is None:
            raise NotFoundError(f"node {node} of job {number} had not uploaded any outputs", "omit --node")
        return b"".join(part.read_log(0))
    printed = bytearray()
    lines = Lines(printed.extend)
    for part in job.parts:
        try:
            for chunk in part.read_log(0):
                lines.add(part.rank, chunk)
        except NotFoundError as error:
            show.say(error.what)
        lines.flush()
    return bytes(printed)


def read_task_log(job: "Saved", index: int) -> bytes:
    """Return what a task printed; raises UsageError for no task, NotFoundError without output."""
    number = job.job.number
    task = choose_task(job.tasks, index, job.job, job.cluster.name)
    attempt = job.find_task(index)
    if attempt:
        return b"".join(attempt.read_log(0))
    found = bytearray()

    def take(_: "Output", content: Iterator[bytes]) -> None:
        found.extend(b"".join(content))

    for part in job.parts:
        if part.rank == task.node:
            told = part.list_outputs()[1]
            logs = [each for each in told.outputs if each.path == f"{index}.log" and not each.outside]
            part.receive({each: each.size_bytes for each in logs}, take)
            if logs:
                return bytes(found)
    raise NotFoundError(f"task {index} of job {number} had not uploaded its output", f"gpujob receipt {number}")
