"""Run a job: submit it, follow it, download its outputs."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.arrays.results import show_results
from cli.notices import billing
from cli.notices.ending import notify, watching_lease
from cli.notices.jobs import next_commands
from cli.notices.remains import want
from cli.reasons.explanations import explain_failure
from cli.steps.following import attached, download_all, follow_again, follow_job, open_ports
from cli.steps.reach import note_preempted
from cli.steps.submission import submit_job
from cli.terminal import show
from cli.terminal.output import Output
from cli.terminal.streams import Copy, outliving
from infra.base.folders import open_folder
from infra.errors import GoneError
from infra.fetch.autofetch import Terms, fetch_all_meanwhile
from infra.fetch.pace import UNASKED_BYTES
from infra.node.calls import expect
from infra.results.folder import keep_log, open_log

if TYPE_CHECKING:
    from infra.model import Job, Request
    from infra.project.files import Project
    from infra.run.following import Attachment
    from infra.ssh.connection import Connection


@dataclass(frozen=True)
class Manner:
    """How a job is run."""

    detach: bool
    """Whether to return once it is submitted."""
    down: bool
    """Whether the caller terminates the cluster afterwards."""
    raw: bool
    """Whether to print every update of its progress bars."""
    fetch_every_s: float
    yes: bool
    """Whether to skip confirmation of large transfers."""
    notify: str | None = None
    """How to notify the user when it ends."""
    ports: tuple[tuple[int, int], ...] = ()
    """Local ports and those of the machine that they lead to, while the job is followed."""


def run_job(
    connection: "Connection", project: "Project", request: "Request", manner: Manner
) -> "tuple[Job, bool] | None":
    """Submit a job, follow it and download its outputs.

    Return the ended job and whether all of its outputs were downloaded; None if detached.
    """
    cluster = connection.cluster
    with open_ports(manner.ports) as ports:  # first: if one is in use, no job is started
        if not manner.detach:
            expect(connection, "attach" if request.terminal else "logs")
        number = submit_job(connection, project, request, manner.yes)
        if manner.detach:
            show.say(next_commands(cluster, number))
            billing.remind(cluster)
            return None
        with billing.reminding(cluster, manner.down), outliving(number, follow_again(cluster, number)):
            terminal, logs = request.terminal is not None, 1 if request.array else request.nodes
            with watching_lease(manner.notify, cluster), attached(number, ports, terminal, logs) as at:
                job = follow_and_keep(connection, project, (number, request.nodes), manner, at)
            return conclude(connection, project, job, manner)


def conclude(connection: "Connection", project: "Project", job: "Job", manner: Manner) -> "tuple[Job, bool]":
    """Explain, announce and download an ended job; return it, and whether all was downloaded."""
    explain_failure(connection, job, project)
    notify(manner.notify, connection.cluster.name, job)
    whole = download_all(connection, job, project.runs, want(manner.yes))
    if job.tasks:
        show_results(project.runs / f"{connection.cluster.name}-{job.number}")
    return job, whole


def follow_and_keep(
    connection: "Connection", project: "Project", started: tuple[int, int], manner: Manner, attachment: "Attachment"
) -> "Job":
    """Follow a job until it ends, saving its log and downloading its outputs periodically."""
    number, nodes = started
    terms = Terms(manner.fetch_every_s, show.say, math.inf if manner.yes else UNASKED_BYTES)
    meanwhile = fetch_all_meanwhile(connection, number, project.runs, terms, nodes)
    with open_folder(project.runs / f"{connection.cluster.name}-{number}") as top:
        try:
            with open_log(top, fresh=True) as log, meanwhile:  # what is printed now is not downloaded again later
                output = Output(manner.raw, editing=attachment.terminal is not None)
                return follow_job(connection, number, output, keep=Copy(log, show.say), attachment=attachment)
        except GoneError as error:
            keep_log(top)
            note_preempted(error, connection.cluster, project.runs)
            raise
