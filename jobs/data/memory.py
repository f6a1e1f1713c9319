"""How much memory this process may still use, and how many images to compute at once."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ELSEWHERE_BYTES = 16_000_000_000
"""Assumed where the system has no /proc, as on macOS."""
AT_ONCE_PIXELS = 64 * 224 * 224
"""Of a batch without gradients: one layer of VGG takes 256 bytes for each, a gigabyte in all."""


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory that is free or can be freed, within the limit of the control group.

    A full page cache is not used memory: the kernel gives it back.
    """
    free = ELSEWHERE_BYTES
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    # https://docs.kernel.org/admin-guide/cgroup-v2.html, and version 1
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        group = root / "sys/fs/cgroup"
        with suppress(OSError, ValueError):
            most, now = (int((group / name).read_text()) for name in (limit, used))  # "max": no limit
            rows = dict(line.split() for line in (group / limit).with_name("memory.stat").read_text().splitlines())
            free = min(free, most - now + int(rows.get(cached, 0)))
    return max(free, 0)


def limit_batch(batch_size: int, shape: Sequence[int]) -> int:
    """Return how many images (C, H, W) to compute at once without gradients: fewer if they are large."""
    return max(1, min(batch_size, AT_ONCE_PIXELS // (shape[1] * shape[2])))
