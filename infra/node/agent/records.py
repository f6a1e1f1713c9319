"""Job records: plain files in each job's folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Iterable, NamedTuple

from .book.counts import count_tasks, name_missing
from .book.tasks import is_array

HOME = Path.home() / ".gpujob"
JOBS = HOME / "jobs"
WORK = HOME / "work"
ENDED = JOBS / "ended.json"  # the jobs whose end is recorded, so that a thousand of them are not read again
REMOVED = JOBS / "removed.json"  # the highest number of a removed job, so that it is not reused
MOST_JOBS = 10**9  # per machine; the client rejects numbers much higher
CHUNK_BYTES = 1 << 20
RESERVED_BYTES = 4096
PREEMPTED = "preempted"  # the name of an empty file in the folder of a job whose spot machine AWS reclaims
FREED = "freed"  # the name of an empty file in the folder of a downloaded job whose working tree was removed
NOTEBOOK = ["gpujob", "notebook"]  # the command of a notebook job; see `notebook`
RAY = ["gpujob", "ray"]  # what the command of a job begins with that runs with Ray; see `muster.ray`
UPLOAD_FAULT = HOME / "upload-fault"  # why nothing can be uploaded to the bucket, while that is so
RAY_SESSIONS = "ray"  # the name of the folder for Ray in a job's folder


class AgentError(Exception):
    """An error reported to the client in one line."""

    exit_code = 1


class UnknownJobError(AgentError):
    """No job has this number, or its files no longer exist."""

    exit_code = 3


class Ending(NamedTuple):
    """How a job ended: its exit code, None if unknown, whether it was cancelled, and any other reason."""

    exit_code: int | None
    cancelled: bool = False
    reason: str = ""
    interrupted: bool = False
    """Whether it ended because one of its machines or processes was lost."""
    exit_codes: list[int | None] | None = None
    """Of a job over several nodes, the exit code on each."""
    failed_node: int = 0
    """Of a job over several nodes, the one that failed first."""

    @property
    def failed(self) -> bool:
        """Whether it ended in any other way than by itself with exit code 0."""
        return self.exit_code != 0 or self.cancelled or bool(self.reason)


def read_json(path: Path, default: Any = None) -> Any:
    """Read a JSON file; return `default` if it is missing or empty."""
    with contextlib.suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8").strip()
        if text:
            return json.loads(text)
    return default


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically: a crash leaves the old or the new content."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value))  # json.dump() encodes in Python, several times as slow
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def reserve(path: Path) -> None:
    """Reserve the disk space that `write_reserved` will need."""
    path.write_bytes(b" " * RESERVED_BYTES)


def write_reserved(path: Path, value: Any) -> None:
    """Overwrite a reserved file with JSON in one write, which works on a full disk too."""
    line = json.dumps(value).encode()[:RESERVED_BYTES].ljust(RESERVED_BYTES)
    with path.open("r+b", buffering=0) as file:
        file.write(line)
        os.fsync(file.fileno())


def read_runner(folder: Path) -> tuple[Any, Any]:
    """Return a job's runner and main process, each by number, start and boot; None if not recorded."""
    record = read_json(runner_file(folder), {})
    return record.get("runner", record.get("keeper")), record.get("main")


def write_runner(folder: Path, runner: Any, main: Any = None) -> None:
    """Record a job's runner and main process."""
    write_reserved(runner_file(folder), {"runner": runner, "main": main})


def runner_file(folder: Path) -> Path:
    """Return the path of the runner record; earlier agents, whose jobs may still run, named it keeper."""
    earlier = folder / "keeper.json"
    return earlier if earlier.exists() else folder / "runner.json"


def folder_of(number: str | int) -> Path:
    """Return a job's folder; raises UnknownJobError."""
    folder = JOBS / str(number)
    if not str(number).isdigit() or not folder.is_dir():
        raise UnknownJobError(f"no job {number}")
    return folder


def parent_of(folder: Path) -> Path:
    """Return the folder around a job's working tree, so that writing to `../x` reaches no records."""
    return WORK / folder.name


def work_of(folder: Path) -> Path:
    """Return a job's working tree: its own copy of the project."""
    return parent_of(folder) / "project"


