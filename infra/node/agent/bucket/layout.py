"""The objects of an attempt, and the limits that writer and reader share."""

from __future__ import annotations

TASK, ATTEMPT = 0, 1  # of an ordinary job; over several nodes, each node's is the task of its rank
VERSION = 1
LOG_BYTES = 4 << 20  # of a piece of the log
SMALL_BYTES = 1 << 20  # smaller files are packed
PACK_BYTES = 16 << 20
OUT = "out/"
MANIFEST, RECORD, END = "outputs.json", "job.json", "end.json"
DONE = "done-"
SENT = "send.json"  # below CLUSTER/TOKEN/; only a sent job has it


def task_prefix(prefix: str, task: int = TASK) -> str:
    """Return the prefix of a task's objects; `prefix` is CLUSTER/TOKEN/."""
    return f"{prefix}tasks/{task}/"


def attempt_prefix(prefix: str, task: int = TASK, attempt: int = ATTEMPT) -> str:
    """Return the prefix of an attempt's objects; `prefix` is CLUSTER/TOKEN/."""
    return f"{task_prefix(prefix, task)}{attempt}/"


def log_name(piece: int) -> str:
    """Return the name of a piece of the log."""
    return f"log-{piece:06d}"


def done_name(attempt: int, started_at: float, seconds: float, machine: str) -> str:
    """Return the name of the empty object that says, in a listing, that a task of an array succeeded."""
    return f"{DONE}{attempt}-{started_at * 1000:.0f}-{seconds * 1000:.0f}-{machine}"
