"""Lists of a snapshot's files, each sent as a difference to the last, which the node keeps.

A list is identified by the SHA-256 of its text, a JSON array with an array for each file, in the order of the paths.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any, NamedTuple

from ..records import AgentError
from .inside import File, check_paths
from .store import FOLDER

LISTS = FOLDER / "lists"
MOST_LISTS = 8


class Snapshot(NamedTuple):
    """The files of a snapshot, and the similar list that they are based on; "" without one."""

    name: str
    files: list[File]
    base: str
    before: list[File]
    """The files of the base."""


def read_snapshot(asked: dict[str, Any]) -> Snapshot:
    """Return the requested snapshot; raises AgentError if its list is not the one that was announced."""
    base, name, changed = asked["base"], asked["list"], [File(*words) for words in asked["files"]]
    before = [File(*words) for words in json.loads(read_list(base) or "[]")] if base else []
    if name == base:
        return Snapshot(name, before, base, before)
    by_path = {file.path: file for file in before}
    for path in asked["removed"]:
        by_path.pop(path, None)
    by_path.update((file.path, file) for file in changed)
    files = [by_path[path] for path in sorted(by_path)]
    text = json.dumps(files)
    if hash_of(text) != name:
        raise AgentError("the list of files does not match its hash; rerun the command")
    check_paths(files, asked)
    write_list(name, text)
    return Snapshot(name, files, base, before)


def hash_of(text: str) -> str:
    """Return the SHA-256 that identifies a list."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_list(name: str) -> str | None:
    """Return a list's text, checked against its name; None if it is missing or damaged."""
    path = LISTS / name
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text("ascii")
        if hash_of(text) == name:
            os.utime(path)  # the least recently used go first
            return text
    return None


def write_list(name: str, text: str) -> None:
    """Keep a list for later; a full disk only costs this."""
    temporary = LISTS / f"{name}.{os.getpid()}"
    try:
        LISTS.mkdir(parents=True, mode=0o700, exist_ok=True)
        temporary.write_text(text, "ascii")
        temporary.replace(LISTS / name)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_old_lists() -> None:
    """Remove all but the most recently used lists."""
    with contextlib.suppress(FileNotFoundError):
        paths = sorted(LISTS.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in paths[:-MOST_LISTS]:
            path.unlink()
