"""Results: the local folder that a job's outputs and records are downloaded to.

    runs/CLUSTER-NUMBER/
      .gitignore     "*": git ignores all of it
      receipt.json   the record of the job, created with the folder
      job.log        its output
      changes.patch  how its code differed from the commit
      changes.json   the differences that are not in the patch
      files/         its outputs in its working folder
      outside/       its requested outputs elsewhere
      .parts/        partly downloaded files
    runs/CLUSTER-NUMBER.1/  the same from node 1 of a job over several nodes, and so on

Records and outputs share no folder, so that no output can pass for a record. Anything else in `runs/` is the user's. Everything
is opened by descriptor, and no link is followed: `runs` may be part of an untrusted project.
"""

import errno
import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from infra.base.folders import FETCH, local_errors, make_folder, open_folder, read_file, remove, write_file
from infra.errors import NodeError, ProjectError
from infra.model import Cluster, Job
from infra.node.agent.records import MOST_JOBS
from infra.results.receipts import (
    FILES,
    RECEIPT,
    Receipt,
    format_receipt,
    make_receipt,
    name_results,
    parse_receipt,
)

LOG = "job.log"
LOG_PART = f".{LOG}.part"
CHANGES = "changes.patch"
UNPATCHED = "changes.json"
OUTSIDE = "outside"
PARTS = ".parts"
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Results:
    """A locked results folder: its descriptors and its receipt."""

    path: Path
    top: int
    files: int
    parts: int
    receipt: Receipt


@contextmanager
def open_results(runs: Path, cluster: Cluster, job: Job, rank: int = 0) -> Iterator[Results]:
    """Yield the folder for a job's results on a node, created if needed.

    Raises ProjectError if it or `runs` is a link, or if it contains anything but this job's results.
    """
    name = name_folder(cluster, job, rank)
    path = runs / name
    with ExitStack() as opened:
        within = opened.enter_context(open_runs(runs))
        with local_errors(path):
            with suppress(FileExistsError):
                place_results(within, cluster, job, rank=rank)
            check_link(path)
            top = opened.enter_context(open_folder(name, within))
            fcntl.flock(top, fcntl.LOCK_EX)
            receipt = read_own_receipt(top, path, cluster, job, rank)
            for inner in (FILES, PARTS):
                make_folder(inner, top)
            files, parts = (opened.enter_context(open_folder(inner, top)) for inner in (FILES, PARTS))
        try:
            yield Results(path, top, files, parts, receipt)
        finally:
            with suppress(OSError):  # it has partly downloaded files
                os.rmdir(PARTS, dir_fd=top)


@contextmanager
def open_outside(results: Results) -> Iterator[Results]:
    """Yield the same results with the folder for outputs outside the working folder."""
    with local_errors(results.path / OUTSIDE), ExitStack() as opened:
        make_folder(OUTSIDE, results.top)
        files = opened.enter_context(open_folder(OUTSIDE, results.top))
        closing = opened.pop_all()
    with closing:
        yield replace(results, files=files, receipt=replace(results.receipt, **vars(results.receipt.outside)))


def name_folder(cluster: Cluster, job: Job, rank: int) -> str:
    """Return the name of a job's results of a node; those of a job on one node have the plain name."""
    return name_results(cluster.name, job.number, rank if job.nodes > 1 else 0)


def start_results(runs: Path, cluster: Cluster, job: Job, records: Mapping[str, bytes], rank: int = 0) -> None:
    """Create the results folder of a job that was just submitted.

    Raises NodeError if it exists: then the node reused the number of another job.
    """
    path = runs / f"{cluster.name}-{job.number}"
    with open_runs(runs) as within, local_errors(path):
        try:
            place_results(within, cluster, job, records, rank)
        except FileExistsError as error:
            raise NodeError(
                f"the node numbered this job {job.number}, but {path} already exists; nothing was written to it",
                f"gpujob jobs --cluster {cluster.name}",
            ) from error


