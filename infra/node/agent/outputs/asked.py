"""Resolve requested paths outside a job's working tree, and refuse private ones.

Their names start with the root they are below: parent/... (next to the working tree), home/... (the user's home) or root/...
(anywhere else). Links are followed within the requested path, never below it.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
from pathlib import Path
from typing import Iterable, NamedTuple

from ..data.store import list_roots
from ..records import AgentError, parent_of, read_json, work_of, write_json
from ..tasks.trees import outputs_of

MOST = 1000  # paths that one pattern may match
SOMEWHERE = Path("/nowhere/at/all/in/a/folder/that/lies/deep")
WILD = "*?["
# Kernel file systems, and credentials, which must not be downloaded along with a home folder.
CLOSED = ("/proc", "/sys", "/dev")
PRIVATE = (".ssh", ".gnupg", ".aws", ".kaggle", ".netrc", ".git-credentials", ".gpujob")


class Found(NamedTuple):
    """A path that may be downloaded, and the root folder that its name is relative to."""

    root: Path
    base: str
    """Which root: "parent", "home", "root", or "" for the working tree."""
    path: Path

    @property
    def name(self) -> str:
        """The path relative to its root."""
        return os.path.relpath(self.path, self.root)

    def name_of(self, path: Path) -> str:
        """Return the name of a path below the root, prefixed with the root's kind."""
        name = os.path.relpath(path, self.root)
        return f"{self.base}/{name}" if self.base else name


def check_asked(paths: Iterable[str]) -> None:
    """Raise AgentError for a path that must not be requested, whether or not it exists."""
    for path in paths:
        if not path.strip("/") or "\0" in path or (path.startswith("~") and path[1:2] not in ("", "/")):
            raise AgentError(f"cannot download {path!r}: invalid path")
        if not is_open(Path(os.path.normpath(expand(path, SOMEWHERE)))):
            raise AgentError(f"cannot download {path!r}: it is private to the machine")


def asked_of(folder: Path, more: Iterable[str] = ()) -> list[str]:
    """Return the paths requested so far; remember the new ones in `more`, which must be fetched too."""
    before = [*read_json(folder / "job.json", {}).get("outputs", []), *read_json(folder / "asked.json", [])]
    new = [path for path in more if path not in before]
    if new:
        check_asked(new)
        write_json(folder / "asked.json", [*read_json(folder / "asked.json", []), *new])
        with contextlib.suppress(FileNotFoundError):
            (folder / "fetched").unlink()
    return [*before, *new]


def find_asked(folder: Path, paths: Iterable[str]) -> tuple[list[Found], list[str]]:
    """Return the requested paths that exist, and those that match nothing."""
    found: list[Found] = []
    missing = []
    for path in paths:
        whole = str(expand(path, workdir_of(folder)))
        # A name may contain pattern characters: `ckpt[1].pt`.
        patterns = itertools.islice(glob.iglob(whole), MOST) if set(path) & set(WILD) else ()  # noqa: PTH207
        names = dict.fromkeys((whole, *patterns))
        real = [Path(os.path.realpath(name)) for name in names if os.path.lexists(name)]
        allowed = [place(each, folder) for each in real if is_open(each, parent_of(folder))]
        found += [each for each in allowed if each not in found]
        if not allowed:
            missing.append(path)
    return found, missing


def expand(path: str, workdir: Path) -> Path:
    """Return an absolute path: `~` is the home folder, others are relative to the job's working folder."""
    return Path.home() / path[2:] if path == "~" or path.startswith("~/") else workdir / path


def workdir_of(folder: Path) -> Path:
    """Return the folder a job ran in."""
    return work_of(folder) / str(read_json(folder / "job.json", {}).get("workdir", "."))


def is_open(path: Path, own: Path = SOMEWHERE) -> bool:
    """Return whether a path may be downloaded; `own` is the one agent folder that may."""
    text = str(path)
    if is_below(text, os.path.realpath(own)):
        return True
    return text != "/" and not any(is_below(text, each) for each in closed_paths())


def closed_paths() -> list[str]:
    """Return the paths that are never downloaded, nor anything below them."""
    home = os.path.realpath(Path.home())
    return [*CLOSED, *(f"{home}/{name}" for name in PRIVATE), *map(os.path.realpath, list_roots())]


def is_below(path: str, folder: str) -> bool:
    """Return whether a path is a folder or inside it."""
    return path == folder or path.startswith(f"{folder}/")


def place(path: Path, folder: Path) -> Found:
    """Return the innermost root that contains a path."""
    return next(
        Found(root, base, path) for base, root in roots_of(folder) if is_below(str(path), str(root).rstrip("/"))
    )


def roots_of(folder: Path) -> list[tuple[str, Path]]:
    """Return the root folders, innermost first, each with its kind."""
    roots = [("", outputs_of(folder)), ("parent", parent_of(folder)), ("home", Path.home()), ("root", Path("/"))]
    return [(base, Path(os.path.realpath(root))) for base, root in roots]


def show(path: str, folder: Path) -> str:
    """Return a path as a user would write it."""
    parent, home = (os.path.realpath(each) for each in (parent_of(folder), Path.home()))
    if is_below(path, parent):
        below = os.path.relpath(path, os.path.realpath(workdir_of(folder)))
        return f"./{below}" if below.startswith("~") else below
    return f"~{path[len(home) :]}" if is_below(path, home) else path
