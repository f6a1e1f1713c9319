"""Write a git index without git, which would start three processes and store all changed files.

The format: https://git-scm.com/docs/index-format
"""

import hashlib
import os
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

HEADER = struct.Struct(">4sII")
TIMES = struct.Struct(">IIIIIIIIII")  # with the mode at index 6; the others stay 0
ASSUME_UNCHANGED, LONGEST_NAME = 0x8000, 0xFFF
MODE_AT = 6
REGULAR = "100644"


@dataclass(frozen=True)
class Entry:
    """A file, link or submodule of a commit."""

    mode: str
    object: str
    size_bytes: int = 0


def format_index(committed: Mapping[str, Entry], changed: Collection[str], deleted: Collection[str]) -> bytes:
    """Return the index of a commit that makes git read only the changed files."""
    hexadecimal = max((len(entry.object) for entry in committed.values()), default=40)
    algorithm = hashlib.sha256 if hexadecimal == 64 else hashlib.sha1
    kept = committed.keys() - set(deleted) - find_replaced(committed, set(changed))
    new = Entry(REGULAR, "0" * hexadecimal)  # git reads its mode from the file
    entries = {os.fsencode(path): (path in changed, committed.get(path, new)) for path in kept | set(changed)}
    content = HEADER.pack(b"DIRC", 2, len(entries))
    content += b"".join(format_entry(name, *entries[name]) for name in sorted(entries))
    return content + algorithm(content, usedforsecurity=False).digest()


def format_entry(name: bytes, changed: bool, entry: Entry) -> bytes:
    """Return one entry, with times that match no file."""
    numbers = [0] * 10
    numbers[MODE_AT] = int(entry.mode, 8)
    flags = min(len(name), LONGEST_NAME) | (0 if changed else ASSUME_UNCHANGED)
    content = TIMES.pack(*numbers) + bytes.fromhex(entry.object) + flags.to_bytes(2, "big") + name
    return content + b"\0" * (8 - len(content) % 8)


def find_replaced(committed: Iterable[str], changed: set[str]) -> set[str]:
    """Return a commit's paths that are now folders of changed files, or whose folders are now files."""
    folders = {parent for path in changed for parent in parents_of(path)}
    return {path for path in committed if path in folders or not changed.isdisjoint(parents_of(path))}


def parents_of(path: str) -> list[str]:
    """Return the parent folders that a path names."""
    return [path[:at] for at, letter in enumerate(path) if letter == "/"]
