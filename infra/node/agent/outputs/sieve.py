"""What of a job's files is not downloaded unless it is asked for: caches, of which count is kept, and what was excluded."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterable, Iterator, Mapping

from .. import trees
from ..caches import CACHES, DATASETS, is_cache, is_environment, is_excluded, with_parents
from .hashing import stamp_of


class Sieve:
    """Tells which paths below a folder are left out; what the project itself holds, and what was asked for, never is."""

    def __init__(self, sent: Iterable[str], asked: Iterable[str], excluded: Iterable[str]) -> None:
        """Begin with the names that were `sent`, the paths that were `asked` for and the patterns that were `excluded`."""
        self.asked = tuple(asked)
        self.kept = {above for name in (*sent, *self.asked) for above in with_parents(name)}
        self.excluded = tuple(excluded)
        self.held: dict[str, str] = {}
        """Each cache that was met: its path by its name."""
        self.dropped: dict[str, str] = {}
        """The same of what was excluded."""

    def leaves_out(self, name: str, path: str, is_folder: bool) -> bool:
        """Tell whether a file or a folder is left out, with all that lies in it."""
        if self.excluded and is_excluded(name, self.excluded):
            self.dropped[name] = path
            return True
        if name in self.kept or any(name.startswith(f"{asked}/") for asked in self.asked):
            return False
        if is_cache(name, (*CACHES, *DATASETS)) or (is_folder and is_environment(path)):
            self.held[name] = path
            return True
        return False

    def weigh(self) -> list[dict[str, Any]]:
        """Return each cache that was left out, with its number of files and bytes."""
        return [weigh(name, path, {}) for name, path in self.held.items()]

    def weigh_dropped(self, stamps: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what was excluded, but for files that have the `stamps` with which they were sent."""
        found = [weigh(name, path, stamps) for name, path in self.dropped.items()]
        return [each for each in found if each["files"]]


def weigh(name: str, path: str, stamps: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many files, and bytes, there are at a path and below."""
    found = [(f"{name}{inner}", info) for inner, info in files_below(path)]
    sizes = [info.st_size for file, info in found if stamps.get(file) != stamp_of(info)]
    return {"path": name, "files": len(sizes), "size_bytes": sum(sizes)}


def files_below(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what a file, or each file below a folder, is, with what its name has beyond the path."""
    is_folder = os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114
    for parent, _, files in trees.walk(path) if is_folder else [(path, [], [""])]:
        for name in files:
            whole = f"{parent}/{name}" if is_folder else path
            with contextlib.suppress(OSError):
                yield whole[len(path) :], os.lstat(whole)
