"""The stored data sets.

Below each root folder:

    files/SHA256         each content once; hard-linked into every tree that has it, so that versions share it
    trees/VERSION/set    the files of one version of a set, or the one file that it consists of
    trees/VERSION.json   its record, written when it is complete
    parts/NAME/          the parts of an incomplete set that have arrived, so that an interrupted transfer continues
    parts/NAME.lock      held while that set arrives
    lock                 held while contents get or lose their place

Nothing here is writable, but that stops neither root nor the owner. So a record has the size and time of each file, and a
set that differs from them is not used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import time
from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple

from .. import trees
from ..records import HOME, AgentError, read_json, write_json

# The playbook's scratch disk, and the instance store of AWS's Deep Learning AMIs: faster than the root disk.
FAST = ("/scratch", "/opt/dlami/nvme")
FOLDER = "gpujob-data"
VERSION = re.compile("[0-9a-f]{64}")
ARRIVED = ".whole"  # the suffix of a content that has arrived completely
ITSELF = ""  # the path of the only file of a set that is a file


class File(NamedTuple):
    """A file or link of a set."""

    path: str
    sha256: str
    size_bytes: int
    executable: bool
    mtime_ns: int
    link: str | None


def version_of(files: Iterable[File]) -> str:
    """Return the identity of a set: the SHA-256 of its paths and contents."""
    lines = sorted(json.dumps([each.path, each.sha256, each.executable, each.link]) for each in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def list_roots() -> list[Path]:
    """Return the folders that may have data sets; new ones are stored in the first."""
    own = HOME / "data"
    if "GPUJOB_LOCAL_HOST" in os.environ:  # the disk is the laptop's
        return [own]
    return [*(Path(disk, FOLDER) for disk in FAST if os.access(disk, os.W_OK)), own]


def tree_of(root: Path, version: str) -> Path:
    """Return the folder, or the file, of a version."""
    return root / "trees" / version / "set"


def find_record(version: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the root folder and the record of a stored version, or None."""
    for root in list_roots() if VERSION.fullmatch(version) else ():
        record = read_json(root / "trees" / f"{version}.json")
        if record:
            return root, record
    return None


def list_records() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each stored version with its root folder."""
    for root in list_roots():
        for path in sorted((root / "trees").glob("*.json")):
            record = read_json(path)
            if record:
                yield root, record


def find_changed(root: Path, record: dict[str, Any]) -> list[str]:
    """Return the files of a version that were changed or added after it was stored."""
    found = dict(read_stamps(tree_of(root, record["version"])))
    stamps = record["stamps"]
    return sorted(name for name in {*found, *stamps} if found.get(name) != stamps.get(name))


def read_stamps(tree: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield each file and link of a tree with its size and time."""
    if not tree.is_dir():
        with contextlib.suppress(FileNotFoundError):
            yield ITSELF, stamp_of(tree.lstat())
        return
    for parent, folders, files in trees.walk(tree):
        inner = parent[len(str(tree)) + 1 :]
        links = [name for name in folders if os.path.islink(f"{parent}/{name}")]  # noqa: PTH114  called for every folder
        for name in files + links:
            yield f"{inner}/{name}".lstrip("/"), stamp_of(os.lstat(f"{parent}/{name}"))


def stamp_of(info: os.stat_result) -> list[int]:
    """Return the stamp by which a file is compared; a link's own time says nothing about its target."""
    return [info.st_size, 0 if stat.S_ISLNK(info.st_mode) else info.st_mtime_ns]


def content_of(root: Path, sha256: str) -> Path:
    """Return the path of a stored content."""
    return root / "files" / sha256[:2] / sha256


def lay_out(root: Path, version: str, files: list[File]) -> None:
    """Create the tree of a version from contents that are stored."""
    tree = tree_of(root, version)
    trees.remove(tree.parent)
    trees.make(tree.parent if files and files[0].path == ITSELF else tree)
    made = {tree}
    for file in files:
        path = tree / file.path if file.path else tree
        if path.parent not in made and path != tree:
            trees.make(path.parent)
            made.add(path.parent)
        if file.link is not None:
            path.symlink_to(file.link)
        else:
            link_content(content_of(root, file.sha256), path, file)
    for folder in sorted(made, reverse=True) if tree.is_dir() else ():
        folder.chmod(0o555)
    for parent, folders, _ in trees.walk(tree):  # folders that contain only folders
        for name in folders:
            if not os.path.islink(f"{parent}/{name}"):  # noqa: PTH114
                os.chmod(f"{parent}/{name}", 0o555)  # noqa: PTH101, S103


def link_content(content: Path, path: Path, file: File) -> None:
    """Hard-link a stored content; copy it once the file system's limit of links is reached."""
    try:
        os.link(content, path)
    except FileNotFoundError as error:
        raise AgentError("a data set that shares files with this one was just removed; rerun the command") from error
    except OSError:
        shutil.copy2(content, path)
    if file.executable:  # of all files with this content, which share one mode
        path.chmod(0o555)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other processes from moving or removing contents."""
    trees.make(root)
    with (root / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def complete(root: Path, parts: Path, files: list[File], facts: dict[str, Any]) -> dict[str, Any]:
    """Store a set whose missing contents are all in `parts`, named by their hashes; return its record."""
    version = version_of(files)
    with locked(root):
        for file in files:
            part = parts / f"{file.sha256}{ARRIVED}"
            if file.sha256 and part.exists():
                os.utime(part, ns=(file.mtime_ns, file.mtime_ns))
                part.chmod(0o444)
                trees.make(content_of(root, file.sha256).parent)
                part.replace(content_of(root, file.sha256))
        lay_out(root, version, files)
        os.sync()  # a record must not outlive the contents it lists
        record = {
            "version": version,
            "stamps": dict(read_stamps(tree_of(root, version))),
            "files": len(files),
            "size_bytes": sum(each.size_bytes for each in files),
            "stored_at": time.time(),
            **facts,
        }
        write_json(root / "trees" / f"{version}.json", record)
    trees.remove(parts)
    return record


def forget_changed(root: Path, record: dict[str, Any], changed: Iterable[str], files: Iterable[File]) -> None:
    """Remove changed contents, wherever they are linked, and the record of the version that has them."""
    (root / "trees" / f"{record['version']}.json").unlink()
    names = set(changed)
    for file in files:
        if file.path in names and file.sha256:
            with contextlib.suppress(FileNotFoundError):
                content_of(root, file.sha256).unlink()
