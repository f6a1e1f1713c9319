"""Upload what is new of a job: its log, its complete outputs, and last the manifest that names them."""

from __future__ import annotations

import json
import time
from typing import Any

from ..aws.s3 import Bucket
from ..aws.uploads import PART_BYTES, Uploads
from ..aws.wire import NotThereError
from ..book.tasks import is_array
from ..outputs.asked import roots_of
from ..outputs.changes import find_outputs
from ..outputs.hashing import key_of
from ..records import folder_of, read_json, record_of
from ..tasks.one import list_tasks
from .choice import choose, choose_last
from .contents import Contents, Opener
from .history import History
from .layout import LOG_BYTES, MANIFEST, OUT, RECORD, VERSION, log_name
from .logs import find_logs

# What differs from one round to the next though nothing has happened.
CLOCKS = ("now", "seconds", "log_bytes", "fetched", "left_s")
COUNTS = ("round", "written_at", "put_requests", "objects", "left", "left_complete")


class Rounds:
    """Uploads one attempt, round after round; a new one continues where an earlier process stopped."""

    def __init__(
        self, bucket: Bucket, prefix: str, number: str, about: dict[str, Any], part_bytes: int = PART_BYTES
    ) -> None:
        """Read what the bucket has of the attempt; `about` is added to its record. Raises S3Error."""
        self.bucket, self.prefix, self.number, self.about = bucket, prefix, number, about
        self.folder = folder_of(number)
        self.opener = Opener(dict(roots_of(self.folder)))
        self.contents = Contents(Uploads(bucket, self.folder / "uploads.json", part_bytes), prefix, self.opener)
        self.manifest: dict[str, Any] = self.read(MANIFEST)
        self.record: dict[str, Any] = {}
        self.log_bytes = 0
        if self.manifest:
            self.contents.learn(self.manifest)
            self.log_bytes = self.manifest["log_bytes"]
        there = {each.key[len(prefix + OUT) :] for each in bucket.list(prefix + OUT)}
        self.contents.forget(there - self.used())  # what an earlier process left without naming it in a manifest
        self.history = History()
        self.waiting: tuple[dict[str, Any], list[dict[str, Any]]] | None = None
        """What the last round found, if not all of it had arrived: its manifest, and the outputs."""

    def read(self, name: str) -> dict[str, Any]:
        """Return an object's JSON; an empty one if there is none."""
        try:
            return dict(json.loads(self.bucket.get(self.prefix + name)[0]))
        except NotThereError:
            return {}

    def used(self) -> set[str]:
        """Return the objects that the last manifest mentions."""
        return {each["object"] for each in self.manifest.get("outputs", ()) if each["object"]}

    def upload(self, *, final: bool, wait: bool = False) -> bool:
        """Upload what is new; return whether the bucket has all of an ended job. Raises S3Error, OSError.

        With `final`, the job has ended: nothing is still being written. Then, and with `wait`, large files are waited for.
        """
        self.upload_record()
        self.upload_log()
        header = {"version": VERSION, "job": record_of(self.number), "tasks": self.list_tasks()}
        if not final and "started_at" not in read_json(self.folder / "state.json", {}):
            self.announce({**header, "outputs": self.manifest.get("outputs", [])}, [])  # what it resumes from
            return False
        found = find_outputs(self.number, settled=not final, running=True)
        before = {key_of(each): each for each in self.manifest.get("outputs", ())}
        outputs, logs = found.pop("outputs"), [*find_logs(found["unsettled"], self.opener, before)]
        self.contents.bring([*outputs, *logs], wait=final or wait)
        self.history.begin(outputs, found["unsettled"])
        outputs += filter(None, map(self.contents.find, logs))  # nothing waits for a log
        return self.conclude({**found, **header}, outputs, final=final)

    def list_tasks(self) -> list[dict[str, Any]]:
        """Return the tasks of an array as this machine knows them."""
        return list(list_tasks(self.number)["tasks"]) if is_array(self.folder) else []

    def settle(self) -> None:
        """Name what the last round could not wait for, once all of it has arrived. Raises S3Error."""
        if self.waiting and self.contents.gather():
            self.conclude(*self.waiting, final=False)
            self.waiting = None

    def conclude(self, manifest: dict[str, Any], outputs: list[dict[str, Any]], *, final: bool) -> bool:
        """Name what has arrived; return whether the bucket has all of an ended job. Raises S3Error."""
        before = self.manifest.get("outputs", [])
        if final:
            choice = choose_last(outputs, self.contents.find, before)
        else:
            choice = choose(outputs, self.contents.find, before, self.history)
        complete = final and not manifest["unreadable"] and len(choice.entries) == len(outputs)
        self.announce({**manifest, "outputs": choice.entries, "final": complete}, outputs)
        self.contents.arrived.clear()
        self.waiting = (manifest, outputs) if choice.late and not final else None
        return complete

    def announce(self, manifest: dict[str, Any], outputs: list[dict[str, Any]]) -> None:
        """Write a manifest if it says more; delete what it, the last and these outputs do not need."""
        manifest = {"final": False, **manifest, "log_bytes": self.log_bytes}
        if not differs(manifest, self.manifest):
            return
        before, sizes = self.used(), self.contents.sizes
        self.contents.requests += 1
        objects = {each["object"] for each in manifest["outputs"] if each["object"]}
        manifest["objects"] = {name: sizes[name] for name in sorted(objects)}
        manifest.update(
            round=self.manifest.get("round", 0) + 1, written_at=time.time(), put_requests=self.contents.requests
        )
        self.bucket.put(self.prefix + MANIFEST, json.dumps(manifest).encode())
        self.manifest = manifest
        found = filter(None, map(self.contents.find, outputs))
        kept = objects if manifest["final"] else objects | before | {each["object"] for each in found}
        self.contents.forget(set(sizes) - kept)

    def upload_record(self) -> None:
        """Upload the job's record if something has happened to it."""
        record = {"version": VERSION, "job": record_of(self.number), **self.about}
        if without_clocks(record) != without_clocks(self.record):
            self.bucket.put(self.prefix + RECORD, json.dumps(record).encode())
            self.contents.requests += 1
            self.record = record

    def upload_log(self) -> None:
        """Upload the pieces of the log that have grown."""
        try:
            with (self.folder / "log").open("rb") as log:
                while True:
                    piece = self.log_bytes // LOG_BYTES
                    log.seek(piece * LOG_BYTES)
                    content = log.read(LOG_BYTES)
                    size_bytes = piece * LOG_BYTES + len(content)
                    if size_bytes <= self.log_bytes:
                        return
                    self.bucket.put(self.prefix + log_name(piece), content)
                    self.contents.requests += 1
                    self.log_bytes = size_bytes
        except FileNotFoundError:
            return


def without_clocks(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as far as it says that something has happened."""
    job = drop_clocks(record.get("job", {}))
    if job.get("tasks"):
        job["tasks"] = drop_clocks(job["tasks"])
    return {**record, "job": job, "tasks": [drop_clocks(task) for task in record.get("tasks", ())]}


def drop_clocks(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what changes by itself."""
    return {name: value for name, value in record.items() if name not in CLOCKS}


def differs(manifest: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return whether a manifest says more than the one before."""
    now, then = (
        {name: value for name, value in without_clocks(each).items() if name not in COUNTS}
        for each in (manifest, before)
    )
    return now != then
