"""Recovery: the next call for a job whose supervisor was killed starts a new one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Iterable

from ..book.tasks import is_array
from ..identities import identify, lives
from ..records import HOME, JOBS, list_records, numbers, read_json, read_runner, record_of, take_lock
from ..tasks.one import record_of_task


def list_jobs(*asked: str) -> list[dict[str, Any]]:
    """Return the records of these jobs, all, or (`--last`) the latest; replace lost supervisors first.

    Raises UnknownJobError for a requested one.
    """
    if asked and asked != ("--last",):
        for number in asked:
            recover(JOBS / number.partition(".")[0])
        return [record_of_task(number) if "." in number else record_of(number) for number in asked]
    return list_some(numbers()[-1:] if asked else numbers())


def list_some(wanted: Iterable[int]) -> list[dict[str, Any]]:
    """Return the records of these jobs, as far as they exist; lost supervisors are replaced first."""
    wanted = list(wanted)
    for number in wanted:
        recover(JOBS / str(number))
    return list_records(wanted)


def recover(folder: Path) -> None:
    """Start a supervisor for a job without one, if its runner or its main process is alive."""
    if read_json(folder / "end.json") or not (any(map(lives, read_runner(folder))) or can_go_on(folder)):
        return
    import subprocess  # rarely needed, and it adds half to the start-up time of every call

    watched = take_lock(folder / "watched")
    if watched is None:
        return
    # Held by the runner while there is one; afterwards it shows that the job is running.
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


def can_go_on(folder: Path) -> bool:
    """Return whether a job is an array whose tasks another process can go on handing out.

    It must have been running since the machine started.
    """
    runner, _ = read_runner(folder)
    return is_array(folder) and runner is not None and runner[2] == identify(os.getpid())[2]
