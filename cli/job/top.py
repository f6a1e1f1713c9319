"""Live usage of a cluster: top."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import click

from cli.job.usage import frame, plain_lines, tell_all
from cli.options.context import find_cluster
from cli.options.declared import cluster_option, json_option, option
from cli.options.durations import parse_duration
from cli.steps.keyboard import ending_on
from cli.terminal import show
from infra.base.parallel import map_parallel
from infra.cluster.connections import find_prices, reach, reconnect
from infra.node import client
from infra.ssh.connection import DroppedError

if TYPE_CHECKING:
    from infra.model import Cluster, NodeUse

OVER = 3  # finished jobs to show
QUIT = b"q"
LOST = "connection lost; jobs keep running, reconnecting..."


@click.command()
@option(
    "--every", "every_s", type=parse_duration, default="2s", show_default=True, metavar="TIME", help="Refresh interval."
)
@option("--once", is_flag=True, help="Print once and exit; the default without a terminal.")
@cluster_option
@json_option
def top(every_s: float, once: bool, cluster: str | None, as_json: bool) -> None:
    """Watch the usage of a cluster's machines and jobs.

    Also shows the cost so far and the lease. q or Ctrl-C exits; running jobs are not affected.
    """
    found = find_prices(find_cluster(cluster))
    if as_json or once or not sys.stdout.isatty():
        uses = next(look(found, every_s, lambda: None))
        show.echo_json(tell_all(found, uses)) if as_json else show.echo("\n".join(plain_lines(found, uses)))
    else:
        watch(found, every_s)


def look(cluster: "Cluster", every_s: float, lost: Callable[[], None]) -> "Iterator[list[NodeUse]]":
    """Yield the usage of each machine periodically; on a broken connection, call `lost` and reconnect."""
    with ExitStack() as opened:
        links = [opened.enter_context(ExitStack()) for _ in cluster.ranks]
        connections = [
            link.enter_context(reach(cluster, rank)) for link, rank in zip(links, cluster.ranks, strict=True)
        ]

        def ask(rank: int) -> "NodeUse | None":
            with suppress(DroppedError):
                return client.look(connections[rank], 0 if rank else OVER)
            return None

        while True:
            uses = map_parallel(ask, range(len(connections)))
            found = [use for use in uses if use]
            if len(found) == len(uses):
                yield found
            else:
                lost()
                for rank, use in enumerate(uses):
                    if use is None:
                        links[rank].close()
                        connections[rank] = links[rank].enter_context(reconnect(connections[rank]))
            time.sleep(every_s)


def watch(cluster: "Cluster", every_s: float) -> None:
    """Draw the usage until Ctrl-C or q."""
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.live import Live

    latest: list[list[NodeUse]] = []
    console = Console()
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False, screen=True) as live, ending_on(QUIT):

        def draw(note: str = "") -> None:
            if latest:
                live.update(frame(cluster, latest[-1], note, console.width), refresh=True)

        live.update(f"connecting to {cluster.name}...", refresh=True)
        for uses in look(cluster, every_s, lambda: draw(LOST)):
            latest[:] = [uses]
            draw()
