"""Wait for a job's inputs besides its code: data sets, and the outputs of an earlier job.

A job that waits for them leaves the queue, so it does not hold up others.
"""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Mapping

from ..data.mounts import Mount, place
from ..data.progress import show_size
from ..data.store import find_record
from ..environment.uv import say
from ..records import JOBS, AgentError, read_json, record_of, work_of, write_json
from .earlier import copy_outputs


def get_ready(folder: Path, job: Mapping[str, Any], secrets: Mapping[str, str], queued: int) -> dict[str, str]:
    """Wait for an earlier job's outputs and fetch data sets; return the version of each set by its path.

    Raises AgentError. `queued` is the lock that holds the job's place in the queue.
    """
    versions = {each["path"]: each["version"] for each in job["data"]}
    earlier = job["earlier"]
    remote = [each for each in job["data"] if each["address"]]  # the node fetches them itself
    if not earlier and not remote:
        return versions
    with out_of_queue(queued), (folder / "log").open("ab") as log:
        if earlier:
            wait_for(earlier["job"], earlier["over"], log)
            copy_outputs(folder, earlier["job"], versions, log)
        if remote:
            from ..data.fetching import fetch_all  # rarely needed, and it adds a fifth to the start-up of every job

            versions.update(fetch_all(remote, job["python"], {**job["env"], **secrets}, log))
    check_versions(job, versions)
    return versions


def check_versions(job: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Raise AgentError if a bucket has changed since the run that this one repeats."""
    for each in job["data"]:
        if each["version"] not in ("", versions[each["path"]]):
            raise AgentError(f"{each['source']} has changed since that run, and its version is not on the machine")


@contextlib.contextmanager
def out_of_queue(queued: int) -> Iterator[None]:
    """Release the place in the queue, and take it again at the end."""
    fcntl.flock(queued, fcntl.LOCK_UN)
    yield
    fcntl.flock(queued, fcntl.LOCK_EX)


def wait_for(number: int, over: bool, log: BinaryIO) -> None:
    """Wait until a job is over; raises AgentError unless it succeeded or was `over` before."""
    try:
        with (JOBS / str(number) / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                say(log, f"waiting for job {number} to end, for its outputs")
                fcntl.flock(lock, fcntl.LOCK_SH)
    except FileNotFoundError as error:
        raise AgentError(f"job {number}, whose outputs it needs, was removed") from error
    state = record_of(number)["state"]
    if not over and state != "succeeded":
        raise AgentError(f"job {number}, whose outputs it needs, was not successful: {state}")


def place_data(folder: Path, versions: Mapping[str, str]) -> tuple[Mount, ...]:
    """Prepare a job's data sets in its working tree, and log them; raises AgentError."""
    mounts, entries = place(work_of(folder), versions)
    if entries:
        write_json(folder / "manifest.json", {**read_json(folder / "manifest.json"), **entries})
    with (folder / "log").open("ab") as log:
        for path, version in versions.items():
            found = find_record(version)
            if found:
                _, record = found
                size = f"{record['files']} file{'s' * (record['files'] != 1)}, {show_size(record['size_bytes'])}"
                say(log, f"data: {path}, read-only: {size}, version {version[:12]}")
    return mounts
