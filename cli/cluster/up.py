"""Launch a cluster: up.

Most gpujob.toml files have an [up] table, which every command checks, so this module must be fast to import: modules that
load fabric or boto3 are imported on launch.
"""

import time
from dataclasses import replace
from typing import Unpack

import click

from cli.cluster.launch.options import LaunchOptions, launch_options, make_request, settings_of
from cli.options.context import CHECK_PLAN, cluster_flag, here, script_here
from cli.options.declared import (
    cluster_argument,
    dry_run_option,
    json_option,
    option,
    transfer_option,
    yes_option,
)
from cli.options.durations import parse_duration
from cli.options.retype import suggests
from cli.terminal import formats, progress, show
from cli.terminal.questions import confirm
from infra import names
from infra.base.money import format_usd
from infra.ledger.known_clusters import recall
from infra.model import LaunchRequest
from infra.project.files import find_root
from infra.project.settings import read_settings

SHORT_IDLE_S = 300


@click.command()
@cluster_argument
@dry_run_option
@launch_options
@option(
    "--wait",
    "wait_s",
    type=parse_duration,
    metavar="TIME",
    help="If no machine is available, keep trying all regions for this long.",
)
@option("--plan", "plan_only", is_flag=True, help="Show the plan and exit.")
@transfer_option
@json_option
@yes_option
@click.pass_context
@suggests
def up(
    context: click.Context,
    /,
    name: str | None,
    dry_run: bool,
    wait_s: float | None,
    usd_per_gb: float,
    plan_only: bool,
    as_json: bool,
    yes: bool,
    **asked: Unpack[LaunchOptions],
) -> None:
    """Launch a machine and wait until it can run jobs.

    NAME defaults to the name of this folder. Without a GPU, a terminal offers a list. The machine terminates itself at
    the end of its lease, whatever happens to this computer. Rerunning the same command after a crash resumes the launch.
    """
    from cli.cluster.launch.preflight import show_plan
    from infra.cluster.clouds import open_account
    from infra.launch import patience, plans

    root = find_root(here())
    name = names.name_for(root) if name is None else name
    request = make_request(context, asked)
    if not (yes or dry_run or plan_only or as_json):
        request = complete_request(name, request, asked)
    with progress.steps() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        plan = plans.make_plan(
            open_account(dry_run, request.regions), name, request, read_settings(root).variables, plan_only=plan_only
        )
        plan = replace(plan, boot_s=asked["boot_s"], usd_per_gb=usd_per_gb)
    refuse = context.meta.get(CHECK_PLAN)
    if refuse:
        refuse(plan)
    show_plan(plan, sorted(settings_of(context)), plan_only=plan_only, as_json=as_json)
    warn_of_idle_stop(request.idle_stop_s)
    if plan_only:
        note_taken(name)
        return
    if plan.obstacle and not wait_s:
        raise plan.obstacle
    confirm(f"Launch it, for at most {format_usd(plan.lease.most_usd)}?", yes or dry_run)
    started = time.monotonic()
    with progress.steps() as report:
        cluster = patience.create_when_free(plan, wait_s or 0, report)
    run = "" if refuse else f"; next: gpujob run{cluster_flag(cluster.name)} {script_here()}"
    show.say(f"'{cluster.name}' is up after {formats.duration(time.monotonic() - started)}{run}")


def note_taken(name: str) -> None:
    """Say that a planned cluster's name is in use."""
    if recall(name):
        show.say(f"cluster '{name}' already exists; choose another name to launch a second one")


def complete_request(name: str, request: LaunchRequest, asked: LaunchOptions) -> LaunchRequest:
    """Return the request with a GPU chosen from a list, if none was named and a terminal can be asked."""
    from cli.cluster.launch.gpus import ask_gpu, can_ask
    from infra.cluster.clouds import open_account

    if asked["gpu"] or asked["gpu_memory"] or asked["instance_types"] or asked["reservation"] or not can_ask(name):
        return request
    return replace(request, gpu=ask_gpu(open_account(False, request.regions), request))


def warn_of_idle_stop(idle_stop_s: float) -> None:
    """Warn about an idle stop so short that a pause between jobs terminates the machine."""
    if 0 < idle_stop_s < SHORT_IDLE_S:
        idle = formats.duration(idle_stop_s)
        show.say(f"warning: a pause of {idle} between jobs terminates the machine (--idle-stop)")
