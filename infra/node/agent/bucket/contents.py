"""The contents of outputs that a bucket has, and the objects that they are in."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterable, Mapping, NamedTuple

from ..aws.uploads import Uploads
from ..aws.wire import ChangedError, Slice
from ..outputs.hashing import key_of
from ..outputs.sending import Folders
from .layout import OUT, PACK_BYTES, SMALL_BYTES

Open = Callable[["dict[str, Any]"], BinaryIO]
"""Opens the file of an output; raises FileNotFoundError."""
THREADS = 2  # files that are uploaded at the same time, each in parts of which several are


class Place(NamedTuple):
    """Where a content is: an object, named by its SHA-256, and where in it the content begins."""

    object: str
    offset: int


class Contents:
    """Uploads contents, each once; large ones in the background."""

    def __init__(self, uploads: Uploads, prefix: str, open_output: Open) -> None:
        """Start with an empty bucket, below the prefix of an attempt."""
        self.uploads, self.prefix, self.open_output = uploads, prefix, open_output
        self.places: dict[str, Place] = {}
        """By the SHA-256 of a content."""
        self.sizes: dict[str, int] = {}
        """Of each object."""
        self.coming: dict[str, tuple[dict[str, Any], Future[None]]] = {}
        """By the SHA-256 of a content that is being uploaded: its output."""
        self.arrived: dict[tuple[bool, str], dict[str, Any]] = {}
        """Outputs uploaded since the last round, which may have another content by now."""
        self.pool = ThreadPoolExecutor(THREADS)
        self.requests = 0
        """How many PUT requests were made, of which S3 bills each."""

    def learn(self, manifest: dict[str, Any]) -> None:
        """Take over what an earlier process has uploaded."""
        for each in manifest["outputs"]:
            if each["object"]:
                self.places[each["sha256"]] = Place(each["object"], each["offset"])
        self.sizes.update(manifest["objects"])
        self.requests = manifest["put_requests"]

    def bring(self, outputs: Iterable[dict[str, Any]], wait: bool) -> None:
        """Upload what is missing of these outputs; with `wait`, large ones too. Raises S3Error.

        A file that is replaced while it is uploaded is uploaded again afterwards.
        """
        self.gather(wait=wait)
        files = {each["sha256"]: each for each in outputs if has_content(each)}
        small = {sha256: each for sha256, each in files.items() if each["size_bytes"] < SMALL_BYTES}
        sparse = self.find_sparse(small)
        self.pack({k: each for k, each in small.items() if k not in self.places or self.places[k].object in sparse})
        busy = {key_of(each) for each, _ in self.coming.values()}
        for sha256, each in files.items():
            if not (sha256 in small or sha256 in self.places or sha256 in self.coming or key_of(each) in busy):
                self.coming[sha256] = each, self.pool.submit(self.upload, each)
        self.gather(wait=wait)

    def gather(self, *, wait: bool = False) -> bool:
        """Note which large contents have arrived; return whether none is still coming. Raises S3Error."""
        for sha256, (output, future) in list(self.coming.items()):
            if wait or future.done():
                del self.coming[sha256]
                with contextlib.suppress(ChangedError, FileNotFoundError):
                    future.result()
                    size_bytes, part_bytes = output["size_bytes"], self.uploads.part_bytes
                    self.places[sha256], self.sizes[sha256] = Place(sha256, 0), size_bytes
                    self.requests += 1 if size_bytes <= part_bytes else 2 + -(-size_bytes // part_bytes)
                    self.arrived[key_of(output)] = output
        return not self.coming

    def find(self, output: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return an output with the place of its content, or of the last that arrived; None without any."""
        for each in (output, self.arrived.get(key_of(output))):
            place = self.places.get(each["sha256"]) if each else None
            if each and place:
                return {**each, "object": place.object, "offset": place.offset}
        return None

    def find_sparse(self, wanted: dict[str, dict[str, Any]]) -> set[str]:
        """Return the packs of which less than half is still wanted."""
        used: dict[str, int] = {}
        for sha256, each in wanted.items():
            if sha256 in self.places:
                name = self.places[sha256].object
                used[name] = used.get(name, 0) + each["size_bytes"]
        return {name for name, size_bytes in used.items() if 2 * size_bytes < self.sizes.get(name, 0)}

    def upload(self, output: dict[str, Any]) -> None:
        """Upload a file to an object of its own; raises ChangedError, FileNotFoundError, S3Error."""
        sha256 = output["sha256"]
        with self.open_output(output) as file:
            self.uploads.put(f"{self.prefix}{OUT}{sha256}", Slice(file.fileno(), 0, output["size_bytes"]), sha256)

    def pack(self, outputs: dict[str, dict[str, Any]]) -> None:
        """Upload small files together; leaves out those that have changed. Raises S3Error."""
        content, inside = bytearray(), {}
        for sha256, output in outputs.items():
            with contextlib.suppress(FileNotFoundError), self.open_output(output) as file:
                data = file.read(output["size_bytes"])  # the log of a task has grown since
                if hashlib.sha256(data).hexdigest() == sha256:
                    inside[sha256] = len(content)
                    content += data
            if len(content) > PACK_BYTES - SMALL_BYTES:
                self.put_pack(bytes(content), inside)
                content, inside = bytearray(), {}
        if content:
            self.put_pack(bytes(content), inside)

    def put_pack(self, content: bytes, inside: dict[str, int]) -> None:
        """Upload a pack."""
        name = hashlib.sha256(content).hexdigest()
        self.uploads.bucket.put(f"{self.prefix}{OUT}{name}", content, sha256=name)
        self.places.update({sha256: Place(name, offset) for sha256, offset in inside.items()})
        self.sizes[name] = len(content)
        self.requests += 1

    def forget(self, objects: set[str]) -> None:
        """Delete objects, and what is known of their contents."""
        for name in objects:
            self.uploads.bucket.delete(f"{self.prefix}{OUT}{name}")
            self.sizes.pop(name, None)
        self.places = {sha256: place for sha256, place in self.places.items() if place.object not in objects}


def has_content(output: dict[str, Any]) -> bool:
    """Return whether an output has bytes of its own."""
    return bool(output["size_bytes"]) and output["link"] is None and not output["same_as"]


class Opener:
    """Opens outputs below their roots for several threads, following no link."""

    def __init__(self, roots: dict[str, Path]) -> None:
        """Start with no folder open."""
        self.roots, self.folders, self.lock = roots, Folders(), threading.Lock()

    def __call__(self, output: dict[str, Any]) -> BinaryIO:
        """Open an output; raises FileNotFoundError."""
        base, _, name = output["path"].partition("/") if output["outside"] else ("", "", output["path"])
        with self.lock:
            return self.folders.open_file(self.roots[base], name)
