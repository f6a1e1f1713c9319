"""The list of a project's files, sent as a difference to the previous one.

A node that does not have that one asks for the whole list. `infra/node/agent/snapshot/lists.py` reads it.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from infra.project.files import File
from infra.project.hashes import prune

Entry = list[Any]
MOST_BYTES = 50_000_000  # of all projects' lists


@dataclass(frozen=True)
class FileList:
    """The list of a project's files, and where the last one that was sent is kept."""

    entries: tuple[Entry, ...]
    place: Path

    @cached_property
    def text(self) -> str:
        """The list as JSON."""
        return json.dumps(self.entries)

    @cached_property
    def last(self) -> tuple[str, dict[str, Entry]]:
        """The text of the list that was sent last, and its entries by path."""
        return read_last(self.place)

    @cached_property
    def whole(self) -> dict[str, Any]:
        """The fields of a request that contain all of the list."""
        return {"list": hash_of(self.text), "base": "", "removed": [], "files": self.entries}

    @cached_property
    def changes(self) -> dict[str, Any]:
        """The fields of a request that contain the difference to the last list; all of it without one."""
        text, last = self.last
        if not last:
            return self.whole
        now = {entry[0]: entry for entry in self.entries}
        return {
            "list": self.whole["list"],
            "base": hash_of(text),
            "removed": [path for path in last if path not in now],
            "files": [entry for path, entry in now.items() if last.get(path) != entry],
        }

    def remember(self) -> None:
        """Keep the list for the next request; a failure, such as a full disk, is ignored."""
        part = self.place.with_name(f"{self.place.name}.{os.getpid()}")
        try:
            if self.last[0] != self.text:
                self.place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.write_text(self.text)
                part.replace(self.place)
                prune(self.place.parent, MOST_BYTES)
        except OSError:
            part.unlink(missing_ok=True)


def list_files(root: Path, files: Sequence[File]) -> FileList:
    """Return the list of a project's files, in the order of their paths."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    rows = ([file.path, file.sha256, file.size_bytes, file.mode, file.mtime_ns, file.link] for file in files)
    entries = tuple(sorted(rows, key=lambda row: str(row[0])))
    return FileList(entries, user_cache_path("gpujob") / "lists" / f"{name}.json")


def read_last(place: Path) -> tuple[str, dict[str, Entry]]:
    """Return the text of the last list and its entries by path; empty if it is missing or damaged."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        text = place.read_text()
        return text, {entry[0]: entry for entry in json.loads(text)}
    return "", {}


def hash_of(text: str) -> str:
    """Return the SHA-256 that identifies a list."""
    return hashlib.sha256(text.encode()).hexdigest()
