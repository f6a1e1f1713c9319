"""Manage the local cloud that --dry-run uses: status, faults, stop.

`infra.local` is imported only in functions, as everywhere outside of it (tests/walls.py).
"""

from typing import TYPE_CHECKING

import click

from cli.options.declared import json_option, option
from cli.terminal import show
from infra.cluster import clouds
from infra.errors import GpujobError
from infra.state import local_cloud_folder

if TYPE_CHECKING:
    from infra.local.record import LocalCloud


@click.group()
def local() -> None:
    """Inspect, stop or inject faults into the local cloud."""


@local.command()
def stop() -> None:
    """Stop the local cloud, its machines and all their processes."""
    show.say("stopped the local cloud" if clouds.stop_local() else "nothing to do: the local cloud is not running")


@local.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the local cloud is running, and its AWS endpoint."""
    account = clouds.find_local()
    row = {"state": "running" if account else "stopped", "endpoint": (account and account.endpoint_url) or ""}
    show.listing([row], as_json, row)


@local.command()
@click.argument("faults", nargs=-1, required=True, metavar="FAULT...")
def fault(faults: tuple[str, ...]) -> None:
    """Inject a fault.

    A fault stays active until it is cleared or the local cloud stops, a few seconds after its last machine ends.

    \b
    gpujob local faults       list faults
    gpujob local fault boot=5 no-capacity='g4dn.*@us-east-1a'
    """  # noqa: D301  click reads the backspace
    from infra.local.cloud.server import control

    held = control.add_faults(start_cloud(), *faults)
    show.say(f"active faults: {' '.join(held)}. Clear them: gpujob local faults --clear")


@local.command()
@option("--clear", is_flag=True, help="Clear all faults.")
@json_option
def faults(clear: bool, as_json: bool) -> None:
    """List faults that can be injected, and active ones."""
    from infra.local.cloud.faults import VOCABULARY
    from infra.local.cloud.server import control

    cloud = find_cloud()
    if clear:
        if cloud:
            control.clear_faults(cloud)
        show.say("no active faults" if cloud else "nothing to do: the local cloud is not running")
        return
    held = control.list_faults(cloud) if cloud else []
    now = {name: " ".join(one for one in held if one.partition("=")[0] == name) for name in VOCABULARY}
    rows = [
        {"fault": f"{name}={word.form}" if word.form else name, "active": now[name], "meaning": word.meaning}
        for name, word in VOCABULARY.items()
    ]
    show.listing(rows, as_json)


def start_cloud() -> "LocalCloud":
    """Return the local cloud, started if necessary."""
    clouds.start_local()
    cloud = find_cloud()
    if cloud is None:
        raise GpujobError("the local cloud stopped right after it started", "rerun the command")
    return cloud


def find_cloud() -> "LocalCloud | None":
    """Return the local cloud if it is running."""
    from infra.local import process

    folder = local_cloud_folder()
    return process.find(folder) if folder.exists() else None
