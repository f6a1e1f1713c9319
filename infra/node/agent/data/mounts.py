"""Show data sets to a job in its working tree: as read-only mounts if root, otherwise as links.

The mounts are made in a namespace of the job's own, so they end with its last process, however that ends, and the agent,
outside of it, sees empty places: it can never remove or download a data set.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from .. import trees
from ..records import AgentError
from .store import find_changed, find_record, tree_of

# sched.h, sys/mount.h
CLONE_NEWNS, MS_RDONLY, MS_NOSUID, MS_NODEV = 0x20000, 0x1, 0x2, 0x4
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
EMPTY = hashlib.sha256(b"").hexdigest()
TAIL_BYTES = 1 << 14
REFUSALS = ("Read-only file system", "Permission denied")


class Mount(NamedTuple):
    """A stored set, and where a job sees it."""

    source: Path
    target: Path


def place(work: Path, versions: Mapping[str, str]) -> tuple[tuple[Mount, ...], dict[str, Any]]:
    """Prepare the paths of sets in a working tree; return what to mount, and what to add to its manifest.

    Raises AgentError for a set that is missing or was changed.
    """
    mounts, manifest = [], {}
    mounting = bool(versions) and can_mount()
    for path, version in versions.items():
        source, target = check(path, version), work / path
        trees.make(target.parent)
        if target.is_symlink() or target.is_file():
            target.unlink()
        trees.remove(target)
        if not mounting:
            target.symlink_to(source)
            manifest[path] = {"link": str(source)}
        elif source.is_dir():
            target.mkdir()
        else:
            target.touch()
            manifest[path] = {"sha256": EMPTY}
        if mounting:
            mounts.append(Mount(source, target))
    return tuple(mounts), manifest


def check(path: str, version: str) -> Path:
    """Return the path of a stored set; raises AgentError if it is missing or was changed."""
    found = find_record(version)
    if found is None:
        raise AgentError(f"the data set {path} is no longer on the machine; rerun the command to send it again")
    changed = find_changed(*found)
    if changed:
        names = ", ".join(name or path for name in changed[:3]) + (", ..." if len(changed) > 3 else "")
        raise AgentError(f"the data set {path} was changed on the machine ({names}); send it again: gpujob data push")
    return tree_of(found[0], version)


def can_mount() -> bool:
    """Return whether this process may have mounts of its own: root may, except in some containers."""
    if os.geteuid() != 0:
        return False
    child = os.fork()
    if child == 0:
        try:
            enter_namespace()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def mount_all(mounts: tuple[Mount, ...]) -> None:
    """Mount sets read-only, for this process and those that it starts; raises OSError."""
    if not mounts:
        return
    enter_namespace()
    for source, target in mounts:
        mount(source, target, MS_BIND)
        mount(source, target, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def enter_namespace() -> None:
    """Enter a mount namespace that propagates nothing to others; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount(Path("none"), Path("/"), MS_REC | MS_PRIVATE)


def mount(source: Path, target: Path, flags: int) -> None:
    """Make the system call; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def explain_refusal(log: Path, paths: list[str]) -> str:
    """Return an explanation if a log ends with an attempt to write to a data set; "" otherwise."""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - TAIL_BYTES, 0))
        lines = file.read().decode(errors="replace").splitlines()
    for line in lines:
        if any(refusal in line for refusal in REFUSALS):
            path = next((path for path in paths if path.rpartition("/")[2] in line), None)
            if path:
                return f"{path} is a data set of [data] in gpujob.toml, which jobs cannot change; write elsewhere, e.g. outputs/"
    return ""
