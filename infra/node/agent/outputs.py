"""What a job created or changed, told by comparison with what was sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Iterator

from .records import CHUNK_BYTES, folder_of, is_supervised, read_json, record_of, write_json
from .settled import find_unsettled, is_settled

SETTLED_NS = 2_000_000_000  # a file that was written more lately may be written again within one tick of its clock


def list_outputs(number: str, *options: str) -> dict[str, Any]:
    """Return a job's record, every regular file and symbolic link that it created or changed, and what could not be read.

    With `--settled` those alone that are whole, though the job runs.
    """
    folder = folder_of(number)
    manifest = read_json(folder / "manifest.json")
    known = read_json(folder / "hashes.json", {})
    hashes: dict[str, Any] = {}
    work = folder / "work"
    over = not is_supervised(folder)
    unsettled = find_unsettled(folder) if "--settled" in options else None
    found: list[dict[str, Any]] = []
    unreadable: list[str] = []
    for path in walk(work, over, unreadable):
        name = str(path.relative_to(work))
        try:
            if unsettled is not None and not is_settled(path, unsettled):
                continue
            entry = describe(path, manifest.get(name, {}), work, over, known.get(name), hashes)
        except FileNotFoundError:  # a job that still runs may remove it
            continue
        except OSError:
            unreadable.append(str(path))
            continue
        if entry:
            found.append({"path": name, **entry})
    if hashes != known:
        with contextlib.suppress(OSError):  # a full disk: it is only a help
            write_json(folder / "hashes.json", hashes)
    return {
        "job": record_of(number),
        "outputs": found,
        "unreadable": [str(Path(path).relative_to(work)) for path in unreadable],
    }


def walk(work: Path, over: bool, unreadable: list[str]) -> Iterator[Path]:
    """Yield every file and link below a folder; `unreadable` gets the folders that cannot be looked into."""

    def complain(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            unreadable.append(str(error.filename))

    for parent, folders, files in os.walk(work, onerror=complain):
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink():
                yield path
            elif over:
                open_up(path, stat.S_IRWXU)
        yield from (Path(parent, name) for name in sorted(files))


def open_up(path: Path, mode: int) -> None:
    """Give the owner these rights to what a job that is over left without them."""
    with contextlib.suppress(OSError):
        before = stat.S_IMODE(path.stat().st_mode)
        if before & mode != mode:
            path.chmod(before | mode)


def describe(
    path: Path, sent: dict[str, Any], work: Path, over: bool, known: list[Any] | None, hashes: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what an output is; None if it is as it was sent, or neither a file nor a link.

    `known` is what an earlier look found, stamp and SHA-256; what this one finds, for a later one, is put into `hashes`.
    """
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        link = os.readlink(path)
        if sent.get("link") == link:
            return None
        if link.startswith(f"{work}/"):  # it leads to the job's own files, wherever they come to lie
            link = os.path.relpath(link, path.parent)
        return {"link": link, "size_bytes": 0, "sha256": "", "mode": 0o777}
    stamp = stamp_of(info)
    if not stat.S_ISREG(info.st_mode) or sent.get("stamp") == stamp:
        return None
    if over:
        open_up(path, stat.S_IRUSR)
    sha256 = known[1] if known and known[0] == stamp else hash_of(path)
    if info.st_ctime_ns < time.time_ns() - SETTLED_NS and stamp_of(path.lstat()) == stamp:
        hashes[str(path.relative_to(work))] = [stamp, sha256]
    if sha256 == sent.get("sha256"):
        return None
    return {"size_bytes": info.st_size, "sha256": sha256, "mode": stat.S_IMODE(info.st_mode), "link": None}


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def stamp_of(info: os.stat_result) -> list[int]:
    """Return what changes whenever a file is written; a program cannot set the change time back."""
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def send_outputs(number: str) -> None:
    """Write files, each from an offset on, as a JSON list of path and offset on stdin asks; what is gone is left out."""
    work, out = folder_of(number) / "work", sys.stdout.buffer
    for path, offset in json.load(sys.stdin):
        with contextlib.suppress(FileNotFoundError, PermissionError), (work / path).open("rb", buffering=0) as content:
            size_bytes = max(os.fstat(content.fileno()).st_size - offset, 0)
            out.write(json.dumps({"path": path, "size_bytes": size_bytes}).encode() + b"\n")
            content.seek(offset)
            copy(content, out, size_bytes)


def copy(content: Any, out: BinaryIO, size_bytes: int) -> None:
    """Copy so many bytes; zeros for those that have gone since, which the client will see by the hash."""
    while size_bytes:
        chunk = content.read(min(CHUNK_BYTES, size_bytes)) or bytes(min(CHUNK_BYTES, size_bytes))
        out.write(chunk)
        size_bytes -= len(chunk)


def mark_fetched(number: str) -> None:
    """Record that every output has arrived and was verified."""
    (folder_of(number) / "fetched").touch()
