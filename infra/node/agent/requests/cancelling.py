"""Cancel a job."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any

from ..identities import lives
from ..job.runner import CANCEL, record_end
from ..processes import GRACE_S, tell
from ..records import Ending, folder_of, is_supervised, read_json, read_runner, record_of


def cancel(number: str) -> dict[str, Any]:
    """End a running job; return its record once it is over."""
    folder = folder_of(number)
    deadline = time.monotonic() + 3 * GRACE_S
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
