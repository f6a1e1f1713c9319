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

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpujob"
MOST_BYTES = 20_000_000_000


def cached(
    folder: Path, files: Sequence[Path], options: str, make: Callable[[], tuple[Tensor, list[int]]]
) -> tuple[Tensor, list[int]]:
    """Return what `make` returns for `files`, images and indices, from the cache if possible.

    `options` identifies what else affects the result, such as the image size. If the disk is full, nothing is cached.
    """
    seen = digest([json.dumps([options, *(describe(path) for path in files)]).encode()])
    note = folder / "decoded" / f"{seen}.json"
    with suppress(OSError, ValueError, KeyError, SafetensorError):
        kept = load_file(folder / "decoded" / json.loads(note.read_text())["content"])
        return kept["images"], kept["whole"].tolist()
    name = f"{digest([options.encode(), *map(digest_file, files)])}.safetensors"
    try:
        kept = load_file(folder / "decoded" / name)
        images, whole = kept["images"], kept["whole"].tolist()
    except (OSError, SafetensorError, KeyError):
        images, whole = make()
        if images.nbytes <= MOST_BYTES:
            keep(folder / "decoded" / name, images, whole)
    with suppress(OSError):
        note.write_text(json.dumps({"content": name}))
    return images, whole


def keep(path: Path, images: Tensor, whole: list[int]) -> None:
    """Write a file atomically; if there is no space, say so and continue."""
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
    """Return what identifies a file's content without reading it."""
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
