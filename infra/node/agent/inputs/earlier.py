"""Copy an earlier job's outputs into a new job's working tree, as if they had been uploaded."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Mapping

from .. import trees
from ..book.tasks import is_array
from ..caches import is_cache, is_environment
from ..environment.uv import say
from ..outputs.asked import Found
from ..outputs.changes import Look
from ..records import FREED, AgentError, folder_of, read_json, work_of, write_json
from ..trees import stamp_of

FICLONE = 0x40049409  # linux/fs.h: share all blocks of another file, copy on write
# Keys in a manifest, for a file from an earlier job: that job, and the project's own version.
FROM, OWN = "from", "own"
SHOWN = 5


def copy_outputs(folder: Path, number: int, sets: Iterable[str], log: BinaryIO) -> None:
    """Copy a job's outputs, and those that it started from itself, into the working tree of another.

    A file that the project has changed since that job is kept. Raises AgentError if that job's files cannot be read.
    """
    if (folder_of(number) / FREED).exists():
        raise AgentError(f"the files of job {number}, whose outputs it needs, were removed to free space")
    if is_array(folder_of(number)):
        raise AgentError(f"job {number} is an array, from whose outputs no job can start")
    source, work = work_of(folder_of(number)), work_of(folder)
    before, now = read_json(folder_of(number) / "manifest.json"), read_json(folder / "manifest.json")
    entries = find_outputs(folder_of(number), before)
    chosen: dict[str, dict[str, Any]] = {}
    kept = []
    for name, entry in entries.items():
        if any(name == path or name.startswith(f"{path}/") for path in sets):
            continue
        if content_of(now.get(name)) in (content_of(entry), sent_of(before.get(name)), None):
            chosen[name] = entry
        else:
            kept.append(name)
    # First the hashes, then the stamps: at no moment does a copied file look like an output of this job.
    made: dict[str, dict[str, Any]] = {
        name: {"link" if e["link"] else "sha256": content_of(e), FROM: number, OWN: content_of(now.get(name))}
        for name, e in chosen.items()
    }
    write_json(folder / "manifest.json", {**now, **made})
    for name, entry in chosen.items():
        info = copy(source / name, work / name, entry["link"])
        if not entry["link"]:
            made[name]["stamp"] = stamp_of(info)
    write_json(folder / "manifest.json", {**now, **made})
    names = ", ".join(kept[:SHOWN]) + (", ..." if len(kept) > SHOWN else "")
    more = f"; kept the project's own versions, changed since: {names}" if kept else ""
    say(log, f"{len(chosen)} file{'s' * (len(chosen) != 1)} of job {number}{more}")


def find_outputs(folder: Path, sent: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a job's outputs, its own and from earlier jobs, by name; all but caches."""
    uploaded = {name: entry for name, entry in sent.items() if FROM not in entry}
    work = work_of(folder)
    if not work.is_dir():
        raise AgentError(f"job {folder.name} has deleted its working folder")

    def leave(name: str, path: str, is_folder: bool) -> bool:
        return name not in uploaded and (is_cache(name) or (is_folder and is_environment(path)))

    look = Look(folder, settled=False)
    look.look_below(Found(work, "", work), uploaded, leave)
    look.hashes.save()
    if look.unreadable:
        raise AgentError(f"cannot read {look.unreadable[0]} of job {folder.name}")
    return {name: entry for (_, name), entry in look.entries.items()}


def content_of(entry: Mapping[str, Any] | None) -> str | None:
    """Return a file's hash or a link's target; None if it does not exist."""
    return None if entry is None else entry.get("link") or entry.get("sha256")


def sent_of(entry: Mapping[str, Any] | None) -> str | None:
    """Return the project's own version of a file when a job was submitted."""
    return entry.get(OWN) if entry and FROM in entry else content_of(entry)


def copy(source: Path, target: Path, link: str | None) -> os.stat_result:
    """Copy a file with its mode, times and holes, or create a link; replaces what exists."""
    trees.make(target.parent)
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    if link:
        target.symlink_to(link)
        return target.lstat()
    with source.open("rb") as reading, target.open("xb") as writing:
        info = os.fstat(reading.fileno())
        try:
            fcntl.ioctl(writing.fileno(), FICLONE, reading.fileno())
        except OSError:
            copy_data(reading.fileno(), writing.fileno(), info.st_size)
        os.fchmod(writing.fileno(), stat.S_IMODE(info.st_mode))
        os.utime(writing.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
        return os.fstat(writing.fileno())


def copy_data(reading: int, writing: int, size_bytes: int) -> None:
    """Copy the parts of a file that are not holes."""
    os.ftruncate(writing, size_bytes)
    at = 0
    while at < size_bytes:
        try:
            at = os.lseek(reading, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole until the end
            return
        end = os.lseek(reading, at, os.SEEK_HOLE)
        os.lseek(writing, at, os.SEEK_SET)
        while at < end:
            sent = os.sendfile(writing, reading, at, end - at)
            if not sent:
                return
            at += sent
