"""Jobs that were submitted: jobs, logs, wait, cancel, fetch; and following one to its end."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import show
from cli.options import (
    Since,
    choose_name,
    cluster_option,
    exclude_option,
    find_cluster,
    json_option,
    naming,
    option,
    output_option,
    parse_since,
    raw_option,
    runs_here,
    runs_of,
    yes_option,
)
from cli.output import Output
from cli.remains import show_remains, want
from cli.streams import discard_output
from infra.errors import GoneError, GpujobError, NodeError, NotFoundError, UsageError

if TYPE_CHECKING:
    from fabric import Connection

    from cli.streams import Copy
    from infra.fetch import Wanted
    from infra.model import Cluster, Job


def follow_job(
    cluster: "Cluster",
    connection: "Connection",
    number: int,
    output: Output,
    offset: int = 0,
    keep: "Copy | None" = None,
) -> "Job":
    """Print the job's output until it is over and say how it ended; Ctrl-C detaches and says how to take it up again.

    `keep` gets a copy of all that came.
    """
    from infra import runs

    def pass_on(chunk: bytes) -> None:
        if keep:
            keep.write(chunk)
        output.write(chunk)

    try:
        job = runs.follow(cluster, connection, number, pass_on, show.say, offset)
        output.flush()
    except (KeyboardInterrupt, BrokenPipeError) as error:
        show.say(f"\ndetached from job {number}. {next_commands(cluster, number)}")
        if isinstance(error, BrokenPipeError):
            raise
        sys.exit(130)
    except OSError as error:
        discard_output()
        what = f"the output cannot be written here: {error.strerror}"
        raise GpujobError(f"{what}. Job {number} is not affected", follow_again(cluster, number)) from error
    if not output.ends_a_line and sys.stdout.isatty():
        show.say()
    show.say(f"job {number} {show.ending(job)}")
    return job


def follow_again(cluster: "Cluster", number: int) -> str:
    """Return the command that follows a job again, or shows what it printed once it is over."""
    return f"gpujob logs{naming(cluster.name)} -f {number}"


def next_commands(cluster: "Cluster", number: int) -> str:
    """Return what to type next about a job that runs."""
    where = f"--cluster {cluster.name} "
    return f"Next: gpujob logs {where}-f {number}, gpujob fetch {where}{number}, gpujob cancel {where}{number}"


def exit_code(cluster: "Cluster", job: "Job") -> int:
    """Return the exit code that a job leaves us with; raises NodeError if nobody saw it end."""
    if job.exit_code is None:
        what = f"nobody saw job {job.number} end: it was interrupted"
        raise NodeError(what, f"gpujob logs{naming(cluster.name)} {job.number}")
    return job.exit_code


def bring_home(
    cluster: "Cluster", connection: "Connection", number: int, runs: Path, wanted: "Wanted | None" = None
) -> None:
    """Download a job's outputs, say where they are, and what was not downloaded."""
    from infra.fetch import fetch

    with show.transfer("downloading") as arrived:
        home = fetch(connection, cluster, number, runs, arrived, wanted or want())
    show.fetched(home)
    show_remains(home)


def reach(name: str | None) -> "tuple[Cluster, AbstractContextManager[Connection]]":
    """Return the cluster to work on and the connection to its node, still to be entered."""
    from infra import runs

    cluster = find_cluster(name)
    return cluster, runs.reach(cluster)


@contextmanager
def reach_job(name: str | None, number: int | None) -> "Iterator[tuple[Cluster, Connection, Job]]":
    """Yield a cluster, a connection to its node, and a job of it, by default the latest.

    Where one of them is no more, the error tells where at home lies what came of the job.
    """
    from infra import runs
    from infra.node import client

    try:
        cluster = find_cluster(name)
        with runs.reach(cluster) as connection:
            yield cluster, connection, client.find_job(connection, number)
    except (NotFoundError, GoneError) as error:
        point_home(error, choose_name(name), number)
        raise


def point_home(error: GpujobError, cluster: str, number: int | None) -> None:
    """Let an error tell where what came home of a job lies, if anything did."""
    from infra.receipts import find_home, read_receipt
    from infra.results import LOG
    from infra.submissions import choose_runs

    home = find_home(choose_runs(cluster, number, runs_here()), cluster, number)
    receipt = read_receipt(home)
    if receipt is None:
        return
    log = f"; its log is {LOG} there" if (home / LOG).exists() else ""
    error.add_note(f"what came home of job {receipt['job']['number']} is in {home}{log}")
    if isinstance(error, NotFoundError):
        error.hint = f"gpujob receipt{naming(cluster)} {receipt['job']['number']}"


