"""Send a job to machines that need neither this computer nor a controller: send."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cli.cluster.launch.options import launch_options, make_request, settings_of
from cli.job.submission.arguments import RunCommand
from cli.job.submission.launchers import distribute
from cli.job.submission.options import job_options, prepare
from cli.options.declared import collect, dry_run_option, option, yes_option
from cli.terminal import clouds, formats, progress, show
from cli.terminal.questions import confirm
from infra import names
from infra.base.money import format_usd
from infra.errors import TakenError, UsageError
from infra.model import MOST_NODES

if TYPE_CHECKING:
    from infra.launch.plans import Plan
    from infra.run.submission import Submission
    from infra.send.bundle import Sending
    from infra.send.creation import SentJob

OF_UP = (
    *("gpu", "gpu_memory", "instance_types", "on_demand", "spot", "regions", "zones", "subnets", "security_groups"),
    *("private", "proxy_jump", "tags", "ssh_from", "bucket", "instance_profile", "kms_key", "login_user", "image"),
    *("disk_gib", "max_hours", "max_cost_usd", "boot_s"),
)
OF_RUN = (
    *("module", "torchrun", "nproc", "env", "env_file", "secret", "time_limit_s", "workdir", "hang_after_s"),
    *("kill_stalled", "outputs", "exclude", "no_deps", "extras", "groups", "python"),
)
OF_ARRAYS = ("array", "grid", "grid_file")
FIXED: dict[str, Any] = {
    **{"setup": False, "idle_stop_s": 0.0, "reservation": None, "spot_first": False, "launcher": None},
    **{"name": "", "gpus": None, "start_from": "", "detach": True, "interactive": False, "ports": ()},
    **{"share": None, "retries": 0},
}
"""The options of `up` and `run` that `send` does not have."""
LEFT_OUT = ("idle", "setup", "jobs", "speed", "loss")
"""Rows of the plan of `up` that do not hold for machines which work on one task each, and are replaced."""
SHARED = [each for each in collect(job_options, launch_options) if each.name in {*OF_RUN, *OF_ARRAYS, *OF_UP}]


@click.command(cls=RunCommand, params=SHARED, context_settings={"allow_interspersed_args": False})
@click.argument("script", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@dry_run_option
@option("--name", "cluster", metavar="NAME", help="Name of its machines  [default: the name of this folder]")
@option(
    "--nodes",
    type=click.IntRange(1, MOST_NODES),
    envvar=None,  # GPUJOB_NODES is for `up`
    default=1,
    show_default=True,
    metavar="COUNT",
    help="How many machines work on the tasks of an array.",
)
@option(
    "--retries",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    metavar="COUNT",
    help="How often a job or task that fails is run again; one that AWS interrupts always is.",
)
@yes_option
@click.pass_context
def send(context: click.Context, /, cluster: str | None, retries: int, dry_run: bool, yes: bool, **asked: Any) -> None:
    """Run SCRIPT on machines of its own that do not need this computer.

    An Auto Scaling group keeps a machine until the job is done, also on the spot market; log and outputs go to a bucket
    every minute. A lost machine is replaced, and the job starts again with what it had written: a script that loads its
    checkpoint resumes. AWS ends everything with the lease.

    \b
    gpujob send --spot --max-hours 12 train.py --epochs 90
    gpujob send --nodes 4 --grid lr=0.1,0.01 train.py --lr {lr}
    gpujob logs
    gpujob fetch
    """  # noqa: D301  click reads the backspace
    from infra.send.creation import send as send_job

    options = {**asked, **FIXED, "bucket": asked["bucket"] or "auto"}
    submission = make_submission(context, options)
    plan = make_plan(context, cluster or names.name_for(submission.project.root), options, dry_run=dry_run)
    plan = replace(plan, boot_s=asked["boot_s"])
    show_plan(plan, context)
    confirm(f"Send it, for at most {format_usd(plan.lease.most_usd)}?", yes or dry_run)
    with progress.steps() as report:
        sent = send_job(plan, make_sending(plan, submission, retries), report)
    tell(sent)


def make_submission(context: click.Context, options: dict[str, Any]) -> "Submission":
    """Return the job to send; raises UsageError for one that needs this computer."""
    from cli.notices.withheld import show_absent_arguments, show_withheld
    from cli.options.handover import confirm_outside
    from cli.steps.data import describe_remote
    from cli.steps.submission import show_dependencies
    from infra.dependencies.search import find_dependencies
    from infra.model import DataSet
    from infra.project.datasets import read_sources
    from infra.run.submission import Submission
    from infra.send.bundle import check_sendable

    project, request, launcher = prepare(context, options)  # type: ignore[arg-type]
    gpu = options["gpu"]
    request = distribute(request, gpu.count if gpu else 1, launcher, options["nproc"])
    sources = read_sources(project.root, project.data)
    confirm_outside(project.root, sources)
    data = tuple(DataSet(one.path, one.shown, "") if one.place else describe_remote(one) for one in sources)
    request = replace(request, data=data)
    dependencies = None if request.no_deps else find_dependencies(project, request)
    submission = Submission(project, request, dependencies)
    check_sendable(submission)
    show_withheld(project)
    show_absent_arguments(project, request)
    if not request.no_deps:
        show_dependencies(dependencies, project, request)
    return submission


def make_plan(context: click.Context, name: str, options: dict[str, Any], *, dry_run: bool) -> "Plan":
    """Return the plan of the machines, whose lease covers all replacements; raises GpujobError."""
    from infra.cluster.clouds import open_account
    from infra.launch import plans
    from infra.send.creation import lengthen_most

    request = replace(make_request(context, options), sent=True)  # type: ignore[arg-type]
    if len(request.regions) > 1:
        raise UsageError("the machines of a sent job are in one region", f"--region {request.regions[0]}")
    try:
        with progress.steps() as report:
            report("asking the local cloud" if dry_run else "asking AWS")
            plan = plans.make_plan(open_account(dry_run, request.regions), name, request)
    except TakenError as error:
        error.hint = f"download what it wrote and terminate it: gpujob down {name}; or send it as --name {name}-2"
        raise
    if plan.attempt:
        return plan
    return replace(plan, lease=lengthen_most(plan.lease, time.time(), request.max_cost_usd))


def make_sending(plan: "Plan", submission: "Submission", retries: int) -> "Sending":
    """Return what is sent, and where to; raises GpujobError if the machines could not use the bucket."""
    from infra.ec2.storage.objects import Store
    from infra.ec2.storage.roles import ready_uploads
    from infra.send.bundle import Sending, Terms

    account, gpu = plan.first.account, plan.first.offers[0].gpu
    terms = Terms(gpu.count if gpu else 0, retries=retries, warning_s=plan.lease.warning_s)
    profile, secret = plan.request.instance_profile, bool(submission.request.secrets)
    bucket = ready_uploads(account, profile, plan.request.bucket, sent=True, secret=secret)
    return Sending(Store(account, bucket), submission, terms)


def show_plan(plan: "Plan", context: click.Context) -> None:
    """Show what will be created, and the most that it can cost."""
    from cli.cluster.launch.preflight import plan_rows

    account = plan.first.account
    if clouds.is_local(account.cloud):
        show.say("dry run on the local cloud: nothing is billed, prices are examples")
    if plan.attempt:
        show.say("resuming an interrupted send")
    for warning in plan.warnings:
        show.say(f"warning: {warning}")
    rows = {name: text for name, text in plan_rows(plan).items() if name not in LEFT_OUT}
    rows["lease"] = f"until {formats.deadline(plan.lease.until)}, then AWS ends the group; a lost machine is replaced"
    rows["at most"] = (
        f"{clouds.most(plan.lease.most_usd, account.cloud)}, over all replacements; plus what the bucket stores"
    )
    settings = sorted(settings_of(context))
    show.facts(rows | ({"settings": f"from gpujob.toml: {', '.join(settings)}"} if settings else {}))


def tell(sent: "SentJob") -> None:
    """Say whether a machine is there, and what to type next."""
    if sent.ended:
        show.say(
            f"job {sent.number} of '{sent.name}' was sent before, and has ended: gpujob jobs --cluster {sent.name}"
        )
        show.say(f"to run it again: gpujob down {sent.name}, then rerun")
        return
    if sent.cluster:
        show.say(
            f"job {sent.number} runs on '{sent.name}' ({sent.cluster.node.instance_id}); this computer is not needed any more"
        )
    else:
        show.say(f"job {sent.number} is sent, but '{sent.name}' has no machine yet; AWS tries until the lease ends")
        for words in sent.obstacles[:1]:
            show.say(f"  AWS: {words}")
        if len(sent.obstacles) > 1:  # one for each zone and type
            more = formats.plural(len(sent.obstacles) - 1, "other refusal")
            show.say(f"  and {more} by AWS: gpujob ls --json")
    show.say(f"next: gpujob logs --cluster {sent.name}; to end: gpujob down {sent.name}")
