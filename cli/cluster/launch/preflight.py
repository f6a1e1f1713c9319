"""Show the plan of a launch before anything is billed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.facts.times import with_instants
from cli.terminal import clouds, formats, show
from infra.base.installation import install_command
from infra.base.money import format_rate
from infra.model import LOGIN_USER
from infra.setup.playbook import find_program

if TYPE_CHECKING:
    from infra.ec2.capacity.reservations import Reservation
    from infra.launch.plans import Choice, Plan
    from infra.model import LaunchRequest, Offer
    from infra.setup.playbook import Setup

FIRST_NODE = "run on the first machine, or on several: gpujob run --cluster {name} --nodes {nodes} SCRIPT"
LOSS = "a machine that is lost ends the jobs on it, on all their machines; the others are billed until gpujob down"


def show_plan(plan: "Plan", settings: Sequence[str], *, plan_only: bool, as_json: bool) -> None:
    """Show what will be launched, and which `settings` come from gpujob.toml."""
    if as_json:
        show.echo_json({**plan_facts(plan), "settings": list(settings)})
        return
    if clouds.is_local(plan.first.account.cloud):
        show.say("dry run on the local cloud: nothing is billed, prices are examples")
    if plan.attempt:
        show.say("resuming an interrupted launch")
    for ended in plan.ended:
        show.say(f"{ended.ending.what}." + " Launching a new one..." * (not plan_only))
    for warning in plan.warnings:
        show.say(f"warning: {warning}")
    show.facts(plan_rows(plan) | ({"settings": f"from gpujob.toml: {', '.join(settings)}"} if settings else {}))


def plan_rows(plan: "Plan") -> dict[str, str]:
    """Return the rows of the plan's table."""
    request, first = plan.request, plan.first
    types = dict.fromkeys(describe(offer) for offer in first.offers)
    bills = "" if request.network.private else " and IP address"
    quotas = [f"{q.left_vcpus} of {q.vcpus} vCPUs left ({q.market} {q.family})" for q in first.quotas]
    return {
        "cluster": plan.name if request.nodes == 1 else f"{plan.name}: {request.nodes} identical machines",
        **describe_several(plan),
        "account": plan.owner,
        "machine": "\nor ".join(types),
        **({"reservation": describe_reservation(first.reservation)} if first.reservation else {}),
        "price": describe_price(plan),
        "lease": f"until {formats.deadline(plan.lease.until)}, {describe_end(plan)}",
        "idle": describe_idle(request),
        "at most": f"{clouds.most(plan.lease.most_usd, first.account.cloud)} including disk{bills},"
        f" plus ${plan.usd_per_gb:g}/GB downloaded",
        **({} if first.reservation else {"quota": "; ".join(quotas) or "unknown for this instance family"}),
        "image": f"{first.image.name}, {request.disk_gib} GiB disk" + describe_extras(plan),
        **({"setup": describe_setup(plan)} if not clouds.is_local(first.account.cloud) else {}),
        **({"bucket": f"{request.bucket}; log and outputs uploaded every minute"} if request.bucket else {}),
        **({"tags": ", ".join(f"{key}={value}" for key, value in request.tags)} if request.tags else {}),
        "network": f"{describe_place(plan)}; {describe_access(plan)}",
    }


def describe_several(plan: "Plan") -> dict[str, str]:
    """Return the rows about several machines: how jobs use them, their network, and the loss of one."""
    nodes = plan.request.nodes
    if nodes == 1:
        return {}
    speeds = "\nor ".join(dict.fromkeys(describe_speed(offer) for offer in plan.first.offers))
    return {
        "jobs": FIRST_NODE.format(name=plan.name, nodes=nodes),
        "speed": f"between two machines: {speeds}",
        "loss": LOSS,
    }


def describe_speed(offer: "Offer") -> str:
    """Return the network speed of a machine's only interface, as far as AWS says."""
    steady, peak = offer.network_gbps, offer.network_peak_gbps
    if not steady:
        return offer.network or "unknown network speed"
    return f"up to {peak:g} Gbit/s, {steady:g} sustained" if peak > steady else f"{steady:g} Gbit/s"


def describe_price(plan: "Plan") -> str:
    """Return the lowest and highest price, and where it applies."""
    request, first = plan.request, plan.first
    regions = ", then ".join(map(describe_region, plan.choices))
    if first.reservation and first.reservation.is_block:
        return f"paid in advance with the Capacity Block; disk and data are billed as usual, {regions}"
    lowest, highest = first.offers[0].price_usd, max(offer.highest_usd for offer in first.offers)
    spot = max((offer.most_usd for offer in first.offers if offer.market == "spot"), default=0.0)
    prices = [f"${lowest:.2f}"] * (f"{lowest:.2f}" != f"{highest:.2f}") + [format_rate(highest)]
    each = f" each, at most {format_rate(highest * request.nodes)} for all {request.nodes}" * (request.nodes > 1)
    rise = f"; a spot price can rise to {format_rate(spot)}" * bool(spot)
    kept = "; the reservation bills this with or without a machine, until it ends" * bool(first.reservation)
    return f"{' to '.join(prices)}{each}, {', then '.join(request.markets)}, {regions}{rise}{kept}"


