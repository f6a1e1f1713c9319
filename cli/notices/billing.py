"""Remind what is still running and billed, at the end of commands that leave a machine on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.terminal import formats, show
from infra.base.money import format_rate
from infra.ec2.machines.lease import hourly_usd
from infra.errors import GoneError, GpujobError, NodeError
from infra.model import GONE, UNKNOWN

if TYPE_CHECKING:
    from infra.model import Cluster

AT_MOST = "(at most: the price of a spot machine is not known, as without ec2:DescribeSpotPriceHistory; never above on-demand)"


def hourly(cluster: "Cluster") -> str:
    """Return a cluster's current price per hour: $0.54/h."""
    rate = formats.at_most(format_rate(hourly_usd(cluster)), cluster.is_at_most)
    return f"not billed ({rate} on AWS)" if cluster.is_local else rate


def explain_at_most(clusters: "Iterable[Cluster]") -> None:
    """Print what "at most" means, if the price of a spot machine is not known."""
    if any(cluster.is_at_most for cluster in clusters):
        show.say(AT_MOST)


def standing(cluster: "Cluster") -> str:
    """Return a cluster's state and price, if known: running, $0.54/h."""
    state = cluster.node.state
    return state if state in (GONE, UNKNOWN) else f"{state}, {'not billed' if cluster.is_local else hourly(cluster)}"


def running(cluster: "Cluster", certain: bool = True) -> str:
    """Return lines saying that a cluster is running, its price, its end and how to terminate it."""
    idle = ""
    if cluster.idle_stop_s:
        idle = f" or after {formats.duration(cluster.idle_stop_s)} idle once all outputs are downloaded"
    stop = "Terminate it" if cluster.is_local else "Stop paying"
    state = "is still running" if certain else "may still be running"
    end = f"ends itself at {formats.soon(cluster.lease_until)}{idle}"
    return f"{cluster.name} {state}: {hourly(as_running(cluster))}, {end}\n  {stop}: gpujob down {cluster.name}"


def describe_unasked(cluster: "Cluster", now: float) -> str:
    """Return a line saying what happens on a cluster that could not be reached."""
    end = formats.soon(cluster.lease_until)
    if 0 < cluster.lease_until <= now:
        return f"the lease of {cluster.name} ended at {end}; its machine should have terminated itself then"
    rate = hourly(as_running(cluster))
    return f"{cluster.name} may still be running, {rate}; it and its jobs continue until its lease ends at {end}"


def as_running(cluster: "Cluster") -> "Cluster":
    """Return a cluster with all its machines running."""
    return replace(cluster, nodes=tuple(replace(node, state="running") for node in cluster.nodes))


def remind(cluster: "Cluster") -> None:
    """Print that a cluster is still running and its price."""
    show.say(running(cluster))


def add_notes(error: BaseException, lines: str) -> None:
    """Add each of these lines to an error as a note."""
    for line in lines.splitlines():
        error.add_note(line)


@contextmanager
def reminding(cluster: "Cluster", down: bool = False) -> Iterator[None]:
    """Print at the end that a cluster is still running, even if the command fails.

    With `down`, the caller terminates it next, so this is printed only after a failure.
    """
    prefix = "--down did not take effect: " if down else ""
    try:
        yield
    except GoneError:
        raise
    except NodeError as error:
        add_notes(error, prefix + running(cluster, certain=False))
        raise
    except (GpujobError, KeyboardInterrupt) as error:
        add_notes(error, prefix + running(cluster))
        raise
    except (SystemExit, OSError):
        show.say(prefix + running(cluster))
        raise
    if not down:
        remind(cluster)
