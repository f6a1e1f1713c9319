"""Fetch the objects below an S3 prefix as a data set, without those that an earlier version has."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Mapping, NamedTuple

from ..environment.installing import Wanted, find_program
from ..processes import unblock_signals
from ..records import AgentError
from .arriving import check_files, taking
from .progress import Progress, check_space
from .store import (
    ARRIVED,
    File,
    complete,
    content_of,
    find_changed,
    forget_changed,
    list_records,
    list_roots,
    version_of,
)

BOTO3 = Wanted("boto3", ["boto3"], ["boto3"])
HASHES = "hashes"  # of the objects that have arrived: lines of JSON
PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from agent.data.s3 import main; main()"


class Listed(NamedTuple):
    """An object below a prefix; the path is relative to it."""

    path: str
    key: str
    size_bytes: int
    etag: str
    mtime_ns: int


class Helper(NamedTuple):
    """How to run the S3 client: an interpreter with boto3, and its variables."""

    words: list[str]
    variables: Mapping[str, str]

    def run(self, command: str, address: str, given: Path | None = None) -> Iterator[Any]:
        """Yield the program's answer line by line; it ends with this call. Raises AgentError."""
        with open(given or os.devnull, "rb") as stdin:  # noqa: PTH123
            process = subprocess.Popen(
                [*self.words, command, address],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self.variables},
                cwd="/",
                start_new_session=True,
                preexec_fn=unblock_signals,
            )
        try:
            yield from map(json.loads, process.stdout or ())
            complaint = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
            if process.wait():
                raise AgentError(f"cannot fetch {address}: {(complaint.splitlines() or ['it failed'])[-1]}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()


def find_helper(python: str, variables: Mapping[str, str], log: BinaryIO) -> Helper:
    """Return the S3 client, after installing boto3 if it is missing."""
    found = find_program(BOTO3, [python], log)
    return Helper([found.python, "-c", PROGRAM, str(Path(sys.argv[0]).resolve())], {**os.environ, **variables})


def fetch_bucket(each: Mapping[str, Any], python: str, variables: Mapping[str, str], log: BinaryIO) -> str:
    """Fetch the missing objects of a set; return its version. Raises AgentError."""
    helper, address = find_helper(python, variables, log), str(each["address"])
    listed = sorted(Listed(*row) for row in helper.run("list", address))
    if not listed:
        raise AgentError(f"no objects found at {address}")
    check_files([File(one.path, "0" * 64, 0, False, 0, None) for one in listed])
    root = list_roots()[0]
    name = hashlib.sha256(address.encode()).hexdigest()
    with taking(root, f"s3-{name}", impatient=False) as parts:
        known, stored = read_known(address, parts)
        files = [as_file(one, known.get(as_key(one), "")) for one in listed]
        version = version_of(files)
        if version in stored:
            return version
        missing = [one for one, file in zip(listed, files) if not has(root, parts, file.sha256)]
        get_objects(helper, address, parts, missing, Progress(log, each["path"], sum(o.size_bytes for o in missing)))
        known, _ = read_known(address, parts)
        files = [as_file(one, known[as_key(one)]) for one in listed]
        objects = [[one.path, *as_key(one), known[as_key(one)]] for one in listed]
        facts = {"path": each["path"], "source": each["source"], "address": address, "objects": objects}
        return str(complete(root, parts, files, facts)["version"])


def as_key(one: Listed) -> tuple[str, str]:
    """Return the identity of an object's content."""
    return one.key, one.etag


def as_file(one: Listed, sha256: str) -> File:
    """Return an object as a file of the set."""
    return File(one.path, sha256, one.size_bytes, False, one.mtime_ns, None)


def has(root: Path, parts: Path, sha256: str) -> bool:
    """Return whether a content is stored, or has arrived."""
    return bool(sha256) and (content_of(root, sha256).exists() or (parts / f"{sha256}{ARRIVED}").exists())


def read_known(address: str, parts: Path) -> tuple[dict[tuple[str, str], str], set[str]]:
    """Return the SHA-256 of objects that were fetched before, and the stored versions of the set."""
    known: dict[tuple[str, str], str] = {}
    stored = set()
    for root, record in list_records():
        if record.get("address") != address:
            continue
        changed = find_changed(root, record)
        if changed:
            forget_changed(
                root, record, changed, [File(row[0], row[-1], 0, False, 0, None) for row in record["objects"]]
            )
        else:
            stored.add(record["version"])
        known.update({(key, etag): sha256 for _, key, etag, sha256 in record["objects"]})
    if (parts / HASHES).exists():
        for line in (parts / HASHES).read_text().splitlines():
            key, etag, sha256 = json.loads(line)
            known[key, etag] = sha256
    return known, stored


def get_objects(helper: Helper, address: str, parts: Path, missing: list[Listed], progress: Progress) -> None:
    """Download objects, each into a part of its own, and record their hashes."""
    check_space(parts, progress.total_bytes, progress.path)
    if not missing:
        return
    places = {hashlib.sha256(repr(as_key(one)).encode()).hexdigest(): one for one in missing}
    given = parts / "wanted"
    given.write_text(
        "".join(f"{json.dumps([*as_key(one), one.size_bytes, str(parts / name)])}\n" for name, one in places.items())
    )
    with (parts / HASHES).open("a") as hashes:
        for size_bytes, name, sha256 in helper.run("get", address, given):
            progress(size_bytes)
            if sha256:
                one = places[name]
                (parts / name).rename(parts / f"{sha256}{ARRIVED}")
                hashes.write(f"{json.dumps([one.key, one.etag, sha256])}\n")
                hashes.flush()
