"""Submitted jobs: jobs, logs, wait, cancel, fetch."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.arrays.tasks import cancel_tasks
from cli.facts.jobs import flat_facts
from cli.notices import billing, ending
from cli.notices.ending import notify_option
from cli.notices.jobs import describe_job, describe_state, job_row, next_commands
from cli.notices.recorded import list_recorded
from cli.notices.remains import make_chooser
from cli.notices.space import warn_of_space, warn_of_upload
from cli.options.context import check_variable, choose_name, cluster_flag, runs_of, script_here
from cli.options.declared import (
    cluster_option,
    exclude_option,
    json_option,
    option,
    output_option,
    personal_option,
    typed_cluster_option,
    typed_option,
    yes_option,
)
from cli.options.values import JobName, parse_job, parse_task
from cli.reasons.explanations import explain_failure, find_reason
from cli.steps.following import download_all, exit_code
from cli.steps.reach import find_job, find_jobs, reach, reach_job, reach_machine
from cli.terminal import formats, progress, show
from cli.uploads.following import await_saved, follow_sent
from cli.uploads.jobs import download_saved, find_last_saved, find_saved, is_sent, note_last, was_fetched
from cli.uploads.sent import stop_sent
from infra.errors import GoneError, NotFoundError, UnbegunError, UsageError
from infra.fetch.outputs import Wanted
from infra.node import client
from infra.node.listing import output_options
from infra.project.settings import read_settings
from infra.results.receipts import find_home, find_receipt, make_receipt
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
    try:
        reached, connecting = reach(cluster)
        with connecting as connection:
            found = client.list_jobs(connection)
            space = client.find_space(connection)
            warn_of_space(reached.name, space)
            warn_of_upload(space.upload_fault)
            reason = find_reason(connection, found[-1]) if found and not as_json else ""
    except (NotFoundError, GoneError) as error:
        list_elsewhere(error, choose_name(cluster), as_json)
        return
    data = [tell_all(reached, job) for job in found] if as_json else None
    empty = f"no jobs yet. Run one: gpujob run{cluster_flag(reached.name)} {script_here()}"
    rows = [job_row(job, find_home(runs_of(reached, job.number), reached.name, job.number)) for job in found]
    show.listing(rows, as_json, data, empty, ("started", "name", "exit"))
    if reason:
        show.say(f"job {found[-1].number} {describe_state(found[-1])}\n{reason}")


def list_elsewhere(error: NotFoundError | GoneError, name: str, as_json: bool) -> None:
    """List an unreachable cluster's jobs from its bucket or runs/; without any, raise the error."""
    try:
        found = find_saved(error, name)
    except (NotFoundError, GoneError, UnbegunError) as refusal:
        list_recorded(refusal, name, as_json)
        return
    jobs = [(each.cluster, replace(each.current, fetched=was_fetched(each))) for each in found]
    rows = [job_row(job, find_home(runs_of(gone, job.number), name, job.number)) for gone, job in jobs]
    data = [tell_all(gone, job) for gone, job in jobs] if as_json else None
    show.listing(rows, as_json, data, droppable=("started", "name", "exit"))
    note_last(name, found)


