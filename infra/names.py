"""Names of clusters: which are valid, and which cluster a command means. Asks no cloud, so that `run` starts at once."""

import difflib
import re
from pathlib import Path

from infra import state
from infra.errors import Change, NotFoundError, UsageError
from infra.model import Cluster

NAME = re.compile("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def name_for(folder: Path) -> str:
    """Return the cluster name that a folder's name gives: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40].strip("-") or "gpujob"


def check_name(name: str, hint: str = "") -> str:
    """Return a cluster's name if it is one; raises UsageError with this hint, else with a name to rent under."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name for a cluster: lower-case letters, digits and hyphens, 40 at most",
            hint,
            None if hint else Change(name, name_for(Path(name))),
        )
    return name


def check_image_name(name: str) -> str:
    """Return the name of an image that may be made; raises UsageError."""
    if name in ("dlami", "ubuntu") or name.startswith("ami-") or not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name for an image: lower-case letters, digits and hyphens, 40 at most; not dlami, ubuntu or ami-...",
            f"--as my-{name_for(Path(name.removeprefix('ami-')))}"[:45],
        )
    return name


def list_known() -> list[str]:
    """Return the names of the clusters that this laptop knows, also of those whose `up` is not through."""
    return sorted({*(cluster.name for cluster in state.recall_all()), *state.list_attempts()})


def find(name: str | None, folder: Path) -> Cluster:
    """Return the cluster to work on, as remembered: the one named, else the folder's own, else the only one there is.

    Raises NotFoundError with what exists.
    """
    known, own = list_known(), name_for(folder)
    asked = known[0] if len(known) == 1 and own not in known else own
    asked = asked if name is None else check_name(name, "gpujob ls")
    if state.attempt_file(asked).exists():
        raise NotFoundError(
            f"the launch of '{asked}' is not finished: its gpujob up is still running, or was interrupted",
            f"rerun the same gpujob up {asked} to resume it; or: gpujob down {asked}",
        )
    found = state.recall(asked)
    if found is None:
        raise unknown(asked, known, named=name is not None)
    return found


def unknown(name: str, known: list[str], *, named: bool) -> NotFoundError:
    """Return the error for a cluster that this computer does not know, with those of these that may have been meant."""
    near = difflib.get_close_matches(name, known, 3) if named else []
    others = f"; did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(known)}" if known else ""
    launch = f"gpujob up {name}, or without AWS: gpujob up {name} --dry-run"
    hint = "gpujob ls" if named else f"name one of them, or: {launch}" if known else launch
    return NotFoundError(f"this computer knows no cluster '{name}'{others}", hint)
