"""Jobs: run, jobs, logs, cancel, fetch."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import show
from cli.options import SplitCommand, cluster_option, here, json_option, option, parse_duration
from infra.errors import NodeError, UsageError
from infra.model import Request

if TYPE_CHECKING:
    from fabric import Connection

    from infra.model import Cluster, Job
    from infra.project import Project


@click.command(cls=SplitCommand, context_settings={"allow_interspersed_args": False})
@click.argument("script", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "--module", is_flag=True, help="SCRIPT is the name of a module, as for python -m.")
@option("--detach", "-d", is_flag=True, help="Start it and return at once.")
@option("--name", default="", help="A word to tell the job by.")
@click.option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="Set a variable for the job; may be repeated.")
@option("--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Variables from a .env file.")
@option("--gpus", type=click.IntRange(0), help="GPUs for this job alone; else all that the machine has.")
@option("--time-limit", "time_limit_s", type=parse_duration, metavar="TIME", help="End it after 30m, 2h, 1d.")
@cluster_option
@click.pass_context
def run(
    context: click.Context,
    /,
    script: str | None,
    args: tuple[str, ...],
    module: bool,
    detach: bool,
    cluster: str | None,
    env: tuple[str, ...],
    env_file: Path | None,
    **wishes: Any,
) -> None:
    """Send the project, run SCRIPT on the machine, follow it, fetch what it wrote; exit with its exit code.

    \b
    gpujob run train.py --epochs 3
    gpujob run -m package.module --epochs 3
    gpujob run -- any command at all

    Jobs wait for one another in line unless they ask for fewer --gpus than there are. Closing the laptop or Ctrl-C does
    not stop a job: gpujob logs -f takes it up again.
    """  # noqa: D301  click reads the backspace
    from infra import clusters
    from infra.project import read_project

    project = read_project(here())
    command = make_command(project, script, (*args, *(context.meta["words"] or ())), module)
    request = Request(command, env=read_variables(env, env_file), **wishes)
    sys.exit(run_job(clusters.find(cluster, project.root), project, request, detach))


def read_variables(pairs: Sequence[str], file: Path | None) -> dict[str, str]:
    """Return the variables of a .env file, and over them those given as NAME=VALUE; raises UsageError for what is neither."""
    from dotenv import dotenv_values

    variables = {name: value or "" for name, value in (dotenv_values(file) if file else {}).items()}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"'{pair}' is not NAME=VALUE", "gpujob run --env NAME=VALUE train.py")
        variables[name] = value
    return variables


def make_command(project: "Project", script: str | None, args: Sequence[str], module: bool) -> tuple[str, ...]:
    """Return the command line for the node; raises UsageError for a script that would not be there."""
    if script is None:
        if not args:
            raise UsageError("what should run?", "gpujob run train.py, or: gpujob run -- any command")
        return tuple(args)
    if module:
        return ("python", "-m", script, *args)
    path = here() / script
    if not path.is_file():
        raise UsageError(f"there is no script '{script}' here", f"gpujob run train.py, or: gpujob run -- {script}")
    if not path.resolve().is_relative_to(project.root):
        raise UsageError(f"'{script}' is outside of the project {project.root}", "cd to its folder")
    if path.relative_to(project.root).as_posix() not in {file.path for file in project.files}:
        raise UsageError(
            f"'{script}' would not be sent: git ignores it, or it looks like a secret", f"git check-ignore -v {script}"
        )
    interpreter = {".py": "python", ".sh": "bash"}.get(path.suffix)
    if interpreter is None:
        raise UsageError(f"'{script}' is neither .py nor .sh", f"gpujob run -- ./{script}")
    return (interpreter, Path(script).as_posix(), *args)


def run_job(cluster: "Cluster", project: "Project", request: Request, detach: bool) -> int:
    """Submit, follow and fetch; return the job's exit code."""
    from infra import runs

    if project.left_out:
        show.say(f"not sent (secrets, and links that lead outside): {', '.join(map(repr, project.left_out[:5]))}")
    with runs.reach(cluster) as connection:
        with show.transfer("sending") as sent:
            number, ahead = runs.submit(connection, cluster, project, request, sent)
        sizes = f"{show.plural(len(project.files), 'file')}, {show.size(project.size_bytes)}"
        show.say(
            f"job {number} on '{cluster.name}': {shlex.join(request.command)} ({sizes}; {show.size(sent.total)} sent)"
        )
        if ahead:
            show.say(f"it waits in line behind {show.plural(ahead, 'job')}")
        if detach:
            show.say(next_commands(cluster, number))
            return 0
        job = follow_job(cluster, connection, number)
        bring_home(cluster, connection, number, project.runs)
    return exit_code(job)


