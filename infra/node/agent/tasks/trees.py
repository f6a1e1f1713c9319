"""The working tree of a task: a copy, of which only what the task wrote is kept at its end.

An array's tree, with what was installed into it, is work/NUMBER/project; a task's is work/NUMBER/tasks/INDEX, and its log, once
it has ended, work/NUMBER/tasks/INDEX.log. A listing of the array's outputs is one of work/NUMBER/tasks.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import shutil
import stat
from pathlib import Path
from typing import Any, Container, Iterator

from .. import trees
from ..book.tasks import is_array
from ..caches import BYTE_CODE
from ..records import parent_of, work_of
from ..trees import stamp_of

FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file, copy on write


def tasks_of(folder: Path) -> Path:
    """Return the folder around the working trees of an array's tasks."""
    return parent_of(folder) / "tasks"


def outputs_of(folder: Path) -> Path:
    """Return the folder that a job's outputs are in: its working tree, or that around those of its tasks."""
    return tasks_of(folder) if is_array(folder) else work_of(folder)


def lay_out(source: Path, tree: Path) -> dict[str, Any]:
    """Copy an array's working tree for a task; return what identifies each file until it is written to."""
    found: dict[str, Any] = {}
    sharing = True
    for parent, folders, files in trees.walk(source):
        below = os.path.relpath(parent, source)
        target = tree / below
        target.mkdir(exist_ok=True, parents=True)
        for name in (*files, *(each for each in folders if os.path.islink(f"{parent}/{each}"))):  # noqa: PTH114
            path = f"{target}/{name}"
            sharing = copy(f"{parent}/{name}", path, sharing=sharing)
            found[os.path.normpath(f"{below}/{name}")] = stamp_of(os.lstat(path))
    return found


def copy(source: str, target: str, *, sharing: bool) -> bool:
    """Copy a file or a link, sharing blocks if possible; return whether to try that again."""
    if os.path.islink(source):  # noqa: PTH114
        with contextlib.suppress(FileExistsError):
            os.symlink(os.readlink(source), target)  # noqa: PTH211
        return sharing
    with open(source, "rb") as read, open(target, "wb") as written:  # noqa: PTH123
        if sharing:
            try:
                fcntl.ioctl(written, FICLONE, read.fileno())
            except OSError:
                sharing = False
        if not sharing:
            shutil.copyfileobj(read, written, 1 << 20)
    shutil.copystat(source, target)
    return sharing


def reduce(source: Path, tree: Path, sent: dict[str, Any], mounted: Container[str] = ()) -> None:
    """Remove from a task's tree what it has not written, except what is mounted there.

    Where `sent` does not tell, contents are compared.
    """
    for parent, name in list(list_files(tree, mounted)):
        path, original = f"{parent}/{name}", f"{source}/{os.path.relpath(parent, tree)}/{name}"
        with contextlib.suppress(OSError):
            info = os.lstat(path)
            known = sent.get(os.path.normpath(os.path.relpath(path, tree)))
            if known == stamp_of(info) or parent.endswith(f"/{BYTE_CODE}") or is_same(original, path):
                Path(path).unlink()
    for parent in reversed(list(list_folders(tree, mounted))):
        with contextlib.suppress(OSError):
            Path(parent).rmdir()


def list_folders(tree: Path, mounted: Container[str]) -> Iterator[str]:
    """Yield each folder in a tree, and the tree itself, except what is mounted there."""
    for parent, folders, _ in trees.walk(tree):
        folders[:] = [name for name in folders if os.path.relpath(f"{parent}/{name}", tree) not in mounted]
        yield parent


def list_files(tree: Path, mounted: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield the folder and name of each file and link in a tree, except what is mounted there."""
    for parent, folders, files in trees.walk(tree):
        folders[:] = [name for name in folders if os.path.relpath(f"{parent}/{name}", tree) not in mounted]
        files = [name for name in files if os.path.relpath(f"{parent}/{name}", tree) not in mounted]
        for name in (*files, *(each for each in folders if os.path.islink(f"{parent}/{each}"))):  # noqa: PTH114
            yield parent, name


def is_copy(source: str, path: str) -> bool:
    """Return whether a file or link of a task's tree is as laid out, by size and modification time."""
    try:
        before, now = os.lstat(source), os.lstat(path)
        if stat.S_ISLNK(before.st_mode) or stat.S_ISLNK(now.st_mode):
            return os.readlink(source) == os.readlink(path)
    except OSError:
        return False
    return (before.st_size, before.st_mtime_ns) == (now.st_size, now.st_mtime_ns)


def is_same(one: str, other: str) -> bool:
    """Return whether two paths are links to the same target, or files with the same content."""
    links = [os.path.islink(each) for each in (one, other)]  # noqa: PTH114
    if any(links):
        return all(links) and os.readlink(one) == os.readlink(other)
    return os.path.isfile(one) and os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)  # noqa: PTH113


def keep_log(folder: Path, index: int) -> None:
    """Place the log of a task that has ended next to its tree, as an output."""
    place = tasks_of(folder) / f"{index}.log"
    with contextlib.suppress(OSError):
        place.unlink()
    with contextlib.suppress(OSError):
        os.link(folder / "tasks" / str(index) / "log", place)
