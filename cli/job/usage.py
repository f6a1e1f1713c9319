"""The usage of a cluster's machines and its jobs as `top` shows it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.facts.clusters import cluster_facts
from cli.facts.jobs import job_facts
from cli.facts.times import instant
from cli.notices.space import space_warning, upload_warning
from cli.options.context import cluster_flag, script_here
from cli.terminal import formats, show
from infra.base.money import format_rate, format_usd
from infra.ec2.machines.lease import hourly_usd, spent_usd

if TYPE_CHECKING:
    from rich.console import Group

    from infra.model import Cluster, GpuUse, JobUse, NodeUse

Uses = Sequence["NodeUse"]
"""The usage of each machine of a cluster; jobs run on the first, or the first few."""
BAR_CHARACTERS = 20


def head(cluster: "Cluster", uses: Uses) -> dict[str, str]:
    """Return the machines' usage, cost and lease."""
    node, usd = cluster.node, spent_usd(cluster, time.time())
    machine = node.instance_type if len(uses) == 1 else f"{len(uses)} x {node.instance_type}"
    cost = formats.at_most(f"{format_usd(usd)} so far, {format_rate(hourly_usd(cluster))}", cluster.is_at_most)
    facts = {
        "cluster": f"{cluster.name}, {machine}, {'local cloud' if cluster.is_local else node.zone}",
        **(describe_node(uses[0]) if len(uses) == 1 else describe_nodes(cluster, uses)),
        "cost": f"would have cost {cost} on AWS" if cluster.is_local else cost,
        "lease": f"{formats.duration(max(cluster.lease_until - time.time(), 0))} left",
    }
    return {name: show.printable(text) for name, text in facts.items()}


def describe_node(use: "NodeUse") -> dict[str, str]:
    """Return the usage of the only machine, one line for each of its parts."""
    used = use.disk_bytes - use.disk_free_bytes
    return {
        "cpu": f"{bar(use.cpu_used, use.cpus)} {use.cpu_used:.1f} of {use.cpus}",
        "memory": f"{bar(use.memory_used_bytes, use.memory_bytes)} {share(use.memory_used_bytes, use.memory_bytes)}",
        "disk": f"{bar(used, use.disk_bytes)} {formats.size(used)} of {formats.size(use.disk_bytes)}",
        **{f"gpu {gpu.index}": gpu_text(gpu) for gpu in use.gpus},
    }


def gpu_text(gpu: "GpuUse") -> str:
    """Return the usage of a GPU."""
    memory = share(gpu.memory_used_bytes, gpu.memory_bytes)
    heat = "" if gpu.temperature_c is None else f"{gpu.temperature_c:.0f} °C, "
    return f"{bar(gpu.percent, 100)} {gpu.percent:.0f}%, {memory}, {heat}{gpu.name}"


def describe_nodes(cluster: "Cluster", uses: Uses) -> dict[str, str]:
    """Return the usage of several machines, at most two lines for each."""
    lines = {}
    for rank, use in zip(cluster.ranks, uses, strict=True):
        memory, disk = share(use.memory_used_bytes, use.memory_bytes), formats.size(use.disk_free_bytes)
        lines[f"node {rank}"] = f"cpu {use.cpu_used:.1f} of {use.cpus}, memory {memory}, disk {disk} free"
        if use.gpus:
            used, total = sum(gpu.memory_used_bytes for gpu in use.gpus), sum(gpu.memory_bytes for gpu in use.gpus)
            heat = max((gpu.temperature_c for gpu in use.gpus if gpu.temperature_c is not None), default=None)
            busy = " ".join(f"{gpu.percent:.0f}%" for gpu in use.gpus)
            hottest = "" if heat is None else f", {heat:.0f} °C"
            lines[f"  gpus {rank}"] = f"{busy}, {share(used, total)}{hottest}"
    return lines


