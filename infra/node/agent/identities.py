"""Who a process is: its number alone is given to another one day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BOOT = Path("/proc/sys/kernel/random/boot_id")


def read_stat(pid: int) -> list[str]:
    """Return what the kernel tells of a process from its state on (proc(5), field 3); raises OSError if there is none."""
    return Path("/proc", str(pid), "stat").read_text(errors="replace").rpartition(")")[2].split()


def identify(pid: int) -> list[Any]:
    """Return what tells a process from every other that has its number later, also after the machine was started anew."""
    return [pid, read_stat(pid)[19], BOOT.read_text().strip()]


def lives(identity: list[Any] | None) -> bool:
    """Tell whether a process that was identified still lives."""
    try:
        return identity is not None and identify(identity[0]) == identity and read_stat(identity[0])[0] != "Z"
    except OSError:
        return False