@jobs.command()
@click.argument("asked", metavar="[JOB]...", type=parse_job, nargs=-1)
@typed_option("--done", is_flag=True, help="Remove all finished jobs whose outputs are downloaded.")
@typed_option("--force", is_flag=True, help="Also remove jobs whose outputs are not downloaded; these are lost.")
@typed_cluster_option
@click.pass_context
def rm(context: click.Context, asked: tuple[JobName, ...], done: bool, force: bool, cluster: str | None) -> None:
    """Remove finished jobs and their files from all machines of the cluster.

    Downloaded outputs stay in runs/. Job numbers are not reused.
    """
    if bool(asked) == done:
        raise UsageError("expected jobs or --done", "gpujob jobs rm --done")
    name = cluster or context.obj
    check_variable(name, f"gpujob jobs rm --cluster {{name}} {as_typed(asked) or '--done'}")
    reached, connecting = reach(name)
    with connecting as connection:
        numbers = [job.number for job in find_jobs(connection, asked, certain=True)] if asked else []
    removal = storage.remove_jobs(reached, numbers, force)
    if removal.removed:
        names = formats.plural(len(removal.removed), "job")
        show.say(f"removed {names} from '{reached.name}': {formats.size(removal.freed_bytes)} freed")
    else:
        show.say(f"nothing to do: no finished and downloaded jobs on '{reached.name}'")
    for number, left in removal.kept.items():
        fetch = f"gpujob fetch{cluster_flag(reached.name)} {number} {output_options(left)}".rstrip()
        show.say(f"kept job {number}: not yet downloaded. Download: {fetch}")


def as_typed(asked: Sequence[JobName]) -> str:
    """Return jobs as typed, for a suggested command that is a format."""
    return shlex.join(map(str, asked)).replace("{", "{{").replace("}", "}}")


def tell_all(cluster: "Cluster", job: "Job") -> dict[str, Any]:
    """Return a job with its receipt and its downloaded outputs."""
    home = find_receipt(runs_of(cluster, job.number), cluster.name, job.number) or {}
    here = {name: home[name] for name in ("outputs", *DOWNLOADED) if name in home}
    return flat_facts({**make_receipt(cluster, job, ()).to_dict(), **here})


@click.command()
@click.argument("job", type=parse_job, required=False)
@notify_option
@cluster_option
def wait(job: JobName | None, notify: str | None, cluster: str | None) -> None:
    """Wait until a job ends.

    Exits with the job's exit code. JOB defaults to the latest job.
    """
    try:
        found, ended = follow_end(cluster, job, notify)
    except GoneError as error:
        name = choose_name(cluster)
        if not is_sent(name):
            raise
        saved = follow_sent(await_saved(error, name, job), lambda _: None)
        found, ended = saved.cluster, saved.current
        show.say(f"job {ended.number} {describe_state(ended)}")
    ending.notify(notify, found.name, ended)
    sys.exit(exit_code(found, ended))


def follow_end(cluster: str | None, job: JobName | None, notify: str | None) -> "tuple[Cluster, Job]":
    """Wait until a job of a machine ends, and say how; return its cluster and the job."""
    with (
        reach_job(cluster, job) as (found, connection, asked),
        billing.reminding(found),
        ending.watching_lease(notify, found),
    ):
        try:
            with progress.waiting(f"waiting for {describe_job(asked)}"):
                ended = following.follow(connection, asked.number, lambda _: None, show.say, asked.log_bytes)
        except KeyboardInterrupt:
            show.say(f"\n{next_commands(found, asked.number)}")
            sys.exit(130)
        show.say(f"job {ended.number} {describe_state(ended)}")
        explain_failure(connection, ended)
    return found, ended


@click.command()
@click.argument("asked", metavar="[JOB[.TASK]]...", type=parse_task, nargs=-1)
@typed_option("--all", "everything", is_flag=True, help="Stop all running and queued jobs.")
@typed_cluster_option
def cancel(asked: tuple[tuple[JobName, int | None], ...], everything: bool, cluster: str | None) -> None:
    """Stop a job and every process it started.

    JOB is a number or a name; it can be omitted if only one job is running or queued. 12.17 is task 17 of array 12: the
    others continue.
    """
    refuse_both([job for job, _ in asked], everything)
    tasks = [(job, task) for job, task in asked if task is not None]
    whole = [job for job, task in asked if task is None]
    words = "--all" if everything else as_typed([*whole, *(f"{job}.{task}" for job, task in tasks)])
    check_variable(cluster, f"gpujob cancel --cluster {{name}} {words}".rstrip())
    first = asked[0][0] if asked else None
    if stop_sent(choose_name(cluster), [job for job, _ in asked], tasks):
        return
    with reach_machine(cluster, first) as (found, connection), billing.reminding(found):
        for array in find_jobs(connection, [job for job, _ in tasks], certain=True) if tasks else ():
            cancel_tasks(connection, array, [task for job, task in tasks if job == array.number and task is not None])
        if tasks and not whole:
            return
        jobs = find_jobs(connection, whole, certain=True) if whole else find_active(connection, everything)
        if not jobs:
            show.say(f"nothing to do: no job is running or queued on '{found.name}'")
        for before in reversed(jobs):  # the latest first: a queued job must not start when another ends
            with progress.steps() as report:
                report(f"stopping job {before.number}")
                after = before if before.over else client.cancel(connection, before.number)
            nothing = "nothing to do: " * before.over
            show.say(f"{nothing}job {before.number} {describe_state(after)}")


