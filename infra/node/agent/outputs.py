"""What a job created or changed, told by comparison with what was sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import tarfile
from pathlib import Path
from typing import Any

from .records import CHUNK_BYTES, folder_of, read_json


def list_outputs(number: str) -> list[dict[str, Any]]:
    """Return every regular file and symbolic link that the job created or changed, with its SHA-256."""
    folder = folder_of(number)
    manifest = read_json(folder / "manifest.json")
    work = folder / "work"
    found = []
    for parent, folders, files in os.walk(work):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for path in (Path(parent, name) for name in sorted(files + links)):
            name = str(path.relative_to(work))
            with contextlib.suppress(FileNotFoundError):  # a job that still runs may remove it
                entry = describe(path, manifest.get(name, {}))
                if entry:
                    found.append({"path": name, **entry})
    return found


def describe(path: Path, sent: dict[str, Any]) -> dict[str, Any] | None:
    """Return what an output is; None if it is as it was sent, or neither a file nor a link."""
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        link = os.readlink(path)
        return None if sent.get("link") == link else {"link": link, "size_bytes": 0, "sha256": "", "mode": 0o777}
    if not stat.S_ISREG(info.st_mode) or sent.get("stamp") == stamp_of(info):
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    if digest.hexdigest() == sent.get("sha256"):
        return None
    return {"size_bytes": info.st_size, "sha256": digest.hexdigest(), "mode": stat.S_IMODE(info.st_mode), "link": None}


def stamp_of(info: os.stat_result) -> list[int]:
    """Return what changes whenever a file is written; a program cannot set the change time back."""
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def send_outputs(number: str) -> None:
    """Write a tar of files, each from an offset on, as a JSON list of path and offset on stdin asks; what is gone is left out."""
    work = folder_of(number) / "work"
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path, offset in json.load(sys.stdin):
            with contextlib.suppress(FileNotFoundError), (work / path).open("rb") as content:
                member = tarfile.TarInfo(path)
                member.size = max(os.fstat(content.fileno()).st_size - offset, 0)
                content.seek(offset)
                archive.addfile(member, content)


def mark_fetched(number: str) -> None:
    """Record that every output has arrived and was verified."""
    (folder_of(number) / "fetched").touch()
