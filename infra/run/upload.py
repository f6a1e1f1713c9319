"""Upload a project consistently, even while its files are written to."""

import hashlib
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from infra.base.folders import local_errors
from infra.project.files import File, Project, read_file
from infra.project.hashes import Hashes
from infra.ssh import carry
from infra.ssh.carry import ChangedError

ATTEMPTS = 10
T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """A project to upload."""

    project: Project
    copies: Mapping[str, Path] = field(default_factory=dict)
    """Copies of the files that changed during an earlier attempt, by their paths in the project."""

    def find(self, hashes: Sequence[str]) -> list[File]:
        """Return one file for each of these contents."""
        by_hash = {file.sha256: file for file in self.project.files}
        return [by_hash[sha256] for sha256 in hashes if sha256 in by_hash]

    def send(self, files: Sequence[File], stream: BinaryIO, report: Callable[[int], None]) -> None:
        """Send the contents of files; raises ChangedError for one that has changed since it was listed."""
        places = ((file, self.copies.get(file.path, self.project.root / file.path)) for file in files)
        carry.pack(places, stream, report)


def upload_project(project: Project, attempt: Callable[[Upload], T]) -> T:
    """Return the result of `attempt`, retried with copies of files that change.

    A log that only grows is sent up to its listed size. Raises ChangedError if other files change every time.
    """
    with tempfile.TemporaryDirectory(prefix="gpujob-") as place:
        current = Upload(project)
        for _ in range(ATTEMPTS - 1):
            try:
                return attempt(current)
            except ChangedError as error:
                current = copy_changed(current, error.path, Path(place))
        return attempt(current)


def copy_changed(before: Upload, named: str, place: Path) -> Upload:
    """Return an upload with copies of the named file, and of all others that have changed."""
    root, copies, hashes = before.project.root, dict(before.copies), Hashes(before.project.root)
    files = []
    for file in before.project.files:
        if file.path in copies or (file.path != named and is_as_listed(root, file)):
            files.append(file)
            continue
        now = read_file(root, file.path, hashes)
        if now and now.link is None:
            copies[file.path] = place / str(len(copies))
            now = copy(root, now, copies[file.path])
        if now:  # otherwise it was deleted, and is left out
            files.append(now)
    return Upload(replace(before.project, files=tuple(files)), copies)


def is_as_listed(root: Path, file: File) -> bool:
    """Return whether a file still has its listed size and time."""
    try:
        info = (root / file.path).lstat()
    except OSError:
        return False
    kind = stat.S_ISLNK(info.st_mode) == (file.link is not None)
    return kind and info.st_mtime_ns == file.mtime_ns and (file.link is not None or info.st_size == file.size_bytes)


def copy(root: Path, file: File, place: Path) -> File | None:
    """Copy a file; return the copy's description, or None if the file was deleted."""
    digest, size_bytes = hashlib.sha256(), 0
    with local_errors(place, "then rerun"), place.open("xb") as target:
        try:
            for chunk in carry.read_file(file, root / file.path):
                digest.update(chunk)
                size_bytes += len(chunk)
                target.write(chunk)
        except ChangedError:
            return None
    return replace(file, sha256=digest.hexdigest(), size_bytes=size_bytes)
