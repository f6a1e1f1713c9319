"""Fetching: a job's outputs to their places on this laptop, each verified; its log; and the receipt."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from fabric import Connection

from infra.errors import NotFoundError
from infra.folders import local_errors, remove, size_of
from infra.model import Cluster, Job, Output
from infra.node import client
from infra.parts import check_room, clear_parts, count_left, name_part, write_part
from infra.receipts import FILES, Receipt, make_receipt
from infra.results import LOG, Results, keep_log, open_log, open_results, write_receipt
from infra.runs import reconnect
from infra.shelf import WHY_NAME, Shelf
from infra.ssh import carry
from infra.ssh.connection import DroppedError
from infra.submissions import find_runs

SHOWN = 5
PATIENCE = 5  # connections in a row that bring nothing


@dataclass(frozen=True)
class Wanted:
    """What a fetch is to download."""

    pattern: str = "*"
    settled: bool = False
    """Only files that are whole, though the job runs, and not its log, which whoever follows the job has."""
    overwrite: bool = False
    """Whether what was verified or changed here may be replaced."""

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return self.pattern == "*" and not self.settled


EVERYTHING = Wanted()


@dataclass(frozen=True)
class Fetched:
    """What a fetch downloaded."""

    folder: Path
    receipt: Receipt
    changing: tuple[str, ...]
    """Outputs that were still being written, so that what arrived was not what had been announced."""
    unreadable: tuple[str, ...]
    """Paths that the node's user may not read, so that they stay there."""
    submitted_here: bool
    """Whether this laptop knows which project the job came from."""


def fetch(
    connection: Connection,
    cluster: Cluster,
    number: int,
    runs: Path,
    report: Callable[[int], None],
    wanted: Wanted = EVERYTHING,
) -> Fetched:
    """Download a job's outputs, going on over a new connection from the byte at which an old one broke.

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
                return fetch_once(connection, cluster, number, runs, count, wanted)
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
    wanted: Wanted,
) -> Fetched:
    """Download the outputs of a job that are wanted and not here, its log and its receipt.

    Once all outputs of a job that is over have come and were verified, the node is told so.
    """
    job, found, unreadable = client.list_outputs(connection, number, wanted.settled)
    outputs = tuple(output for output in found if fnmatchcase(output.path, wanted.pattern))
    if not outputs and wanted.pattern != "*":
        raise no_match(number, wanted.pattern, found)
    with open_results(runs, cluster, job) as results:
        shelf = Shelf(results, overwrite=wanted.overwrite)
        changing: tuple[str, ...] = ()
        told = results.receipt.job  # what is known of the job, until all that follows has gone well
        try:
            changing = download(connection, job, outputs, shelf, wanted, report)
            if not wanted.settled:
                fetch_log(connection, job, results, report, wanted)
            home = job.over and wanted.all and not (changing or unreadable)
            if not told.over or wanted.overwrite:
                told = job
            told = replace(told, fetched=told.fetched or home)
        finally:
            receipt = shelve(make_receipt(cluster, told, ()), shelf, found, wanted)
            write_receipt(results, receipt)
        if home:
            clear_parts(results.parts)
    if home and not job.fetched:
        client.mark_fetched(connection, number)
    return Fetched(results.path, receipt, changing, unreadable, find_runs(cluster, number) is not None)


def download(
    connection: Connection,
    job: Job,
    outputs: Sequence[Output],
    shelf: Shelf,
    wanted: Wanted,
    report: Callable[[int], None],
) -> tuple[str, ...]:
    """Download those outputs that are not here; return the paths of those that were still being written."""
    results, missing = shelf.results, []
    for output in filter(shelf.admit, outputs):
        # What came while the job ran is not read again each time, only at the end.
        if shelf.holds(output, trust=wanted.settled):
            shelf.confirm(output, interim=not job.over)
        else:
            missing.append(output)
    files = {output: count_left(output, results.parts) for output in missing if output.link is None}
    check_room(files, results.parts, results.path)
    arrived = set()

    def take(output: Output, content: Iterator[bytes]) -> None:
        if write_part(content, output, results.parts, report):
            with local_errors(results.path / FILES / output.path):
                shelf.save(output, name_part(output), interim=not job.over)
            arrived.add(output)

    if files:
        carry.receive(connection, client.agent_argv("send", str(job.number)), files, take)
    for output in missing:
        if output.link is not None:
            save_link(output, output.link, shelf, interim=not job.over)
    return tuple(output.path for output in files if output not in arrived)


def save_link(output: Output, target: str, shelf: Shelf, *, interim: bool) -> None:
    """Make a symbolic link as the job made it."""
    results, part = shelf.results, name_part(output)
    with local_errors(results.path / FILES / output.path):
        remove(part, results.parts)
        try:
            os.symlink(target, part, dir_fd=results.parts)
        except OSError:
            shelf.withhold(output.path, WHY_NAME)
        else:
            shelf.save(output, part, interim=interim)


def shelve(receipt: Receipt, shelf: Shelf, found: Sequence[Output], wanted: Wanted) -> Receipt:
    """Return a receipt of what is here now, without interim files that the job has removed."""
    there = {output.path for output in found}
    gone = {place for place in shelf.interim if not wanted.settled and shelf.path_of(place) not in there}
    earlier = {} if wanted.all else {each.path: each for each in shelf.results.receipt.withheld}
    return replace(
        receipt,
        outputs=tuple(output for path, output in shelf.outputs.items() if shelf.place_of(output) not in gone),
        renamed=tuple(each for place, each in shelf.renamed.items() if place not in gone),
        withheld=tuple({**earlier, **shelf.withheld}.values()),
        interim=tuple(sorted(shelf.interim - gone)),
    )


def no_match(number: int, pattern: str, found: Sequence[Output]) -> NotFoundError:
    """Return that nothing a job wrote is of a pattern, and what there is."""
    names = ", ".join(repr(output.path) for output in found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return NotFoundError(
        f"no output of job {number} matches '{pattern}'; it wrote {names or 'nothing'}", f"gpujob fetch {number}"
    )


def fetch_log(
    connection: Connection, job: Job, results: Results, report: Callable[[int], None], wanted: Wanted
) -> None:
    """Download a job's log as it is now, resuming where an earlier call or `run` broke off."""
    if results.receipt.job.over and size_of(LOG, results.top) and not wanted.overwrite:
        return
    with local_errors(results.path / LOG), open_log(results.top) as log:
        if not job.over or log.tell() != job.log_bytes:
            for chunk in client.read_log(connection, job.number, log.tell(), follow=False):
                log.write(chunk)
                log.flush()
                report(len(chunk))
        keep_log(results.top)
