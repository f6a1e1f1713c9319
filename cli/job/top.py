"""Live usage of a cluster: top."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.notices.space import space_warning
from cli.options.context import find_cluster, script_here
from cli.options.declared import cluster_option, json_option, option
from cli.options.durations import parse_duration
from cli.terminal import formats, show
from infra.base.money import format_rate, format_usd
from infra.cluster.connections import find_prices, reach, reconnect
from infra.ec2.machines.lease import hourly_usd, spent_usd
from infra.node import client
from infra.ssh.connection import DroppedError

if TYPE_CHECKING:
    from rich.console import Group

    from infra.model import Cluster, GpuUse, JobUse, NodeUse

OVER = 3  # finished jobs to show
BAR_CHARACTERS = 20
LOST = "connection lost; jobs keep running, reconnecting..."


@click.command()
@option(
    "--every", "every_s", type=parse_duration, default="2s", show_default=True, metavar="TIME", help="Refresh interval."
)
@option("--once", is_flag=True, help="Print once and exit; the default without a terminal.")
@cluster_option
@json_option
def top(every_s: float, once: bool, cluster: str | None, as_json: bool) -> None:
    """Watch the usage of a machine and its jobs.

    Also shows the cost so far and the lease. Ctrl-C exits; running jobs are not affected.
    """
    found = find_prices(find_cluster(cluster))
    if as_json or once or not sys.stdout.isatty():
        use = next(look(found, every_s, lambda: None))
        show.echo_json(tell_all(found, use)) if as_json else show.echo("\n".join(plain_lines(found, use)))
    else:
        watch(found, every_s)


def look(cluster: "Cluster", every_s: float, lost: Callable[[], None]) -> Iterator["NodeUse"]:
    """Yield the node's usage periodically; on a broken connection, call `lost` and reconnect."""
    with ExitStack() as connections:
        connection = connections.enter_context(reach(cluster))
        while True:
            try:
                yield client.look(connection, OVER)
                time.sleep(every_s)
            except DroppedError:
                lost()
                connections.close()
                connection = connections.enter_context(reconnect(connection))


def watch(cluster: "Cluster", every_s: float) -> None:
    """Draw the node's usage until Ctrl-C."""
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.live import Live

    uses: list[NodeUse] = []
    with Live(console=Console(), auto_refresh=False, screen=True) as live:

        def draw(note: str = "") -> None:
            if uses:
                live.update(frame(cluster, uses[-1], note, live.console.width), refresh=True)

        try:
            for use in look(cluster, every_s, lambda: draw(LOST)):
                uses[:] = [use]
                draw()
        except KeyboardInterrupt:
            return


def head(cluster: "Cluster", use: "NodeUse") -> dict[str, str]:
    """Return the machine's usage, cost and lease."""
    node, usd = cluster.node, spent_usd(cluster, time.time())
    disk_used = use.disk_bytes - use.disk_free_bytes
    cost = formats.at_most(f"{format_usd(usd)} so far, {format_rate(hourly_usd(cluster))}", cluster.is_at_most)
    facts = {
        "cluster": f"{cluster.name}, {node.instance_type}, {'local cloud' if cluster.is_local else node.zone}",
        "cpu": f"{bar(use.cpu_used, use.cpus)} {use.cpu_used:.1f} of {use.cpus}",
        "memory": f"{bar(use.memory_used_bytes, use.memory_bytes)} {share(use.memory_used_bytes, use.memory_bytes)}",
        "disk": f"{bar(disk_used, use.disk_bytes)} {formats.size(disk_used)} of {formats.size(use.disk_bytes)}",
        **{f"gpu {gpu.index}": gpu_text(gpu) for gpu in use.gpus},
        "cost": f"would have cost {cost} on AWS" if cluster.is_local else cost,
        "lease": f"{formats.duration(lease_left_s(cluster))} left",
    }
    return {name: show.printable(text) for name, text in facts.items()}


def gpu_text(gpu: "GpuUse") -> str:
    """Return the usage of a GPU."""
    memory = share(gpu.memory_used_bytes, gpu.memory_bytes)
    return f"{bar(gpu.percent, 100)} {gpu.percent:.0f}%, {memory}, {gpu.name}"


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


def plain_lines(cluster: "Cluster", use: "NodeUse") -> Iterator[str]:
    """Yield a frame as lines: the machine's usage, then its jobs, tab-separated."""
    yield from (f"{name}\t{text}" for name, text in head(cluster, use).items())
    yield from filter(None, [space_warning(cluster.name, use.disk_bytes, use.disk_free_bytes)])
    rows = [job_row(each) for each in use.jobs]
    if rows:
        yield "\t".join(rows[0])
        yield from ("\t".join(row.values()) for row in rows)


def frame(cluster: "Cluster", use: "NodeUse", note: str, width: int) -> "Group":
    """Return a frame for rich, `width` characters wide."""
    # imported only when drawing on a terminal
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts, jobs = Table(box=None, show_header=False, pad_edge=False), Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, text in head(cluster, use).items():
        facts.add_row(Text(name, style="dim"), Text(text))
    rows = [job_row(each) for each in use.jobs]
    for name in rows[0] if rows else ():
        jobs.add_column(name, no_wrap=True)
    for row in rows:
        row["last line"] = row["last line"][: room_for_lines(rows, width)]
        jobs.add_row(*(Text(text, style="yellow" if row["state"] == "stalled" else "") for text in row.values()))
    below = jobs if rows else Text(f"no jobs yet. Run one: gpujob run {script_here()}")
    note = note or space_warning(cluster.name, use.disk_bytes, use.disk_free_bytes)
    return Group(facts, Text(), below, Text(note or "Ctrl-C exits", style="red" if note else "dim"))


def room_for_lines(rows: "list[dict[str, str]]", width: int) -> int:
    """Return the width that the other columns leave for the last line."""
    others = [max(len(name), *(len(row[name]) for row in rows)) for name in rows[0] if name != "last line"]
    return max(width - sum(others) - 3 * len(rows[0]), 10)


def tell_all(cluster: "Cluster", use: "NodeUse") -> dict[str, object]:
    """Return the node's usage as JSON data."""
    money = {"usd_so_far": spent_usd(cluster, time.time()), "lease_left_s": lease_left_s(cluster)}
    return {"cluster": cluster.to_dict(), **money, **asdict(use)}


def lease_left_s(cluster: "Cluster") -> float:
    """Return how many seconds of the lease are left."""
    return max(cluster.lease_until - time.time(), 0.0)


def bar(part: float, whole: float) -> str:
    """Return a text bar for a part of a whole."""
    filled = part / whole if whole else 0.0
    full = round(min(max(filled, 0), 1) * BAR_CHARACTERS)
    return "#" * full + "." * (BAR_CHARACTERS - full)


def share(used: int, total: int) -> str:
    """Return used and total memory: 1.5 GiB of 15.4 GiB."""
    return f"{formats.memory(used)} of {formats.memory(total)}"
