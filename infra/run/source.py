"""The code of a job: a commit, a patch to it, and a record of what is not in the patch.

The uploaded files are compared with the commit, independent of git's index.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import ProjectError
from infra.git.commit import EXECUTABLE, LINK, Commit, open_commit
from infra.git.index import Entry
from infra.git.listing import SUBMODULE
from infra.git.pointers import POINTER_BYTES, read_pointer
from infra.git.repository import open_repository
from infra.project.files import File, Project
from infra.project.hashes import Hashes, read_beginning
from infra.project.secretfiles import is_secret
from infra.results.folder import CHANGES, UNPATCHED

# A patch is for reading and applying; a model or a data set is identified by its hash instead.
FILE_BYTES = 1 << 20
PATCH_BYTES = 4_000_000  # of contents; in base 85 they take up to 5 MB
PATCH_FILES = 1000
LARGE, FILTERED, CHANGING = "large", "filtered by a program", "changed during the upload"
PRIVATE, UNKNOWN = "may contain secrets", "could not be compared"


@dataclass(frozen=True)
class Part:
    """One repository of a project compared with its commit."""

    folder: str
    """Its path in the project; "" for the project's own."""
    commit: str = ""
    patch: bytes = b""
    unpatched: Mapping[str, str] = field(default_factory=dict)
    """Files that differ from the commit, and why they are not in the patch."""
    absent: tuple[str, ...] = ()
    """Files of the commit that exist in the folder but are not uploaded."""
    submodules: Mapping[str, str] = field(default_factory=dict)
    """The expected commit of each submodule."""


@dataclass(frozen=True)
class Source:
    """The code of a job."""

    commit: str = ""
    patch: bytes = b""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Differences from the commit that are not in the patch."""

    @property
    def facts(self) -> dict[str, str | bool]:
        """What the receipt says about it; nothing without a commit."""
        if not self.commit:
            return {}
        return {
            "commit": self.commit,
            "changed": bool(self.patch or self.record),
            "changes_sha256": hash_of(self.patch) if self.patch else "",
            "record_sha256": hash_of(self.record_text) if self.record else "",
        }

    @property
    def record_text(self) -> bytes:
        """The record as its file contains it; empty if there is nothing to record."""
        return (json.dumps(self.record, indent=2) + "\n").encode() if self.record else b""

    @property
    def records(self) -> dict[str, bytes]:
        """The files stored with a job's results by name, without empty ones."""
        files = {CHANGES: self.patch, UNPATCHED: self.record_text}
        return {name: content for name, content in files.items() if content}


def read_source(project: Project) -> Source:
    """Return the code of a project; empty outside a repository, or before its first commit."""
    if "" not in project.repositories:
        return Source()
    parts = {folder: compare(project, folder) for folder in project.repositories}
    own = parts.pop("")
    if not own.commit:
        return Source()
    patch = b"".join(part.patch for part in (own, *parts.values()))
    files = {file.path: file for file in project.files}
    unpatched = {path: reason for part in (own, *parts.values()) for path, reason in part.unpatched.items()}
    absent = sorted(path for part in (own, *parts.values()) for path in part.absent)
    expected = {path: commit for part in (own, *parts.values()) for path, commit in part.submodules.items()}
    inside = [part for part in parts.values() if expected.pop(part.folder, None) != part.commit]
    record = {
        "repositories": [{"path": part.folder, "commit": part.commit} for part in inside],
        "files": [describe(files[path], reason) for path, reason in sorted(unpatched.items())],
        "not_uploaded": sorted([*absent, *expected]),  # the remaining submodules are not checked out
    }
    return Source(own.commit, patch, {"commit": own.commit, **record} if any(record.values()) else {})


def describe(file: File, reason: str) -> dict[str, str | int]:
    """Return the record of a file not in the patch, without a secret's hash, which would help guessing."""
    known = {} if reason == PRIVATE else {"sha256": file.sha256} if file.link is None else {"link": file.link}
    return {"path": file.path, **known, "size_bytes": file.size_bytes, "reason": reason}


def compare(project: Project, folder: str) -> Part:
    """Return how the uploaded files of a repository differ from its commit."""
    start = f"{folder}/" if folder else ""
    inner = tuple(f"{other}/" for other in project.repositories if other.startswith(start) and other != folder)
    files = {
        f.path[len(start) :]: f for f in project.files if f.path.startswith(start) and not f.path.startswith(inner)
    }
    unknown = {file.path: UNKNOWN for file in files.values()}
    repository = open_repository(project.root / folder)
    if repository is None:  # it was deleted since it was listed
        return Part(folder, unpatched=unknown)
    with open_commit(repository) as commit:
        if commit is None:
            return Part(folder, unpatched=unknown)
        try:
            part = Comparison(project.root, start, commit, files).make_part()
        except ProjectError:  # objects are missing, as in a partial clone
            return Part(folder, commit.name, unpatched=unknown)
    return part