@click.command()
@cluster_option
@json_option
def jobs(cluster: str | None, as_json: bool) -> None:
    """List the jobs of a cluster."""
    from infra.node import client

    reached, connecting = reach(cluster)
    with connecting as connection:
        found = client.list_jobs(connection)
    data = [tell_all(reached, job) for job in found] if as_json else None
    empty = f"no jobs yet; gpujob run{naming(reached.name)} train.py"
    show.listing([show.job_row(job) for job in found], as_json, data, empty, ("started", "name", "exit"))


def tell_all(cluster: "Cluster", job: "Job") -> dict[str, Any]:
    """Return a job with all that its receipt has; its outputs as far as they have come home to this project."""
    from infra.receipts import find_receipt, make_receipt

    home = find_receipt(runs_of(cluster, job.number), cluster.name, job.number) or {}
    receipt = {**make_receipt(cluster, job, ()).to_dict(), "outputs": home.get("outputs", [])}
    return {**receipt.pop("job"), **receipt}


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@option("--follow", "-f", is_flag=True, help="Go on until the job is over.")
@option("--tail", "-n", type=click.IntRange(0), metavar="LINES", help="Only the last lines, and what comes.")
@option("--since", type=parse_since, metavar="WHEN",
        help="Only what came since: 10m (ago), 14:05, 2026-11-24T14:05, or an offset in bytes.")  # fmt: skip
@raw_option
@cluster_option
def logs(job: int | None, follow: bool, tail: int | None, since: Since | None, raw: bool, cluster: str | None) -> None:
    """Print the output of JOB, by default the latest."""
    if tail is not None and since:
        raise UsageError("--tail and --since do not go together", "gpujob logs --help")
    from infra import runs

    output = Output(raw)
    with reach_job(cluster, job) as (found, connection, asked):
        offset = find_offset(connection, asked.number, tail, since)
        if follow:
            follow_job(found, connection, asked.number, output, offset)
        else:
            runs.print_log(connection, asked.number, output.write, offset)
            output.flush()


def find_offset(connection: "Connection", number: int, tail: int | None, since: Since | None) -> int:
    """Return the byte of the log from which on it is asked for."""
    from infra.node import client

    if tail is not None:
        return client.find_tail(connection, number, tail)
    if since is None:
        return 0
    return client.find_since(connection, number, since.ago_s) if since.offset is None else since.offset


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@cluster_option
def wait(job: int | None, cluster: str | None) -> None:
    """Wait until JOB is over, by default the latest.

    Exits with its exit code.
    """
    from infra import runs

    with reach_job(cluster, job) as (found, connection, asked):
        ended = runs.follow(found, connection, asked.number, lambda _: None, show.say, asked.log_bytes)
    show.say(f"job {ended.number} {show.ending(ended)}")
    sys.exit(exit_code(found, ended))


@click.command()
@click.argument("job", type=click.IntRange(1))
@cluster_option
def cancel(job: int, cluster: str | None) -> None:
    """End JOB and every process it started."""
    from infra.node import client

    with reach_job(cluster, job) as (_, connection, before), show.progress() as report:
        report(f"ending job {job}")
        after = before if before.over else client.cancel(connection, job)
    show.say(f"nothing to do: job {job} {show.ending(before)}" if before.over else f"job {job} {show.ending(after)}")


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@option("--pattern", default="*", metavar="GLOB", help="Only outputs whose path matches, as in '*.pt'.")
@option("--to", type=click.Path(file_okay=False, path_type=Path), help="Download into this folder instead of runs/.")
@click.option("--overwrite", is_flag=True, help="Replace verified files and local changes by what the node has now.")
@output_option
@exclude_option
@cluster_option
@yes_option
def fetch(
    job: int | None,
    to: Path | None,
    outputs: tuple[str, ...],
    exclude: tuple[str, ...],
    cluster: str | None,
    yes: bool,
    **wanted: Any,
) -> None:
    """Download what JOB wrote, by default the latest job.

    Each file is verified. What was verified before is never replaced, nor is what you changed: a version that differs is saved
    beside it. More than 1 GB is asked about first.
    """
    from infra.settings import read_settings

    with reach_job(cluster, job) as (found, connection, asked):
        runs = runs_of(found, asked.number)
        said = read_settings(runs.parent)
        all_of_it = want(yes, asked=(*said.outputs, *outputs), exclude=(*said.unwanted, *exclude), **wanted)
        bring_home(found, connection, asked.number, to.resolve() if to else runs, all_of_it)
