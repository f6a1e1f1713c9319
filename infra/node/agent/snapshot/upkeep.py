"""Background clean-up of the node, done once a job has started, so that nothing waits for it.

A process of low priority, forked by the job's supervisor. It may be killed at any point, and never runs twice at a time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path

from ..records import JOBS, WORK, take_lock
from ..removal import LEAVING, remove_tree
from .lists import remove_old_lists
from .packs import merge_packs
from .prepared import prepare
from .store import FOLDER

INCOMING = "incoming-"  # the prefix of a folder that has no number yet; then comes the id of the process that fills it
LOWEST = 19  # priority


def start_upkeep(list_name: str) -> None:
    """Fork a process, without this one's locks, that tidies up and prepares the next snapshot."""
    if os.fork():
        return
    try:
        os.setsid()
        close_all()
        os.nice(LOWEST)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        tidy(list_name)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(0)


def close_all() -> None:
    """Close every descriptor but the standard ones."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            os.closerange(max(int(name), 3), int(name) + 1)


def tidy(list_name: str) -> None:
    """Remove leftovers, merge packs and prepare the next snapshot, unless another process is doing so."""
    FOLDER.mkdir(parents=True, mode=0o700, exist_ok=True)
    if take_lock(FOLDER / "upkeep") is None:
        return
    for folder in (JOBS, WORK):
        for path in folder.iterdir():
            if is_left_over(path):
                remove_tree(path)
    merge_packs()
    remove_old_lists()
    prepare(list_name, WORK / f"{INCOMING}{os.getpid()}-next")


def is_left_over(path: Path) -> bool:
    """Return whether a folder belongs to no job: its number was never given, or it was removed."""
    if path.name.startswith(INCOMING):
        return not Path("/proc", path.name.split("-")[1]).exists()
    return path.name.startswith(LEAVING)
