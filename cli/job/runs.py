"""A new job: run."""

import math
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.notices import billing
from cli.notices.remains import want
from cli.notices.space import warn_of_space
from cli.notices.withheld import explain_absence, show_withheld
from cli.options.context import cluster_flag, find_cluster, here
from cli.options.declared import (
    SplitCommand,
    cluster_option,
    exclude_option,
    option,
    output_option,
    raw_option,
    typed_option,
    yes_option,
)
from cli.options.durations import parse_duration
from cli.options.handover import confirm_handover
from cli.options.masking import check_secrets
from cli.options.variables import read_secrets, read_variables
from cli.steps.ending import check_down, terminate_after
from cli.steps.following import download, exit_code, follow_again, follow_job, next_commands
from cli.terminal import show
from cli.terminal.output import Output
from cli.terminal.questions import confirm
from cli.terminal.streams import Copy, outliving
from infra.errors import GoneError, UsageError
from infra.model import Request

if TYPE_CHECKING:
    from fabric import Connection

    from infra.model import Cluster, Job
    from infra.project.files import File, Project

ASK_ABOVE_BYTES = 200_000_000


@click.command(cls=SplitCommand, context_settings={"allow_interspersed_args": False})
@click.argument("script", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "--module", is_flag=True, help="SCRIPT is the name of a module, as for python -m.")
@option("--detach", "-d", is_flag=True, help="Start it and return at once.")
@typed_option("--down", is_flag=True, help="Terminate the cluster once the job is over and its outputs are downloaded.")
@option("--name", default="", help="Job name, shown in listings.")
@click.option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="Set a variable for the job; may be repeated.")
@option("--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Variables from a .env file.")
@click.option(
    "--secret",
    multiple=True,
    metavar="NAME",
    help="Pass a variable whose value is kept out of records and masked in the log; may be repeated. "
    "Other jobs on the same machine can read it.",
)
@option("--gpus", type=click.IntRange(0), help="GPUs for this job alone; else all that the machine has.")
@option("--time-limit", "time_limit_s", type=parse_duration, metavar="TIME", help="End it after 30m, 2h, 1d.")
@option(
    "--workdir", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder it runs in; else this one."
)
@option("--hang-after", "hang_after_s", type=parse_duration, default="30m", show_default=True, metavar="TIME",
        help="Treat the job as stalled after this long without output or CPU/GPU activity; log its stack traces.")  # fmt: skip
@typed_option("--kill-stalled", is_flag=True, help="Kill the job when it stalls.")
@option("--fetch-every", "fetch_every_s", type=parse_duration, default="60s", show_default=True, metavar="TIME",
        help="While attached, download this often what it has written.")  # fmt: skip
@output_option
@exclude_option
@option("--no-deps", is_flag=True, help="Do not install what the project depends on.")
@option("--python", metavar="PATH", help="Interpreter on the machine; else the image's own.")
@raw_option
@cluster_option
@yes_option
@click.pass_context
def run(context: click.Context, /, script: str | None, args: tuple[str, ...], module: bool, detach: bool, down: bool,
        fetch_every_s: float, cluster: str | None, env: tuple[str, ...], env_file: Path | None, raw: bool,
        secret: tuple[str, ...], workdir: Path | None, yes: bool, **options: Any) -> None:  # fmt: skip
    """Upload the project, run SCRIPT, download the results.

    Prints its output and exits with its exit code.

    \b
    gpujob run train.py --epochs 3
    gpujob run -m package.module --epochs 3
    gpujob run --down train.py
    gpujob run -- any command at all

    Jobs queue for the GPUs unless they ask for fewer --gpus than there are. Closing the laptop or Ctrl-C does not stop a
    job: gpujob logs -f follows it again. With --down the cluster is terminated whatever the exit code, but not if a
    download failed, another job is running or queued, or you detached.
    """  # noqa: D301  click reads the backspace
    from infra.cluster import connections
    from infra.project.files import read_project

    found = find_cluster(cluster)
    if down:
        check_down(context, found, detach)
    elif "--down" in args:
        show.say("warning: --down is passed to the script. To terminate the cluster after it: gpujob run --down SCRIPT")
    with connections.reach_meanwhile(found) as connect:
        project = read_project(here())
        confirm_handover(context, project.root, secret, env_file)
        if workdir:
            project = replace(project, workdir=place_in(project, workdir))
        command = make_command(project, script, (*args, *(context.meta["words"] or ())), module)
        request = Request(command, env=read_variables(env, env_file), secrets=read_secrets(secret), **options)
        check_secrets(request)
        connection = connect()
        number = submit_job(connection, found, project, request, yes)
        if detach:
            show.say(next_commands(found, number))
            billing.remind(found)
            return
        with billing.reminding(found, down):
            job, whole = run_job(connection, found, project, number, Following(raw, fetch_every_s, yes))
    if down:
        terminate_after(found, job, whole, yes)
    sys.exit(exit_code(found, job))