@dataclass(frozen=True)
class Comparison:
    """The files of one repository, by their paths in it, and its commit."""

    root: Path
    start: str
    """The prefix of their paths in the project."""
    commit: Commit
    files: Mapping[str, File]

    def make_part(self) -> Part:
        """Return the differences."""
        entries = self.commit.list_entries()
        submodules = {path: entry.object for path, entry in entries.items() if entry.mode == SUBMODULE}
        committed = {path: entry for path, entry in entries.items() if entry.mode != SUBMODULE}
        changed = self.find_changed(committed)
        gone = committed.keys() - self.files.keys()
        deleted = {path for path in gone if not os.path.lexists(self.commit.top / path)}
        reasons = self.find_unpatched(committed, changed, deleted)
        patch = self.make_patch(entries, changed - reasons.keys(), deleted - reasons.keys(), reasons)
        return Part(
            folder=self.start.rstrip("/"),
            commit=self.commit.name,
            patch=patch,
            unpatched={self.start + path: reason for path, reason in reasons.items() if reason and path in self.files},
            absent=tuple(self.start + path for path in gone - deleted | (gone & reasons.keys())),
            submodules={self.start + path: name for path, name in submodules.items()},
        )

    def find_changed(self, committed: Mapping[str, Entry]) -> set[str]:
        """Return the files that differ from the commit, or are not in it."""
        hashes = Hashes(self.root, git="sha256" if len(self.commit.name) == 64 else "sha1")
        changed = {path for path, file in self.files.items() if not self.is_same(file, committed.get(path), hashes)}
        hashes.save()
        return changed

    def is_same(self, file: File, entry: Entry | None, hashes: Hashes) -> bool:
        """Return whether a file is identical to the commit's."""
        if entry is None:
            return False
        if file.link is not None:
            content = os.fsencode(file.link)
            return entry.mode == LINK and entry.object == hash_object(content, hashes.git)
        if entry.mode == LINK or (entry.mode == EXECUTABLE) != bool(file.mode & stat.S_IXUSR):
            return False
        try:
            info = os.lstat(f"{self.root}/{file.path}")
            as_listed = (info.st_size, info.st_mtime_ns) == (file.size_bytes, file.mtime_ns)
            return as_listed and hashes.hash_of(file.path, info) == entry.object
        except OSError:  # it was deleted since it was listed
            return False

    def find_unpatched(self, committed: Mapping[str, Entry], changed: set[str], deleted: set[str]) -> dict[str, str]:
        """Return the files not to include in the patch, and why; "" for one that is in the commit after all."""
        if not changed and not deleted:
            return {}
        filtered = self.commit.find_filtered(sorted(path for path in changed if self.files[path].link is None))
        stored = self.find_stored_elsewhere(filtered, committed)
        reasons, files_left, bytes_left = {}, PATCH_FILES, PATCH_BYTES
        sizes = {path: self.sizes_of(path, committed) for path in changed | deleted}
        for path in sorted(sizes, key=lambda path: (max(sizes[path]), path)):
            if is_secret(self.start + path):
                reasons[path] = PRIVATE
            elif path in filtered:
                reasons[path] = "" if path in stored else FILTERED
            elif max(sizes[path]) > FILE_BYTES or sum(sizes[path]) > bytes_left or not files_left:
                reasons[path] = LARGE
            else:
                files_left, bytes_left = files_left - 1, bytes_left - sum(sizes[path])
        return reasons

    def sizes_of(self, path: str, committed: Mapping[str, Entry]) -> tuple[int, int]:
        """Return a file's sizes in the commit and now, in bytes; a patch may contain both contents."""
        before = committed[path].size_bytes if path in committed else 0
        return before, self.files[path].size_bytes if path in self.files else 0

    def find_stored_elsewhere(self, filtered: Iterable[str], committed: Mapping[str, Entry]) -> set[str]:
        """Return the files for which the commit has a Git LFS pointer to exactly their content."""
        small = {path for path in filtered if path in committed and committed[path].size_bytes <= POINTER_BYTES}
        contents = self.commit.read_objects({committed[path].object for path in small})
        pointers = {path: read_pointer(contents.get(committed[path].object, b"")) for path in small}
        return {path for path, sha256 in pointers.items() if sha256 == self.files[path].sha256}

    def make_patch(
        self, committed: Mapping[str, Entry], changed: set[str], deleted: set[str], reasons: dict[str, str]
    ) -> bytes:
        """Return the patch; a file that has changed since is left out, and added to `reasons`."""
        while changed or deleted:
            patch = self.commit.make_patch(committed, changed, deleted, self.start)
            reasons.update((path, CHANGING) for path in changed if not self.is_unchanged(path))
            if not reasons.keys() & changed:
                return patch
            changed = changed - reasons.keys()
        return b""

    def is_unchanged(self, path: str) -> bool:
        """Return whether a file, read again after git, still has the uploaded content."""
        file = self.files[path]
        try:
            if file.link is not None:
                return os.readlink(self.root / file.path) == file.link  # noqa: PTH115  bytes for bytes
            content = b"".join(read_beginning(self.root / file.path, file.size_bytes + 1))
        except OSError:
            return False
        return hash_of(content) == file.sha256


def hash_of(content: bytes) -> str:
    """Return the SHA-256 of some content."""
    return hashlib.sha256(content).hexdigest()


def hash_object(content: bytes, algorithm: str) -> str:
    """Return git's object name of some content."""
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
