"""Show the plan of a launch before anything is billed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.terminal import clouds, formats, show
from infra.base.installation import install_command
from infra.base.money import format_rate
from infra.setup.playbook import find_program

if TYPE_CHECKING:
    from infra.launch.plans import Plan
    from infra.model import LaunchRequest, Offer

FIRST_NODE = "run on the first machine only (log in to the second: gpujob ssh {name} --node 1)"


def show_plan(plan: "Plan", settings: Sequence[str], *, plan_only: bool, as_json: bool) -> None:
    """Show what will be launched, and which `settings` come from gpujob.toml."""
    if as_json:
        show.echo_json(plan_facts(plan))
        return
    if clouds.is_local(plan.first.account.cloud):
        show.say("dry run on the local cloud: nothing is billed, prices are examples")
    if plan.attempt:
        show.say("resuming an interrupted launch")
    for ended in plan.ended:
        show.say(f"{ended.ending.what}." + " Launching a new one..." * (not plan_only))
    show.facts(plan_rows(plan) | ({"settings": f"from gpujob.toml: {', '.join(settings)}"} if settings else {}))


def plan_rows(plan: "Plan") -> dict[str, str]:
    """Return the rows of the plan's table."""
    request, first = plan.request, plan.first
    types = dict.fromkeys(describe(offer) for offer in first.offers)
    lowest, highest = first.offers[0].price_usd, max(offer.highest_usd for offer in first.offers)
    spot = max((offer.most_usd for offer in first.offers if offer.market == "spot"), default=0.0)
    prices = [f"${lowest:.2f}"] * (f"{lowest:.2f}" != f"{highest:.2f}") + [format_rate(highest)]
    regions = ", then ".join(choice.account.region for choice in plan.choices)
    quotas = [f"{q.left_vcpus} of {q.vcpus} vCPUs left ({q.market} {q.family})" for q in first.quotas]
    return {
        "cluster": plan.name if request.nodes == 1 else f"{plan.name}: {request.nodes} identical machines",
        **({"jobs": FIRST_NODE.format(name=plan.name)} if request.nodes > 1 else {}),
        "account": plan.owner,
        "machine": "\nor ".join(types),
        "price": f"{' to '.join(prices)}{' each' * (request.nodes > 1)}, {', then '.join(request.markets)}, {regions}"
        + f"; a spot price can rise to {format_rate(spot)}" * bool(spot),
        "lease": f"until {formats.deadline(plan.lease.until)}, then the machine powers itself off",
        "idle": describe_idle(request),
        "at most": f"{clouds.most(plan.lease.most_usd, first.account.cloud)} including disk and IP address,"
        f" plus ${plan.usd_per_gb:g}/GB downloaded",
        "quota": "; ".join(quotas) or "unknown for this instance family",
        "image": f"{first.image.name}, {request.disk_gib} GiB disk",
        **({"setup": describe_setup(plan)} if not clouds.is_local(first.account.cloud) else {}),
        "network": f"{first.vpc}, {formats.plural(len(first.subnets), 'zone')}; port 22 open only to {plan.address}",
    }


def describe_idle(request: "LaunchRequest") -> str:
    """Return when an idle machine ends itself, and the option to change it."""
    if not request.idle_stop_s:
        return "keeps running until the lease ends (change: --idle-stop 1h)"
    idle = formats.duration(request.idle_stop_s)
    return f"ends after {idle} idle, once all outputs are downloaded (--idle-stop)"


def describe_setup(plan: "Plan") -> str:
    """Return which roles of the playbook run, or how to run it later."""
    if plan.setup:
        return ", ".join(plan.setup.tags) or "the whole playbook (takes minutes)"
    if plan.request.setup and find_program() is None:
        return f"none: Ansible is not installed; {install_command('setup')}, then gpujob setup {plan.name}"
    return f"none (run the playbook later: gpujob setup {plan.name})"


def describe(offer: "Offer") -> str:
    """Return an instance type in a few words."""
    gpu = f"{offer.gpu.count} x {offer.gpu.name} ({offer.gpu_memory_gib:.0f} GiB), " if offer.gpu else ""
    return f"{offer.instance_type}: {gpu}{offer.vcpus} vCPUs, {offer.memory_gib:.0f} GiB"


def plan_facts(plan: "Plan") -> dict[str, Any]:
    """Return the plan as JSON data."""
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
