"""What a project may take from this computer for its jobs, as was confirmed here."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from infra import state


def list_missing(root: Path, wanted: Sequence[str]) -> list[str]:
    """Return what was not confirmed yet of what the project in this folder wants."""
    allowed = read(root)
    return [one for one in wanted if one not in allowed]


def remember(root: Path, confirmed: Sequence[str]) -> None:
    """Keep what was confirmed for the project in this folder."""
    allowed = sorted({*read(root), *confirmed})
    state.write_private(consent_file(root), json.dumps({"project": str(root), "allowed": allowed}, indent=2))


def read(root: Path) -> frozenset[str]:
    """Return what was confirmed for a project; nothing if the record cannot be read."""
    try:
        return frozenset(json.loads(consent_file(root).read_text(encoding="utf-8"))["allowed"])
    except (OSError, ValueError, TypeError, KeyError):
        return frozenset()


def consent_file(root: Path) -> Path:
    """Return where it is kept what was confirmed for a project."""
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return state.state_folder() / "consents" / f"{name}.json"
