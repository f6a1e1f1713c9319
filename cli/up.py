"""Renting: offers, up."""

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from cli import show
from cli.options import (
    Decorator,
    cluster_argument,
    confirm,
    dry_run_option,
    here,
    json_option,
    naming,
    option,
    parse_any_gpu,
    parse_duration,
    parse_gpu,
    parse_hours,
    parse_memory,
    parse_usd,
    regions_option,
    transfer_option,
    yes_option,
)
from infra.model import Gpu, Wishes

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.model import Offer
    from infra.plans import Plan

MARKETS = {"on-demand": ("on-demand",), "spot": ("spot",), "spot-first": ("spot", "on-demand")}


def market_option(name: str, **settings: Any) -> Decorator:
    """Declare one of the options that choose the market."""
    return click.option(f"--{name}", "market", flag_value=name, **settings)


@click.command()
@cluster_argument
@dry_run_option
@option("--gpu", type=parse_gpu, metavar="NAME[:COUNT]", help="GPU by AWS's name, and how many; else a T4.")
@option("--gpu-memory", type=parse_memory, metavar="GB", help="Any GPU with so much memory at least.")
@option(
    "--instance-type", "instance_types", multiple=True, metavar="TYPE", help="Exactly this type; repeat for several."
)
@market_option("on-demand", default=True, help="Pay the list price (this is so unless you say otherwise).")
@market_option("spot", help="Cheaper, and AWS may take the machine away at two minutes' notice.")
@market_option("spot-first", help="Spot if there is some, else on demand.")
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
        help="The lease: the machine powers itself off and is terminated after this long.")  # fmt: skip
@option(
    "--max-cost", "max_cost_usd", type=parse_usd, metavar="USD", help="End the lease before it costs more than this."
)
@option("--idle-stop", "idle_stop_s", type=parse_duration, default=None, metavar="TIME",
        help="End the machine when no job ran and nobody was logged in for 30m, 2h ...")  # fmt: skip
@option("--boot-timeout", "boot_s", type=parse_duration, default="5m", show_default=True, metavar="TIME",
        help="Give it back if it has not started, or does not answer, after so long.")  # fmt: skip
@option("--setup/--no-setup", default=True, help="Set it up: all of the playbook on ubuntu, what is missing elsewhere.")
@option("--plan", "plan_only", is_flag=True, help="Show what would be rented, and stop.")
@transfer_option
@json_option
@yes_option
def up(
    name: str | None,
    dry_run: bool,
    boot_s: float,
    usd_per_gb: float,
    plan_only: bool,
    as_json: bool,
    yes: bool,
    **asked: Any,
) -> None:
    """Rent a machine and wait until a job can run on it.

    NAME is by default the folder's. The machine ends itself when its lease does, whatever happens to this laptop. The same
    words typed again after a crash take up what was begun.
    """
    from infra import clusters, names, plans, rental
    from infra.project import find_root
    from infra.settings import read_settings

    root = find_root(here())
    name = names.name_for(root) if name is None else name
    wishes = make_wishes(**asked)
    with show.progress() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        account = open_account(dry_run, wishes.regions)
        clusters.check_elsewhere(account, name)
        plan = plans.make_plan(account, name, wishes, read_settings(root).variables)
        plan = replace(plan, boot_s=boot_s, usd_per_gb=usd_per_gb)
    if as_json:
        show.listing([], as_json=True, data=plan_facts(plan))
    else:
        show_plan(account, plan)
    if plan_only:
        return
    confirm(f"Rent it for at most {show.usd(plan.lease.most_usd)}?", yes or dry_run)
    started = time.monotonic()
    with show.progress() as report:
        cluster = rental.create(plan, report)
    run = f"gpujob run{naming(cluster.name)} train.py"
    show.say(f"'{cluster.name}' is up after {show.duration(time.monotonic() - started)}; next: {run}")


def make_wishes(
    market: str, regions: tuple[str, ...], gpu: Gpu | None, idle_stop_s: float | None, **rest: Any
) -> Wishes:
    """Return what was asked for; a T4 where nothing says which GPU."""
    if gpu is None and not rest["gpu_memory"] and not rest["instance_types"]:
        gpu = Gpu("T4")
    memory = rest.pop("gpu_memory") or 0
    return Wishes(
        gpu=gpu,
        gpu_memory_gb=memory,
        markets=MARKETS[market],  # type: ignore[arg-type]
        regions=tuple(dict.fromkeys(regions)),
        idle_stop_s=idle_stop_s or 0,
        **rest,
    )


def open_account(dry_run: bool, regions: tuple[str, ...]) -> "Account":
    """Return the account to rent from, in the first of these regions."""
    from infra import clouds
    from infra.ec2.account import check_region, open_aws

    first = regions[0] if regions else None
    account = clouds.start_local(first) if dry_run else open_aws(first)
    for region in regions[1:]:
        check_region(account.session, region)
    return account


