"""Taking in a job: unpack its code, give it a number, start its supervisor."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from .machine import base_python
from .outputs import stamp_of
from .records import CHUNK_BYTES, HOME, JOBS, AgentError, numbers, read_json, write_json
from .turns import count_ahead

KEPT = ("token", "name", "command", "workdir", "env", "gpus", "slots", "time_limit_s", "source")


def submit() -> dict[str, int]:
    """Unpack what comes on stdin and start it; the same token twice gives the same job, not two."""
    stdin = sys.stdin.buffer
    asked = json.loads(stdin.readline())
    JOBS.mkdir(parents=True, mode=0o700, exist_ok=True)
    staging = JOBS / f"incoming-{os.getpid()}-{time.time_ns()}"
    try:
        (staging / "work").mkdir(parents=True)
        write_json(staging / "manifest.json", unpack(stdin, staging / "work", asked["files"]))
        job = {key: asked[key] for key in KEPT}
        write_json(staging / "job.json", {**job, "submitted_at": time.time(), "python": base_python()})
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
            [sys.executable, sys.argv[0], "supervise", str(number), str(queued.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            pass_fds=[lock.fileno(), queued.fileno()],
            start_new_session=True,
        )


def unpack(stream: Any, folder: Path, count: int) -> dict[str, Any]:
    """Write a gzipped tar stream of `count` members below `folder`; return the manifest. Raises AgentError if it was cut."""
    manifest: dict[str, Any] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|gz", errorlevel=2) as archive:
            for member in archive:
                manifest[member.name] = place(archive, member, folder / member.name)
    except (tarfile.TarError, EOFError) as error:
        raise AgentError(f"the code did not arrive whole: {error}") from error
    if len(manifest) != count:
        raise AgentError(f"the code did not arrive whole: {len(manifest)} of {count} files")
    return manifest


def place(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> dict[str, Any]:
    """Write one file or symbolic link of the archive; return its manifest entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
        return {"link": member.linkname}
    source = archive.extractfile(member)
    if source is None:
        raise AgentError(f"neither a file nor a link: {member.name}")
    digest = hashlib.sha256()
    with source, path.open("wb") as target:
        for chunk in iter(lambda: source.read(CHUNK_BYTES), b""):
            digest.update(chunk)
            target.write(chunk)
    path.chmod(member.mode & 0o777)
    os.utime(path, (member.mtime, member.mtime))
    return {"sha256": digest.hexdigest(), "stamp": stamp_of(path.lstat())}