def job_row(each: "JobUse") -> dict[str, str]:
    """Return a job's usage as a row."""
    job = each.job
    lasting = not job.over and job.state != "queued"
    return {
        "job": str(job.number),
        "name": show.printable(job.name),
        "state": job.outcome,
        "duration": "" if job.seconds is None else formats.duration(job.seconds),
        "gpus": ",".join(map(str, job.gpus)),
        "cpu": f"{each.cpu_used:.1f}" if lasting else "",
        "memory": formats.memory(each.memory_bytes) if lasting else "",
        "last line": show.printable(each.last_line),
    }


def plain_lines(cluster: "Cluster", uses: Uses) -> Iterator[str]:
    """Yield a frame as lines: the machines' usage, then the jobs, tab-separated."""
    yield from (f"{name.strip()}\t{text}" for name, text in head(cluster, uses).items())
    yield from list_warnings(cluster, uses)
    rows = [job_row(each) for each in uses[0].jobs]
    if rows:
        yield "\t".join(rows[0])
        yield from ("\t".join(row.values()) for row in rows)


def frame(cluster: "Cluster", uses: Uses, note: str, width: int) -> "Group":
    """Return a frame for rich, `width` characters wide."""
    # imported only when drawing on a terminal
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts, jobs = Table(box=None, show_header=False, pad_edge=False), Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, text in head(cluster, uses).items():
        facts.add_row(Text(name, style="dim"), Text(text, no_wrap=True, overflow="ellipsis"))
    rows = [job_row(each) for each in uses[0].jobs]
    for name in rows[0] if rows else ():
        jobs.add_column(name, no_wrap=True)
    for row in rows:
        row["last line"] = row["last line"][: room_for_lines(rows, width)]
        jobs.add_row(*(Text(text, style="yellow" if row["state"] == "stalled" else "") for text in row.values()))
    run = show.complete(f"no jobs yet. Run one: gpujob run{cluster_flag(cluster.name)} {script_here()}")
    note = note or "\n".join(list_warnings(cluster, uses))
    end = Text(note or "q or Ctrl-C exits; jobs keep running", style="red" if note else "dim")
    return Group(facts, Text(), jobs if rows else Text(run), end)


def list_warnings(cluster: "Cluster", uses: Uses) -> list[str]:
    """Return warnings: the disk of the machine that jobs run on is nearly full, uploads fail."""
    full = show.complete(space_warning(cluster.name, uses[0].disk_bytes, uses[0].disk_free_bytes))
    failing = upload_warning(next((use.upload_fault for use in uses if use.upload_fault), ""))
    return [warning for warning in (full, failing) if warning]


def room_for_lines(rows: "list[dict[str, str]]", width: int) -> int:
    """Return the width that the other columns leave for the last line."""
    others = [max(len(name), *(len(row[name]) for row in rows)) for name in rows[0] if name != "last line"]
    return max(width - sum(others) - 3 * len(rows[0]), 10)


def tell_all(cluster: "Cluster", uses: Uses) -> dict[str, Any]:
    """Return the usage as JSON data."""
    machines = []
    for rank, (node, use) in enumerate(zip(cluster.nodes, uses, strict=True)):
        facts = {name: value for name, value in asdict(use).items() if name not in ("now", "jobs")}
        machines.append({"node": rank, "instance_id": node.instance_id, "at": instant(use.now), **facts})
    jobs = [{**asdict(each), "job": job_facts(asdict(each.job))} for each in uses[0].jobs]
    return {"cluster": cluster_facts(cluster, time.time()), "machines": machines, "jobs": jobs}


def bar(part: float, whole: float) -> str:
    """Return a text bar for a part of a whole."""
    filled = part / whole if whole else 0.0
    full = round(min(max(filled, 0), 1) * BAR_CHARACTERS)
    return "#" * full + "." * (BAR_CHARACTERS - full)


def share(used: int, total: int) -> str:
    """Return used and total memory: 1.5 GiB of 15.4 GiB."""
    return f"{formats.memory(used)} of {formats.memory(total)}"
