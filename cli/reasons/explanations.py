"""Explain why a job failed, by what is known about the usual reasons."""

from contextlib import suppress
from typing import TYPE_CHECKING

from cli.reasons import files, gpus, modules, notebooks, terminals
from cli.reasons.failure import Failure
from cli.terminal import show
from infra.errors import NodeError
from infra.node import client

if TYPE_CHECKING:
    from infra.model import Job
    from infra.project.files import Project
    from infra.ssh.connection import Connection

LINES, END_BYTES = 100, 1 << 16  # of the end of the log

# Each returns a message, or "" if this is not the reason.
REASONS = (notebooks.explain, terminals.explain, gpus.explain, files.explain, modules.explain)


def explain_failure(connection: "Connection", project: "Project", job: "Job") -> None:
    """Print why a job failed and what to do, if gpujob knows the reason."""
    if job.state != "failed":
        return
    with suppress(NodeError):  # the job's own log remains
        failure = Failure(connection.cluster, project, job, read_end(connection, job.number))
        if said := next(filter(None, (explain(failure) for explain in REASONS)), ""):
            show.say(said)


def read_end(connection: "Connection", number: int) -> str:
    """Return the last lines of a job's log; raises NodeError."""
    start, end = client.find_tail(connection, number, LINES), b""
    for chunk in client.read_log(connection, number, start, follow=False):
        end = (end + chunk)[-END_BYTES:]
    return end.decode(errors="replace")
