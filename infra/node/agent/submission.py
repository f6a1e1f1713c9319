"""Taking in a job: build its snapshot, give it a number, start its supervisor."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from .machine import base_python
from .outputs import stamp_of
from .records import HOME, JOBS, numbers, read_json, write_json
from .store import find_missing, place, take_in
from .turns import count_ahead

KEPT = ("token", "name", "command", "workdir", "env", "gpus", "slots", "time_limit_s", "no_deps", "source")


def submit() -> dict[str, int]:
    """Take in a job: its request on the first line of stdin, then, once told which, the files that are not here yet.

    The same token twice gives the same job, not two.
    """
    stdin = sys.stdin.buffer
    asked = json.loads(zlib.decompress(base64.b64decode(stdin.readline())))
    missing = find_missing(file["sha256"] for file in asked["files"] if file["link"] is None)
    sys.stdout.write(json.dumps({"missing": missing}) + "\n")
    sys.stdout.flush()
    JOBS.mkdir(parents=True, mode=0o700, exist_ok=True)
    take_in(stdin, missing)
    staging = JOBS / f"incoming-{os.getpid()}-{time.time_ns()}"
    try:
        (staging / "work").mkdir(parents=True)
        write_json(staging / "manifest.json", build(asked["files"], staging / "work"))
        job = {key: asked[key] for key in KEPT}
        write_json(
            staging / "job.json", {**job, "submitted_at": time.time(), "python": asked["python"] or base_python()}
        )
        with (JOBS / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            number = find_token(asked["token"])
            if number is None:
                number = max([*numbers(), asked["after"]]) + 1
                start(staging, number)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {"job": number, "ahead": count_ahead(number)}


def find_token(token: str) -> int | None:
    """Return the job that was submitted with this token, or None."""
    for number in reversed(numbers()):
        if read_json(JOBS / str(number) / "job.json", {}).get("token") == token:
            return number
    return None


def start(staging: Path, number: int) -> None:
    """Give the unpacked job its number and its supervisor, which holds the lock from the first moment on."""
    opened = [(staging / "lock").open("ab"), (staging / "queued").open("ab")]
    with opened[0] as lock, opened[1] as queued, (HOME / "agent.log").open("ab") as complaints:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(queued, fcntl.LOCK_EX)
        staging.rename(JOBS / str(number))
        subprocess.Popen(
            [sys.executable, "-I", "-S", sys.argv[0], "supervise", str(number), str(queued.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            pass_fds=[lock.fileno(), queued.fileno()],
            start_new_session=True,
        )


def build(files: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Lay out the snapshot below `folder` from the store; return the manifest: what each file is before the job touches it."""
    made: set[Path] = set()
    manifest = {}
    for file in files:
        path = folder / file["path"]
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        if file["link"] is not None:
            path.symlink_to(file["link"])
            manifest[file["path"]] = {"link": file["link"]}
            continue
        place(file["sha256"], path)
        path.chmod(file["mode"])
        os.utime(path, ns=(file["mtime_ns"], file["mtime_ns"]))
        manifest[file["path"]] = {"sha256": file["sha256"], "stamp": stamp_of(path.lstat())}
    return manifest
