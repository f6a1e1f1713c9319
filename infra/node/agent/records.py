"""The records of jobs: plain files in each job's folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

HOME = Path.home() / ".gpujob"
JOBS = HOME / "jobs"
WORK = HOME / "work"
REMOVED = JOBS / "removed.json"  # the highest number of a job that was removed, so that no other gets it
MOST_JOBS = 10**9  # of one machine; the client takes no number that is much higher
CHUNK_BYTES = 1 << 20
RESERVED_BYTES = 4096
NOTEBOOK = ["gpujob", "notebook"]  # the command of a job that is one; see `notebook`


class AgentError(Exception):
    """Something to tell the client in one line."""

    exit_code = 1


class UnknownJobError(AgentError):
    """There is no job of this number."""

    exit_code = 3


def read_json(path: Path, default: Any = None) -> Any:
    """Return what a JSON file holds, or `default` where there is no file or nothing in it."""
    with contextlib.suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8").strip()
        if text:
            return json.loads(text)
    return default


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole: after a crash it holds the old value or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def reserve(path: Path) -> None:
    """Take the room that `write_reserved` will need, while there is some."""
    path.write_bytes(b" " * RESERVED_BYTES)


def write_reserved(path: Path, value: Any) -> None:
    """Write JSON over the blanks of a reserved file in one stroke, for which no disk is too full."""
    line = json.dumps(value).encode()[:RESERVED_BYTES].ljust(RESERVED_BYTES)
    with path.open("r+b", buffering=0) as file:
        file.write(line)
        os.fsync(file.fileno())


def read_runner(folder: Path) -> tuple[Any, Any]:
    """Return who runs a job and who is its command, each by number, start and boot; None for what is not on record."""
    record = read_json(runner_file(folder), {})
    return record.get("runner", record.get("keeper")), record.get("main")


def write_runner(folder: Path, runner: Any, main: Any = None) -> None:
    """Record who runs a job and who is its command."""
    write_reserved(runner_file(folder), {"runner": runner, "main": main})


def runner_file(folder: Path) -> Path:
    """Return the record of a job's runner, which an earlier agent, whose jobs may live on, called its keeper."""
    earlier = folder / "keeper.json"
    return earlier if earlier.exists() else folder / "runner.json"


def folder_of(number: str | int) -> Path:
    """Return a job's folder; raises UnknownJobError if there is no such job."""
    folder = JOBS / str(number)
    if not str(number).isdigit() or not folder.is_dir():
        raise UnknownJobError(f"there is no job {number}")
    return folder


def parent_of(folder: Path) -> Path:
    """Return the folder around a job's working tree: a job that writes to `../x` reaches it and no record of ours."""
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
    """Return the number of the next job, above all that there are or were; the caller holds the lock of all jobs."""
    removed: int = read_json(REMOVED, 0)
    return max([*numbers(), removed, after]) + 1


def take_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a file until it is closed, here and in every child; None if another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_supervised(folder: Path) -> bool:
    """Tell whether the job's supervisor or runner lives: they hold the lock, and the kernel drops it with the last of them."""
    # Opened, never made: the folder may be on its way out.
    with contextlib.suppress(FileNotFoundError), (folder / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def record_of(number: str | int) -> dict[str, Any]:
    """Return all that is known of a job."""
    folder = folder_of(number)
    supervised = is_supervised(folder)  # looked at first: the supervisor writes the end before it lets go of the lock
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
        "source": job["source"],
    }


def list_records(*asked: str) -> list[dict[str, Any]]:
    """Return all that is known of these jobs, or of every job; raises UnknownJobError for one that was asked for."""
    if asked:
        return [record_of(number) for number in asked]
    found = []
    for number in numbers():
        with contextlib.suppress(UnknownJobError, FileNotFoundError):  # it is being removed
            found.append(record_of(number))
    return found


def state_name(state: dict[str, Any], supervised: bool) -> str:
    """Return the one word for how a job stands; nobody saw an interrupted one end."""
    if "ended_at" not in state:
        if not supervised:
            return "interrupted"
        return ("stalled" if state.get("stalled_at") else "running") if "started_at" in state else "queued"
    if state["cancelled"]:
        return "cancelled"
    return "succeeded" if state["exit_code"] == 0 and not state["reason"] else "failed"


def seconds_of(state: dict[str, Any], supervised: bool) -> float | None:
    """Return how long a job ran, or has run, in seconds by the clock that never jumps; None if nobody knows."""
    if "started_s" not in state:
        return None
    return state.get("seconds", time.monotonic() - state["started_s"] if supervised else None)