def refuse_both(asked: Sequence[JobName], everything: bool) -> None:
    """Raise UsageError for both jobs and --all."""
    if asked and everything:
        raise UsageError("jobs cannot be named with --all", "use one of them")


def find_active(connection: "Connection", everything: bool) -> "list[Job]":
    """Return the jobs that have not ended; raises UsageError for more than one, unless `everything`."""
    jobs = [job for job in client.list_jobs(connection) if not job.over]
    if len(jobs) > 1 and not everything:
        flag = cluster_flag(connection.cluster.name)
        raise UsageError(
            f"{len(jobs)} jobs are running or queued: {', '.join(map(describe_job, jobs))}",
            f"gpujob cancel{flag} {jobs[-1].number}, or: gpujob cancel{flag} --all",
        )
    return jobs


@click.command()
@click.argument("asked", metavar="[JOB]...", type=parse_job, nargs=-1)
@typed_option("--all", "everything", is_flag=True, help="Download all jobs that are not fully downloaded.")
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
    asked: tuple[JobName, ...],
    everything: bool,
    to: Path | None,
    pattern: str,
    overwrite: bool,
    outputs: tuple[str, ...],
    exclude: tuple[str, ...],
    cluster: str | None,
    yes: bool,
) -> None:
    """Download a job's outputs.

    JOB is a number or a name, by default the latest job. Every file is verified. Files that were verified before, or that
    you modified, are not replaced: a different version is saved as NAME.from-node. Downloads over 1 GB ask for confirmation.
    """
    refuse_both(asked, everything)
    first = asked[0] if asked else None
    choose = make_chooser(yes)

    def want(runs: Path) -> Wanted:
        settings = read_settings(runs.parent)
        also, unwanted = (*settings.outputs, *outputs), (*settings.unwanted, *exclude)
        return Wanted(pattern, overwrite=overwrite, asked=also, exclude=unwanted, choose=choose)

    try:
        with reach_machine(cluster, first) as (found, connection), billing.reminding(found):
            for job in choose_jobs(connection, asked, everything):
                runs = runs_of(found, job.number)
                download_all(connection, job, to.resolve() if to else runs, want(runs))
    except (NotFoundError, GoneError) as error:
        name = choose_name(cluster)
        last = [] if everything else [find_last_saved(error, name, each) for each in asked or (None,)]
        for each in last or find_saved(error, name):
            runs = runs_of(each.cluster, each.job.number)
            download_saved([each], to.resolve() if to else runs, want(runs))


def choose_jobs(connection: "Connection", asked: Sequence[JobName], everything: bool) -> "list[Job]":
    """Return the jobs to download: these, or with `everything` all that are not yet downloaded."""
    if not everything:
        return find_jobs(connection, asked) if len(asked) > 1 else [find_job(connection, asked[0] if asked else None)]
    jobs = [job for job in client.list_jobs(connection) if not job.fetched]
    if not jobs:
        show.say(f"nothing to do: everything on '{connection.cluster.name}' is downloaded")
    return jobs
