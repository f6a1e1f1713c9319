"""The local cloud that --dry-run uses: its state, its faults, its end.

`infra.local` is imported in functions only, here as everywhere outside of it (tests/walls.py).
"""

from typing import TYPE_CHECKING

import click

from cli.options.declared import json_option
from cli.terminal import show
from infra.cluster import clouds
from infra.errors import GpujobError
from infra.state import local_cloud_folder

if TYPE_CHECKING:
    from infra.local.record import LocalCloud


@click.group()
def local() -> None:
    """Look at, disturb or end the local cloud that --dry-run uses."""


@local.command()
def stop() -> None:
    """End the local cloud with all its machines and every process on them."""
    show.say("the local cloud has stopped" if clouds.stop_local() else "nothing to do: the local cloud does not run")


@local.command()
@json_option
def status(as_json: bool) -> None:
    """Tell whether the local cloud runs, and where its AWS endpoint is."""
    account = clouds.find_local()
    row = {"state": "running" if account else "stopped", "endpoint": (account and account.endpoint_url) or ""}
    show.listing([row], as_json, row)


@local.command()
@click.argument("faults", nargs=-1, required=True, metavar="FAULT...")
def fault(faults: tuple[str, ...]) -> None:
    """Let the local cloud get something wrong: gpujob local fault boot=5 no-capacity='g4dn.*@us-east-1a'.

    A fault holds until it is cleared or the cloud ends, which is a few seconds after its last machine.
    `gpujob local faults` lists what there is.
    """
    from infra.local.cloud.server import control

    held = control.add_faults(start_cloud(), *faults)
    show.say(f"from now on: {' '.join(held)}; to end it: gpujob local faults --clear")


@local.command()
@click.option("--clear", is_flag=True, help="Let none hold any more.")
@json_option
def faults(clear: bool, as_json: bool) -> None:
    """List what the local cloud can get wrong, and what it does now."""
    from infra.local.cloud.faults import VOCABULARY
    from infra.local.cloud.server import control

    cloud = find_cloud()
    if clear:
        if cloud:
            control.clear_faults(cloud)
        show.say("no fault holds" if cloud else "nothing to do: the local cloud does not run")
        return
    held = control.list_faults(cloud) if cloud else []
    now = {name: " ".join(one for one in held if one.partition("=")[0] == name) for name in VOCABULARY}
    rows = [
        {"fault": f"{name}={word.form}" if word.form else name, "now": now[name], "meaning": word.meaning}
        for name, word in VOCABULARY.items()
    ]
    show.listing(rows, as_json)


def start_cloud() -> "LocalCloud":
    """Return the local cloud, started if it does not run."""
    clouds.start_local()
    cloud = find_cloud()
    if cloud is None:
        raise GpujobError("the local cloud has ended at once", "gpujob local fault again")
    return cloud


def find_cloud() -> "LocalCloud | None":
    """Return the local cloud if it runs."""
    from infra.local import process

    folder = local_cloud_folder()
    return process.find(folder) if folder.exists() else None
