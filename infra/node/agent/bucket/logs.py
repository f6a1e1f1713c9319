"""Logs that a job still writes: what they have so far, as long as they only grow.

A file that is open for writing is not complete, but a log is of use without its end: a training's CSV file, TensorBoard's events.
By name, as half a checkpoint is of no use, and would stop the next attempt.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import Any, BinaryIO, Iterable, Iterator, Mapping

from ..outputs.hashing import Key
from .contents import Opener

ENDINGS = (".csv", ".jsonl", ".log", ".ndjson", ".tsv", ".txt")
EVENTS = "events.out.tfevents."
MOST_BYTES = 64 << 20  # each round uploads all of it


def is_log(path: str) -> bool:
    """Return whether a file is, by its name, one that is only appended to."""
    name = path.rpartition("/")[2]
    return name.startswith(EVENTS) or name.endswith(ENDINGS)


def find_logs(
    names: Iterable[str], open_output: Opener, before: Mapping[Key, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield what there is of the logs among files that are still being written.

    A log that no longer begins as it did `before`, in the bucket, is left out: it is being replaced.
    """
    for name in filter(is_log, names):
        for outside in (False, name.partition("/")[0] in open_output.roots):
            with contextlib.suppress(FileNotFoundError), open_output({"path": name, "outside": outside}) as file:
                entry = describe_log(file, by_line=name.endswith(ENDINGS))
                if entry and begins_with(file, before.get((outside, name))):
                    yield {"path": name, "outside": outside, **entry}
                break


def describe_log(file: BinaryIO, *, by_line: bool) -> dict[str, Any] | None:
    """Describe a log up to the end of its last whole line; None for one that is too large or has none."""
    info = os.fstat(file.fileno())
    content = file.read(info.st_size) if info.st_size <= MOST_BYTES else b""
    if by_line:
        content = content[: content.rfind(b"\n") + 1]
    if not content:
        return None
    mode, sha256 = stat.S_IMODE(info.st_mode), hashlib.sha256(content).hexdigest()
    return {"size_bytes": len(content), "sha256": sha256, "mode": mode, "link": None, "same_as": ""}


def begins_with(file: BinaryIO, before: Mapping[str, Any] | None) -> bool:
    """Return whether a log still begins with what was uploaded of it."""
    if before is None or not before["size_bytes"]:
        return True
    file.seek(0)
    return hashlib.sha256(file.read(before["size_bytes"])).hexdigest() == str(before["sha256"])
