"""Adoption: a job whose supervisor was killed gets another one from the next call that asks for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ..identities import lives
from ..records import HOME, JOBS, list_records, numbers, read_json, take_lock


def list_jobs(*asked: str) -> list[dict[str, Any]]:
    """Return all that is known of these jobs, or of every job; one that runs without a supervisor is adopted first."""
    for number in asked or map(str, numbers()):
        adopt(JOBS / number)
    return list_records(*asked)


def adopt(folder: Path) -> None:
    """Start a supervisor for a job that has none any more, if its keeper or its own process still lives."""
    kept = read_json(folder / "keeper.json")
    if not kept or read_json(folder / "end.json") or not (lives(kept["keeper"]) or lives(kept.get("main"))):
        return
    import subprocess  # rarely needed, and half as much again to the start of every call

    watched = take_lock(folder / "watched")
    if watched is None:
        return
    # Held by the keeper as long as there is one; else it tells from now on that the job runs.
    lock = take_lock(folder / "lock")
    held = [descriptor for descriptor in (watched, lock) if descriptor is not None]
    with (HOME / "agent.log").open("ab") as complaints:
        subprocess.Popen(
            [sys.executable, "-I", "-S", sys.argv[0], "watch", folder.name],
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            pass_fds=held,
            start_new_session=True,
        )
    for descriptor in held:
        os.close(descriptor)
