"""Merge the store's small packs, one from each upload, and remove unreferenced packs.

A new pack is complete on the disk before the index refers to it, and an old one is removed only afterwards, so a crash at any
point costs disk space at most, until the next call.
"""

from __future__ import annotations

import contextlib
import os
import time

from ..records import take_lock
from .store import (
    FOLDER,
    INDEX,
    LOCK,
    Place,
    create_pack,
    name_pack,
    place_after,
    read_index,
    read_range,
    write_all,
    write_line,
)

SMALL_BYTES = 16 << 20
MOST_SMALL = 32
MERGED_BYTES = 256 << 20  # at most this much is copied at a time
YOUNG_S = 3600.0  # an older version of the agent may still be writing it: it takes no lock


def merge_packs() -> None:
    """Merge small packs if there are many, and remove leftovers, unless the store is in use."""
    sizes = {name: (FOLDER / name).stat().st_size for name in list_packs()}
    small = [name for name, size_bytes in sizes.items() if size_bytes < SMALL_BYTES]
    if len(small) <= MOST_SMALL and not find_unused(read_index()):
        return
    alone = take_lock(LOCK)
    if alone is None:  # a submission is using the store
        return
    try:
        index = read_index()
        chosen = choose(small, sizes, packs_of(index)) if len(small) > MOST_SMALL else set()
        if chosen:
            copy_contents(index, chosen)
            write_index(index)
        for name in {*find_unused(index), *chosen}:
            (FOLDER / name).unlink()
    finally:
        os.close(alone)


def choose(small: list[str], sizes: dict[str, int], used: set[str]) -> set[str]:
    """Return the packs to merge: the oldest small ones in use, up to a total size."""
    total_bytes, chosen = 0, set()
    for name in small:
        total_bytes += sizes[name]
        if name in used and total_bytes <= MERGED_BYTES:
            chosen.add(name)
    return chosen


def find_unused(index: dict[str, Place]) -> list[str]:
    """Return old packs that the index does not refer to: a killed process left them."""
    used, old = packs_of(index), time.time() - YOUNG_S
    return [name for name in list_packs() if name not in used and (FOLDER / name).stat().st_mtime < old]


def packs_of(index: dict[str, Place]) -> set[str]:
    """Return the packs that an index refers to."""
    return {place.pack for place in index.values()}


def list_packs() -> list[str]:
    """Return the names of all packs, the oldest first."""
    return sorted(name for name in os.listdir(FOLDER) if is_pack(name))


def is_pack(name: str) -> bool:
    """Return whether a file of the store is a pack, named by time (hexadecimal) and process (decimal)."""
    when, dash, process = name.partition("-")
    return bool(dash) and process.isdigit() and not set(when) - set("0123456789abcdef")


def copy_contents(index: dict[str, Place], packs: set[str]) -> None:
    """Copy the contents of these packs to a new one, durably; update `index`."""
    name, end = name_pack(), 0
    with create_pack(name) as pack, contextlib.ExitStack() as opened:
        moving = sorted((place, sha256) for sha256, place in index.items() if place.pack in packs)
        sources: dict[str, int] = {}
        for place, sha256 in moving:
            if place.pack not in sources:
                opened.close()  # they are sorted by pack, so one is open at a time
                sources = {place.pack: os.open(FOLDER / place.pack, os.O_RDONLY | os.O_CLOEXEC)}
                opened.callback(os.close, sources[place.pack])
            moved = Place(name, place_after(end, place.size_bytes), place.size_bytes)
            os.lseek(pack.fileno(), moved.offset, os.SEEK_SET)
            for chunk in read_range(sources[place.pack], place):
                write_all(pack.fileno(), chunk)
            index[sha256], end = moved, moved.offset + moved.size_bytes
        os.ftruncate(pack.fileno(), end)
        os.fsync(pack.fileno())


def write_index(index: dict[str, Place]) -> None:
    """Replace the index atomically; the caller holds the store's lock."""
    temporary = FOLDER / "index.new"
    with temporary.open("w") as file:
        file.writelines(write_line(sha256, place) for sha256, place in index.items())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(INDEX)
