"""Watch a job as the replacement of a killed supervisor."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from ..book.tasks import is_array
from ..identities import identify, lives
from ..processes import descendants, end_descendants, family, tell
from ..records import Ending, folder_of, read_json, read_runner, take_lock, write_runner
from .runner import CANCEL, ENDED_BY, SIGNALS, lost_runner, record_end
from .watch import Watch, stalled_text

NEVER_S = 1e9  # a dispatcher watches its tasks itself


def watch(number: str) -> bool:
    """Watch a job that another process runs; replace that process if it is killed too.

    Returns whether it is an array that has not ended: then the caller replaces it.
    """
    folder = folder_of(number)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    job, array = read_json(folder / "job.json"), is_array(folder)
    watching = Watch(folder, {**job, "hang_after_s": NEVER_S} if array else job, secrets=None)
    while True:
        runner, main = read_runner(folder)
        if not lives(runner):
            break
        caught = signal.sigtimedwait(SIGNALS, watching.tick_s)
        if caught:
            tell(runner[0], caught.si_signo)
        watching.look_if_due(descendants, runner[0])
    if array:
        return not read_json(folder / "end.json")
    if lives(main):
        stand_in(folder, main, watching)
    return False


def stand_in(folder: Path, main: list[Any], watching: Watch) -> None:
    """Take over a job whose runner was killed until its main process ends; then end the others.

    The process is not a child of this one, so its exit code is unknown: the job counts as interrupted unless ended from here.
    """
    take_lock(folder / "lock")
    write_runner(folder, identify(os.getpid()), main)
    ending = None

    def living() -> list[int]:
        return family(main[0])

    if watching.job.get("part"):  # no process hears of the other nodes any more
        record_end(folder, read_json(folder / "state.json").get("started_s"), lost_runner())
        end_descendants({}, signal.SIGTERM, living)
    while lives(main):
        caught = signal.sigtimedwait(SIGNALS, watching.tick_s)
        if caught and caught.si_signo in ENDED_BY:
            by = ENDED_BY[signal.Signals(caught.si_signo)]
            cancelled = caught.si_signo == CANCEL
            ending = Ending(128 + by, cancelled, "" if cancelled else stalled_text(watching.job))
            end_descendants({}, by, living)
        watching.look_if_due(lambda _: living(), os.getpid())
    if ending:
        record_end(folder, read_json(folder / "state.json")["started_s"], ending)
    end_descendants({}, signal.SIGTERM, living)
