"""Send outputs to the client from given offsets; links are never followed, even if swapped in."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO

from ..records import CHUNK_BYTES, AgentError, folder_of
from .asked import roots_of


def send_outputs(number: str) -> None:
    """Write the files that stdin lists as JSON (path, offset, outside); skip missing ones."""
    roots, out = dict(roots_of(folder_of(number))), sys.stdout.buffer
    folders = Folders()
    for path, offset, outside in json.load(sys.stdin):
        base, _, name = path.partition("/") if outside else ("", "", path)
        if base not in roots or bool(base) != outside:
            raise AgentError(f"invalid output name {path!r}")
        with contextlib.suppress(FileNotFoundError), folders.open_file(roots[base], name) as content:
            size_bytes = max(os.fstat(content.fileno()).st_size - offset, 0)
            out.write(json.dumps({"path": path, "outside": outside, "size_bytes": size_bytes}).encode() + b"\n")
            content.seek(offset)
            copy(content, out, size_bytes)


class Folders:
    """Opens files below folders, one path component at a time; keeps the last file's folder open."""

    def __init__(self) -> None:
        """Start with no folder open."""
        self.last: tuple[Path, list[str]] | None = None
        self.folder = -1

    def open_file(self, root: Path, name: str) -> BinaryIO:
        """Open a regular file.

        Raises FileNotFoundError if a component is a link or the last one is not a file; AgentError for a name that escapes.
        """
        parts = name.split("/")
        if ".." in parts or "" in parts:
            raise AgentError(f"invalid output name {name!r}")
        if self.last != (root, parts[:-1]):
            self.enter(root, parts[:-1])
        descriptor = open_part(parts[-1], os.O_NONBLOCK, self.folder)  # opening a FIFO would block forever
        file = os.fdopen(descriptor, "rb", buffering=0)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise FileNotFoundError(name)
        return file

    def enter(self, root: Path, parts: list[str]) -> None:
        """Open a folder instead of the last one."""
        if self.last:
            self.last = None
            os.close(self.folder)
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            above = at
            try:
                at = open_part(part, os.O_DIRECTORY, above)
            finally:
                os.close(above)
        self.last, self.folder = (root, parts), at


def open_part(name: str, kind: int, folder: int) -> int:
    """Open one component in an open folder; raises FileNotFoundError for links and whatever fails."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=folder)
    except OSError as error:  # ELOOP for a link, ENXIO for a socket
        raise FileNotFoundError(error.errno, error.strerror, name) from error


def copy(content: Any, out: BinaryIO, size_bytes: int) -> None:
    """Copy this many bytes; missing ones are zeros, which the client detects by the hash."""
    while size_bytes:
        chunk = content.read(min(CHUNK_BYTES, size_bytes)) or bytes(min(CHUNK_BYTES, size_bytes))
        out.write(chunk)
        size_bytes -= len(chunk)
