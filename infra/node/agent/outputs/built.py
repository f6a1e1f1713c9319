"""Keep what was built in a working tree before its job started from counting as an output."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .. import trees
from ..records import read_json, work_of, write_json
from ..trees import stamp_of
from .hashing import read_hash


def record_built(folder: Path) -> None:
    """Add every new or changed file of a job's working tree to the list of what was uploaded."""
    manifest, work = read_json(folder / "manifest.json"), work_of(folder)
    for parent, _, files in trees.walk(work):
        for path in (Path(parent, name) for name in files):
            info, name = path.lstat(), os.path.relpath(path, work)
            if stat.S_ISREG(info.st_mode) and manifest.get(name, {}).get("stamp") != stamp_of(info):
                manifest[name] = {"sha256": read_hash(path), "stamp": stamp_of(info)}
            elif stat.S_ISLNK(info.st_mode):
                manifest[name] = {"link": os.readlink(path)}
    write_json(folder / "manifest.json", manifest)
