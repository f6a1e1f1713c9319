"""Lay out a snapshot: a copy of its own for each job."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Iterable

from .. import trees
from ..trees import stamp_of
from .inside import File
from .store import Store


def build(store: Store, files: list[File], folder: Path, arriving: Iterable[str]) -> dict[str, Any]:
    """Write files to `folder`; return the manifest of these before the job touches them.

    Contents still `arriving` are written as they come, then those already in the store.
    """
    manifest: dict[str, Any] = {}
    waiting: dict[str, list[File]] = {}
    for file in files:
        waiting.setdefault(file.sha256, []).append(file)
    for sha256 in arriving:
        for file in waiting.pop(sha256):
            manifest[file.path] = lay_out(store, file, folder / file.path)
    for file in itertools.chain.from_iterable(waiting.values()):
        manifest[file.path] = lay_out(store, file, folder / file.path)
    return manifest


def lay_out(store: Store, file: File, path: Path) -> dict[str, Any]:
    """Create one file or link of a snapshot; return its manifest entry."""
    if file.link is not None:
        trees.make(path.parent)
        path.symlink_to(file.link)
        return {"link": file.link}
    info = store.lay_out(file.sha256, str(path), file.mode, file.mtime_ns)
    return {"sha256": file.sha256, "stamp": stamp_of(info)}
