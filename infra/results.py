"""Results: the folder on this laptop that a job's outputs and records are downloaded to.

    runs/CLUSTER-NUMBER/
      .gitignore     "*": git takes nothing of it
      receipt.json   the record of the job, there as soon as the folder is
      job.log        what it printed
      changes.patch  how its code differed from the commit
      files/         what it wrote in its working folder
      outside/       what it wrote elsewhere, as far as that was asked for

Records and outputs share no folder, so that no output can be taken for a record. Anything else in `runs/` is the user's.
"""

import errno
import os
from pathlib import Path

from infra.model import Cluster, Job
from infra.receipts import make_receipt, read_receipt, write_receipt
from infra.ssh.carry import FETCH, local_errors

LOG = "job.log"
CHANGES = "changes.patch"
FILES = "files"
OUTSIDE = "outside"


def make_results(runs: Path, cluster: Cluster, job: Job, changes: bytes = b"") -> Path:
    """Return the folder for a job's results, made if need be, with its receipt and how the code differed from the commit."""
    folder = runs / f"{cluster.name}-{job.number}"
    make_runs(runs)
    with local_errors(folder):
        (folder / FILES).mkdir(parents=True, exist_ok=True)
        if not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text("*\n")
        if changes:
            (folder / CHANGES).write_bytes(changes)
    if read_receipt(folder) is None:
        write_receipt(folder, make_receipt(cluster, job, ()))
    return folder


def make_runs(runs: Path, then: str = FETCH) -> None:
    """Make the folder that holds all results, if need be; raises ProjectError if nothing could be written there."""
    with local_errors(runs, then):
        runs.mkdir(parents=True, exist_ok=True)
        if not os.access(runs, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def last_number(runs: Path, cluster: str) -> int:
    """Return the highest job number that `runs` has a folder of, so that a new cluster of that name overwrites none."""
    numbers = (folder.name.removeprefix(f"{cluster}-") for folder in runs.glob(f"{cluster}-*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def log_part(folder: Path) -> Path:
    """Return where the beginning of a log is kept until the rest has come."""
    return folder / f".{LOG}.part"


def keep_log(folder: Path) -> None:
    """Give what has come of a log its name, since no more of it will come."""
    if log_part(folder).exists():
        log_part(folder).replace(folder / LOG)
