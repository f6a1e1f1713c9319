"""The process that uploads a job to its bucket: from its submission until all of it is there.

The guard starts it, and again if it was killed. What it cannot do is said once in the job's log: the job continues, and the
machine keeps the outputs until its lease ends.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..aws.credentials import NoCredentialsError
from ..aws.s3 import open_bucket
from ..aws.wire import ChangedError, S3Error, TakenError
from ..records import (
    HOME,
    JOBS,
    UPLOAD_FAULT,
    AgentError,
    folder_of,
    is_held,
    is_supervised,
    numbers,
    read_json,
    take_lock,
    write_json,
)
from .layout import END, attempt_prefix, task_prefix
from .rounds import Rounds

CONFIG, DONE, LOCK, WARNED = "bucket.json", "uploaded", "uploading", "warned"
PERIOD_S, URGENT_S, TICK_S = 60.0, 5.0, 1.0
PART_BYTES = 16 << 20
LETTERS = 500  # of a fault that is kept
FAULTS = (OSError, http.client.HTTPException, NoCredentialsError, S3Error, ChangedError)


def upload(number: str) -> None:
    """Upload a job until the bucket has all of it, or another process does so."""
    folder = folder_of(number)
    lock = take_lock(folder / LOCK)
    config = read_json(folder / CONFIG, {})
    if lock is None or not config or (folder / DONE).exists():
        return
    rounds, fault = None, ""
    while True:
        over = not is_supervised(folder)  # before the round, which then has all
        try:
            rounds = rounds or open_rounds(number, config)
            complete = rounds.upload(final=over)
            if over:
                finish(rounds, config, complete)
                write_json(folder / DONE, {"complete": complete})
                return
            fault = tell(folder, config, fault, "")
        except FAULTS as error:
            fault = tell(folder, config, fault, str(error))
        except AgentError:  # it was removed
            return
        wait(folder, rounds, over, float(config.get("period_s", PERIOD_S)))


def open_rounds(number: str, config: dict[str, Any]) -> Rounds:
    """Return what uploads a job to where its configuration says."""
    bucket = open_bucket({**config["bucket"], **find_local(config)}, patience_s=float(config.get("patience_s", 60)))
    prefix = attempt_prefix(config["prefix"], rank_of(number))
    return Rounds(bucket, prefix, number, {"cluster": config["cluster"]}, int(config.get("part_bytes", PART_BYTES)))


def rank_of(number: str) -> int:
    """Return which node of a job over several this is."""
    return int((read_json(folder_of(number) / "job.json", {}).get("part") or {"rank": 0})["rank"])


def find_local(config: dict[str, Any]) -> dict[str, str]:
    """Return the address of the local cloud, if this is one of its machines: that of its metadata."""
    metadata = urlsplit(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", ""))
    if "GPUJOB_LOCAL_HOST" not in os.environ or not metadata.netloc or "endpoint" in config["bucket"]:
        return {}
    return {"endpoint": f"{metadata.scheme}://{metadata.netloc}"}


def finish(rounds: Rounds, config: dict[str, Any], complete: bool) -> None:
    """Write once how the task ended."""
    rounds.upload_record()
    job = {name: rounds.record["job"][name] for name in ("state", "exit_code", "ended_at")}
    content = {"attempt": 1, "complete": complete, "put_requests": rounds.contents.requests + 1, **job}
    with contextlib.suppress(TakenError):
        key = f"{task_prefix(config['prefix'], rank_of(rounds.number))}{END}"
        rounds.bucket.put(key, json.dumps(content).encode(), absent=True)


def tell(folder: Path, config: dict[str, Any], before: str, fault: str) -> str:
    """Say once in the job's log that uploads fail, or work again; return what was said."""
    code, known = (each.partition(":")[0] for each in (fault, before))
    if code != known:
        name = config["bucket"]["name"]
        text = f"cannot upload to the bucket {name}: {fault}; the job continues, and its outputs stay on this machine"
        if not fault:
            text = f"uploading to the bucket {name} again"
        with contextlib.suppress(OSError):
            UPLOAD_FAULT.write_text(" ".join(fault.split())[:LETTERS], encoding="utf-8", errors="replace")
        with contextlib.suppress(OSError), (folder / "log").open("ab") as log:
            log.write(f"\ngpujob: {' '.join(text.split())}\n".encode("utf-8", "replace"))
    return fault


def wait(folder: Path, rounds: Rounds | None, over: bool, period_s: float) -> None:
    """Wait until the next round is due: sooner at the job's end, and before the machine's."""
    start = time.monotonic()
    while True:
        urgent = over or (folder / WARNED).exists()
        waited_s = time.monotonic() - start
        if waited_s >= (min(URGENT_S, period_s) if urgent else period_s):
            return
        if not over and not is_supervised(folder):
            return
        with contextlib.suppress(*FAULTS):
            if rounds:
                rounds.settle()
        time.sleep(min(TICK_S, period_s))


def start_uploads() -> None:
    """Start the process of each job that has a bucket and none that uploads it."""
    for number in numbers():
        folder = JOBS / str(number)
        if (folder / CONFIG).exists() and not (folder / DONE).exists() and not is_held(folder / LOCK):
            with contextlib.suppress(OSError), (HOME / "agent.log").open("ab") as complaints:
                subprocess.Popen(
                    [sys.executable, "-I", "-S", sys.argv[0], "upload", str(number)],
                    stdin=subprocess.DEVNULL,
                    stdout=complaints,
                    stderr=complaints,
                    start_new_session=True,
                )


def is_saved(folder: Path) -> bool:
    """Return whether a bucket has all of an ended job."""
    return bool(read_json(folder / DONE, {}).get("complete"))
