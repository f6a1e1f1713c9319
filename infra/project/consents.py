"""The user's consent to what a project's jobs may read from this computer."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from infra import state


def list_missing(root: Path, wanted: Sequence[str]) -> list[str]:
    """Return the items that the user has not yet confirmed for the project in this folder."""
    allowed = read(root)
    return [one for one in wanted if one not in allowed]


def remember(root: Path, confirmed: Sequence[str]) -> None:
    """Record items as confirmed for the project in this folder."""
    allowed = sorted({*read(root), *confirmed})
    state.write_private(consent_file(root), json.dumps({"project": str(root), "allowed": allowed}, indent=2))


def read(root: Path) -> frozenset[str]:
    """Return the items confirmed for a project; none if the record cannot be read."""
    try:
        return frozenset(json.loads(consent_file(root).read_text(encoding="utf-8"))["allowed"])
    except (OSError, ValueError, TypeError, KeyError):
        return frozenset()


def consent_file(root: Path) -> Path:
    """Return the file with a project's confirmed items."""
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return state.state_folder() / "consents" / f"{name}.json"