def place_results(
    within: int, cluster: Cluster, job: Job, records: Mapping[str, bytes] | None = None, rank: int = 0
) -> None:
    """Create a job's results folder with its records atomically; raises FileExistsError if it exists."""
    name = name_folder(cluster, job, rank)
    fcntl.flock(within, fcntl.LOCK_EX)
    try:
        if name in os.listdir(within):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        make_folder(f".{name}.part", within)
        with open_folder(f".{name}.part", within) as top:
            write_file(".gitignore", top, b"*\n")
            make_folder(FILES, top)
            for record in (CHANGES, UNPATCHED):
                remove(record, top)
            for record, content in (records or {}).items():
                write_file(record, top, content)
            write_file(RECEIPT, top, format_receipt(make_receipt(cluster, job, (), rank)))
        os.rename(f".{name}.part", name, src_dir_fd=within, dst_dir_fd=within)
    finally:
        fcntl.flock(within, fcntl.LOCK_UN)


@contextmanager
def open_runs(runs: Path, then: str = FETCH) -> Iterator[int]:
    """Yield the folder of all results, created if needed; raises ProjectError if it is unusable."""
    with ExitStack() as opened:
        with local_errors(runs, then):
            check_link(runs)
            runs.mkdir(parents=True, exist_ok=True)
            within = opened.enter_context(open_folder(runs))
            if not os.access(runs, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield within


def check_link(path: Path) -> None:
    """Raise ProjectError if a path is a symbolic link, to whose target nothing must be written."""
    if path.is_symlink():
        raise ProjectError(
            f"{path} is a symbolic link to {str(path.readlink())!r}; results are not written through links",
            f"remove only the link: rm {shlex.quote(str(path))}; then rerun",
        )


def read_own_receipt(top: int, path: Path, cluster: Cluster, job: Job, rank: int) -> Receipt:
    """Return the receipt in a results folder; raises ProjectError if it is not this job's."""
    content = read_file(RECEIPT, top)
    receipt = parse_receipt(content) if content is not None else None
    elsewhere = f"gpujob fetch --cluster {cluster.name} {job.number} --to FOLDER"
    if receipt is None:
        raise ProjectError(f"{path} already exists and has no gpujob receipt", f"move it, or: {elsewhere}")
    if not receipt.is_of(cluster, job, rank):
        raise ProjectError(f"{path} contains the results of another job", elsewhere)
    if receipt.folder != FILES:  # from a version with outputs next to the receipt; both are kept
        write_file(f"{RECEIPT}.earlier", top, content or b"")
        receipt = replace(receipt, outputs=(), folder=FILES)
        write_file(RECEIPT, top, format_receipt(receipt))
    return receipt


def write_receipt(results: Results, receipt: Receipt) -> None:
    """Write the receipt atomically."""
    with local_errors(results.path / RECEIPT):
        write_file(RECEIPT, results.top, format_receipt(receipt))


def last_number(runs: Path, cluster: str) -> int:
    """Return the highest job number with a folder in `runs`; new jobs get higher ones.

    Raises ProjectError for an impossible number: a node that continued from there would be unusable.
    """
    try:
        numbers = [
            path.name.removeprefix(f"{cluster}-") for path in runs.iterdir() if path.name.startswith(f"{cluster}-")
        ]
    except FileNotFoundError:
        return 0
    highest = max((int(number) for number in numbers if number.isdecimal()), default=0)
    if highest >= MOST_JOBS:
        path = runs / f"{cluster}-{highest}"
        raise ProjectError(f"{path} is named like results, but no job can have that number", "move it, then rerun")
    return highest


@contextmanager
def open_log(top: int, *, fresh: bool = False) -> Iterator[BinaryIO]:
    """Yield a partial log open for appending, or emptied; `keep_log` gives it its name."""
    with os.fdopen(os.open(LOG_PART, LOG_FLAGS, 0o666, dir_fd=top), "wb") as log:
        if fresh:
            log.truncate(0)
        log.seek(0, os.SEEK_END)
        yield log


def keep_log(top: int) -> None:
    """Give a complete log its name."""
    with suppress(FileNotFoundError):
        os.rename(LOG_PART, LOG, src_dir_fd=top, dst_dir_fd=top)
