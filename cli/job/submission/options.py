"""The options that describe a job, and the request that they make.

Most gpujob.toml files have a [run] table, which every command checks, so this module must be fast to import.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import click

from cli.arrays.options import ArrayOptions, array_options, make_array
from cli.job.submission.launchers import Launcher, LauncherOptions, choose_launcher, launcher_options
from cli.options.context import here
from cli.options.declared import (
    add_options,
    exclude_option,
    extra_option,
    group_option,
    no_deps_option,
    option,
    output_option,
    typed_option,
)
from cli.options.durations import parse_duration
from cli.options.handover import confirm_handover
from cli.options.masking import check_secrets
from cli.options.values import parse_ports
from cli.options.variables import read_secrets, read_variables
from cli.steps.keyboard import describe_terminal
from cli.steps.scripts import make_command
from infra.errors import UsageError
from infra.model import NEVER_S, Request, Terminal
from infra.project.files import Project, read_project


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


job_options = add_options(
    option("-m", "--module", is_flag=True, help="Run SCRIPT as a module, like python -m."),
    launcher_options,
    array_options,
    option("--detach", "-d", is_flag=True, help="Submit the job and return immediately."),
    option("--name", default="", help="Job name, shown in listings."),
    option("--env", "-e", multiple=True, metavar="NAME=VALUE", help="Set an environment variable; repeatable."),
    option(
        "--env-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Set variables from a .env file.",
    ),
    option(
        "--secret",
        multiple=True,
        metavar="NAME",
        help="Pass an environment variable, kept out of records and masked in the log; repeatable. "
        "Other jobs on the machine can read it.",
    ),
    option("--gpus", type=click.IntRange(0), help="GPUs reserved for this job  [default: all]"),
    option(
        "--time-limit",
        "time_limit_s",
        type=parse_duration,
        metavar="TIME",
        help="Kill the job after this time: 30m, 2h, 1d.",
    ),
    option(
        "--workdir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Working folder  [default: this folder]",
    ),
    option(
        "--hang-after",
        "hang_after_s",
        type=parse_duration,
        default="30m",
        show_default=True,
        metavar="TIME",
        help="Treat the job as stalled after this long without output or CPU/GPU activity; log its stack traces.",
    ),
    typed_option("--kill-stalled", is_flag=True, help="Kill the job when it stalls."),
    option(
        "--from",
        "start_from",
        default="",
        metavar="RUN",
        help="Start with the outputs of an earlier run: a number, a name, or latest.",
    ),
    output_option,
    exclude_option,
    no_deps_option,
    extra_option,
    group_option,
    option("--python", metavar="PATH", help="Python interpreter on the machine  [default: the image's]"),
    option(
        "--interactive",
        "-i",
        is_flag=True,
        help="Connect this terminal to the job, for breakpoint(), input() or a shell.",
    ),
    option(
        "--port",
        "ports",
        multiple=True,
        type=parse_ports,
        metavar="PORT[:REMOTE]",
        help="Forward a port of the machine to this computer while the job is followed; repeatable.",
    ),
)
"""Adds the options that describe a job."""


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
