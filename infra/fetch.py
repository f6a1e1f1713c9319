"""Fetching: a job's outputs to their places on this laptop, each verified; and the receipt."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from fabric import Connection

from infra.errors import NodeError, NotFoundError
from infra.locks import lock_folder
from infra.model import Cluster, Job, Output, Receipt
from infra.node import client
from infra.receipts import make_receipt, read_receipt, write_receipt
from infra.results import FILES, LOG, log_part, make_results
from infra.runs import reconnect
from infra.ssh import carry
from infra.ssh.connection import DroppedError

SHOWN = 5
PATIENCE = 5  # connections in a row that bring nothing


@dataclass(frozen=True)
class Fetched:
    """What a fetch downloaded."""

    folder: Path
    receipt: Receipt
    changing: tuple[str, ...]
    """Outputs that were still being written, so that what arrived was not what had been announced."""
    unreadable: tuple[str, ...]
    """Paths that the node's user may not read, so that they stay there."""
    unlinked: tuple[str, ...]
    """Symbolic links that lead out of the job's folder, and were not made here."""
    beside: tuple[Path, ...]
    """Files put under another name, because one of the right name was changed here since the last fetch."""


def fetch(
    connection: Connection,
    cluster: Cluster,
    number: int,
    runs: Path,
    report: Callable[[int], None],
    pattern: str = "*",
    settled: bool = False,
) -> Fetched:
    """Bring home a job's outputs, going on over a new connection from the byte at which an old one broke.

    With `settled` only what is whole, though the job runs, and not its log, which whoever follows the job has.
    Raises DroppedError when several connections in a row brought nothing.
    """
    came = vain = 0

    def count(size: int) -> None:
        nonlocal came, vain
        came, vain = came + size, 0
        report(size)

    with ExitStack() as connections:
        while True:
            try:
                return fetch_once(connection, cluster, number, runs, count, pattern, settled)
            except DroppedError:
                vain += 1
                if vain > PATIENCE:
                    raise
                connection = connections.enter_context(reconnect(cluster))


def fetch_once(
    connection: Connection,
    cluster: Cluster,
    number: int,
    runs: Path,
    report: Callable[[int], None],
    pattern: str,
    settled: bool,
) -> Fetched:
    """Bring every output of a job that matches and is not here yet, its log and its receipt, into `runs`/CLUSTER-NUMBER.

    Once all outputs of a job that is over have come and were verified, the node is told so.
    """
    job, found, unreadable = client.list_outputs(connection, number, settled)
    outputs = tuple(output for output in found if fnmatchcase(output.path, pattern))
    if not outputs and pattern != "*":
        raise no_match(number, pattern, found)
    folder = make_results(runs, cluster, job)
    inside = folder / FILES
    with lock_folder(folder):  # against another fetch of the same job meanwhile
        before, earlier = read_hashes(folder), read_outputs(folder) if settled or pattern != "*" else ()
        # What came while the job ran is not read again each time, only at the end.
        asked = [output for output in outputs if not settled or before.get(output.path) != output.sha256]
        files = {output: place_for(output, inside, before) for output in asked if output.link is None}
        missing = {output: place for output, place in files.items() if hash_of(place) != output.sha256}
        arrived = carry.receive(connection, client.agent_argv("send", str(number)), missing, report) if missing else ()
        links = {output: place_for(output, inside, before) for output in asked if output.link is not None}
        unlinked = [output.path for output, place in links.items() if not make_link(output, place, inside)]
        if not settled:
            fetch_log(connection, job, folder, report)
        changing = tuple(output.path for output in missing if output not in arrived)
        home = job.over and not (changing or unreadable or settled) and len(outputs) == len(found)
        here = {output.path: output for output in (*earlier, *outputs) if output.path not in changing}
        receipt = make_receipt(cluster, replace(job, fetched=home), tuple(here.values()))
        write_receipt(folder, receipt)
    if home and not job.fetched:
        client.mark_fetched(connection, number)
    return Fetched(
        folder=folder,
        receipt=receipt,
        changing=changing,
        unreadable=unreadable,
        unlinked=tuple(unlinked),
        beside=tuple(files[o].relative_to(folder) for o in arrived if files[o].name != o.pure.name),
    )