def follow_job(cluster: "Cluster", connection: "Connection", number: int, offset: int = 0) -> "Job":
    """Print the job's output until it is over and say how it ended; Ctrl-C detaches and says how to take it up again."""
    from infra import runs

    last = b"\n"

    def pass_on(chunk: bytes) -> None:
        nonlocal last
        write(chunk)
        last = chunk[-1:]

    try:
        job = runs.follow(cluster, connection, number, pass_on, show.say, offset)
    except KeyboardInterrupt:
        show.say(f"\ndetached; job {number} goes on. {next_commands(cluster, number)}")
        sys.exit(130)
    if last != b"\n" and sys.stdout.isatty():
        show.say()
    show.say(f"job {number} {show.ending(job)}")
    return job


def next_commands(cluster: "Cluster", number: int) -> str:
    """Return what to type next about a job that runs."""
    where = f"--cluster {cluster.name} "
    return f"Next: gpujob logs {where}-f {number}, gpujob fetch {where}{number}, gpujob cancel {where}{number}"


def exit_code(job: "Job") -> int:
    """Return the exit code that a job leaves us with; raises NodeError if nobody saw it end."""
    if job.exit_code is None:
        raise NodeError(f"nobody saw job {job.number} end: it was interrupted", f"gpujob logs {job.number}")
    return job.exit_code


def write(chunk: bytes) -> None:
    """Pass bytes of a log on as they are: a job may print what is no text."""
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def bring_home(cluster: "Cluster", connection: "Connection", number: int, folder: Path) -> None:
    """Fetch a job's outputs and say where they are."""
    from infra import homecoming

    with show.transfer("fetching") as arrived:
        home = homecoming.fetch(connection, cluster, number, folder, arrived)
    show.homecoming(home)


def reach(name: str | None) -> "tuple[Cluster, AbstractContextManager[Connection]]":
    """Return the cluster to work on and the connection to its node, still to be entered."""
    from infra import clusters, runs
    from infra.project import find_root

    cluster = clusters.find(name, find_root(here()))
    return cluster, runs.reach(cluster)


@click.command()
@cluster_option
@json_option
def jobs(cluster: str | None, as_json: bool) -> None:
    """List the jobs of a cluster."""
    from infra.node import client

    _, connecting = reach(cluster)
    with connecting as connection:
        found = client.list_jobs(connection)
    show.listing(
        [show.job_row(job) for job in found],
        as_json,
        [asdict(job) for job in found],
        "no jobs yet; gpujob run train.py",
    )


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@option("--follow", "-f", is_flag=True, help="Go on until the job is over.")
@option("--tail", "-n", type=click.IntRange(0), metavar="LINES", help="Only the last lines, and what comes.")
@cluster_option
def logs(job: int | None, follow: bool, tail: int | None, cluster: str | None) -> None:
    """Print the output of JOB, by default the latest."""
    from infra import runs
    from infra.node import client

    found, connecting = reach(cluster)
    with connecting as connection:
        number = client.find_job(connection, job).number
        offset = 0 if tail is None else client.find_tail(connection, number, tail)
        if follow:
            follow_job(found, connection, number, offset)
        else:
            runs.print_log(connection, number, write, offset)


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@cluster_option
def wait(job: int | None, cluster: str | None) -> None:
    """Wait until JOB, by default the latest, is over; exit with its exit code."""
    from infra import runs
    from infra.node import client

    found, connecting = reach(cluster)
    with connecting as connection:
        asked = client.find_job(connection, job)
        ended = runs.follow(found, connection, asked.number, lambda _: None, show.say, asked.log_bytes)
    show.say(f"job {ended.number} {show.ending(ended)}")
    sys.exit(exit_code(ended))


@click.command()
@click.argument("job", type=click.IntRange(1))
@cluster_option
def cancel(job: int, cluster: str | None) -> None:
    """End JOB and every process it started."""
    from infra.node import client

    _, connecting = reach(cluster)
    with connecting as connection:
        before = client.find_job(connection, job)
        after = before if before.over else client.cancel(connection, job)
    show.say(f"nothing to do: job {job} {show.ending(before)}" if before.over else f"job {job} {show.ending(after)}")


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@cluster_option
def fetch(job: int | None, cluster: str | None) -> None:
    """Bring home what JOB wrote, by default the latest, each file verified."""
    from infra.node import client
    from infra.project import RUNS, find_root

    found, connecting = reach(cluster)
    with connecting as connection:
        number = client.find_job(connection, job).number
        bring_home(found, connection, number, find_root(here()) / RUNS)
