"""What each attempt of a task has left in the bucket, and whether the next one may still try."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from .. import trees
from ..aws.wire import NotThereError, S3Error
from ..snapshot.inside import is_inside
from .settings import Place
from .submission import fetch_object

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
        files = [[each["path"], each["sha256"], each["link"]] for each in self.manifest["files"]]
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def find_reached(place: Place, task: int, last: int) -> Reached:
    """Return the state that the attempt after `last` resumes from: that of the highest one with a manifest."""
    for attempt in range(last, 0, -1):
        manifest, _ = place.read("tasks", task, attempt, "outputs.json")
        if manifest:
            return Reached(attempt, manifest)
    return Reached(0, {})


def follow(place: Place, task: int, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the claim after another says: the attempt's number, and how often there was no progress."""
    last = int(before.get("attempt", 0))
    mark = find_reached(place, task, last).mark
    fruitless = int(before["fruitless"]) + 1 if last and mark == before["mark"] else 0
    kept = {"why": before.get("why", ""), "failures": before.get("failures", 0)}
    return {**kept, "attempt": last + 1, "mark": mark, "fruitless": fruitless}


def fetch_reached(place: Place, task: int, attempt: int, folder: Path) -> Reached:
    """Download the state that an attempt resumes from into a new folder, and return it; raises S3Error.

    While it is read, a machine that lost its claim may still write its last version, so what does not fit is read again.
    """
    for restart in range(RESTARTS):
        reached = find_reached(place, task, attempt - 1)
        trees.remove(folder)
        folder.mkdir(parents=True, mode=0o700)
        try:
            for each in reached.manifest.get("files", []):
                fetch_file(place, each, folder)
            return reached
        except (NotThereError, S3Error):
            if restart == RESTARTS - 1:
                raise
    raise AssertionError("no restart left")


def fetch_file(place: Place, entry: Mapping[str, Any], folder: Path) -> None:
    """Download one file of a manifest; those outside the working folder are not laid out."""
    if entry["outside"] or not is_inside(entry["path"]):
        return
    path = folder / entry["path"]
    trees.make(path.parent)
    if entry["link"] is not None:
        path.symlink_to(entry["link"])
        return
    key = entry["key"][len(place.prefix) :]
    fetch_object(place, key, entry["size_bytes"], entry["sha256"], path)
    path.chmod(entry["mode"])
