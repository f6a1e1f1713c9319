"""Launching: up."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.options.context import cluster_flag, here
from cli.options.declared import (
    cluster_argument,
    dry_run_option,
    json_option,
    option,
    regions_option,
    transfer_option,
    yes_option,
)
from cli.options.durations import parse_duration, parse_hours, parse_idle_stop
from cli.options.retype import suggests
from cli.options.sources import MARKETS, choose_markets, prefer_stronger
from cli.options.values import parse_gpu, parse_memory, parse_usd
from cli.terminal import show
from cli.terminal.questions import confirm
from infra.model import Gpu, LaunchRequest

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.launch.plans import Plan
    from infra.model import Offer

IDLE_STOP_S = 3600
SHORT_IDLE_S = 300
FIRST_NODE = "run on the first machine only (the second: gpujob ssh {name} --node 1)"


@click.command()
@cluster_argument
@dry_run_option
@option("--gpu", type=parse_gpu, metavar="NAME[:COUNT]", help="GPU model and count, e.g. H100:8  [default: T4]")
@option("--gpu-memory", type=parse_memory, metavar="GB", help="Minimum memory per GPU, in GB.")
@option(
    "--instance-type", "instance_types", multiple=True, metavar="TYPE", help="Exactly this type; repeat for several."
)
@click.option("--on-demand", is_flag=True, help="On-demand instances (default).")
@click.option("--spot", is_flag=True, help="Spot instances: cheaper; AWS may reclaim them at two minutes' notice.")
@click.option("--spot-first", is_flag=True, help="Spot if available, else on demand.")
@regions_option
@option("--zone", "zones", multiple=True, metavar="ZONE", help="Only in this zone; may be repeated.")
@option(
    "--nodes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="How many machines, alike and in one zone.",
)
@option(
    "--image",
    default="dlami",
    show_default=True,
    metavar="IMAGE",
    help="dlami, ubuntu, one that gpujob bake made, ami-... or the name of your own.",
)
@option(
    "--disk",
    "disk_gib",
    type=click.IntRange(8, 16384),
    default=100,
    show_default=True,
    help="GiB of disk of each machine.",
)
@option("--max-hours", type=parse_hours, default="12", show_default=True, metavar="HOURS",
        help="The lease: after this long (6, 12h, 90m) the machine powers itself off and is terminated.")  # fmt: skip
@option(
    "--max-cost", "max_cost_usd", type=parse_usd, metavar="USD", help="End the lease before it costs more than this."
)
@option("--idle-stop", "idle_stop_s", type=parse_idle_stop, default=None, metavar="TIME",
        help="Terminate the machine after this long without a job, a login or an output to download; or never."
        " [default: 1h; never for several nodes]")  # fmt: skip
@option("--boot-timeout", "boot_s", type=parse_duration, default="5m", show_default=True, metavar="TIME",
        help="Terminate the machine if it is not reachable within this time.")  # fmt: skip
@option("--setup/--no-setup", default=True, help="Set it up: all of the playbook on ubuntu, what is missing elsewhere.")
@option("--plan", "plan_only", is_flag=True, help="Show what would be launched, and stop.")
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
    boot_s: float,
    usd_per_gb: float,
    plan_only: bool,
    as_json: bool,
    yes: bool,
    **asked: Any,
) -> None:
    """Launch a machine and wait until a job can run on it.

    NAME is by default the folder's. The machine ends itself when its lease does, whatever happens to this computer.
    Rerunning the same command after a crash resumes the launch.
    """
    from infra import names
    from infra.cluster import clouds
    from infra.launch import creation, plans
    from infra.project.files import find_root
    from infra.project.settings import read_settings

    root = find_root(here())
    name = names.name_for(root) if name is None else name
    request = make_request(context, **asked)
    with show.progress() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        account = clouds.open_account(dry_run, request.regions)
        plan = plans.make_plan(account, name, request, read_settings(root).variables)
        plan = replace(plan, boot_s=boot_s, usd_per_gb=usd_per_gb)
    if as_json:
        show.listing([], as_json=True, data=plan_facts(plan))
    else:
        show_plan(account, plan, sorted(settings_of(context)), plan_only=plan_only)
    if 0 < request.idle_stop_s < SHORT_IDLE_S:
        idle = show.duration(request.idle_stop_s)
        show.say(f"warning: after a pause of {idle} between two jobs the machine is terminated (--idle-stop)")
    if plan_only:
        return
    confirm(f"Launch it for at most {show.usd(plan.lease.most_usd)}?", yes or dry_run)
    started = time.monotonic()
    with show.progress() as report:
        cluster = creation.create(plan, report)
    run = f"gpujob run{cluster_flag(cluster.name)} train.py"
    show.say(f"'{cluster.name}' is up after {show.duration(time.monotonic() - started)}; next: {run}")


def make_request(context: click.Context, **asked: Any) -> LaunchRequest:
    """Return what was asked for; a T4 where nothing says which GPU.

    What is typed goes before what a variable or gpujob.toml says of the same; the rest must agree. Raises UsageError.
    Each machine ends itself when idle, and jobs run on the first alone: so several do that only if it was asked for.
    """
    markets = choose_markets(context, {name: asked.pop(name) for name in MARKETS})
    prefer_stronger(context, asked, ("gpu", "gpu_memory"), ("instance_types",))
    prefer_stronger(context, asked, ("regions",), ("zones",))
    gpu, memory, idle_stop_s = asked.pop("gpu"), asked.pop("gpu_memory") or 0, asked.pop("idle_stop_s")
    if idle_stop_s is None:
        idle_stop_s = IDLE_STOP_S if asked["nodes"] == 1 else 0
    if gpu is None and not memory and not asked["instance_types"]:
        gpu = Gpu("T4")
    asked["regions"] = tuple(dict.fromkeys(asked["regions"]))
    return LaunchRequest(gpu=gpu, gpu_memory_gb=memory, markets=markets, idle_stop_s=idle_stop_s, **asked)


def settings_of(context: click.Context) -> list[str]:
    """Return which options this command has from the project's gpujob.toml: it may be somebody else's."""
    told = (name for name in context.params if context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP)
    flags = {parameter.name: parameter.opts[-1] for parameter in context.command.params}
    return [flags[name].lstrip("-") for name in told]


def show_plan(account: "Account", plan: "Plan", settings: Sequence[str], *, plan_only: bool) -> None:
    """Show what is about to be launched, before anything is spent, and which `settings` are from gpujob.toml."""
    if account.cloud == "local":
        show.say("dry run on the local cloud: nothing is billed or set up, the prices are examples")
    if plan.attempt:
        show.say("resuming an earlier gpujob up that was interrupted")
    for ended in plan.ended:
        show.say(f"{ended.ending.what}." + " Launching a new one..." * (not plan_only))
    show.facts(plan_rows(plan) | ({"settings": f"from gpujob.toml: {', '.join(settings)}"} if settings else {}))


def plan_rows(plan: "Plan") -> dict[str, str]:
    """Return the preflight table: one thing a line."""
    request, first = plan.request, plan.first
    types = dict.fromkeys(describe(offer) for offer in first.offers)
    prices = [f"{offer.price_usd:.3f}" for offer in first.offers[:1]] + [
        f"{max(offer.highest_usd for offer in first.offers):.3f}"
    ]
    regions = ", then ".join(choice.account.region for choice in plan.choices)
    quotas = [f"{q.left_vcpus} of {q.vcpus} vCPUs left ({q.market} {q.family})" for q in first.quotas]
    return {
        "cluster": plan.name if request.nodes == 1 else f"{plan.name}: {request.nodes} identical machines",
        **({"jobs": FIRST_NODE.format(name=plan.name)} if request.nodes > 1 else {}),
        "account": plan.owner,
        "machine": "\nor ".join(types),
        "price": f"{' to '.join(dict.fromkeys(prices))} USD an hour{' each' * (request.nodes > 1)},"
        f" {', else '.join(request.markets)}, {regions}",
        "lease": f"until {show.clock(plan.lease.until)}; then it powers itself off",
        "idle": describe_idle(request),
        "at most": f"{show.most(plan.lease.most_usd, first.account.cloud)} with disk and address;"
        f" downloads add {plan.usd_per_gb:g} USD/GB",
        "quota": "; ".join(quotas) or "none known for this family",
        "image": f"{first.image.name}, {request.disk_gib} GiB of disk",
        **({"setup": describe_setup(plan)} if first.account.cloud == "aws" else {}),
        "network": f"{first.vpc}, {show.plural(len(first.subnets), 'zone')}; port 22 open to {plan.address} alone",
    }


def describe_idle(request: LaunchRequest) -> str:
    """Return when a machine that nobody uses ends itself, and how to change that."""
    if not request.idle_stop_s:
        return "keeps running until the lease ends (to change that: --idle-stop 1h)"
    idle = show.duration(request.idle_stop_s)
    return f"ends after {idle} unused, once all outputs are downloaded (--idle-stop)"


def describe_setup(plan: "Plan") -> str:
    """Return what of the playbook is run, or how to have it run."""
    from infra.base.installation import install_command
    from infra.setup.playbook import find_program

    if plan.setup:
        return ", ".join(plan.setup.tags) or "the whole playbook, which takes minutes"
    if plan.request.setup and find_program() is None:
        return f"none: Ansible is missing here; {install_command('setup')}, then gpujob setup {plan.name}"
    return f"none; gpujob setup {plan.name} runs the playbook"


def describe(offer: "Offer") -> str:
    """Return a machine in a few words."""
    gpu = f"{offer.gpu.count} x {offer.gpu.name} ({offer.gpu_memory_gib:.0f} GiB), " if offer.gpu else ""
    return f"{offer.instance_type}: {gpu}{offer.vcpus} vCPUs, {offer.memory_gib:.0f} GiB"


def plan_facts(plan: "Plan") -> dict[str, Any]:
    """Return the plan as JSON can hold it."""
    return {
        "cluster": plan.name,
        "owner": plan.owner,
        "request": asdict(plan.request),
        "lease": asdict(plan.lease),
        "ended": [asdict(ended.ending) for ended in plan.ended],
        "address": plan.address,
        "usd_per_gb": plan.usd_per_gb,
        "setup": asdict(plan.setup) | {"playbook": str(plan.setup.playbook)} if plan.setup else None,
        "choices": [
            {
                "region": choice.account.region,
                "offers": [asdict(offer) for offer in choice.offers],
                "image": asdict(choice.image),
                "vpc": choice.vpc,
                "quotas": [asdict(quota) for quota in choice.quotas],
            }
            for choice in plan.choices
        ],
    }
