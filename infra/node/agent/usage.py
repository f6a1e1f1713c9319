"""Measure the usage of CPU time, memory and GPUs by processes and the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import Any, Iterable

from .identities import read_stat

TICKS = os.sysconf("SC_CLK_TCK")
GPU_QUERY = [
    "nvidia-smi",
    "--query-gpu=index,name,utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
]
PATIENCE_S = 20  # nvidia-smi hangs when the driver has a problem


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these processes have used."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += sum(map(int, read_stat(pid)[11:13]))  # utime, stime
    return ticks / TICKS


def gpu_use() -> list[dict[str, Any]]:
    """Return what each GPU is doing, in percent and bytes; empty without GPUs or data."""
    if not shutil.which(GPU_QUERY[0]):
        return []
    try:
        text = subprocess.run(GPU_QUERY, stdout=subprocess.PIPE, check=False, timeout=PATIENCE_S).stdout.decode()
    except subprocess.TimeoutExpired:
        return []
    found = []
    for cells in (line.split(", ") for line in text.splitlines()):
        with contextlib.suppress(ValueError):  # "[N/A]" from a card that does not report it
            index, name, percent, used, total = cells
            found.append(
                {
                    "index": int(index),
                    "name": name,
                    "percent": float(percent),
                    "memory_used_bytes": int(used) << 20,
                    "memory_bytes": int(total) << 20,
                }
            )
    return found
