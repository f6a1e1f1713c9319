"""Extend, stop and start a cluster."""

import os
import time
from functools import partial

import click

from cli.cluster.launch.network import TYPE, matching
from cli.cluster.launch.preflight import describe
from cli.options.context import cluster_flag, find_cluster, name_to_end, script_here
from cli.options.declared import (
    CLUSTER_VARIABLE,
    cluster_argument,
    option,
    typed_cluster_argument,
    typed_option,
    yes_option,
)
from cli.options.durations import NUMBER, parse_hours
from cli.terminal import clouds, formats, progress, show
from cli.terminal.questions import confirm
from infra.base.money import format_rate, format_usd
from infra.ec2.machines.lease import HOURS_A_MONTH
from infra.errors import NodeError, UsageError
from infra.launch import power
from infra.launch.type_change import TypeChange, plan_change, start_changed
from infra.send import extension


@click.command()
@cluster_argument
@click.argument("time_", metavar="[TIME]", required=False)
@typed_option(
    "--hours", type=parse_hours, metavar="HOURS", help="How much to add to the lease, instead of TIME: 2, or 90m."
)
@yes_option
def extend(name: str | None, time_: str | None, hours: float | None, yes: bool) -> None:
    """Extend a cluster's lease.

    TIME is added to it. Shows the new maximum cost and asks for confirmation.

    \b
    gpujob extend 2h
    gpujob extend NAME 90m
    """  # noqa: D301  click reads the backspace
    name, hours = read_extension(name, time_, hours)
    known = find_cluster(name)
    account, cluster = extension.find(known) if known.sent else power.find(known)
    if cluster.node.state != "running" and not known.sent:
        raise NodeError(
            f"'{cluster.name}' is {cluster.node.state}", f"start it with a new lease: gpujob start {cluster.name}"
        )
    until = max(cluster.lease_until, time.time()) + hours * 3600
    power.check_block(account, cluster, until, f"gpujob extend {cluster.name} {{}}m")
    count = partial(extension.most_usd, account) if known.sent else power.most_usd
    most, before = count(cluster, until), count(cluster, cluster.lease_until)
    show.facts(
        {
            "cluster": cluster.name,
            "lease": f"until {formats.deadline(until)} instead of {formats.deadline(cluster.lease_until)}",
            "at most": f"{clouds.most(most, cluster.cloud)} since launch, instead of {format_usd(before)}",
        }
    )
    confirm(f"Extend it, for at most {format_usd(most)} in total?", yes or cluster.is_local)
    with progress.steps() as report:
        report("setting the new deadline" + " on the machine" * (not known.sent))
        (extension if known.sent else power).extend(account, cluster, until)
    show.say(f"'{cluster.name}' now ends at {formats.deadline(until)}")


def read_extension(name: str | None, text: str | None, hours: float | None) -> tuple[str | None, float]:
    """Return the cluster's name and the hours to add; raises UsageError unless these are given once.

    A single argument is the time, if it looks like one and --hours is not given.
    """
    if text is None and hours is None and name and name[0].isdecimal():
        name, text = os.environ.get(CLUSTER_VARIABLE) or None, name
    if (text is None) == (hours is None):
        raise UsageError("expected the time to add, once", "gpujob extend 2h")
    if text is None:
        return name, hours or 0
    if NUMBER.fullmatch(text):
        raise UsageError(f"{text} what?", f"gpujob extend {text}h, or: gpujob extend {text}m")
    return name, parse_hours(text)


@click.command()
@typed_cluster_argument
@typed_option("--force", is_flag=True, help="Stop even if a job is running, which kills it.")
@yes_option
def stop(name: str | None, force: bool, yes: bool) -> None:
    """Stop a cluster's machines, keeping their disks.

    Disks are billed until the cluster is terminated. NAME defaults to this folder's cluster.
    """
    account, cluster = power.find(find_cluster(name_to_end(name, "gpujob stop {name}")))
    if cluster.node.state == "stopped":
        show.say(f"nothing to do: '{cluster.name}' is already stopped")
        return
    verb = "would cost" if cluster.is_local else "costs"
    costs = f"{verb} {format_rate(cluster.disk_usd * HOURS_A_MONTH, 'month')}"
    question = f"Stop '{cluster.name}'? Its disk {costs} until you start or terminate it."
    confirm(question, yes or cluster.is_local)
    kept = None if force else power.check_quiet(cluster)
    with progress.steps() as report:
        power.stop(account, cluster, report, drained=kept == [])
    after = f"Resume: gpujob start {cluster.name}   Terminate: gpujob down {cluster.name}"
    show.say(f"'{cluster.name}' is stopped; its disk {costs}. {after}")
    if kept:
        jobs = formats.plural(len(kept), "job")
        show.say(f"  The disk has outputs of {jobs} that are not downloaded; start the machine to download them.")


@click.command()
@cluster_argument
@option(
    "--max-hours",
    type=parse_hours,
    default="12",
    show_default=True,
    metavar="HOURS",
    help="Length of the new lease: 6, 12h or 90m.",
)
@typed_option(
    "--instance-type",
    type=matching(TYPE, "an instance type such as g5.xlarge"),
    metavar="TYPE",
    help="Change the machines to this type first; their disks stay as they are.",
)
@yes_option
def start(name: str | None, max_hours: float, instance_type: str | None, yes: bool) -> None:
    """Start a stopped cluster with a new lease.

    With --instance-type, the same disks boot another machine: learn on a T4, train on an A10G. Shows its price, the
    account's quota and the new maximum cost, and asks for confirmation.
    """
    account, cluster = power.find(find_cluster(name))
    change = plan_change(account, cluster, instance_type) if instance_type else None
    if change is None and cluster.node.state == "running":
        show.say(f"nothing to do: '{cluster.name}' is already running")
        return
    until = time.time() + max_hours * 3600
    power.check_block(account, cluster, until, f"gpujob start {cluster.name} --max-hours {{}}m")
    most = power.most_usd(change.after if change else cluster, until)
    show.facts(
        {
            "cluster": cluster.name,
            **(change_rows(change) if change else {}),
            "lease": f"until {formats.deadline(until)}",
            "at most": f"{clouds.most(most, cluster.cloud)} since launch",
        }
    )
    question = "Change its type and start it" if change else "Start it"
    confirm(f"{question}, for at most {format_usd(most)} in total?", yes or cluster.is_local)
    begin = partial(start_changed, account, change) if change else partial(power.start, account, cluster)
    with progress.steps() as report:
        found = begin(max_hours, report)
    show.say(f"'{found.name}' is running; next: gpujob run{cluster_flag(found.name)} {script_here()}")


def change_rows(change: TypeChange) -> dict[str, str]:
    """Return what another instance type changes: machine, price and local disks, and the quota left."""
    old, new = change.before.node, change.after.node
    each = " each" * (len(change.after.nodes) > 1)
    quota = change.quota
    nvme = f"{change.offer.nvme_gb:g} GB NVMe, empty" if change.offer.nvme_gb else "none"
    return {
        "machine": f"{describe(change.offer)}; instead of {old.instance_type}",
        "price": f"{format_rate(new.price_usd)}{each} instead of {format_rate(old.price_usd)}",
        "scratch": f"{nvme}; the cluster's disk is kept",
        "quota": f"{quota.left_vcpus} of {quota.vcpus} vCPUs left ({quota.market} {quota.family})"
        if quota
        else "unknown for this instance family",
    }
