"""Accept a job: build its snapshot, number it, start its supervisor."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Iterable

from .. import trees
from ..job.queue import count_ahead
from ..machine import base_python, find_space
from ..outputs.asked import check_asked
from ..outputs.hashing import stamp_of
from ..records import (
    HOME,
    JOBS,
    MOST_JOBS,
    NOTEBOOK,
    REMOVED,
    WORK,
    AgentError,
    next_number,
    numbers,
    read_json,
    reserve,
    write_json,
)
from ..snapshot.inside import check_paths
from ..snapshot.store import Store

KEPT = (
    *("token", "name", "command", "workdir", "env", "gpus", "slots", "time_limit_s", "no_deps", "source"),
    *("hang_after_s", "kill_stalled", "outputs", "exclude", "data", "earlier"),
)


def submit() -> dict[str, int]:
    """Accept a job: its request as one line on stdin, then the files that the answer lists as missing.

    Submitting a token twice returns the same job; so does a second notebook while one is running.
    """
    stdin = sys.stdin.buffer
    asked = read_request(stdin.readline())
    check_paths(asked)
    check_asked(asked["outputs"])
    if asked["command"] == NOTEBOOK:
        from ..pages.notebook import carry_over, find_notebook  # rarely needed, and the agent starts for every job
    sizes = {file["sha256"]: file["size_bytes"] for file in asked["files"] if file["link"] is None}
    store = Store()
    missing = store.find_missing(sizes)
    sys.stdout.write(json.dumps({"missing": missing}) + "\n")
    sys.stdout.flush()
    staging, around = make_staging()
    project = around / "project"
    if not REMOVED.exists():
        reserve(REMOVED)  # jobs are removed mostly when the disk is full
    try:
        for name in (".", *asked["folders"]):
            trees.make(project / name)
        arriving = store.take_in(stdin, {sha256: sizes[sha256] for sha256 in missing})
        write_json(staging / "manifest.json", build(store, asked["files"], project, arriving))
        if asked["command"] == NOTEBOOK:
            carry_over(staging, project, asked["source"])
        python = {"python": asked["python"] or base_python(), "python_chosen": asked["python"] is not None}
        job = {**{key: asked[key] for key in KEPT}, "submitted_at": time.time(), **python}
        write_json(staging / "job.json", job)
        for record in ("end.json", "runner.json"):
            reserve(staging / record)  # an accepted job can always record its end
        with (JOBS / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            number = find_token(asked["token"])
            if number is None and asked["command"] == NOTEBOOK:
                number = find_notebook()
            if number is None:
                number = next_number(asked["after"])
                take_place(around, WORK / str(number))
                start(staging, number, asked["secrets"])
    finally:
        trees.remove(staging)
        trees.remove(around)
    return {"job": number, "ahead": count_ahead(number), **find_space()}


def make_staging() -> tuple[Path, Path]:
    """Return two new folders, for a job's records and its working tree, until it is numbered."""
    name = f"incoming-{os.getpid()}-{time.time_ns()}"
    for folder in (JOBS, WORK):
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        (folder / name).mkdir()
    return JOBS / name, WORK / name


def take_place(around: Path, place: Path) -> None:
    """Move a working tree to its number; what is there has no records, so it belongs to no job."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        place.rename(around.with_name(f"{around.name}.unowned"))
    around.rename(place)


def read_request(line: bytes) -> dict[str, Any]:
    """Parse a request; raises AgentError if it is invalid."""
    try:
        asked = json.loads(zlib.decompress(base64.b64decode(line)))
    except (ValueError, zlib.error) as error:
        raise AgentError(f"the request is incomplete: {error}") from error
    left_out = sorted({*KEPT, "files", "folders", "after", "python", "secrets"} - set(asked))
    if left_out:
        raise AgentError(f"the request has no {left_out[0]}")
    if asked["after"] >= MOST_JOBS:
        raise AgentError("the request has an invalid job number")
    return dict(asked)


def find_token(token: str) -> int | None:
    """Return the job submitted with this token, or None."""
    for number in reversed(numbers()):
        if read_json(JOBS / str(number) / "job.json", {}).get("token") == token:
            return number
    return None


def start(staging: Path, number: int, secrets: dict[str, str]) -> None:
    """Assign the unpacked job its number and start its supervisor, which inherits the job's lock.

    The values of secrets go to the supervisor's standard input and nowhere else.
    """
    opened = [(staging / "lock").open("ab"), (staging / "queued").open("ab")]
    with opened[0] as lock, opened[1] as queued, (HOME / "agent.log").open("ab") as complaints:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(queued, fcntl.LOCK_EX)
        staging.rename(JOBS / str(number))
        given, giving = os.pipe()
        subprocess.Popen(
            [sys.executable, "-I", "-S", sys.argv[0], "supervise", str(number), str(queued.fileno())],
            stdin=given,
            stdout=complaints,
            stderr=complaints,
            pass_fds=[lock.fileno(), queued.fileno()],
            start_new_session=True,
        )
        os.close(given)
        with os.fdopen(giving, "wb") as pipe:
            pipe.write(json.dumps(secrets).encode())


def build(store: Store, files: list[dict[str, Any]], folder: Path, arriving: Iterable[str]) -> dict[str, Any]:
    """Write the snapshot to `folder`; return the manifest of its files before the job touches them.

    Contents still `arriving` are written as they come, then those already in the store.
    """
    manifest: dict[str, Any] = {}
    waiting: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        waiting.setdefault(file["sha256"], []).append(file)
    for sha256 in arriving:
        for file in waiting.pop(sha256):
            manifest[file["path"]] = lay_out(store, file, folder / file["path"])
    for file in itertools.chain.from_iterable(waiting.values()):
        manifest[file["path"]] = lay_out(store, file, folder / file["path"])
    return manifest


def lay_out(store: Store, file: dict[str, Any], path: Path) -> dict[str, Any]:
    """Create one file or link of a snapshot; return its manifest entry."""
    if file["link"] is not None:
        trees.make(path.parent)
        path.symlink_to(file["link"])
        return {"link": file["link"]}
    info = store.lay_out(file["sha256"], str(path), file["mode"], file["mtime_ns"])
    return {"sha256": file["sha256"], "stamp": stamp_of(info)}
