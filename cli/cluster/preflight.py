"""The plan of a launch, shown before anything is spent."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.terminal import clouds, formats, show
from infra.base.installation import install_command
from infra.setup.playbook import find_program

if TYPE_CHECKING:
    from infra.launch.plans import Plan
    from infra.model import LaunchRequest, Offer

FIRST_NODE = "run on the first machine only (the second: gpujob ssh {name} --node 1)"


def show_plan(plan: "Plan", settings: Sequence[str], *, plan_only: bool, as_json: bool) -> None:
    """Show what is about to be launched, and which `settings` are from gpujob.toml."""
    if as_json:
        show.echo_json(plan_facts(plan))
        return
    if clouds.is_local(plan.first.account.cloud):
        show.say("dry run on the local cloud: nothing is billed or set up, the prices are examples")
    if plan.attempt:
        show.say("resuming an earlier gpujob up that was interrupted")
    for ended in plan.ended:
        show.say(f"{ended.ending.what}." + " Launching a new one..." * (not plan_only))
    show.facts(plan_rows(plan) | ({"settings": f"from gpujob.toml: {', '.join(settings)}"} if settings else {}))


def plan_rows(plan: "Plan") -> dict[str, str]:
    """Return the rows of the plan's table."""
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
        "lease": f"until {formats.clock(plan.lease.until)}; then it powers itself off",
        "idle": describe_idle(request),
        "at most": f"{clouds.most(plan.lease.most_usd, first.account.cloud)} with disk and address;"
        f" downloads add {plan.usd_per_gb:g} USD/GB",
        "quota": "; ".join(quotas) or "none known for this family",
        "image": f"{first.image.name}, {request.disk_gib} GiB of disk",
        **({"setup": describe_setup(plan)} if not clouds.is_local(first.account.cloud) else {}),
        "network": f"{first.vpc}, {formats.plural(len(first.subnets), 'zone')}; port 22 open to {plan.address} alone",
    }


def describe_idle(request: "LaunchRequest") -> str:
    """Return when an idle machine ends itself, and how to change that."""
    if not request.idle_stop_s:
        return "keeps running until the lease ends (to change that: --idle-stop 1h)"
    idle = formats.duration(request.idle_stop_s)
    return f"ends after {idle} unused, once all outputs are downloaded (--idle-stop)"


def describe_setup(plan: "Plan") -> str:
    """Return which parts of the playbook run, or how to run it later."""
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
