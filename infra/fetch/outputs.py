"""Fetch a job: its outputs, each verified, its log and its receipt."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from infra.base.folders import local_errors, size_of
from infra.cluster.connections import find_prices, reconnect
from infra.errors import NotFoundError
from infra.fetch.download import Download, fill, remove_gone
from infra.fetch.sources import NodeSource, Source
from infra.model import Job, Output
from infra.node.agent.caches import is_excluded
from infra.node.calls import expect
from infra.node.listing import Outputs
from infra.node.tasks import Portion
from infra.project.hashes import Hashes
from infra.results.folder import LOG, OUTSIDE, Results, keep_log, open_log, open_outside, open_results, write_receipt
from infra.results.parts import clear_parts
from infra.results.receipts import FILES, Receipt, Shelved, make_receipt
from infra.results.shelf import Shelf
from infra.run.origins import find_runs
from infra.ssh.connection import Connection, DroppedError

SHOWN = 5
PATIENCE = 5  # consecutive connections without progress


Choose = Callable[[Sequence[Output]], Sequence[Output]]


def take_all(missing: Sequence[Output]) -> Sequence[Output]:
    """Choose all outputs."""
    return missing


@dataclass(frozen=True)
class Wanted:
    """What to download."""

    pattern: str = "*"
    settled: bool = False
    """Only complete files of a running job, without its log, which the caller is following."""
    overwrite: bool = False
    """Whether verified or locally modified files may be replaced."""
    asked: tuple[str, ...] = ()
    """Further paths on the node that count as outputs from now on: outside the working tree, or caches in it."""
    exclude: tuple[str, ...] = ()
    """Patterns of outputs not to download this time."""
    choose: Choose = take_all
    """Returns which of the missing files to download now; the job counts as fetched only when it has all."""
    partial: bool = False
    """Whether other nodes of an array still have outputs, so that this download cannot complete it here."""
    before: "Fetched | None" = None
    """The last of a series of downloads during the job, which differ in nothing else."""

    @property
    def all(self) -> bool:
        """Whether nothing is excluded."""
        return self.pattern == "*" and not (self.settled or self.exclude)

    def takes(self, output: Output) -> bool:
        """Return whether an output is wanted."""
        return fnmatchcase(output.path, self.pattern) and not is_excluded(output.path, self.exclude)


EVERYTHING = Wanted()


@dataclass(frozen=True)
class Fetched:
    """The result of a fetch."""

    folder: Path
    receipt: Receipt
    told: Outputs
    """The node's listing of the job's outputs."""
    changing: tuple[str, ...]
    """Outputs that were still being written, so that the downloaded content did not match its hash."""
    postponed: tuple[Output, ...]
    """Outputs that were not chosen."""
    removed: tuple[str, ...]
    """Interim files that were removed locally because the job has deleted them."""
    submitted_here: bool
    """Whether the job's project is known on this computer."""
    fetched: bool
    """Whether every output that the job left on this node is here."""

    def settles(self, told: Outputs) -> bool:
        """Return whether there is nothing to do for a new listing."""
        if self.changing or self.postponed or told.outputs is not self.told.outputs:
            return False
        now, then = ((each.unsettled, each.unreadable, each.job.over) for each in (told, self.told))
        return now == then


def fetch(
    connection: Connection,
    number: int,
    runs: Path,
    report: Callable[[int], None],
    wanted: Wanted = EVERYTHING,
) -> Fetched:
    """Download a job's outputs, resuming over a new connection where an old one broke.

    Raises DroppedError after several consecutive connections without progress.
    """
    came = vain = 0
    if not wanted.settled:
        expect(connection, "fetched")

    def count(size: int) -> None:
        nonlocal came, vain
        came, vain = came + size, 0
        report(size)

    with ExitStack() as connections:
        while True:
            try:
                return fetch_once(NodeSource(connection, number), number, runs, count, wanted)
            except DroppedError:
                vain += 1
                if vain > PATIENCE:
                    raise
                connection = connections.enter_context(reconnect(connection))


