"""The next snapshot, prepared in the background: renamed into place, after patching if needed.

It is a copy like any job's, in ~/.gpujob/work/next, with its manifest and the name of its list next to it. It is used only if
every file still has its size, times and inode, so what a job wrote into it never reaches another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from .. import trees
from ..records import read_json, take_lock, write_json
from ..room import NEXT, find_room
from ..trees import stamp_of
from .inside import File
from .layout import lay_out
from .lists import Snapshot, read_list
from .store import FOLDER, Store

PROJECT, MANIFEST, LIST = "project", "manifest.json", "list.json"
WAITING = FOLDER / "waiting"  # shared by submissions, which interrupt a preparation
FEW_FILES = 100  # below that, copying them takes no longer than checking
SHARE = 10  # a tenth of the room is used at most


def list_of(prepared: Path) -> str:
    """Return the name of the list that a snapshot was prepared from; "" without one."""
    with contextlib.suppress(OSError, ValueError):
        return str(read_json(prepared / LIST, ""))
    return ""


def path_of(file: File) -> str:
    """Return a file's path, to sort by."""
    return file.path


class Prepared:
    """The part of a snapshot that is already in place."""

    def __init__(self, snapshot: Snapshot, around: Path) -> None:
        """Take over a prepared snapshot that differs little, into the empty folder `around`."""
        self.manifest: dict[str, Any] = {}
        self.pending = snapshot.files
        if list_of(NEXT) not in {snapshot.name, snapshot.base} - {""}:
            return
        try:
            NEXT.rename(around)  # only one submission can
            self.take_over(snapshot, around)
        except (OSError, ValueError, KeyError):  # it is damaged
            self.manifest, self.pending = {}, snapshot.files
        if not self.manifest:
            trees.remove(around / PROJECT)

    def take_over(self, snapshot: Snapshot, around: Path) -> None:
        """Use a folder's files if unchanged since they were prepared, without those not in the snapshot."""
        name, manifest = list_of(around), read_json(around / MANIFEST, {})
        folders = look_over(around / PROJECT, manifest)
        (around / LIST).unlink()
        (around / MANIFEST).unlink()
        if folders is None or name not in (snapshot.name, snapshot.base):
            return
        wanted, there = set(snapshot.files), set(snapshot.files if name == snapshot.name else snapshot.before)
        for file in there - wanted:
            (around / PROJECT / file.path).unlink()
            del manifest[file.path]
        if there != wanted:
            for folder in sorted(folders - folders_of(snapshot.files), reverse=True):
                (around / PROJECT / folder).rmdir()
        self.manifest, self.pending = manifest, sorted(wanted - there, key=path_of)


def look_over(project: Path, manifest: dict[str, Any]) -> set[str] | None:
    """Return the folders below a prepared snapshot; None unless it is exactly as it was written."""
    found, folders, waiting = 0, set(), [""]
    while waiting:
        above = waiting.pop()
        with os.scandir(f"{project}/{above}") as entries:
            for entry in entries:
                name = above + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.add(name)
                    waiting.append(f"{name}/")
                elif is_as_written(entry, manifest.get(name, {})):
                    found += 1
                else:
                    return None
    return folders if found == len(manifest) else None


def is_as_written(entry: os.DirEntry[str], about: dict[str, Any]) -> bool:
    """Return whether a file or link is the one that was recorded."""
    if entry.is_symlink():
        return os.readlink(entry.path) == about.get("link")
    return stamp_of(entry.stat(follow_symlinks=False)) == about.get("stamp")


def folders_of(files: list[File]) -> set[str]:
    """Return the folders around files."""
    found: set[str] = set()
    for parent in {file.path.rpartition("/")[0] for file in files}:
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def announce() -> int:
    """Keep preparations from running until the descriptor is closed."""
    FOLDER.mkdir(parents=True, mode=0o700, exist_ok=True)
    descriptor = os.open(WAITING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_awaited() -> bool:
    """Return whether a submission is in progress."""
    alone = take_lock(WAITING)
    if alone is None:
        return True
    os.close(alone)
    return False


def prepare(name: str, around: Path) -> None:
    """Prepare a list's snapshot as the next; stop for a submission, or if space runs short."""
    text = read_list(name)
    files = [File(*words) for words in json.loads(text)] if text else []
    if len(files) < FEW_FILES or list_of(NEXT) == name:
        return
    trees.remove(NEXT)
    room = find_room()
    if sum(file.size_bytes for file in files) * SHARE > room.size_bytes or len(files) * SHARE > room.files:
        return
    store, manifest = Store(), {}
    try:
        (around / PROJECT).mkdir(parents=True)
        for file in files:
            if is_awaited() or file.sha256 not in {"", *store.index}:
                return
            manifest[file.path] = lay_out(store, file, around / PROJECT / file.path)
        write_json(around / MANIFEST, manifest)
        write_json(around / LIST, name)
        around.rename(NEXT)
    finally:
        store.close()
        trees.remove(around)