def numbers() -> list[int]:
    """Return the numbers of all jobs, in order."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(int(name) for name in os.listdir(JOBS) if name.isdigit())
    return []


def next_number(after: int) -> int:
    """Return the next job number, above all past and present; the caller holds the lock of all jobs."""
    removed: int = read_json(REMOVED, 0)
    return max([*numbers(), removed, after]) + 1


def take_lock(path: Path) -> int | None:
    """Lock a file until the descriptor is closed in this process and every child; None if already locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_supervised(folder: Path) -> bool:
    """Return whether the job's supervisor or runner is alive: they hold the lock until they end.

    What replaces both for an array gets the lock only when the tasks that were running have ended.
    """
    return is_held(folder / "lock") or (is_array(folder) and is_held(folder / "watched"))


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock exclusively."""
    # Opened without creating it: the folder may be being removed.
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def record_of(number: str | int) -> dict[str, Any]:
    """Return everything known about a job."""
    folder = folder_of(number)
    supervised = is_supervised(folder)  # checked first: the supervisor writes the end before it releases the lock
    job = read_json(folder / "job.json")
    state = {**read_json(folder / "state.json", {}), **read_json(folder / "end.json", {})}
    log = folder / "log"
    return {
        "number": int(number),
        "command": job["command"],
        "name": job["name"],
        "state": state_name(state, supervised),
        "reason": state.get("reason", ""),
        "gpus": state.get("gpus", []),
        "exit_code": state.get("exit_code"),
        "exit_codes": state.get("exit_codes") or [],
        "failed_node": state.get("failed_node", 0),
        "nodes": len((job.get("part") or {"names": [""]})["names"]),
        "submitted_at": job["submitted_at"],
        "started_at": state.get("started_at"),
        "stalled_at": state.get("stalled_at"),
        "ended_at": state.get("ended_at"),
        "now": time.time(),
        "seconds": seconds_of(state, supervised),
        "log_bytes": log.stat().st_size if log.exists() else 0,
        "fetched": (folder / "fetched").exists(),
        "python": state.get("python", job["python"]),
        "dependencies": state.get("dependencies", ""),
        "driver": state.get("driver", ""),
        "peak_memory_bytes": state.get("peak_memory_bytes"),
        "data": {**{each["path"]: each["version"] for each in job.get("data", [])}, **state.get("data", {})},
        "preempted": (folder / PREEMPTED).exists(),
        "source": job["source"],
        "tasks": count_tasks(folder, name_missing(supervised, state), state.get("dispatched_s"))
        if job.get("array")
        else None,
    }


def list_records(wanted: Iterable[int]) -> list[dict[str, Any]]:
    """Return the records of these jobs, as far as they exist."""
    found = []
    for number in wanted:
        with contextlib.suppress(UnknownJobError, FileNotFoundError):  # it is being removed
            found.append(record_of(number))
    return found


def list_unfinished() -> list[int]:
    """Return the jobs whose end is not recorded, looking only at those that had none the last time."""
    known, present = set(read_json(ENDED, [])), numbers()
    unfinished = [n for n in present if n not in known and not read_json(JOBS / str(n) / "end.json")]
    ended = sorted(set(present).difference(unfinished))
    if known != set(ended):
        with contextlib.suppress(OSError):  # a full disk: this only saves time
            write_json(ENDED, ended)
    return unfinished


def state_name(state: dict[str, Any], supervised: bool) -> str:
    """Return a job's state; "interrupted" if no process recorded its end."""
    if "ended_at" not in state:
        if not supervised:
            return "interrupted"
        return ("stalled" if state.get("stalled_at") else "running") if "started_at" in state else "queued"
    if state["cancelled"]:
        return "cancelled"
    if state.get("interrupted"):
        return "interrupted"
    return "succeeded" if state["exit_code"] == 0 and not state["reason"] else "failed"


def seconds_of(state: dict[str, Any], supervised: bool) -> float | None:
    """Return a job's duration so far on the monotonic clock; None if unknown."""
    if "started_s" not in state:
        return None
    return state.get("seconds", time.monotonic() - state["started_s"] if supervised else None)