def fetch_once(source: Source, number: int, runs: Path, report: Callable[[int], None], wanted: Wanted) -> Fetched:
    """Download a job's wanted, missing outputs, its log and its receipt.

    Once all outputs of an ended job are downloaded and verified, mark it as fetched on the node.
    """
    before = wanted.before
    job, told = source.list_outputs(wanted.settled, wanted.asked, before.told if before else None)
    if before and before.settles(told):
        return replace(before, told=told, removed=())
    portion = source.find_portion(job, wanted.settled) or Portion(source.rank, job)
    told = portion.choose(told)
    outputs = [output for output in told.outputs if wanted.takes(output)]
    if not outputs and wanted.pattern != "*":
        raise no_match(number, wanted.pattern, told.outputs)
    cluster = find_prices(source.cluster) if job.over else source.cluster  # before, its receipt has no cost
    rank = source.rank if job.tasks is None else 0  # the tasks of an array share a folder
    with open_results(runs, cluster, portion.job, rank) as results, ExitStack() as opened:
        hashes = Hashes(results.path)
        shelves = open_shelves(results, hashes, opened, outputs, overwrite=wanted.overwrite)
        known = results.receipt.job  # the known state of the job, until everything below has succeeded
        traffic = Traffic(report, results.receipt.downloaded_bytes)
        run = Download(source, job, wanted.settled, traffic.count)
        try:
            changing, postponed = fill(run, shelves, outputs, wanted.choose)
            cleared = shelves if wanted.pattern == "*" and job.tasks is None else []
            removed = [path for shelf in cleared for path in remove_gone(shelf, job, told)]
            if not wanted.settled and rank == source.rank:
                fetch_log(source, job, results, traffic.count, wanted)
            whole = len(outputs) == len(told.outputs) and not (changing or postponed or told.unreadable)
            complete = job.over and whole and not wanted.settled
            # Whether it is fetched depends on local files: a node may claim anything, and more may have been requested since.
            fetched = complete or (known.fetched and not wanted.all)
            if rank == source.rank:
                here = fetched and not (wanted.partial and job.tasks)
                known = replace(job if not known.over or wanted.overwrite else known, fetched=here)
        finally:
            hashes.save(whole=wanted.all)
            receipt = make_receipt(cluster, known, (), rank, portion.update(results.receipt.tasks))
            receipt = replace(receipt, downloaded_bytes=traffic.total_bytes)
            for shelf in shelves:
                receipt = shelve(receipt, shelf, told.outputs, wanted)
            write_receipt(results, receipt)
        if complete:
            clear_parts(results.parts)
    if complete and not job.fetched:
        source.mark_fetched()
    lists = tuple(changing), tuple(postponed), tuple(removed)
    return Fetched(results.path, receipt, told, *lists, bool(find_runs(cluster, number)), fetched)


def open_shelves(
    results: Results, hashes: Hashes, opened: ExitStack, outputs: Sequence[Output], *, overwrite: bool
) -> list[Shelf]:
    """Open the folder of a job's outputs, and that of those outside its working tree if there are any."""
    shelves = [Shelf(results, overwrite=overwrite, hash_of=partial(hash_below, hashes, FILES))]
    if results.receipt.outside.outputs or any(output.outside for output in outputs):
        outside, hash_of = opened.enter_context(open_outside(results)), partial(hash_below, hashes, OUTSIDE)
        shelves.append(Shelf(outside, overwrite=overwrite, outside=True, hash_of=hash_of))
    return shelves


def hash_below(hashes: Hashes, folder: str, place: str, info: os.stat_result, read: Callable[[], str]) -> str:
    """Return the hash of a downloaded file, which is read only if it has changed since it was hashed."""
    return hashes.hash_of(f"{folder}/{place}", info, read)


class Traffic:
    """A counter of the bytes downloaded for a job's results."""

    def __init__(self, report: Callable[[int], None], total_bytes: int) -> None:
        self.report = report
        self.total_bytes = total_bytes

    def count(self, size_bytes: int) -> None:
        """Add bytes."""
        self.total_bytes += size_bytes
        self.report(size_bytes)


def shelve(receipt: Receipt, shelf: Shelf, found: Sequence[Output], wanted: Wanted) -> Receipt:
    """Return a receipt of the local files, without interim files that the job has deleted."""
    there = {output.path for output in found if output.outside == shelf.outside}
    lasting = wanted.settled or receipt.job.tasks is not None  # tasks are listed once they have ended
    gone = {place for place in shelf.interim if not lasting and shelf.path_of(place) not in there}
    earlier = {} if wanted.all else {each.path: each for each in shelf.results.receipt.withheld}
    shelved = Shelved(
        outputs=tuple(output for path, output in shelf.outputs.items() if shelf.place_of(output) not in gone),
        renamed=tuple(each for place, each in shelf.renamed.items() if place not in gone),
        withheld=tuple({**earlier, **shelf.withheld}.values()),
        interim=tuple(sorted(shelf.interim - gone)),
    )
    return replace(receipt, outside=shelved) if shelf.outside else replace(receipt, **vars(shelved))


def no_match(number: int, pattern: str, found: Sequence[Output]) -> NotFoundError:
    """Return the error that no output matches a pattern, with the outputs that exist."""
    names = ", ".join(repr(output.path) for output in found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return NotFoundError(
        f"no output of job {number} matches '{pattern}'; it wrote {names or 'nothing'}", f"gpujob fetch {number}"
    )


def fetch_log(source: Source, job: Job, results: Results, report: Callable[[int], None], wanted: Wanted) -> None:
    """Download a job's current log, resuming where an earlier call or `run` stopped."""
    if results.receipt.job.over and size_of(LOG, results.top) and not wanted.overwrite:
        return
    with local_errors(results.path / LOG), open_log(results.top) as log:
        if not job.over or log.tell() != job.log_bytes:
            for chunk in source.read_log(log.tell()):
                log.write(chunk)
                log.flush()
                report(len(chunk))
        keep_log(results.top)
