"""What of a job's files is not downloaded unless it is asked for: caches, of which count is kept, and what was excluded."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterable, Iterator

from . import trees
from .caches import CACHES, DATASETS, is_cache, is_environment, is_excluded, with_parents


class Sieve:
    """Tells which paths below a folder are left out; what the project itself holds, and what was asked for, never is."""

    def __init__(self, sent: Iterable[str], asked: Iterable[str], excluded: Iterable[str]) -> None:
        """Begin with the names that were `sent`, the paths that were `asked` for and the patterns that were `excluded`."""
        self.asked = tuple(asked)
        self.kept = {above for name in (*sent, *self.asked) for above in with_parents(name)}
        self.excluded = tuple(excluded)
        self.held: dict[str, str] = {}
        """Each cache that was met: its path by its name."""

    def leaves_out(self, name: str, path: str, is_folder: bool) -> bool:
        """Tell whether a file or a folder is left out, with all that lies in it."""
        if self.excluded and is_excluded(name, self.excluded):
            return True
        if name in self.kept or any(name.startswith(f"{asked}/") for asked in self.asked):
            return False
        if is_cache(name, (*CACHES, *DATASETS)) or (is_folder and is_environment(path)):
            self.held[name] = path
            return True
        return False

    def weigh(self) -> list[dict[str, Any]]:
        """Return each cache that was left out, with its number of files and bytes."""
        found = []
        for name, path in self.held.items():
            sizes = list(sizes_below(path))
            found.append({"path": name, "files": len(sizes), "size_bytes": sum(sizes)})
        return found


def sizes_below(path: str) -> Iterator[int]:
    """Yield the size of a file, or of each file below a folder."""
    if not os.path.isdir(path) or os.path.islink(path):  # noqa: PTH112, PTH114
        with contextlib.suppress(OSError):
            yield os.lstat(path).st_size
        return
    for parent, _, files in trees.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                yield os.lstat(f"{parent}/{name}").st_size
