"""Cache decoded images on disk by the hash of their files.

Like git, it does not read a file again to hash it if its name, size and times are unchanged.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..program import say
from .threads import in_threads

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpujob"
MOST_BYTES = 20_000_000_000  # of one file
TOTAL_BYTES = 50_000_000_000  # beyond that, the files that were used least recently are removed
DECODED, SUFFIX = "decoded", ".safetensors"


def cached(
    folder: Path, files: Sequence[Path], options: str, make: Callable[[], tuple[Tensor, list[int]]]
) -> tuple[Tensor, list[int]]:
    """Return what `make` returns for `files`, images and indices, from the cache if possible.

    `options` identifies what else affects the result, such as the image size. If the disk is full, nothing is cached.
    """
    seen = digest([json.dumps([options, *(describe(path) for path in files)]).encode()])
    note = folder / DECODED / f"{seen}.json"
    with suppress(OSError, ValueError, KeyError, SafetensorError):
        return load(folder / DECODED / json.loads(note.read_text())["content"])
    name = f"{digest([options.encode(), *in_threads(digest_file, files)])}{SUFFIX}"
    try:
        images, whole = load(folder / DECODED / name)
    except (OSError, SafetensorError, KeyError):
        images, whole = make()
        if images.nbytes <= MOST_BYTES:
            keep(folder / DECODED / name, images, whole)
            trim(folder, TOTAL_BYTES)
    with suppress(OSError):
        note.write_text(json.dumps({"content": name}))
    return images, whole


def load(path: Path) -> tuple[Tensor, list[int]]:
    """Return the images and indices in a file, marked as used; raises OSError if it does not exist."""
    kept = load_file(path)
    with suppress(OSError):
        os.utime(path)
    return kept["images"], kept["whole"].tolist()


def list_files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the cached files with their status, most recently used first."""
    found = []
    for path in (folder / DECODED).glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError):  # another process may remove it
            found.append((path, path.stat()))
    return sorted(found, key=lambda each: each[1].st_mtime_ns, reverse=True)


def trim(folder: Path, most_bytes: int) -> int:
    """Remove least recently used files until the rest fits `most_bytes`; return the freed bytes."""
    freed_bytes, left_bytes, kept = 0, most_bytes, set()
    for path, info in list_files(folder):
        left_bytes -= info.st_size
        if left_bytes >= 0:
            kept.add(path.name)
        else:
            freed_bytes += info.st_size
            path.unlink(missing_ok=True)
    for note in (folder / DECODED).glob("*.json"):
        with suppress(OSError, ValueError, KeyError):
            if json.loads(note.read_text())["content"] not in kept:
                note.unlink()
    return freed_bytes


def keep(path: Path, images: Tensor, whole: list[int]) -> None:
    """Write a file atomically; if that fails, print why and continue."""
    tensors = {"images": images, "whole": Tensor(whole).long()}
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".part-", dir=path.parent)
        os.close(handle)
        save_file(tensors, part)
        Path(part).replace(path)
    except (OSError, SafetensorError) as error:
        say(f"could not cache the decoded images: {error}")
        if part:
            Path(part).unlink(missing_ok=True)


def describe(path: Path) -> list[str | int]:
    """Return the identity of a file's content without reading it."""
    status = path.stat()
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]  # noqa: PTH100  need not follow links


def digest(parts: Sequence[bytes]) -> str:
    """Return one hash of many byte strings."""
    total = hashlib.blake2b(digest_size=20)
    for part in parts:
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()


def digest_file(path: Path) -> bytes:
    """Return the hash of a file's content."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").digest()
