"""Submitted jobs: jobs, logs, wait, cancel, fetch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.notices import billing, ending
from cli.notices.ending import notify_option
from cli.notices.jobs import describe_state, job_row
from cli.notices.remains import make_chooser
from cli.notices.space import warn_of_space
from cli.options.context import check_variable, cluster_flag, runs_of
from cli.options.declared import (
    cluster_option,
    exclude_option,
    json_option,
    option,
    output_option,
    personal_option,
    raw_option,
    typed_cluster_option,
    typed_option,
    yes_option,
)
from cli.options.durations import Since, parse_since
from cli.steps.following import download, exit_code, follow_job, next_commands
from cli.steps.reach import reach, reach_job
from cli.terminal import formats, progress, show
from cli.terminal.output import Output
from infra.errors import UsageError
from infra.fetch.outputs import Wanted
from infra.node import client
from infra.node.listing import output_options
from infra.project.settings import read_settings
from infra.results.receipts import find_receipt, make_receipt
from infra.run import following, storage

if TYPE_CHECKING:
    from infra.model import Cluster, Job
    from infra.ssh.connection import Connection

# Receipt entries that only this computer has, besides outputs.
DOWNLOADED = ("renamed", "withheld", "interim", "outside", "downloaded_bytes")


@click.group(invoke_without_command=True)
@click.pass_context
@cluster_option
@json_option
def jobs(context: click.Context, cluster: str | None, as_json: bool) -> None:
    """List the jobs of a cluster.

    To free disk space on the machine: gpujob jobs rm --done
    """
    context.obj = cluster if context.get_parameter_source("cluster") is ParameterSource.COMMANDLINE else None
    if context.invoked_subcommand:
        return
    reached, connecting = reach(cluster)
    with connecting as connection:
        found = client.list_jobs(connection)
        warn_of_space(reached.name, client.find_space(connection))
    data = [tell_all(reached, job) for job in found] if as_json else None
    empty = f"no jobs yet. Run one: gpujob run{cluster_flag(reached.name)} train.py"
    show.listing([job_row(job) for job in found], as_json, data, empty, ("started", "name", "exit"))


@jobs.command()
@click.argument("numbers", metavar="[JOB]...", type=click.IntRange(1), nargs=-1)
@typed_option("--done", is_flag=True, help="Remove all finished jobs whose outputs are downloaded.")
@typed_option("--force", is_flag=True, help="Also remove jobs whose outputs are not downloaded; these are lost.")
@typed_cluster_option
@click.pass_context
def rm(context: click.Context, numbers: tuple[int, ...], done: bool, force: bool, cluster: str | None) -> None:
    """Remove finished jobs and their files from the machine.

    Downloaded outputs stay in runs/. Job numbers are not reused.
    """
    if bool(numbers) == done:
        raise UsageError("expected job numbers or --done", "gpujob jobs rm --done")
    name = cluster or context.obj
    check_variable(name, f"gpujob jobs rm --cluster {{name}} {' '.join(map(str, numbers)) or '--done'}")
    reached, connecting = reach(name)
    with connecting as connection:
        removal = storage.remove_jobs(connection, numbers, force)
    if removal.removed:
        names = formats.plural(len(removal.removed), "job")
        show.say(f"removed {names} from '{reached.name}': {formats.size(removal.freed_bytes)} freed")
    else:
        show.say(f"nothing to do: no finished and downloaded jobs on '{reached.name}'")
    for number, left in removal.kept.items():
        fetch = f"gpujob fetch{cluster_flag(reached.name)} {number} {output_options(left)}".rstrip()
        show.say(f"kept job {number}: not yet downloaded. Download: {fetch}")


def tell_all(cluster: "Cluster", job: "Job") -> dict[str, Any]:
    """Return a job with its receipt and its downloaded outputs."""
    home = find_receipt(runs_of(cluster, job.number), cluster.name, job.number) or {}
    here = {name: home[name] for name in ("outputs", *DOWNLOADED) if name in home}
    receipt = {**make_receipt(cluster, job, ()).to_dict(), **here}
    return {**receipt.pop("job"), **receipt}


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@option("--follow", "-f", is_flag=True, help="Follow the output until the job ends.")
@option("--tail", "-n", type=click.IntRange(0), metavar="LINES", help="Start at the last LINES lines.")
@option(
    "--since",
    type=parse_since,
    metavar="WHEN",
    help="Start at a time or offset: 10m (ago), 14:05, 2026-11-24T14:05, 4096b (bytes).",
)
@raw_option
@cluster_option
def logs(job: int | None, follow: bool, tail: int | None, since: Since | None, raw: bool, cluster: str | None) -> None:
    """Print a job's output.

    JOB defaults to the latest job.
    """
    if tail is not None and since:
        raise UsageError("--tail cannot be used with --since", "use one of them")
    output = Output(raw)
    with reach_job(cluster, job) as (found, connection, asked):
        offset = find_offset(connection, asked.number, tail, since)
        if follow:
            with billing.reminding(found):
                follow_job(connection, asked.number, output, offset)
        else:
            following.print_log(connection, asked.number, output.write, offset)
            output.flush()


def find_offset(connection: "Connection", number: int, tail: int | None, since: Since | None) -> int:
    """Return the byte offset to start at."""
    if tail is not None:
        return client.find_tail(connection, number, tail)
    if since is None:
        return 0
    return client.find_since(connection, number, since.ago_s) if since.offset is None else since.offset


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@notify_option
@cluster_option
def wait(job: int | None, notify: str | None, cluster: str | None) -> None:
    """Wait until a job ends.

    Exits with the job's exit code. JOB defaults to the latest job.
    """
    with reach_job(cluster, job) as (found, connection, asked), billing.reminding(found):
        try:
            ended = following.follow(connection, asked.number, lambda _: None, show.say, asked.log_bytes)
        except KeyboardInterrupt:
            show.say(f"\n{next_commands(found, asked.number)}")
            sys.exit(130)
        show.say(f"job {ended.number} {describe_state(ended)}")
        ending.notify(notify, found.name, ended)
    sys.exit(exit_code(found, ended))


@click.command()
@click.argument("job", type=click.IntRange(1))
@typed_cluster_option
def cancel(job: int, cluster: str | None) -> None:
    """Stop a job and every process it started."""
    check_variable(cluster, f"gpujob cancel --cluster {{name}} {job}")
    with reach_job(cluster, job) as (found, connection, before), billing.reminding(found):
        with progress.steps() as report:
            report(f"stopping job {job}")
            after = before if before.over else client.cancel(connection, job)
        nothing = "nothing to do: " * before.over
        show.say(f"{nothing}job {job} {describe_state(after)}")


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@option("--pattern", default="*", metavar="GLOB", help="Only download matching outputs, e.g. '*.pt'.")
@personal_option(
    "--to", type=click.Path(file_okay=False, path_type=Path), help="Download into this folder instead of runs/."
)
@typed_option(
    "--overwrite", is_flag=True, help="Replace verified and locally modified files with the machine's version."
)
@output_option
@exclude_option
@cluster_option
@yes_option
def fetch(
    job: int | None,
    to: Path | None,
    pattern: str,
    overwrite: bool,
    outputs: tuple[str, ...],
    exclude: tuple[str, ...],
    cluster: str | None,
    yes: bool,
) -> None:
    """Download a job's outputs.

    JOB defaults to the latest job. Every file is verified. Files that were verified before, or that you modified, are not
    replaced: a different version is saved as NAME.from-node. Downloads over 1 GB ask for confirmation.
    """
    with reach_job(cluster, job) as (found, connection, asked), billing.reminding(found):
        runs = runs_of(found, asked.number)
        settings = read_settings(runs.parent)
        wanted = Wanted(
            pattern,
            overwrite=overwrite,
            asked=(*settings.outputs, *outputs),
            exclude=(*settings.unwanted, *exclude),
            choose=make_chooser(yes),
        )
        download(connection, asked.number, to.resolve() if to else runs, wanted)
