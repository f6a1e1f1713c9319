"""The report among a run's outputs: the only file of a run that is opened, and only in a browser."""

import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from infra.history.runs import Run

NAMES = ("report.html", "index.html")


def find_report(run: Run) -> Path | None:
    """Return the report of a run, the one in the fewest folders; None if it has none.

    Only a regular file not reached through a link counts: a link could start another program.
    """
    for path in run.find_outputs(NAMES):
        place = PurePosixPath(run.files, path)
        with suppress(OSError), run.open_parent(place) as parent:
            if stat.S_ISREG(os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode):
                return run.folder / place
    return None
