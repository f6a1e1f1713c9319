"""Git LFS pointers: small placeholders for large files that are not downloaded yet."""

import re
from collections.abc import Mapping
from pathlib import Path

from infra.base.folders import read_plain

POINTER_BYTES = 1024
"""A pointer is smaller: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
ATTRIBUTES = ".gitattributes"


def read_pointer(content: bytes) -> str:
    """Return the SHA-256 in a Git LFS pointer; "" for any other content."""
    found = re.match(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n", content)
    return found[1].decode() if found else ""


def find_pointers(root: Path, sizes: Mapping[str, int]) -> list[str]:
    """Return the files that are only pointers; none are read unless the project uses Git LFS."""
    attributes = (name for name in sizes if name.rpartition("/")[2] == ATTRIBUTES)
    if not any(b"filter=lfs" in read_if_there(root / name) for name in attributes):
        return []
    small = (name for name, size_bytes in sizes.items() if 0 < size_bytes < POINTER_BYTES)
    return [name for name in small if read_pointer(read_if_there(root / name))]


def read_if_there(path: Path) -> bytes:
    """Return the content of a file; empty if it cannot be read."""
    try:
        return read_plain(path)
    except OSError:
        return b""
