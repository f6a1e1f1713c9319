"""Explain why a job failed, by what is known about the usual reasons."""

import re
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cli.options.context import runs_of
from cli.reasons import disks, files, gpus, modules, notebooks, programs, terminals
from cli.reasons.failure import Failure
from cli.terminal import show
from infra.cluster.connections import reach
from infra.errors import NodeError
from infra.git.listing import is_inside
from infra.node import client
from infra.node.tasks import list_tasks
from infra.project.files import Project, read_project
from infra.run.options import read_options
from infra.ssh.connection import DroppedError

if TYPE_CHECKING:
    from infra.model import Job
    from infra.node.client import JobNumber
    from infra.ssh.connection import Connection

COLOURS = re.compile(r"\x1b\[[0-9;:]*m")  # IPython's tracebacks have them
LINES, END_BYTES = 100, 1 << 16  # of the end of the log

# Each returns a message, or "" if this is not the reason.
REASONS = (
    disks.explain,
    notebooks.explain,
    terminals.explain,
    gpus.explain,
    programs.explain,
    files.explain,
    modules.explain,
)


def explain_failure(connection: "Connection", job: "Job", project: Project | None = None) -> None:
    """If a job failed for a reason that gpujob knows, say what it is and what to do."""
    if said := find_reason(connection, job, project):
        show.say(said)


def find_reason(connection: "Connection", job: "Job", project: Project | None = None) -> str:
    """Return why a job failed and what to do; "" if it did not fail, or for a reason that is not known.

    Without `project`, it is that of the job on this computer.
    """
    if job.state != "failed":
        return ""
    with suppress(NodeError):  # the log is there, the explanation is extra
        root = project.home if project else runs_of(connection.cluster, job.number).parent
        rank, number = find_failed(connection, job)
        with reach(connection.cluster, rank) if rank != connection.rank else nullcontext(connection) as failed:
            log = read_end_anyway(failed, number)
        failure = Failure(connection.cluster, job, log, root, lambda: project or read_again(root, job))
        return next(filter(None, (explain(failure) for explain in REASONS)), "")
    return ""


def find_failed(connection: "Connection", job: "Job") -> "tuple[int, JobNumber]":
    """Return the node and the log in which a failed job, or an array's first failed task, says why."""
    failed = [task for task in list_tasks(connection, job.number) if task.state == "failed"] if job.tasks else []
    if not failed:
        return job.failed_node, job.number
    first = min(failed, key=lambda task: (task.started_at or 0) + (task.seconds or 0))
    return first.node or 0, f"{job.number}.{first.index}"


def read_again(root: Path, job: "Job") -> Project:
    """Return the project of a job that was submitted earlier; raises GpujobError."""
    project, options = read_project(root), read_options(job.source)
    inside = options is not None and is_inside(options.workdir)
    return replace(project, workdir=options.workdir) if options and inside else project


def read_end_anyway(connection: "Connection", number: "JobNumber") -> str:
    """Return the last lines of a job's log, if need be over a new connection; raises NodeError."""
    try:
        return read_end(connection, number)
    except DroppedError:
        with reach(connection.cluster, connection.rank) as again:
            return read_end(again, number)


def read_end(connection: "Connection", number: "JobNumber") -> str:
    """Return the last lines of a job's log; raises NodeError."""
    start, end = client.find_tail(connection, number, LINES), b""
    for chunk in client.read_log(connection, number, start):
        end = (end + chunk)[-END_BYTES:]
    return COLOURS.sub("", end.decode(errors="replace"))
