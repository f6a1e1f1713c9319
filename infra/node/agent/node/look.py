"""Collect the data for `top`: the usage of the node and of each job."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ..identities import lives
from ..job.recovery import list_some
from ..machine import describe_space
from ..processes import descendants
from ..records import folder_of, list_unfinished, numbers, read_runner
from ..usage import cpu_seconds, gpu_use

SAMPLE_S = 0.2
TAIL_BYTES = 4096
LINE_CHARACTERS = 500
UNFINISHED = ("queued", "running", "stalled")


def look(count: str) -> dict[str, Any]:
    """Return the node's usage, every unfinished job, and the latest `count` finished ones."""
    shown = list_shown(int(count))
    families = {job["number"]: family_of(job["number"]) for job in shown}
    before = node_seconds(), {number: cpu_seconds(pids) for number, pids in families.items()}
    start = time.monotonic()
    gpus = gpu_use()
    time.sleep(max(SAMPLE_S - (time.monotonic() - start), 0))
    took = time.monotonic() - start
    return {
        "now": time.time(),
        "cpus": os.cpu_count() or 1,
        "cpu_used": max(node_seconds() - before[0], 0) / took,
        **memory_use(),
        **describe_space(),
        "gpus": gpus,
        "jobs": [
            {
                "job": {name: value for name, value in job.items() if name != "now"},
                "cpu_used": max(cpu_seconds(families[job["number"]]) - before[1][job["number"]], 0) / took,
                "memory_bytes": sum(map(resident_bytes, families[job["number"]])),
                "last_line": last_line(folder_of(job["number"]) / "log"),
            }
            for job in shown
        ],
    }


def list_shown(count: int) -> list[dict[str, Any]]:
    """Return the records of every unfinished job and of the latest `count` finished ones."""
    unfinished = list_unfinished()
    ended = [number for number in numbers() if number not in unfinished]
    jobs = list_some(sorted([*unfinished, *latest(ended, count)]))
    over = [job["number"] for job in jobs if job["state"] not in UNFINISHED]
    return [job for job in jobs if job["number"] not in over or job["number"] in latest(over, count)]


def latest(items: list[int], count: int) -> list[int]:
    """Return the last `count` of these."""
    return items[len(items) - min(count, len(items)) :]


def family_of(number: int) -> list[int]:
    """Return the processes of a running job."""
    runner, _ = read_runner(folder_of(number))
    return descendants(runner[0]) if lives(runner) else []


def node_seconds() -> float:
    """Return the node's CPU seconds since boot (proc(5): user nice system ...)."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")


def memory_use() -> dict[str, int]:
    """Return the node's memory, total and used."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    sizes = {words[0].rstrip(":"): int(words[1]) << 10 for words in lines if len(words) > 1}
    return {"memory_bytes": sizes["MemTotal"], "memory_used_bytes": sizes["MemTotal"] - sizes["MemAvailable"]}


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def last_line(log: Path) -> str:
    """Return the last non-empty line of a log, truncated; for a progress bar, its latest state."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:LINE_CHARACTERS] if lines else ""
