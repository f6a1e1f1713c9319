"""Watch a job: its output, and its terminal."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from cli.arrays.tasks import await_task, find_task
from cli.notices import billing
from cli.notices.jobs import describe_state
from cli.notices.queue import show_queue
from cli.notices.recorded import print_saved, read_log
from cli.options.context import choose_name, runs_of
from cli.options.declared import cluster_option, option, raw_option
from cli.options.durations import Since, parse_since
from cli.options.values import JobName, parse_job, parse_task
from cli.reasons.explanations import explain_failure
from cli.steps.following import attached, download, exit_code, follow_job
from cli.steps.keyboard import describe_terminal
from cli.steps.reach import connect, reach_job
from cli.terminal import show
from cli.terminal.output import Output
from cli.uploads.following import await_saved, follow_sent
from cli.uploads.jobs import find_last_saved, is_sent
from cli.uploads.logs import read_job_log, read_task_log
from infra.errors import GoneError, NotFoundError, UsageError
from infra.node import client
from infra.node.client import JobNumber
from infra.run.following import Attachment
from infra.run.nodes.merging import Sink, print_logs

if TYPE_CHECKING:
    from infra.model import Cluster, Job
    from infra.saved.search import Saved
    from infra.ssh.connection import Connection

LINES = 20  # of what was printed before


@click.command()
@click.argument("asked", metavar="[JOB[.TASK]]", type=parse_task, required=False)
@option("--follow", "-f", is_flag=True, help="Follow the output until the job ends.")
@option("--tail", "-n", type=click.IntRange(0), metavar="LINES", help="Start at the last LINES lines.")
@option(
    "--since",
    type=parse_since,
    metavar="WHEN",
    help="Start at a time or offset: 10m (ago), 14:05, 2026-11-24T14:05, 4096b (bytes).",
)
@option("--node", type=click.IntRange(0), metavar="RANK", help="Only of this node of a job over several nodes.")
@raw_option
@cluster_option
def logs(
    asked: tuple[JobName | None, int | None] | None,
    follow: bool,
    tail: int | None,
    since: Since | None,
    node: int | None,
    raw: bool,
    cluster: str | None,
) -> None:
    """Print a job's output.

    JOB is a number or a name, by default the latest job; 12.17 is task 17 of array 12. Without the machine, prints what was
    saved in runs/. Each line of a job over several nodes starts with its node: 1| loss 0.3
    """
    if tail is not None and since:
        raise UsageError("--tail cannot be used with --since", "use one of them")
    output, (job, task) = Output(raw), asked or (None, None)
    with ExitStack() as opened:
        try:
            found, connection, shown = opened.enter_context(reach_job(cluster, job))
        except (NotFoundError, GoneError) as error:
            name = choose_name(cluster)
            if follow and task is None and is_sent(name):
                follow_elsewhere(await_saved(error, name, job), output, tail, since)
            else:
                print_saved(read_elsewhere(error, name, (job, task, node)), output, tail, since)
            return
        if task is not None and follow:
            await_task(connection, shown, task)
        rank, number, nodes = choose_log(found, connection, shown, node if task is None else task, task is not None)
        if rank not in (None, connection.rank):
            connection = opened.enter_context(connect(found, rank))

        def start(connection: "Connection") -> int:
            return find_offset(connection, number, tail, since)

        if follow:
            if shown.state == "queued":
                show_queue(found, client.list_jobs(connection), shown.number)
            attachment = Attachment(nodes=nodes, start=start)
            with billing.reminding(found):
                ended = follow_job(connection, number, output, start(connection), attachment=attachment)
                if task is None:
                    explain_failure(connection, ended)
        else:
            print_logs(connection, number, Sink(output.write, show.say), nodes, start)
            output.flush()


def read_elsewhere(
    error: NotFoundError | GoneError, name: str, asked: tuple[JobName | None, int | None, int | None]
) -> bytes:
    """Return what a job, task or node printed, from its bucket or runs/; else raise the error."""
    job, task, node = asked
    try:
        saved = find_last_saved(error, name, job)
        return read_job_log(saved, node) if task is None else read_task_log(saved, task)
    except (NotFoundError, GoneError):
        return read_log(error, name, job, task)


def follow_elsewhere(job: "Saved", output: Output, tail: int | None, since: Since | None) -> None:
    """Print what a sent job has printed from there on, until it ends, and how it ended."""
    try:
        before = read_job_log(job, None)
    except NotFoundError:  # nothing is uploaded yet
        before = b""
    print_saved(before, output, tail, since)
    ended = follow_sent(job, output.write, len(before)).current
    output.flush()
    show.say(f"job {ended.number} {describe_state(ended)}", colour=show.STATES.get(ended.state))


def choose_log(
    cluster: "Cluster", connection: "Connection", job: "Job", asked: int | None, is_task: bool
) -> tuple[int | None, JobNumber, int]:
    """Return the node to ask first, None for the connected one; its name for the log; on how many it is.

    `asked` is a node, or the index of a task. Raises UsageError for one that the job has not.
    """
    if is_task:
        task = find_task(connection, job, asked or 0)
        return task.node, f"{job.number}.{task.index}", 1
    rank = None if asked is None else check_node(cluster, job, asked)
    return rank, job.number, 1 if asked is not None or job.tasks else job.nodes


def check_node(cluster: "Cluster", job: "Job", node: int) -> int:
    """Return a node's rank; raises UsageError if the job did not run there."""
    count = min(job.nodes, len(cluster.nodes))
    if node >= count:
        raise UsageError(
            f"job {job.number} ran on nodes 0 to {job.nodes - 1}"
            if job.nodes > 1
            else f"job {job.number} ran on one node",
            "omit --node",
        )
    return node


def find_offset(connection: "Connection", number: JobNumber, tail: int | None, since: Since | None) -> int:
    """Return the byte offset to start at."""
    if tail is not None:
        return client.find_tail(connection, number, tail)
    if since is None:
        return 0
    return client.find_since(connection, number, since.ago_s) if since.offset is None else since.offset


@click.command()
@click.argument("job", type=parse_job, required=False)
@cluster_option
def attach(job: JobName | None, cluster: str | None) -> None:
    """Take over the terminal of an interactive job.

    For a job started by gpujob run --interactive, by default the latest, after its connection was lost or Ctrl-] detached it.
    Downloads the job's outputs when it ends, and exits with its exit code.
    """
    describe_terminal()
    with reach_job(cluster, job) as (found, connection, asked), billing.reminding(found):
        offset = client.find_tail(connection, asked.number, LINES)
        with attached(asked.number, interactive=True) as attachment:
            ended = follow_job(connection, asked.number, Output(editing=True), offset, attachment=attachment)
        explain_failure(connection, ended)
        download(connection, ended.number, runs_of(found, ended.number))
    sys.exit(exit_code(found, ended))
