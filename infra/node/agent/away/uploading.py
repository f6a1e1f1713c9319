"""Upload what an attempt has written: log, complete outputs, then the manifest that names them.

A file's next version goes beside the one that the last manifest names, so every manifest's files are whole at any moment, and
no file is kept more than twice.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ..aws.uploads import Uploads
from ..aws.wire import ChangedError, Slice
from ..outputs.asked import roots_of
from ..outputs.changes import list_outputs
from ..outputs.sending import Folders
from ..records import folder_of
from .claims import Claim

LOG_BYTES = 4 << 20


class Uploader:
    """Uploads the log and outputs of one attempt."""

    def __init__(self, claim: Claim, number: int, before: dict[str, Any]) -> None:
        """Start with the manifest that the attempt resumed from, whose files need not be sent again."""
        self.place, self.number = claim.place, number
        self.parts = ("tasks", claim.task, claim.attempt)
        self.folder = folder_of(str(number))
        self.uploads = Uploads(self.place.bucket, self.folder / "uploads.json")
        mine, _ = self.place.read(*self.parts, "outputs.json")
        self.manifest = mine or {"files": before.get("files", [])}
        """The last manifest that was written."""
        self.log_bytes, self.log_part = self.find_log()

    def find_log(self) -> tuple[int, int]:
        """Return how much of the log is in the bucket, and the number of the next piece."""
        sizes = [each.size_bytes for each in self.place.bucket.list(self.place.key(*self.parts, "log-"))]
        return sum(sizes), len(sizes)

    def upload(self, final: bool) -> bool:
        """Upload what is new; return whether nothing was left out. Raises S3Error, OSError."""
        self.upload_log()
        found = list_outputs(str(self.number), *([] if final else ["--settled"]))
        known = {(each["outside"], each["path"]): each for each in self.manifest["files"]}
        files, complete = [], not found["unreadable"]
        for entry in found["outputs"]:
            before = known.get((entry["outside"], entry["path"]))
            key = self.upload_file(entry, before)
            if key is not None:
                files.append({**entry, "key": key})
            elif before:  # it changes just now: what was whole before still is
                files.append(before)
                complete = False
        kept = {*found["unsettled"]} if not final else set()
        files += [each for each in known.values() if each["path"] in kept and not each["outside"]]
        manifest = {"files": sorted(files, key=lambda each: (each["outside"], each["path"])), "job": found["job"]}
        if final or manifest["files"] != self.manifest["files"]:
            self.place.write(manifest, *self.parts, "outputs.json")
            self.manifest = manifest
        return complete

    def upload_log(self) -> None:
        """Upload what the log has grown by, in pieces that are never changed."""
        with (self.folder / "log").open("ab+") as log:
            size_bytes = log.seek(0, 2)
            while self.log_bytes < size_bytes:
                log.seek(self.log_bytes)
                piece = log.read(min(LOG_BYTES, size_bytes - self.log_bytes))
                self.place.bucket.put(self.place.key(*self.parts, f"log-{self.log_part:06d}"), piece)
                self.log_bytes, self.log_part = self.log_bytes + len(piece), self.log_part + 1

    def upload_file(self, entry: dict[str, Any], before: dict[str, Any] | None) -> str | None:
        """Upload a file unless the bucket has it; return its key, "" for a link, None if it changes meanwhile."""
        if entry["link"] is not None:
            return ""
        if before and before["sha256"] == entry["sha256"]:
            return str(before["key"])
        first, second = (self.place.key(*self.parts, kind, entry["path"]) for kind in ("out", "out2"))
        key = second if before and before["key"] == first else first
        roots = dict(roots_of(self.folder))
        base, _, name = entry["path"].partition("/") if entry["outside"] else ("", "", entry["path"])
        with contextlib.suppress(ChangedError, FileNotFoundError):
            with Folders().open_file(Path(roots[base]), name) as content:
                self.uploads.put(key, Slice(content.fileno(), 0, entry["size_bytes"]), entry["sha256"])
            return key
        return None
