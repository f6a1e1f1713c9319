"""Run a job again: rerun."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import click

from cli.arrays.options import spread
from cli.options.context import find_cluster, here, own_name, runs_here
from cli.options.declared import FETCH_EVERY_S, cluster_option, option, yes_option
from cli.options.masking import check_secrets
from cli.options.variables import read_secrets, read_variables
from cli.terminal import formats, show
from infra.errors import ProjectError, UsageError
from infra.history.runs import Run, find_run, list_runs
from infra.model import Array, Request, Task
from infra.node.agent.records import NOTEBOOK
from infra.project.files import Project, read_project
from infra.run.options import ArraySettings, Options, read_options


@click.command()
@click.argument("run")
@option("--as-it-was", is_flag=True, help="Run the code as it was: its commit and changes.patch.")
@option("--all-tasks", is_flag=True, help="Run all tasks of an array again, not only those that did not succeed.")
@option("--detach", "-d", is_flag=True, help="Submit the job and return immediately.")
@option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="Set an environment variable; repeatable.")
@option(
    "--secret", multiple=True, metavar="NAME", help="Pass an environment variable, kept out of records; repeatable."
)
@cluster_option
@yes_option
def rerun(
    run: str,
    as_it_was: bool,
    all_tasks: bool,
    detach: bool,
    env: tuple[str, ...],
    secret: tuple[str, ...],
    cluster: str | None,
    yes: bool,
) -> None:
    """Run a job again, with the same command and options.

    \b
    gpujob rerun 3
    gpujob rerun 3 --as-it-was

    RUN is a number, a name such as CLUSTER-3, or a job name. Uses the project's current code unless --as-it-was is given.
    Of an array, the tasks that did not succeed run again.
    Values of variables are not recorded: pass them again.
    """  # noqa: D301  click reads the backspace
    past = find_run(list_runs(runs_here()), run, own_name(cluster))
    options = choose_options(past, env, secret)
    if list(past.job.command) == NOTEBOOK:
        raise UsageError(f"run {past.key} was a notebook", "gpujob notebook")
    request = options.make_request(past.job.command, read_variables(env, None), read_secrets(secret))
    request = replace(request, array=choose_tasks(past, options, all_tasks))
    check_secrets(request)
    found = find_cluster(cluster)
    if found.sent:
        free = f"{found.name}-2"
        hint = f"launch another cluster: gpujob up {free}; then: gpujob rerun {past.key} --cluster {free}"
        raise UsageError(f"the machines of '{found.name}' work on a sent job only", hint)
    from cli.steps.data import send_recorded
    from cli.steps.following import exit_code
    from cli.steps.running import Manner, run_job
    from infra.cluster import connections

    request = spread(request, found)
    with choose_code(past, options.workdir, as_it_was) as project, connections.reach(found) as connection:
        if as_it_was:
            request = replace(request, data=send_recorded(connection, runs_here().parent, past))
            for rank in range(1, request.nodes):
                with connections.reach(found, rank) as other:
                    send_recorded(other, runs_here().parent, past)
        show.say(f"running again: {describe(request, options.workdir)}")
        ended = run_job(connection, project, request, Manner(detach, False, False, FETCH_EVERY_S, yes))
    sys.exit(exit_code(found, ended[0]) if ended else 0)


def choose_options(past: Run, env: Sequence[str], secret: Sequence[str]) -> Options:
    """Return the options of a run; raises UsageError if a variable of it is not passed again."""
    options = read_options(past.job.source)
    if options is None:
        show.say(f"the options of run {past.key} were not recorded: running with the defaults")
        return Options(name=past.job.name)
    given = {pair.partition("=")[0] for pair in env}
    missing = [f"--env {name}=..." for name in options.env if name not in given]
    missing += [f"--secret {name}" for name in options.secrets if name not in secret and name not in given]
    if missing:
        what = f"run {past.key} was passed {' '.join(missing)}, whose values are not recorded"
        raise UsageError(what, f"gpujob rerun {past.key} {' '.join(missing)}")
    return options


def choose_tasks(past: Run, options: Options, every: bool) -> Array | None:
    """Return an array's tasks to run again, by default those that failed; None for another job.

    Raises UsageError if there are none, or if the array may still be running.
    """
    if not past.job.tasks:
        return None
    records, fetch = past.receipt.tasks, f"gpujob fetch --cluster {past.receipt.cluster} {past.job.number}"
    if not records or not past.job.over:
        raise UsageError(f"run {past.key} had not ended when it was last downloaded", fetch)
    chosen = tuple(Task(task.index, task.values) for task in records if every or task.state != "succeeded")
    if not chosen:
        what = f"all {formats.plural(len(records), 'task')} of run {past.key} succeeded"
        raise UsageError(what, f"gpujob rerun {past.key} --all-tasks")
    if not every:
        show.say(f"{len(chosen)} of {formats.plural(len(records), 'task')} of run {past.key} did not succeed")
    settings = options.array or ArraySettings(len(records))
    return Array(chosen, settings.at_once, settings.share, settings.retries, settings.count)


@contextmanager
def choose_code(past: Run, workdir: str, as_it_was: bool) -> Iterator[Project]:
    """Yield the project with its current code or that of the run; raises GpujobError."""
    root = runs_here().parent
    if not as_it_was:
        project = read_project(here())
        if not (root / workdir).resolve().is_relative_to(root) or not (root / workdir).is_dir():
            raise ProjectError(f"run {past.key} ran in '{workdir}', which no longer exists in this project")
        yield replace(project, workdir=workdir)
        return
    from infra.history.sources import check_out

    with explaining(past), check_out(root, past, workdir) as project:
        if project.snapshot != past.job.source.get("snapshot"):
            show.say("warning: the code may differ from the run's in file modes, line endings or empty folders")
        yield project


@contextmanager
def explaining(past: Run) -> Iterator[None]:
    """Add to an error about unavailable code how to run the current code."""
    try:
        yield
    except ProjectError as error:
        error.hint = error.hint or f"to run the current code: gpujob rerun {past.key}"
        raise


def describe(request: Request, workdir: str) -> str:
    """Return the options and the command of a request."""
    flags = {
        "--workdir": workdir if workdir != "." else "",
        "--name": request.name,
        "--gpus": request.gpus,
        "--nodes": request.nodes if request.nodes > 1 and not request.array else None,
        "--time-limit": f"{request.time_limit_s:g}s" if request.time_limit_s else "",
        "--python": request.python,
        "--from": request.start_from,
    }
    words = [word for flag, value in flags.items() if value not in (None, "") for word in (flag, str(value))]
    words += ["--kill-stalled"] * request.kill_stalled + ["--no-deps"] * request.no_deps
    words += [word for extra in request.extras for word in ("--extra", extra)]
    words += [word for group in request.groups for word in ("--group", group)]
    words += [word for path in request.outputs for word in ("--output", path)]
    return shlex.join(["gpujob", "run", *words, "--", *request.command])
