"""Run a job: run.

Most gpujob.toml files have a [run] table, which every command checks, so this module must be fast to import: modules that
load fabric or boto3 are imported when a job runs.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click
from click.core import ParameterSource

from cli.arrays.options import ArrayOptions, array_options, make_array, spread
from cli.job.arguments import RunCommand, warn_of_misplaced
from cli.job.launchers import Launcher, LauncherOptions, choose_launcher, distribute, launcher_options
from cli.notices.ending import notify_option
from cli.options.context import find_cluster, here, own_name
from cli.options.declared import (
    FETCH_EVERY_S,
    cluster_option,
    exclude_option,
    extra_option,
    group_option,
    no_deps_option,
    option,
    output_option,
    raw_option,
    typed_option,
    yes_option,
)
from cli.options.durations import parse_duration
from cli.options.handover import confirm_handover
from cli.options.masking import check_secrets
from cli.options.values import parse_gpu, parse_ports
from cli.options.variables import read_secrets, read_variables
from cli.steps.keyboard import describe_terminal
from cli.steps.scripts import make_command
from infra.errors import UsageError
from infra.model import NEVER_S, Gpu, Request, Terminal
from infra.project.files import Project, read_project

if TYPE_CHECKING:
    from infra.model import Cluster, Job


class JobOptions(TypedDict):
    """The options that describe the job, named as the fields of Request."""

    name: str
    gpus: int | None
    time_limit_s: float | None
    hang_after_s: float
    kill_stalled: bool
    start_from: str
    outputs: tuple[str, ...]
    exclude: tuple[str, ...]
    no_deps: bool
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    python: str | None


class RunOptions(JobOptions, LauncherOptions, ArrayOptions):
    """The options that say what to run, and how it is followed."""

    script: str | None
    args: tuple[str, ...]
    module: bool
    workdir: Path | None
    env: tuple[str, ...]
    env_file: Path | None
    secret: tuple[str, ...]
    detach: bool
    interactive: bool
    ports: tuple[tuple[int, int], ...]


@click.command(cls=RunCommand, context_settings={"allow_interspersed_args": False})
@click.argument("script", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@option("-m", "--module", is_flag=True, help="Run SCRIPT as a module, like python -m.")
@launcher_options
@array_options
@option("--detach", "-d", is_flag=True, help="Submit the job and return immediately.")
@typed_option(
    "--down", is_flag=True, help="Terminate the cluster once the job has ended and its outputs are downloaded."
)
@typed_option(
    "--gpu",
    envvar=None,
    type=parse_gpu,
    metavar="NAME[:COUNT]",
    help="Launch the cluster first if it does not exist, with this GPU, e.g. A10G.",
)
@typed_option("--dry-run", envvar=None, is_flag=True, help="Launch it on the local cloud instead of AWS.")
@option("--name", default="", help="Job name, shown in listings.")
@option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="Set an environment variable; repeatable.")
@option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Set variables from a .env file.",
)
@option(
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
    "--from",
    "start_from",
    default="",
    metavar="RUN",
    help="Start with the outputs of an earlier run: a number, a name, or latest.",
)
@option(
    "--fetch-every",
    "fetch_every_s",
    type=parse_duration,
    default=f"{FETCH_EVERY_S}s",
    show_default=True,
    metavar="TIME",
    help="How often to download outputs while attached.",
)
@output_option
@exclude_option
@no_deps_option
@extra_option
@group_option
@option("--python", metavar="PATH", help="Python interpreter on the machine  [default: the image's]")
@option(
    "--interactive", "-i", is_flag=True, help="Connect this terminal to the job, for breakpoint(), input() or a shell."
)
@option(
    "--port",
    "ports",
    multiple=True,
    type=parse_ports,
    metavar="PORT[:REMOTE]",
    help="Forward a port of the machine to this computer while the job is followed; repeatable.",
)
@notify_option
@raw_option
@cluster_option
@yes_option
@click.pass_context
def run(
    context: click.Context,
    /,
    cluster: str | None,
    down: bool,
    gpu: Gpu | None,
    dry_run: bool,
    raw: bool,
    notify: str | None,
    fetch_every_s: float,
    yes: bool,
    **options: Unpack[RunOptions],
) -> None:
    """Upload the project, run SCRIPT, download the results.

    Streams the job's output and exits with its exit code. Options of the script go after it. SCRIPT can also be a
    notebook or a program; a single argument with shell syntax runs in a shell.

    \b
    gpujob run train.py --epochs 3
    gpujob run -m package.module --epochs 3
    gpujob run notebook.ipynb
    gpujob run --nodes 2 train.py
    gpujob run --grid lr=0.1,0.01 train.py --lr {lr}
    gpujob run --gpu A10G --down train.py
    gpujob run -- 'nvidia-smi -L && df -h'

    A job waits for the GPUs that it reserves (--gpus). Ctrl-C or closing the laptop does not stop it; follow it again with
    gpujob logs -f. --down terminates the cluster whatever the exit code, unless a download failed, another job is
    running or queued, or you detached. --gpu shows a plan and asks, as gpujob up does, unless the cluster exists.
    """  # noqa: D301  click reads the backspace
    found = None if gpu or dry_run else find_cluster(cluster)
    check_options(context, found.name if found else own_name(cluster), down=down, detach=options["detach"])
    from cli.steps.running import Manner, run_job
    from infra.cluster import connections

    manner = Manner(options["detach"], down, raw, fetch_every_s, yes, notify, options["ports"])
    with ExitStack() as stack:
        prepared = None
        if found is None:
            from cli.steps.launching import launched

            prepared = prepare(context, options)  # before anything is billed
            flags = list_flags(options["nodes"] or 1, dry_run=dry_run, yes=yes)
            found = stack.enter_context(launched(context, own_name(cluster), gpu, options["gpus"], flags))
        connect = stack.enter_context(connections.reach_meanwhile(found))
        project, request, launcher = prepared or prepare(context, options)
        request = distribute(
            request if options["nodes"] else spread(request, found), found.gpu_count, launcher, options["nproc"]
        )
        ended = run_job(connect(), project, request, manner)
    sys.exit(end_run(found, *ended, down=down, yes=yes) if ended else 0)


def list_flags(nodes: int, *, dry_run: bool, yes: bool) -> list[str]:
    """Return the options with which `up` launches the cluster for a job."""
    several = ["--nodes", str(nodes)] if nodes > 1 else []
    return [*["--dry-run"] * dry_run, *["--yes"] * yes, *several]


def prepare(context: click.Context, options: RunOptions) -> tuple[Project, Request, Launcher]:
    """Return the project, the request for its job, and its launcher; raises UsageError."""
    project = choose_workdir(read_project(here()), options["workdir"])
    confirm_handover(context, project.root, options["secret"], options["env_file"])
    args = (*options["args"], *(context.meta["words"] or ()))
    command = make_command(project, options["script"], args, options["module"])
    launcher = choose_launcher(command, options)
    terminal = check_attached(options["interactive"], options["ports"], options["detach"])
    return project, make_request(command, terminal, options), launcher


def make_request(command: tuple[str, ...], terminal: Terminal | None, options: RunOptions) -> Request:
    """Return the request for a job; raises UsageError if a record of it would contain a secret."""
    env, secrets = read_variables(options["env"], options["env_file"]), read_secrets(options["secret"])
    own: JobOptions = {name: options[name] for name in JobOptions.__annotations__}  # type: ignore[literal-required,assignment]
    array, nodes = make_array(options, command), options["nodes"] or 1
    request = Request(command, terminal=terminal, env=env, secrets=secrets, array=array, nodes=nodes, **own)
    check_secrets(request)
    # Waiting for a user to type must not count as a stall.
    return replace(request, hang_after_s=NEVER_S) if terminal else request


def end_run(cluster: "Cluster", job: "Job", downloaded: bool, *, down: bool, yes: bool) -> int:
    """Terminate the cluster if `down`; return the job's exit code."""
    from cli.steps.following import exit_code

    if down:
        from cli.steps.termination import terminate_after  # with it comes boto3, which takes long

        terminate_after(cluster, job, downloaded, yes)
    return exit_code(cluster, job)


