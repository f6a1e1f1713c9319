"""Run a job: run.

Most gpujob.toml files have a [run] table, which every command checks, so this module must be fast to import: modules that
load fabric or boto3 are imported when a job runs.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click
from click.core import ParameterSource

from cli.notices.ending import notify_option
from cli.notices.withheld import explain_absence
from cli.options.context import find_cluster, here, own_name
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
from cli.terminal import show
from infra.errors import UsageError
from infra.model import Request
from infra.project.files import Project, read_project

if TYPE_CHECKING:
    from infra.model import Cluster


class JobOptions(TypedDict):
    """The options that describe the job, named as the fields of Request."""

    name: str
    gpus: int | None
    time_limit_s: float | None
    hang_after_s: float
    kill_stalled: bool
    outputs: tuple[str, ...]
    exclude: tuple[str, ...]
    no_deps: bool
    python: str | None


@click.command(cls=SplitCommand, context_settings={"allow_interspersed_args": False})
@click.argument("script", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-m", "--module", is_flag=True, help="Run SCRIPT as a module, like python -m.")
@option("--detach", "-d", is_flag=True, help="Submit the job and return immediately.")
@typed_option(
    "--down", is_flag=True, help="Terminate the cluster once the job has ended and its outputs are downloaded."
)
@option("--name", default="", help="Job name, shown in listings.")
@click.option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="Set an environment variable; repeatable.")
@option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Set variables from a .env file.",
)
@click.option(
    "--secret",
    multiple=True,
    metavar="NAME",
    help="Pass an environment variable, kept out of records and masked in the log; repeatable. "
    "Other jobs on the machine can read it.",
)
@option("--gpus", type=click.IntRange(0), help="GPUs reserved for this job  [default: all]")
@option(
    "--time-limit",
    "time_limit_s",
    type=parse_duration,
    metavar="TIME",
    help="Kill the job after this time: 30m, 2h, 1d.",
)
@option(
    "--workdir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Working folder  [default: this folder]",
)
@option(
    "--hang-after",
    "hang_after_s",
    type=parse_duration,
    default="30m",
    show_default=True,
    metavar="TIME",
    help="Treat the job as stalled after this long without output or CPU/GPU activity; log its stack traces.",
)
@typed_option("--kill-stalled", is_flag=True, help="Kill the job when it stalls.")
@option(
    "--fetch-every",
    "fetch_every_s",
    type=parse_duration,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How often to download outputs while attached.",
)
@output_option
@exclude_option
@option("--no-deps", is_flag=True, help="Do not install the project's dependencies.")
@option("--python", metavar="PATH", help="Python interpreter on the machine  [default: the image's]")
@notify_option
@raw_option
@cluster_option
@yes_option
@click.pass_context
def run(
    context: click.Context,
    /,
    script: str | None,
    args: tuple[str, ...],
    module: bool,
    workdir: Path | None,
    env: tuple[str, ...],
    env_file: Path | None,
    secret: tuple[str, ...],
    cluster: str | None,
    detach: bool,
    down: bool,
    raw: bool,
    notify: str | None,
    fetch_every_s: float,
    yes: bool,
    **options: Unpack[JobOptions],
) -> None:
    """Upload the project, run SCRIPT, download the results.

    Streams the job's output and exits with its exit code.

    \b
    gpujob run train.py --epochs 3
    gpujob run -m package.module --epochs 3
    gpujob run --down train.py
    gpujob run -- nvidia-smi -L

    A job waits for the GPUs that it reserves (--gpus). Ctrl-C or closing the laptop does not stop it; follow it again with
    gpujob logs -f. --down terminates the cluster whatever the exit code, unless a download failed, another job is
    running or queued, or you detached.
    """  # noqa: D301  click reads the backspace
    found = find_cluster(cluster)
    check_down(context, found, down=down, detach=detach)
    from cli.steps.following import exit_code
    from cli.steps.running import Manner, run_job
    from cli.steps.termination import terminate_after
    from infra.cluster import connections

    with connections.reach_meanwhile(found) as connect:
        project = choose_workdir(read_project(here()), workdir)
        confirm_handover(context, project.root, secret, env_file)
        command = make_command(project, script, (*args, *(context.meta["words"] or ())), module)
        request = Request(command, env=read_variables(env, env_file), secrets=read_secrets(secret), **options)
        check_secrets(request)
        ended = run_job(connect(), project, request, Manner(detach, down, raw, fetch_every_s, yes, notify))
    if ended and down:
        terminate_after(found, *ended, yes)
    sys.exit(exit_code(found, ended[0]) if ended else 0)


def check_down(context: click.Context, cluster: "Cluster", *, down: bool, detach: bool) -> None:
    """Warn if --down is passed to the script; raise UsageError if it is not allowed."""
    if not down:
        if "--down" in context.params["args"]:
            show.say(
                "warning: --down is passed to the script. To terminate the cluster afterwards: gpujob run --down SCRIPT"
            )
        return
    if detach:
        raise UsageError("--down cannot be used with --detach: it waits for the download", "use one of them")
    typed = context.get_parameter_source("cluster") is ParameterSource.COMMANDLINE
    if not typed and cluster.name != own_name(None):
        raise UsageError(
            f"--down would terminate {cluster.name}, which is not this folder's own cluster",
            f"if you mean it, add: --cluster {cluster.name}",
        )


def choose_workdir(project: Project, folder: Path | None) -> Project:
    """Return the project with the job's working folder; raises UsageError if that is outside the project."""
    if folder is None:
        return project
    path = (here() / folder).resolve()
    if not path.is_relative_to(project.root):
        raise UsageError(f"'{folder}' is outside the project {project.root}", "cd to its folder")
    return replace(project, workdir=path.relative_to(project.root).as_posix())


def make_command(project: Project, script: str | None, args: Sequence[str], module: bool) -> tuple[str, ...]:
    """Return the job's command line; raises UsageError if its script would not be uploaded."""
    if script is None:
        if not args:
            raise UsageError("nothing to run", "gpujob run train.py, or: gpujob run -- nvidia-smi")
        return tuple(args)
    if module:
        return ("python", "-m", script, *args)
    path = Path(os.path.normpath(here() / script))
    if not path.is_relative_to(project.root):
        path = path.resolve()  # the current folder may be a link to the project
    if not path.is_file():
        raise UsageError(f"no such script: '{script}'", f"gpujob run train.py, or: gpujob run -- {shlex.quote(script)}")
    if not path.is_relative_to(project.root):
        raise UsageError(f"'{script}' is outside the project {project.root}", "cd to its folder")
    name = path.relative_to(project.root).as_posix()
    if name not in {file.path for file in project.files}:
        raise explain_absence(project, script, name)
    interpreter = {".py": "python", ".sh": "bash"}.get(path.suffix)
    if interpreter is None:
        raise UsageError(f"'{script}' is neither a .py nor a .sh file", f"gpujob run -- {shlex.quote(f'./{script}')}")
    return (interpreter, os.path.relpath(path, project.root / project.workdir), *args)
