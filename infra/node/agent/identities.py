"""Identify processes by more than their number, which the kernel reuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BOOT = Path("/proc/sys/kernel/random/boot_id")


def read_stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (proc(5), field 3); raises OSError."""
    return Path("/proc", str(pid), "stat").read_text(errors="replace").rpartition(")")[2].split()


def identify(pid: int) -> list[Any]:
    """Return what distinguishes a process from later ones with its number, also across reboots."""
    return [pid, read_stat(pid)[19], BOOT.read_text().strip()]


def lives(identity: list[Any] | None) -> bool:
    """Return whether an identified process is still alive."""
    try:
        return identity is not None and identify(identity[0]) == identity and read_stat(identity[0])[0] != "Z"
    except OSError:
        return False
