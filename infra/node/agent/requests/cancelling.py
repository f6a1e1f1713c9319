"""Cancel a job, or one task of an array."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any

from ..identities import lives
from ..job.runner import CANCEL, record_end
from ..processes import GRACE_S, tell
from ..records import Ending, folder_of, is_supervised, read_json, read_runner, record_of
from ..tasks.one import ask_for_end, record_of_task, watch_end


def end_task(number: str, deadline: float) -> None:
    """End a task of an array and wait for its end; one of a queued array only gets a mark not to start."""
    has_ended, state = watch_end(number), folder_of(number.partition(".")[0]) / "state.json"
    if not has_ended():
        ask_for_end(number)
    while not has_ended() and "dispatched_s" in read_json(state, {}) and time.monotonic() < deadline:
        time.sleep(0.05)


def cancel(number: str) -> dict[str, Any]:
    """End a running job, or a task of an array; return its record once it is over."""
    deadline = time.monotonic() + 3 * GRACE_S
    if "." in number:
        end_task(number, deadline)
        return record_of_task(number)
    folder = folder_of(number)
    told: list[Any] = []
    while is_supervised(folder) and time.monotonic() < deadline:
        supervisor = read_json(folder / "state.json", {}).get("supervisor")
        runner, _ = read_runner(folder)
        for one in (runner, supervisor):
            if lives(one):
                if one not in told:
                    told.append(one)
                    tell(one[0], CANCEL)
                break
        time.sleep(0.02)
    if told and not (is_supervised(folder) or "started_at" in read_json(folder / "state.json", {})):
        # It was waiting behind others as a `flock`, which records nothing.
        with contextlib.suppress(OSError):
            if not read_json(folder / "end.json"):
                record_end(folder, None, Ending(128 + signal.SIGTERM, cancelled=True))
    return record_of(number)