def place_in(project: "Project", folder: Path) -> str:
    """Return a folder as seen from the project's root; raises UsageError if it lies outside."""
    path = (here() / folder).resolve()
    if not path.is_relative_to(project.root):
        raise UsageError(f"'{folder}' is outside of the project {project.root}", "cd to its folder")
    return path.relative_to(project.root).as_posix()


def make_command(project: "Project", script: str | None, args: Sequence[str], module: bool) -> tuple[str, ...]:
    """Return the command line for the node; raises UsageError for a script that would not be there."""
    if script is None:
        if not args:
            raise UsageError("what should run?", "gpujob run train.py, or: gpujob run -- any command")
        return tuple(args)
    if module:
        return ("python", "-m", script, *args)
    path = Path(os.path.normpath(here() / script))
    if not path.is_relative_to(project.root):
        path = path.resolve()  # the project may be reached by a link
    if not path.is_file():
        raise UsageError(
            f"there is no script '{script}' here", f"gpujob run train.py, or: gpujob run -- {shlex.quote(script)}"
        )
    if not path.is_relative_to(project.root):
        raise UsageError(f"'{script}' is outside of the project {project.root}", "cd to its folder")
    name = path.relative_to(project.root).as_posix()
    if name not in {file.path for file in project.files}:
        raise explain_absence(project, script, name)
    interpreter = {".py": "python", ".sh": "bash"}.get(path.suffix)
    if interpreter is None:
        raise UsageError(f"'{script}' is neither .py nor .sh", f"gpujob run -- {shlex.quote(f'./{script}')}")
    return (interpreter, os.path.relpath(path, project.root / project.workdir), *args)


@dataclass(frozen=True)
class Following:
    """How a job is followed."""

    raw: bool
    fetch_every_s: float
    yes: bool
    """Whether very much of what it writes is downloaded without a question."""


def run_job(
    connection: "Connection", cluster: "Cluster", project: "Project", number: int, how: Following
) -> "tuple[Job, bool]":
    """Follow a job and download what it wrote; return it as it ended, and whether all of that came."""
    from infra.base.folders import open_folder
    from infra.fetch.autofetch import Terms, fetch_meanwhile
    from infra.fetch.pace import UNASKED_BYTES
    from infra.results.folder import keep_log, open_log

    terms = Terms(how.fetch_every_s, math.inf if how.yes else UNASKED_BYTES)
    meanwhile = fetch_meanwhile(connection, cluster, number, project.runs, terms, show.say)
    with outliving(number, follow_again(cluster, number)):
        with open_folder(project.runs / f"{cluster.name}-{number}") as top:
            try:
                with open_log(top, fresh=True) as log, meanwhile:  # what is printed now need not be downloaded later
                    job = follow_job(cluster, connection, number, Output(how.raw), keep=Copy(log, show.say))
            except GoneError:
                keep_log(top)
                raise
        return job, download(cluster, connection, number, project.runs, want(how.yes))


def submit_job(connection: "Connection", cluster: "Cluster", project: "Project", request: Request, yes: bool) -> int:
    """Submit a job, and say what was sent and what not; return its number."""
    from infra.run import submission

    show_withheld(project)
    with show.transfer("sending") as sent, unsure_whether_started(cluster):
        taken = submission.submit(connection, cluster, project, request, partial(approve, yes=yes), sent)
    sizes = f"{show.plural(len(project.files), 'file')}, {show.size(project.size_bytes)}"
    what = f"{shlex.join(request.command)} ({sizes}; {show.size(sent.total)} sent)"
    show.say(f"job {taken.job} on '{cluster.name}': {what}")
    if taken.ahead:
        show.say(f"job {taken.job} is queued behind {show.plural(taken.ahead, 'job')}; Ctrl-C leaves it queued")
    warn_of_space(cluster.name, taken)
    return taken.job


@contextmanager
def unsure_whether_started(cluster: "Cluster") -> Iterator[None]:
    """Say, when the upload is interrupted, that the job may have been accepted anyway."""
    try:
        yield
    except KeyboardInterrupt:
        show.say(
            f"\ninterrupted during the upload; see whether the job was accepted: gpujob jobs{cluster_flag(cluster.name)}"
        )
        billing.remind(cluster)
        sys.exit(130)


def approve(files: "Sequence[File]", yes: bool) -> None:
    """Ask before a large upload, which is a data folder sent by mistake as often as not; raises GpujobError for a no."""
    total = sum(file.size_bytes for file in files)
    if total > ASK_ABOVE_BYTES and not yes:
        show.largest_folders(files)
        confirm(f"Upload {show.size(total)}? (to leave a folder out, add it to .gitignore)", yes)