def check_options(context: click.Context, cluster: str, *, down: bool, detach: bool) -> None:
    """Raise UsageError if --down is not allowed; warn about options that are passed to the script."""
    warn_of_misplaced(context)
    if not down:
        return
    if detach:
        raise UsageError("--down cannot be used with --detach: it waits for the download", "use one of them")
    typed = context.get_parameter_source("cluster") is ParameterSource.COMMANDLINE
    if not typed and cluster != own_name(None):
        raise UsageError(
            f"--down would terminate {cluster}, which is not this folder's own cluster",
            f"if you mean it, add: --cluster {cluster}",
        )


def check_attached(interactive: bool, ports: Sequence[tuple[int, int]], detach: bool) -> Terminal | None:
    """Return the terminal for the job, if it gets one; raises UsageError without one, or with --detach."""
    if detach and (interactive or ports):
        flag = "--interactive" if interactive else "--port"
        raise UsageError(f"{flag} cannot be used with --detach: it needs this computer", "use one of them")
    return describe_terminal() if interactive else None


def choose_workdir(project: Project, folder: Path | None) -> Project:
    """Return the project with the job's working folder; raises UsageError if that is outside the project."""
    if folder is None:
        return project
    path = (here() / folder).resolve()
    if not path.is_relative_to(project.root):
        raise UsageError(f"'{folder}' is outside the project {project.root}", "cd to its folder")
    return replace(project, workdir=path.relative_to(project.root).as_posix())
