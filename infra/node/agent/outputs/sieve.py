"""Leave out files that are not downloaded unless requested: caches and excluded paths."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterable, Iterator, Mapping

from .. import trees
from ..caches import BYTE_CODE, CACHES, DATASETS, is_cache, is_environment, is_excluded, with_parents
from ..trees import stamp_of


class Sieve:
    """A filter for the paths below a folder; uploaded and requested files always pass."""

    def __init__(self, sent: Iterable[str], asked: Iterable[str], excluded: Iterable[str]) -> None:
        """Filter by the names that were `sent`, the paths `asked` for and the `excluded` patterns."""
        self.asked = tuple(asked)
        self.kept = {above for name in (*sent, *self.asked) for above in with_parents(name)}
        self.excluded = tuple(excluded)
        self.held: dict[str, str] = {}
        """Each cache found: path by name."""
        self.dropped: dict[str, str] = {}
        """The same for excluded paths."""

    def leaves_out(self, name: str, path: str, is_folder: bool) -> bool:
        """Return whether a file, or a folder with everything in it, is left out."""
        if self.excluded and is_excluded(name, self.excluded):
            self.dropped[name] = path
            return True
        if name in self.kept or any(name.startswith(f"{asked}/") for asked in self.asked):
            return False
        if name.rpartition("/")[2] == BYTE_CODE:
            return True
        if is_cache(name, (*CACHES, *DATASETS)) or (is_folder and is_environment(path)):
            self.held[name] = path
            return True
        return False

    def weigh(self) -> list[dict[str, Any]]:
        """Return each cache that was left out, with its number of files and bytes."""
        return [weigh(name, path, {}) for name, path in self.held.items()]

    def weigh_dropped(self, stamps: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what was excluded, except files unchanged since the upload (`stamps`)."""
        found = [weigh(name, path, stamps) for name, path in self.dropped.items()]
        return [each for each in found if each["files"]]


def weigh(name: str, path: str, stamps: Mapping[str, Any]) -> dict[str, Any]:
    """Count the files and bytes at a path and below."""
    found = [(f"{name}{inner}", info) for inner, info in files_below(path)]
    sizes = [info.st_size for file, info in found if stamps.get(file) != stamp_of(info)]
    return {"path": name, "files": len(sizes), "size_bytes": sum(sizes)}


def files_below(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the status of a file, or of each file below a folder, with the rest of its path."""
    is_folder = os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114
    for parent, _, files in trees.walk(path) if is_folder else [(path, [], [""])]:
        for name in files:
            whole = f"{parent}/{name}" if is_folder else path
            with contextlib.suppress(OSError):
                yield whole[len(path) :], os.lstat(whole)
