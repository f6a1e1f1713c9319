"""Handle folders of any depth: recursive functions fail at about a thousand levels.

os.walk is recursive before Python 3.12 (https://docs.python.org/3.12/whatsnew/3.12.html), rmtree and makedirs still are.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import subprocess
from pathlib import Path
from typing import Callable, Iterator


def walk(
    top: str | os.PathLike[str], complain: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder at `top` and below, with its entries, like os.walk; links are not followed.

    `complain` gets the error of each folder that cannot be read.
    """
    waiting = [os.fspath(top)]
    while waiting:
        parent = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    (folders if is_folder(entry) else files).append(entry.name)
        except OSError as error:
            if complain:
                complain(error)
            continue
        yield parent, folders, files
        below = (f"{parent}/{name}" for name in reversed(folders))
        waiting += [path for path in below if not os.path.islink(path)]  # noqa: PTH114


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def make(folder: Path) -> None:
    """Create a folder and its missing parents."""
    missing = itertools.takewhile(lambda path: not path.is_dir(), (folder, *folder.parents))
    for path in reversed([*missing]):
        path.mkdir(exist_ok=True)


def stamp_of(info: os.stat_result) -> list[int]:
    """Return what changes with every write to a file; programs cannot set the change time back."""
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def lay_over(source: Path, target: Path) -> None:
    """Move all files and links below a folder to the same places below another, replacing others."""
    for parent, folders, files in walk(source):
        place = target / os.path.relpath(parent, source)
        if place.is_symlink() or not place.is_dir():
            remove(place)
            make(place)
        links = [name for name in folders if os.path.islink(f"{parent}/{name}")]  # noqa: PTH114
        for name in [*files, *links]:
            if not (place / name).is_symlink() and (place / name).is_dir():
                remove(place / name)
            Path(parent, name).replace(place / name)


def open_up(folder: Path) -> None:
    """Give the owner all rights to a folder, unless it is a link, not owned, or its path is too long."""
    with contextlib.suppress(OSError):
        info = folder.lstat()
        if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid():
            folder.chmod(stat.S_IRWXU)


def remove(folder: Path) -> None:
    """Remove a folder and everything in it, regardless of modes, as far as permitted."""
    if not os.path.lexists(folder):
        return  # without starting a process
    open_up(folder)
    for parent, folders, _ in () if folder.is_symlink() else walk(folder):
        for name in folders:
            open_up(Path(parent, name))
    subprocess.run(["rm", "-rf", "--", str(folder)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
