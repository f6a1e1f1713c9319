"""Bring a project's data sets to the machine, before the jobs that use them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.options.handover import confirm_outside
from cli.terminal import formats, progress, show
from infra.cluster.connections import find_addresses, reach
from infra.errors import GpujobError, ProjectError
from infra.model import DataSet
from infra.node import datasets
from infra.node.agent.data.store import ITSELF, version_of
from infra.node.agent.data.store import File as Stored
from infra.node.peers import share
from infra.project.datasets import Listing, Source, list_files, read_sources
from infra.project.settings import read_settings

if TYPE_CHECKING:
    from infra.history.runs import Run
    from infra.node.peers import Peer
    from infra.project.files import Project
    from infra.ssh.connection import Connection

SHOWN = 5


def send_data(connection: "Connection", project: "Project", others: Iterable[int] = ()) -> tuple[DataSet, ...]:
    """Send the data sets that the machine and `others` do not have; return all as a job uses them.

    Raises UsageError or GpujobError if one is outside the project and this is not allowed.
    """
    sources = read_sources(project.root, project.data)
    confirm_outside(project.root, sources)
    return send_sources(connection, sources, others)


def send_sources(
    connection: "Connection", sources: Sequence[Source], others: Iterable[int] = ()
) -> tuple[DataSet, ...]:
    """Send those of these data sets that the machine, and `others` of its cluster, do not have."""
    listings = {source.path: read(source, source.place) for source in sources if source.place}
    sets = {path: listing.data_set for path, listing in listings.items()}
    for listing in find_missing(connection, list(listings.values())):
        send(connection, listing)
    send_to_others(connection, list(listings.values()), others)
    return tuple(sets.get(source.path) or describe_remote(source) for source in sources)


def send_to_others(connection: "Connection", listings: Sequence[Listing], others: Iterable[int]) -> None:
    """Send other nodes the data sets that they do not have, if possible from this one."""
    with ExitStack() as sharing:
        peer = None
        for rank in others if listings else ():
            with reach(connection.cluster, rank) as other:
                missing = find_missing(other, listings)
                if missing and not peer:
                    peer = sharing.enter_context(share(connection, find_address(connection)))
                for listing in missing:
                    send(other, listing, peer)


def find_address(connection: "Connection") -> str:
    """Return the private address of a node; "" if its cloud does not name it."""
    try:
        return find_addresses(connection.cluster).nodes[connection.rank].address
    except GpujobError:
        return ""


def find_missing(connection: "Connection", listings: Sequence[Listing]) -> list[Listing]:
    """Return those of these data sets that a machine does not have."""
    stored = find_stored(connection, [listing.data_set.version for listing in listings])
    return [listing for listing in listings if listing.data_set.version not in stored]


def find_stored(connection: "Connection", versions: Sequence[str]) -> set[str]:
    """Return which of these versions the machine has, unchanged."""
    found = datasets.list_sets(connection, versions) if versions else ()
    return {one.version for one in found if not one.changed}


def read(source: Source, place: Path) -> Listing:
    """List the files of a data set on this computer."""
    with progress.transfer(f"reading {source.path}") as done:
        return list_files(source, place, done)


def describe_remote(source: Source) -> DataSet:
    """Return a data set that the node fetches itself; a bucket's version is not known yet."""
    version = version_of([Stored(ITSELF, source.sha256, 0, False, 0, None)]) if source.sha256 else ""
    return DataSet(source.path, source.shown, version, source.address, source.sha256)


def send(connection: "Connection", listing: Listing, peer: "Peer | None" = None) -> None:
    """Send a data set, and report what was sent and what was not."""
    path = listing.source.path
    for reason, names in (("may contain secrets", listing.secret), ("links to files outside it", listing.links)):
        if names:
            shown = ", ".join(map(repr, names[:SHOWN]))
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            show.say(f"not part of {path} ({reason}): {shown}{more}")
    doing = f"copying {path} to node {connection.rank}" if peer else f"uploading {path}"
    with progress.transfer(doing, listing.size_bytes) as sent:
        pushed = datasets.push(connection, listing, sent, sent.expect, peer)
    if pushed.changed:
        changed = ", ".join(name or path for name in pushed.changed[:SHOWN])
        show.say(f"{path} was changed on the machine ({changed}); sent those files again")
    sizes = f"{formats.plural(len(listing.files), 'file')}, {formats.size(listing.size_bytes)}"
    where = f" on node {connection.rank}" if connection.rank else ""
    came = "from another node" if peer and not pushed.sent_bytes else f"{formats.size(pushed.sent_bytes)} uploaded"
    show.say(f"data {path}{where}: {sizes} ({came})")


def send_recorded(connection: "Connection", root: Path, past: "Run") -> tuple[DataSet, ...]:
    """Return a run's data sets in the versions that it used, sent again if the machine needs them.

    Raises ProjectError for a version that no longer exists.
    """
    recorded = [one for one in past.job.source.get("data", ()) if isinstance(one, dict)]
    versions = {str(one.get("path")): find_version(past, one) for one in recorded}
    sources = {source.path: source for source in read_sources(root, read_settings(root).data)}
    stored = find_stored(connection, list(versions.values()))
    found = []
    for one in recorded:
        path, version = str(one.get("path")), versions[str(one.get("path"))]
        if version in stored:
            found.append(DataSet(path, str(one.get("source")), version))
        elif path in sources and (again := send_version(connection, root, sources[path], version)):
            found.append(again)
        else:
            raise ProjectError(
                f"run {past.key} used the version {version[:12]} of {path}, which is neither on the machine nor on this computer",
                f"to run with the current data: gpujob rerun {past.key}",
            )
    return tuple(found)


def find_version(past: "Run", one: Mapping[str, Any]) -> str:
    """Return the version of a data set that a run used; a bucket's is recorded by the node."""
    return str(one.get("version") or past.job.data.get(str(one.get("path")), ""))


def send_version(connection: "Connection", root: Path, source: Source, version: str) -> DataSet | None:
    """Send a data set if it still has this version; None if it has not."""
    if source.place is None:
        remote = describe_remote(source)
        return replace(remote, version=version) if remote.version in ("", version) else None
    confirm_outside(root, [source])
    listing = read(source, source.place)
    if listing.data_set.version != version:
        return None
    send(connection, listing)
    return listing.data_set
