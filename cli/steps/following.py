"""Follow a job until it ends, then download its outputs."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli.notices.jobs import describe_state, next_commands
from cli.notices.remains import expecting, show_remains, want
from cli.notices.results import show_fetched
from cli.options.context import cluster_flag
from cli.steps.keyboard import DETACH_KEY, Keyboard
from cli.terminal import progress, show
from cli.terminal.output import Output
from cli.terminal.streams import discard_output
from infra.cluster.connections import reach
from infra.errors import GoneError, GpujobError, NodeError, NotFoundError
from infra.fetch.outputs import Wanted, fetch
from infra.node import client
from infra.run import following
from infra.run.following import Attachment
from infra.run.nodes.merging import merged
from infra.run.preemption import note_lost
from infra.ssh.forward import Forward

if TYPE_CHECKING:
    from cli.terminal.streams import Copy
    from infra.model import Cluster, Job
    from infra.node.client import JobNumber
    from infra.ssh.connection import Connection


def follow_job(
    connection: "Connection",
    number: "JobNumber",
    output: Output,
    offset: int = 0,
    keep: "Copy | None" = None,
    attachment: Attachment = Attachment(),  # noqa: B008  it is frozen
) -> "Job":
    """Print a job's output until it ends, then its final state; Ctrl-C detaches.

    `keep` receives a copy of the output; of a job over several nodes, that of the first.
    """
    interactive = attachment.terminal is not None
    silence = progress.Silence(partial(describe_silence, connection, number), lambda: output.ends_a_line)

    def display(chunk: bytes) -> None:
        with silence.broken():
            output.write(chunk)

    try:
        with (
            nullcontext() if interactive else silence,
            merged(connection, number, attachment, display, show.say) as write,
        ):

            def pass_on(chunk: bytes) -> None:
                if keep:
                    keep.write(chunk)
                write(chunk)

            job = following.follow(connection, number, pass_on, show.say, offset, attachment)
        output.flush()
    except (KeyboardInterrupt, BrokenPipeError) as error:
        if isinstance(error, KeyboardInterrupt):
            output.flush()
        show.say(f"\n{next_commands(connection.cluster, number, interactive)}")
        if isinstance(error, BrokenPipeError):
            raise
        sys.exit(130)
    except OSError as error:
        discard_output()
        what = f"cannot write the output on this computer: {error.strerror}"
        raise GpujobError(f"{what}. Job {number} is not affected", follow_again(connection.cluster, number)) from error
    if not output.ends_a_line and sys.stdout.isatty():
        show.say()
    show.say(f"job {number} {describe_state(job)}", colour=show.STATES.get(job.state))
    return job


def describe_silence(connection: "Connection", number: "JobNumber") -> str:
    """Return what a job without output does: job 2 is running (Ctrl-C detaches); no output for."""
    try:
        state = f"job {number} is {client.find_job(connection, number).state}"
    except GpujobError:  # the connection is replaced by the one who follows
        state = f"waiting for job {number}"
    return f"{state} (Ctrl-C detaches); no output for"


def follow_again(cluster: "Cluster", number: "JobNumber") -> str:
    """Return the command that follows a job again, or prints its output once it has ended."""
    return f"gpujob logs{cluster_flag(cluster.name)} -f {number}"


@contextmanager
def attached(
    number: int, ports: Sequence[tuple[Forward, int]] = (), interactive: bool = False, nodes: int = 1
) -> Iterator[Attachment]:
    """Yield what is attached to a job while it is followed: ports, and with `interactive` this terminal."""
    for forward, there in ports:
        address = f"http://127.0.0.1:{forward.port}"
        show.say(f"port {there} of the machine: {address}", links=[address])
    if not interactive:
        yield Attachment(ports=tuple(ports), nodes=nodes)
        return
    with Keyboard() as keyboard:
        show.say(f"job {number} has this terminal, also for Ctrl-C; {DETACH_KEY} detaches, it keeps running")
        yield Attachment(keyboard.terminal, tuple(ports))


@contextmanager
def open_ports(ports: Sequence[tuple[int, int]]) -> Iterator[list[tuple[Forward, int]]]:
    """Listen on local ports; raises UsageError if one is in use."""
    with ExitStack() as opened:
        yield [(opened.enter_context(Forward(here)), there) for here, there in ports]


def exit_code(cluster: "Cluster", job: "Job") -> int:
    """Return the exit code of a job; raises NodeError if it is unknown."""
    if job.exit_code is None:
        what = f"job {job.number} was {job.outcome}; its exit code is unknown"
        raise NodeError(what, f"gpujob logs{cluster_flag(cluster.name)} {job.number}")
    return job.exit_code


def download_all(connection: "Connection", job: "Job", runs: Path, wanted: Wanted | None = None) -> bool:
    """Download a job's outputs from all of its nodes; return whether nothing is left to download.

    A node that no longer exists has nothing left; one that does not answer keeps what it has.
    """
    wanted, whole, cluster = wanted or want(), True, connection.cluster
    ranks = range(min(job.nodes, len(cluster.nodes))) if job.nodes > 1 else (connection.rank,)
    for rank in reversed(ranks):  # the first last: an array is complete once the others' tasks are here
        last = rank == ranks[0]
        try:
            with nullcontext(connection) if rank == connection.rank else reach(cluster, rank) as other:
                part = replace(wanted, partial=not whole) if last else wanted
                whole = download(other, job.number, runs, part, shown=last or job.tasks is None) and whole
        except NotFoundError:
            if last:
                raise
            show.say(f"nothing to download from node {rank}: job {job.number} was never submitted to it")
        except NodeError as error:
            if job.nodes == 1:
                raise
            show.say(f"nothing was downloaded from node {rank}: {error.what}")
            whole = whole and isinstance(error, GoneError)
            if last and isinstance(error, GoneError):
                note_lost(cluster, runs, job)
    return whole


def download(
    connection: "Connection", number: int, runs: Path, wanted: Wanted | None = None, *, shown: bool = True
) -> bool:
    """Download a job's outputs; report them unless not `shown`. Return whether all were downloaded."""
    wanted = wanted or want()
    with progress.transfer("downloading") as arrived:
        home = fetch(
            connection, number, runs, arrived, replace(wanted, choose=expecting(arrived.expect, wanted.choose))
        )
    if shown:
        show_fetched(home)
    show_remains(home)
    return home.fetched
