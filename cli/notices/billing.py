"""What is still running and billed: the last line of every command that leaves a machine on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.terminal import formats, show
from infra.ec2.machines.lease import hourly_usd
from infra.errors import GoneError, GpujobError, NodeError
from infra.model import GONE, UNKNOWN

if TYPE_CHECKING:
    from infra.model import Cluster


def hourly(cluster: "Cluster") -> str:
    """Return what a cluster costs per hour as it stands: $0.54/h."""
    rate = f"${hourly_usd(cluster):.2f}/h"
    return f"not billed ({rate} on AWS)" if cluster.is_local else rate


def standing(cluster: "Cluster") -> str:
    """Return a cluster's state, and its price if it has one: running, $0.54/h."""
    state = cluster.node.state
    return state if state in (GONE, UNKNOWN) else f"{state}, {hourly(cluster)}"


def running(cluster: "Cluster", certain: bool = True) -> str:
    """Return lines that say that a cluster is running, what it costs, when it ends and how to end it."""
    on = replace(cluster, nodes=tuple(replace(node, state="running") for node in cluster.nodes))
    idle = ""
    if cluster.idle_stop_s:
        idle = f" or after {formats.duration(cluster.idle_stop_s)} idle with all downloaded"
    stop = "Terminate it" if cluster.is_local else "Stop paying"
    state = "is still running" if certain else "may still be running"
    end = f"ends itself at {formats.soon(cluster.lease_until)}{idle}"
    return f"{cluster.name} {state}: {hourly(on)}, {end}\n  {stop}: gpujob down {cluster.name}"


def remind(cluster: "Cluster") -> None:
    """Say that a cluster is still running and what it costs."""
    show.say(running(cluster))


def add_notes(error: BaseException, lines: str) -> None:
    """Add each of these lines to an error, to be shown with it."""
    for line in lines.splitlines():
        error.add_note(line)


@contextmanager
def reminding(cluster: "Cluster", down: bool = False) -> Iterator[None]:
    """Say at the end that a cluster is still running, even if the command fails, unless it is gone.

    With `down` the caller terminates it next, so that it is said only after a failure: then the caller will not.
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