def describe_region(choice: "Choice") -> str:
    """Return a region, with its spot placement score if that is known."""
    return choice.account.region + (f" (spot score {choice.score} of 10)" if choice.score else "")


def describe_reservation(reserved: "Reservation") -> str:
    """Return a reservation's kind, free machines and end."""
    ends = f", ends {formats.deadline(reserved.ends_at)}" if reserved.ends_at else ""
    return f"{reserved}: {reserved.free} of {formats.plural(reserved.total, 'machine')} free, {reserved.zone}{ends}"


def describe_end(plan: "Plan") -> str:
    """Return what happens at the end of the lease."""
    reserved = plan.first.reservation
    if reserved and reserved.is_block and plan.lease.until >= reserved.latest_s:
        return "when AWS begins to end the block's machines; this one powers itself off"
    return "then the machine powers itself off"


def describe_extras(plan: "Plan") -> str:
    """Return what is not as usual about disk, role and login."""
    request, user = plan.request, plan.request.login_user or plan.first.image.user
    extras = {"encrypted with": request.kms_key, "with the role of": request.instance_profile}
    told = [f"{words} {value}" for words, value in extras.items() if value]
    told += [f"login as {user}"] if user != LOGIN_USER else []
    return "".join(f"; {one}" for one in told)


def describe_place(plan: "Plan") -> str:
    """Return the VPC and the subnets, or the number of the default VPC's zones."""
    first, named = plan.first, plan.request.network.subnets
    where = " or ".join(named) or formats.plural(len(first.subnets), "zone")
    return f"{first.vpc}, {where}"


def describe_access(plan: "Plan") -> str:
    """Return who can reach the machine."""
    groups = ", ".join(group.group_id for group in plan.first.groups)
    sources = " and ".join(plan.first.sources or [plan.address])
    access = f"{groups}, which is not changed" if groups else f"port 22 open only to {sources}"
    if not plan.request.network.private:
        return access
    return f"private address only, reached {describe_way(plan.request.network.proxy_jump)}; {access}"


def describe_way(jump: str) -> str:
    """Return how a private address is reached."""
    return f"through {jump}" if jump else "over your VPN (or use --proxy-jump)"


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
    if plan.first.image.is_amazon_linux:
        return "none: the playbook is for Ubuntu and Debian"
    if plan.request.setup and find_program() is None:
        return show.complete(
            f"none: Ansible is not installed; {install_command('setup')}, then gpujob setup {plan.name}"
        )
    return show.complete(f"none (run the playbook later: gpujob setup {plan.name})")


def describe(offer: "Offer") -> str:
    """Return an instance type in a few words."""
    gpu = f"{offer.gpu.count} x {offer.gpu.name} ({offer.gpu_memory_gib:.0f} GiB), " if offer.gpu else ""
    return f"{offer.instance_type}: {gpu}{offer.vcpus} vCPUs, {offer.memory_gib:.0f} GiB"


def reservation_facts(reserved: "Reservation | None") -> dict[str, Any] | None:
    """Return a reservation as JSON data."""
    return with_instants(asdict(reserved), "starts_at", "ends_at") if reserved else None


def setup_facts(setup: "Setup") -> dict[str, Any]:
    """Return what runs of the playbook as JSON data, without the text of files."""
    facts = asdict(setup) | {"playbook": str(setup.playbook)}
    return {name: value for name, value in facts.items() if name != "files"}


def plan_facts(plan: "Plan") -> dict[str, Any]:
    """Return the plan as JSON data."""
    return {
        "cluster": plan.name,
        "cloud": plan.first.account.cloud,
        "owner": plan.owner,
        "request": asdict(plan.request) | {"tags": dict(plan.request.tags)},
        "lease": with_instants(asdict(plan.lease), "until"),
        "ended": [with_instants(asdict(ended.ending), "at") for ended in plan.ended],
        "address": plan.address,
        "usd_per_gb": plan.usd_per_gb,
        "setup": setup_facts(plan.setup) if plan.setup else None,
        "choices": [
            {
                "region": choice.account.region,
                "spot_score": choice.score,
                "offers": [asdict(offer) for offer in choice.offers],
                "image": asdict(choice.image),
                "vpc": choice.vpc,
                "subnets": [asdict(subnet) for subnet in choice.subnets],
                "security_groups": [group.group_id for group in choice.groups],
                "quotas": [asdict(quota) for quota in choice.quotas],
                "reservation": reservation_facts(choice.reservation),
            }
            for choice in plan.choices
        ],
    }