def show_plan(account: "Account", plan: "Plan") -> None:
    """Show what is about to be rented, before anything is spent."""
    if account.cloud == "local":
        show.say("a rehearsal on the local cloud: nothing is billed or set up, the prices are examples")
    if plan.attempt:
        show.say("this takes up an earlier gpujob up that was broken off")
    show.facts(plan_rows(plan))


def plan_rows(plan: "Plan") -> dict[str, str]:
    """Return the preflight table: one thing a line."""
    wishes, first = plan.wishes, plan.first
    types = dict.fromkeys(describe(offer) for offer in first.offers)
    prices = [f"{offer.price_usd:.3f}" for offer in first.offers[:1]] + [
        f"{max(offer.highest_usd for offer in first.offers):.3f}"
    ]
    regions = ", then ".join(choice.account.region for choice in plan.choices)
    idle = f"; after {show.duration(wishes.idle_stop_s)} without a job or a login, too" if wishes.idle_stop_s else ""
    quotas = [f"{q.left_vcpus} of {q.vcpus} vCPUs left ({q.market} {q.family})" for q in first.quotas]
    return {
        "cluster": plan.name if wishes.nodes == 1 else f"{plan.name}: {wishes.nodes} machines alike",
        "account": plan.owner,
        "machine": ("\n" + " " * 11 + "or ").join(types),
        "price": f"{' to '.join(dict.fromkeys(prices))} USD an hour{' each' * (wishes.nodes > 1)},"
        f" {', else '.join(wishes.markets)}, {regions}",
        "lease": f"until {show.clock(plan.lease.until)}; then it powers itself off{idle}",
        "at most": f"{show.most(plan.lease.most_usd, first.account.cloud)}, disk and address included",
        "traffic": f"downloads cost {plan.usd_per_gb:g} USD/GB beside that (data transfer out of AWS)",
        "quota": "; ".join(quotas) or "none known for this family",
        "image": f"{first.image.name}, {wishes.disk_gib} GiB of disk",
        **({"setup": describe_setup(plan)} if first.account.cloud == "aws" else {}),
        "network": f"{first.vpc}, {show.plural(len(first.subnets), 'zone')}; port 22 open to {plan.address} alone",
    }


def describe_setup(plan: "Plan") -> str:
    """Return what of the playbook is run, or how to have it run."""
    from infra.playbook import NEEDED, find_program

    if plan.setup:
        return ", ".join(plan.setup.tags) or "the whole playbook, which takes minutes"
    if plan.wishes.setup and find_program() is None:
        return f"none: Ansible is missing here; {NEEDED}, then gpujob setup {plan.name}"
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
        "wishes": asdict(plan.wishes),
        "lease": asdict(plan.lease),
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


@click.command()
@option("--gpu", type=parse_any_gpu, metavar="NAME[:COUNT]", help="Only this GPU, so many of it or however many.")
@option("--gpu-memory", type=parse_memory, metavar="GB", help="Only GPUs with so much memory at least.")
@option("--max-price", type=parse_usd, metavar="USD", help="Only what costs at most this per hour, on either market.")
@regions_option
@option("--refresh", is_flag=True, help="Ask AWS again; machines are kept for a day, prices for an hour.")
@dry_run_option
@json_option
def offers(
    gpu: Gpu | None,
    gpu_memory: float | None,
    max_price: float | None,
    regions: tuple[str, ...],
    refresh: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List GPU machines with their prices, cheapest first."""
    from infra import catalogue

    with show.progress() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        account = open_account(dry_run, regions)
        rows = catalogue.list_rows(account, regions, gpu, gpu_memory or 0, max_price, refresh=refresh)
    if dry_run and not as_json:
        show.say("the local cloud's prices are examples")
    least = ("network", "NVMe GB", "saving", "vCPU left", "GiB", "region")
    facts = [asdict(row) for row in rows]
    show.listing([offer_row(row) for row in rows], as_json, facts, "no machine is like that", least)


def offer_row(row: Any) -> dict[str, str]:
    """Return a machine as a row of a listing."""

    def price(amount: float | None) -> str:
        return "" if amount is None else f"{amount:.4f}"

    saving = f"{1 - row.spot_usd / row.on_demand_usd:.0%}" if row.spot_usd and row.on_demand_usd else ""
    return {
        "machine": row.instance_type,
        "region": row.region,
        "GPU": row.gpu.name,
        "count": str(row.gpu.count),
        "GPU GiB": f"{row.gpu_memory_gib:.0f}",
        "vCPU": str(row.vcpus),
        "GiB": f"{row.memory_gib:.0f}",
        "NVMe GB": f"{row.nvme_gb:.0f}" if row.nvme_gb else "",
        "network": row.network.replace(" Gigabit", "G"),
        "USD/h": price(row.on_demand_usd),
        "spot USD/h": price(row.spot_usd),
        "saving": saving,
        "vCPU left": "" if row.left_vcpus is None else str(row.left_vcpus),
    }