def no_match(number: int, pattern: str, found: Sequence[Output]) -> NotFoundError:
    """Return that nothing a job wrote is of a pattern, and what there is."""
    names = ", ".join(repr(output.path) for output in found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return NotFoundError(
        f"no output of job {number} matches '{pattern}'; it wrote {names or 'nothing'}", f"gpujob fetch {number}"
    )


def fetch_log(connection: Connection, job: Job, folder: Path, report: Callable[[int], None]) -> None:
    """Bring a job's log as it is now, going on where an earlier call, or whoever followed it, broke off."""
    part = log_part(folder)
    with carry.local_errors(part), part.open("ab") as log:
        if not job.over or log.tell() != job.log_bytes:
            for chunk in client.read_log(connection, job.number, log.tell(), follow=False):
                log.write(chunk)
                log.flush()
                report(len(chunk))
        part.replace(folder / LOG)


def place_for(output: Output, folder: Path, before: dict[str, str]) -> Path:
    """Return where an output goes: its own path, or one beside it if that holds what somebody wrote here since.

    Raises NodeError for a path that leads out of the folder, also by way of a link: the node is not trusted.
    """
    path = PurePosixPath(output.path)
    place = folder / path
    if path.is_absolute() or ".." in path.parts or "\0" in output.path or not path.parts:
        raise NodeError(f"the node sent a name that leads outside: {output.path!r}")
    if not leads_inside(place.parent, folder):
        raise NodeError(f"the node sent a name that leads outside by a link: {output.path!r}")
    make_way(place.parent, folder)
    changed_here = place.is_file() and hash_of(place) not in (output.sha256, before.get(output.path, ""))
    taken = place.is_dir() and not place.is_symlink()
    if (changed_here and before) or taken:
        return place.with_name(f"{place.name}.from-node")
    return place


def make_way(parent: Path, folder: Path) -> None:
    """Move a file aside that stands where a folder must be: it was an output once, and the job has made a folder of it since."""
    for path in (parent, *parent.parents):
        if path == folder:
            return
        if path.is_file():
            with carry.local_errors(path):
                path.rename(path.with_name(f"{path.name}.earlier"))


def make_link(output: Output, place: Path, folder: Path) -> bool:
    """Make a symbolic link as the job made it and return True; False if it leads outside, where it would dangle or deceive.

    It may go up only at its start and not above the folder, so that it leads inside whatever other links are made later.
    """
    target = PurePosixPath(output.link or "")
    ups = next((at for at, part in enumerate(target.parts) if part != ".."), len(target.parts))
    inner = place.parent.relative_to(folder)
    through_links = Path(os.path.realpath(place.parent)) != Path(os.path.realpath(folder)) / inner
    if target.is_absolute() or ".." in target.parts[ups:] or ups > len(inner.parts) or through_links:
        return False
    with carry.local_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    return True


def leads_inside(path: Path, folder: Path) -> bool:
    """Tell whether a path ends inside a folder, all symbolic links followed; loops among them do no harm."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_hashes(folder: Path) -> dict[str, str]:
    """Return the hash of each output by path as the receipt in this folder tells; nothing where there is no receipt yet."""
    return {output.path: output.sha256 for output in read_outputs(folder)}


def read_outputs(folder: Path) -> tuple[Output, ...]:
    """Return the outputs that the receipt in this folder tells of."""
    try:
        return tuple(Output(**output) for output in (read_receipt(folder) or {})["outputs"])
    except (KeyError, TypeError):
        return ()


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file; "" where there is no regular file."""
    if not path.is_file() or path.is_symlink():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
