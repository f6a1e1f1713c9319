"""Run a job: run.

Most gpujob.toml files have a [run] table, which every command checks, so this module must be fast to import: modules that
load fabric or boto3 are imported when a job runs.
"""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Unpack

import click
from click.core import ParameterSource

from cli.arrays.options import spread
from cli.job.submission.arguments import RunCommand, warn_of_misplaced
from cli.job.submission.launchers import distribute
from cli.job.submission.options import RunOptions, job_options, prepare
from cli.notices.ending import notify_option
from cli.options.context import find_cluster, own_name
from cli.options.declared import (
    FETCH_EVERY_S,
    cluster_option,
    option,
    raw_option,
    typed_option,
    yes_option,
)
from cli.options.durations import parse_duration
from cli.options.values import parse_gpu
from infra.errors import NotFoundError, UsageError
from infra.model import Gpu

if TYPE_CHECKING:
    from infra.model import Cluster, Job


@click.command(cls=RunCommand, context_settings={"allow_interspersed_args": False})
@click.argument("script", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@job_options
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
@option(
    "--fetch-every",
    "fetch_every_s",
    type=parse_duration,
    default=f"{FETCH_EVERY_S}s",
    show_default=True,
    metavar="TIME",
    help="How often to download outputs while attached.",
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
    found = None if gpu or dry_run else find_target(context, cluster, options)
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
        wanted = request if options["nodes"] else spread(request, found)
        ended = run_job(connect(), project, distribute(wanted, found.gpu_count, launcher, options["nproc"]), manner)
    sys.exit(end_run(found, *ended, down=down, yes=yes) if ended else 0)


def find_target(context: click.Context, cluster: str | None, options: RunOptions) -> "Cluster":
    """Return the cluster of a job; raises UsageError without its script, or else NotFoundError."""
    try:
        return find_cluster(cluster)
    except NotFoundError:
        prepare(context, options)
        raise


def list_flags(nodes: int, *, dry_run: bool, yes: bool) -> list[str]:
    """Return the options with which `up` launches the cluster for a job."""
    several = ["--nodes", str(nodes)] if nodes > 1 else []
    return [*["--dry-run"] * dry_run, *["--yes"] * yes, *several]


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
