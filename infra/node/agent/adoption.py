"""Adoption: a job whose supervisor was killed gets another one from the next call that asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from .keeper import CANCEL, ENDED_BY, SIGNALS, Ending, record_end
from .processes import descendants, end_descendants, family, identify, lives, tell
from .records import HOME, folder_of, list_records, numbers, read_json, take_lock, write_reserved
from .watch import Watch, stalled_text

POLL_S = 1.0


def list_jobs(*asked: str) -> list[dict[str, Any]]:
    """Return all that is known of these jobs, or of every job; one that runs without a supervisor is adopted first."""
    for number in asked or map(str, numbers()):
        adopt(folder_of(number))
    return list_records(*asked)


def adopt(folder: Path) -> None:
    """Start a supervisor for a job that has none any more, if its keeper or its own process still lives."""
    kept = read_json(folder / "keeper.json")
    if not kept or read_json(folder / "end.json") or not (lives(kept["keeper"]) or lives(kept.get("main"))):
        return
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


def watch(number: str) -> None:
    """Watch a job that another process keeps; should that one be killed, too, stand in for it."""
    folder = folder_of(number)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    watching = Watch(folder, read_json(folder / "job.json"))
    while True:
        kept = read_json(folder / "keeper.json")
        if not lives(kept["keeper"]):
            break
        caught = signal.sigtimedwait(SIGNALS, min(POLL_S, watching.interval_s))
        if caught:
            tell(kept["keeper"][0], caught.si_signo)
        watching.look_if_due(descendants, kept["keeper"][0])
    if lives(kept.get("main")):
        stand_in(folder, kept["main"], watching)


def stand_in(folder: Path, main: list[Any], watching: Watch) -> None:
    """Stay with a job that nobody keeps any more, until its own process has ended, and end what that leaves.

    It is no child of this process, so nobody can tell its exit code: the job counts as interrupted unless it is ended from here.
    """
    take_lock(folder / "lock")
    write_reserved(folder / "keeper.json", {"keeper": identify(os.getpid()), "main": main})
    ending = None

    def living() -> list[int]:
        return family(main[0])

    while lives(main):
        caught = signal.sigtimedwait(SIGNALS, min(POLL_S, watching.interval_s))
        if caught and caught.si_signo in ENDED_BY:
            by = ENDED_BY[signal.Signals(caught.si_signo)]
            cancelled = caught.si_signo == CANCEL
            ending = Ending(128 + by, cancelled, "" if cancelled else stalled_text(watching.job))
            end_descendants({}, by, living)
        watching.look_if_due(lambda _: living(), os.getpid())
    if ending:
        record_end(folder, read_json(folder / "state.json")["started_s"], ending)
    end_descendants({}, signal.SIGTERM, living)
