"""Data sets: data push, data ls, data rm."""

from typing import TYPE_CHECKING

import click

from cli.facts.times import with_instants
from cli.options.context import find_cluster, here
from cli.options.declared import cluster_option, json_option, typed_cluster_option, typed_option
from cli.options.handover import confirm_outside
from cli.steps.data import send_sources
from cli.steps.reach import reach
from cli.terminal import formats, progress, show
from infra.errors import NotFoundError, UsageError
from infra.project.datasets import read_sources
from infra.project.files import find_here, find_root
from infra.project.settings import read_settings
from infra.run.nodes import datasets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infra.run.nodes.datasets import HeldSet

EXAMPLE = 'add to gpujob.toml, below [data]: folders = ["data"]'
LEAST_VERSION = 6


@click.group()
def data() -> None:
    """Send, list and remove data sets.

    The table [data] of gpujob.toml names them. Jobs see them at these paths of the project, read-only:

    \b
    [data]
    folders = ["data"]                     # of the project, ignored by git or not
    "data/cats" = "~/pictures/cats"        # of this computer
    "data/big" = "s3://bucket/prefix"      # fetched by the machine
    "data/x.bin" = "https://...#sha256=..."

    gpujob run sends what is missing. The machine stores each file once, however many jobs use it.
    """  # noqa: D301  click reads the backspace


@data.command()
@click.argument("paths", nargs=-1, metavar="[DATASET]...")
@typed_option("--allow-outside", is_flag=True, help="Allow data sets from outside the project, from now on.")
@cluster_option
def push(paths: tuple[str, ...], allow_outside: bool, cluster: str | None) -> None:
    """Send data sets to all machines of the cluster; without a path, all of them.

    An interrupted transfer continues where it stopped. The machine itself fetches s3:// and https:// when a job needs them.
    """
    root = find_root(here())
    sources = read_sources(root, read_settings(root).data)
    if not sources:
        raise UsageError("this project has no data sets", EXAMPLE)
    for path in paths:
        if path not in {source.path for source in sources}:
            raise UsageError(
                f"no data set '{path}' in gpujob.toml", f"available: {', '.join(one.path for one in sources)}"
            )
    chosen = [source for source in sources if not paths or source.path in paths]
    confirm_outside(root, chosen, allow_outside)
    found, reaching = reach(cluster)
    with reaching as connection:
        send_sources(connection, chosen, [rank for rank in found.ranks if rank != connection.rank])
    remote = [source.path for source in chosen if source.place is None]
    if remote:
        show.say(f"fetched by the machine when a job needs them: {', '.join(remote)}")
    sent = len(chosen) - len(remote)
    if sent:
        show.say(f"{formats.plural(sent, 'data set')} on '{found.name}'")


@data.command(name="ls")
@cluster_option
@json_option
def list_command(cluster: str | None, as_json: bool) -> None:
    """List the data sets on the machines."""
    chosen = find_cluster(cluster)
    with progress.waiting(f"connecting to {chosen.name}"):
        found = datasets.list_sets(chosen)
    own, several = find_places(), len(chosen.nodes) > 1
    rows = [
        {
            "path": show.Linked(one.path, place) if (place := own.get(one.path)) else one.path,
            "version": one.version[:12],
            "files": str(one.files),
            "size": formats.size(one.size_bytes),
            "stored": formats.clock(one.stored_at),
            "used by": ", ".join(f"job {number}" for number in one.jobs) + " (changed)" * bool(one.changed),
            **({"nodes": ", ".join(map(str, one.nodes))} if several else {}),
            "source": one.source,
        }
        for one in found
    ]
    show.listing(
        rows,
        as_json,
        [with_instants(vars(one), "stored_at") for one in found],
        f"no data sets. To define one, {EXAMPLE}",
        ("stored", "files"),
    )


def find_places() -> dict[str, "Path | None"]:
    """Return where this computer has the data sets of the project, by their paths."""
    folder = find_here()
    root = folder and find_root(folder)
    return {source.path: source.place for source in read_sources(root, read_settings(root).data)} if root else {}


@data.command()
@click.argument("names", nargs=-1, required=True, metavar="DATASET...")
@typed_cluster_option
def rm(names: tuple[str, ...], cluster: str | None) -> None:
    """Remove data sets from all machines of the cluster, by path or version.

    Files shared with another version are kept. Nothing on this computer or in a bucket is removed.
    """
    place = find_cluster(cluster)
    with progress.waiting(f"connecting to {place.name}"):
        stored = datasets.list_sets(place)
        chosen = [one for name in names for one in choose(stored, name)]
        freed_bytes = datasets.remove_sets(place, [one.version for one in chosen])
    show.say(
        f"removed {', '.join(f'{one.path} ({one.version[:12]})' for one in chosen)}; {formats.size(freed_bytes)} freed"
    )


def choose(stored: "Sequence[HeldSet]", name: str) -> "list[HeldSet]":
    """Return the versions of a path, or the one with this version; raises NotFoundError."""
    found = [one for one in stored if one.path == name]
    if not found and len(name) >= LEAST_VERSION:
        found = [one for one in stored if one.version.startswith(name)]
    if not found:
        raise NotFoundError(f"no data set '{name}' on the machine", "gpujob data ls")
    return found
