"""Accept a job: build its snapshot, number it, start its supervisor."""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import trees
from ..book.tasks import reserve_array
from ..job.queue import count_ahead
from ..machine import base_python, find_space
from ..outputs.asked import check_asked
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
from ..room import explain, make_room
from ..snapshot.inside import check_paths
from ..snapshot.layout import build
from ..snapshot.lists import Snapshot, read_list, read_snapshot
from ..snapshot.prepared import Prepared, announce
from ..snapshot.store import Store, write_all
from ..snapshot.upkeep import INCOMING

if TYPE_CHECKING:
    import socket

KEPT = (
    *("token", "name", "command", "workdir", "env", "gpus", "slots", "time_limit_s", "no_deps", "source"),
    *("hang_after_s", "kill_stalled", "outputs", "exclude", "data", "earlier", "terminal", "list", "dependencies"),
    *("part", "array"),
)
LISTED = ("list", "base", "removed", "files")  # the snapshot, see `lists`


def submit(restored: str = "") -> dict[str, int]:
    """Accept a job: its request as one line on stdin, then the files that the answer lists as missing.

    Submitting a token twice returns the same job; so does a second notebook while one is running. Part 0 of a job over several
    nodes listens for the others from now on; these get its number. Files below `restored` are moved over the project's, and
    count as outputs.
    """
    coming = announce()
    asked, snapshot = read_asked(sys.stdin.buffer)
    check_asked(asked["outputs"])
    if asked["command"] == NOTEBOOK:
        from ..pages.notebook import carry_over  # rarely needed, and the agent starts for every job
    staging, around = make_staging()
    store = Store()
    try:
        project = around / "project"
        manifest = receive(store, Prepared(snapshot, around), project, asked)
        if restored:
            trees.lay_over(Path(restored), project)
        write_json(staging / "manifest.json", manifest)
        if asked["command"] == NOTEBOOK:
            carry_over(staging, project, asked["source"])
        python = {"python": asked["python"] or base_python(), "python_chosen": asked["python"] is not None}
        job = {**{key: asked[key] for key in KEPT}, "submitted_at": time.time(), **python}
        if job["array"]:
            job["array"] = reserve_array(staging, job["array"])
        write_json(staging / "job.json", job)
        if asked.get("bucket"):
            write_json(staging / "bucket.json", asked["bucket"])
        for record in ("end.json", "runner.json"):
            reserve(staging / record)  # an accepted job can always record its end
        with (JOBS / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            number = find_accepted(asked)
            if number is None:
                number = choose_number(asked)
                take_place(around, WORK / str(number))
                private = {name: asked[name] for name in ("secrets", "credentials", "key")}
                start(staging, number, private, make_listening(staging, job))
    except OSError as error:  # before the partial files are removed, which frees space
        if error.errno != errno.ENOSPC:
            raise
        raise AgentError(explain(error)) from error
    finally:
        store.close()
        os.close(coming)
        trees.remove(staging)
        trees.remove(around)
    part = read_json(JOBS / str(number) / "job.json", {}).get("part") or {}
    return {"job": number, "ahead": count_ahead(number), "port": part.get("port", 0), **find_space()}


def find_accepted(asked: dict[str, Any]) -> int | None:
    """Return the number of the job with this token, or of the notebook that is running; None without one."""
    number = find_token(asked["token"])
    if number is None and asked["command"] == NOTEBOOK:
        from ..pages.notebook import find_notebook

        return find_notebook()
    return number


def choose_number(asked: dict[str, Any]) -> int:
    """Return a job's number; of part 0, which the other nodes use too, if they can. Raises AgentError."""
    given = (asked["part"] or {}).get("number")
    if given and (JOBS / str(given)).exists():
        raise AgentError(f"job {given} exists on this node already")
    return int(given or next_number(asked["after"]))


def make_listening(staging: Path, job: dict[str, Any]) -> socket.socket | None:
    """Return the socket on which part 0 of a job over several nodes listens, with its port on record."""
    part = job["part"]
    if not part or part["rank"]:
        return None
    from ..muster.lead import listen  # rarely needed, and the agent starts for every job

    listening = listen(part["addresses"][0])
    write_json(staging / "job.json", {**job, "part": {**part, "port": listening.getsockname()[1]}})
    return listening


def receive(store: Store, prepared: Prepared, project: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Request the missing files from the client, and complete the working tree; return its manifest."""
    pending = prepared.pending
    sizes = {file.sha256: file.size_bytes for file in pending if file.link is None}
    missing = {sha256: sizes[sha256] for sha256 in store.find_missing(sizes)}
    make_room(sum(missing.values()) + sum(file.size_bytes for file in pending), len(pending))
    if asked.get("peer") and missing:
        take_from_peer(store, asked["peer"], missing)
        missing = {sha256: sizes[sha256] for sha256 in store.find_missing(missing)}
    reply({"missing": list(missing)})
    if not REMOVED.exists():
        reserve(REMOVED)  # jobs are removed mostly when the disk is full
    for name in (".", *asked["folders"]):
        trees.make(project / name)
    return {**prepared.manifest, **build(store, pending, project, store.take_in(sys.stdin.buffer, missing))}


def take_from_peer(store: Store, peer: dict[str, Any], missing: dict[str, int]) -> None:
    """Store what another node has of the missing contents; the client is asked for the rest."""
    from ..muster.peers import ask  # rarely needed, and the agent starts for every job

    wanted = [[sha256, 0] for sha256 in missing]
    with contextlib.suppress(OSError, AgentError), ask(peer, wanted) as stream:
        for _ in store.take_in(stream, missing):
            pass


def read_asked(stdin: BinaryIO) -> tuple[dict[str, Any], Snapshot]:
    """Return the request and its snapshot; request it in full if its list refers to an unknown one."""
    asked = read_request(stdin.readline())
    if asked["base"] and read_list(asked["base"]) is None:
        reply({"missing": [], "unknown": True})
        asked = {**read_request(stdin.readline()), "base": ""}
    snapshot = read_snapshot(asked)
    check_paths(snapshot.files, asked)
    return asked, snapshot


def reply(answer: dict[str, Any]) -> None:
    """Write an intermediate answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def make_staging() -> tuple[Path, Path]:
    """Return two new folders, for a job's records and its working tree, until it is numbered."""
    name = f"{INCOMING}{os.getpid()}-{time.time_ns()}"
    for folder in (JOBS, WORK):
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        (folder / name).mkdir()
    return JOBS / name, WORK / name


def take_place(around: Path, place: Path) -> None:
    """Move a working tree to its number, replacing leftovers, which belong to no job."""
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
    left_out = sorted({*KEPT, *LISTED, "folders", "after", "python", "secrets", "credentials", "key"} - set(asked))
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


def start(staging: Path, number: int, secrets: dict[str, Any], listening: socket.socket | None) -> None:
    """Assign the unpacked job its number and start its supervisor, which inherits the job's lock.

    The values of secrets, of credentials for package indexes, and the key that the parts of a job share go to the supervisor's
    standard input and nowhere else.
    """
    held = hold(json.dumps(secrets).encode())
    links = [listening.fileno()] if listening else []
    opened = [(staging / "lock").open("ab"), (staging / "queued").open("ab")]
    with opened[0] as lock, opened[1] as queued, (HOME / "agent.log").open("ab") as complaints:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(queued, fcntl.LOCK_EX)
        staging.rename(JOBS / str(number))
        subprocess.Popen(
            [sys.executable, "-I", "-S", sys.argv[0], "supervise", str(number), *map(str, [queued.fileno(), *links])],
            stdin=held,
            stdout=complaints,
            stderr=complaints,
            pass_fds=[lock.fileno(), queued.fileno(), *links],
            start_new_session=True,
        )
    os.close(held)
    if listening:
        listening.close()


def hold(content: bytes) -> int:
    """Return a descriptor for reading this later, kept in memory only; raises AgentError if too large."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gpujob")
        write_all(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    reading, writing = os.pipe()  # its buffer, since nothing is read until the job leaves the queue
    os.set_blocking(writing, False)
    written = os.write(writing, content)
    os.close(writing)
    if written != len(content):
        os.close(reading)
        raise AgentError("the secrets are too large for this machine's C library")
    return reading
