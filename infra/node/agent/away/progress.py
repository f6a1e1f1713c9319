"""What each attempt of a task has left in the bucket, and whether the next one may still try."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from .. import trees
from ..aws.wire import S3Error
from ..bucket.layout import MANIFEST, OUT, RECORD, attempt_prefix
from ..bucket.logs import is_log
from ..snapshot.inside import is_inside
from .settings import Place
from .transfer import Part, copy_object, fetch_part

MOST_FRUITLESS = 3
RESTARTS = 5


class Reached(NamedTuple):
    """The last state of a task: the attempt that has it, 0 if none, and its manifest."""

    attempt: int
    manifest: dict[str, Any]

    @property
    def mark(self) -> str:
        """What differs from one state to another; "" without any."""
        if not self.attempt:
            return ""
        # No attempt starts from the beginning of a log.
        written = set(filter(is_log, self.manifest.get("unsettled", ())))
        files = [
            [each["path"], each["sha256"], each["link"]]
            for each in self.manifest["outputs"]
            if each["path"] not in written
        ]
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def find_reached(place: Place, task: int, last: int) -> Reached:
    """Return what the attempt after `last` resumes from: the state of the last one with a manifest."""
    for attempt in range(last, 0, -1):
        manifest, _ = place.read("tasks", task, attempt, MANIFEST)
        if manifest:
            return Reached(attempt, manifest)
    return Reached(0, {})


def follow(place: Place, task: int, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claim after another: the attempt's number, what came before, how often without progress."""
    last = int(before.get("attempt", 0))
    reached = find_reached(place, task, last)
    fruitless = int(before["fruitless"]) + 1 if last and reached.mark == before["mark"] else 0
    kept = {"why": before.get("why", ""), "failures": before.get("failures", 0)}
    earlier = [*before.get("earlier", []), *measure(place, task, before)]
    return {**kept, "attempt": last + 1, "mark": reached.mark, "fruitless": fruitless, "earlier": earlier}


def measure(place: Place, task: int, before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where and how long the attempt of a claim worked, if it has said that it had started."""
    record, _ = place.read("tasks", task, before["attempt"], RECORD) if "attempt" in before else ({}, "")
    if not record or record["job"]["started_at"] is None:
        return []
    started_at = record["job"]["started_at"]
    seconds = max(float(before["renewed_at"]) - started_at, 0.0)
    return [{"machine": record["cluster"]["instance_id"], "started_at": started_at, "seconds": seconds}]


def take_over(place: Place, task: int, attempt: int, folder: Path) -> None:
    """Copy the state that an attempt resumes from below its own prefix, and into a new folder.

    While it is read, a machine that lost its claim may still replace it, so what does not fit is read again. Raises S3Error.
    """
    for restart in range(RESTARTS):
        reached = find_reached(place, task, attempt)
        trees.remove(folder)
        folder.mkdir(parents=True, mode=0o700)
        try:
            if reached.attempt and reached.attempt != attempt:
                copy_state(place, task, attempt, reached)
            for each in reached.manifest.get("outputs", []):
                lay_file(place, task, reached.attempt, each, folder)
            return
        except S3Error:
            if restart == RESTARTS - 1:
                raise


def copy_state(place: Place, task: int, attempt: int, reached: Reached) -> None:
    """Copy the objects and then the manifest of an earlier attempt to another one; raises S3Error."""
    here, there = (attempt_prefix(place.prefix, task, each) for each in (attempt, reached.attempt))
    for name, size_bytes in reached.manifest["objects"].items():
        copy_object(place.bucket, f"{there}{OUT}{name}", f"{here}{OUT}{name}", size_bytes)
    manifest = {**reached.manifest, "round": 0, "log_bytes": 0, "put_requests": 0, "final": False}
    place.write(manifest, "tasks", task, attempt, MANIFEST)


def lay_file(place: Place, task: int, attempt: int, entry: Mapping[str, Any], folder: Path) -> None:
    """Download one output of an attempt; those outside the working folder are not laid out."""
    if entry["outside"] or not is_inside(entry["path"]):
        return
    path = folder / entry["path"]
    trees.make(path.parent)
    if entry["link"] is not None:
        path.symlink_to(entry["link"])
        return
    key = f"{attempt_prefix(place.prefix, task, attempt)}{OUT}{entry['object']}"
    fetch_part(place.bucket, Part(key, entry["offset"], entry["size_bytes"], entry["sha256"]), path)
    path.chmod(entry["mode"])
