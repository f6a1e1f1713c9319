"""Notes about runs: `runs/notes.csv`, which `python -m jobs.board` writes, or an editor.

`runs/` may come with someone else's project: what cannot be read is left out.
"""

import csv
import io
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.base.folders import open_folder, read_end

NAME = "notes.csv"
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Note:
    """What the user noted about a run, and its score on a leaderboard."""

    text: str = ""
    leaderboard: float | None = None


def read_notes(runs: Path) -> Mapping[str, Note]:
    """Return the notes by CLUSTER-NUMBER; empty if there are none."""
    content = b""
    with suppress(OSError), open_folder(runs) as within:
        content = read_end(NAME, within, MOST_BYTES + 1)
    found = {}
    if len(content) <= MOST_BYTES:
        with suppress(csv.Error):
            for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace"), newline="")):
                found[row.get("run") or ""] = Note(row.get("note") or "", read_score(row.get("leaderboard") or ""))
    return found


def read_score(text: str) -> float | None:
    """Return a finite number; None for anything else."""
    with suppress(ValueError):
        return float(text) if math.isfinite(float(text)) else None
    return None
