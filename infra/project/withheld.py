"""Withheld files, reported only when they change: a line on every run would be ignored."""

import hashlib
import json
import os
from pathlib import Path

from infra import state
from infra.project.files import Project


def is_news(project: Project) -> bool:
    """Return whether the withheld files have changed since the last call, and record them."""
    now = json.dumps([[each.path, each.reason] for each in project.withheld])
    place = record_of(project.root)
    try:
        before = place.read_text(encoding="utf-8")
    except (OSError, ValueError):
        before = "[]"
    if now != before:
        state.write_private(place, now)
    return now != before


def record_of(root: Path) -> Path:
    """Return the file that records a project's withheld files."""
    return state.state_folder() / "withheld" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
