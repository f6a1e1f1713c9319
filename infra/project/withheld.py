"""What is not uploaded, said when it changes: a line that comes with every run is not read any more."""

import hashlib
import json
import os
from pathlib import Path

from infra import state
from infra.project.files import Project


def is_news(project: Project) -> bool:
    """Tell whether other files are withheld than when this was last asked, and remember which."""
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
    """Return where it is remembered what of a project is withheld."""
    return state.state_folder() / "withheld" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"
