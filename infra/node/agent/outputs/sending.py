"""Sending outputs to the client, each from an offset on; no link is followed, whatever a job has made of a path meanwhile."""

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
    """Write files as a JSON list of path, offset, and whether it lies outside on stdin asks; what is gone is left out."""
    roots, out = dict(roots_of(folder_of(number))), sys.stdout.buffer
    for path, offset, outside in json.load(sys.stdin):
        base, _, name = path.partition("/") if outside else ("", "", path)
        if base not in roots or bool(base) != outside:
            raise AgentError(f"not the name of an output: {path!r}")
        with contextlib.suppress(FileNotFoundError), open_below(roots[base], name) as content:
            size_bytes = max(os.fstat(content.fileno()).st_size - offset, 0)
            out.write(json.dumps({"path": path, "outside": outside, "size_bytes": size_bytes}).encode() + b"\n")
            content.seek(offset)
            copy(content, out, size_bytes)


def open_below(root: Path, name: str) -> BinaryIO:
    """Open a regular file below a folder, one part of its name after the other.

    Raises FileNotFoundError where a part is a link, or the end no file; AgentError for a name that leads elsewhere.
    """
    parts = name.split("/")
    if ".." in parts or "" in parts:
        raise AgentError(f"not the name of an output: {name!r}")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts[:-1]:
        at = open_part(part, os.O_DIRECTORY, at)
    file = os.fdopen(open_part(parts[-1], os.O_NONBLOCK, at), "rb", buffering=0)  # a FIFO would wait for ever
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(name)
    return file


def open_part(name: str, kind: int, folder: int) -> int:
    """Open one part of a path in an open folder, which is closed; raises FileNotFoundError if it is a link, or cannot be had."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=folder)
    except OSError as error:  # ELOOP for a link, ENXIO for a socket
        raise FileNotFoundError(error.errno, error.strerror, name) from error
    finally:
        os.close(folder)


def copy(content: Any, out: BinaryIO, size_bytes: int) -> None:
    """Copy so many bytes; zeros for those that have gone since, which the client will see by the hash."""
    while size_bytes:
        chunk = content.read(min(CHUNK_BYTES, size_bytes)) or bytes(min(CHUNK_BYTES, size_bytes))
        out.write(chunk)
        size_bytes -= len(chunk)
