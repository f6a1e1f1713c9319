"""Choose the cluster of a command from local records, so that `run` starts at once."""

import difflib
import json
from pathlib import Path

from infra import state
from infra.errors import NotFoundError
from infra.ledger import known_clusters
from infra.model import Cluster
from infra.names import check_name, name_for


def list_known() -> list[str]:
    """Return the names of the clusters known on this computer, including those of unfinished launches."""
    return sorted({*(cluster.name for cluster in known_clusters.recall_all()), *state.list_attempts()})


def find(name: str | None, folder: Path) -> Cluster:
    """Return the recorded cluster to work on: the named one, the folder's, or the only one.

    Raises NotFoundError with the existing ones. The machines of a job whose `send` was interrupted may be at work.
    """
    known, own = list_known(), name_for(folder)
    asked = known[0] if len(known) == 1 and own not in known else own
    asked = asked if name is None else check_name(name, "gpujob ls")
    found = known_clusters.recall(asked)
    if state.attempt_file(asked).exists() and not (found and found.sent and is_of_send(asked)):
        again = "gpujob send" if is_of_send(asked) else f"gpujob up {asked}"
        raise NotFoundError(
            f"the launch of '{asked}' is not finished: it is still running, or was interrupted",
            f"rerun the same {again} to resume it, or terminate it: gpujob down {asked}",
        )
    if found is None:
        raise unknown(asked, known, named=name is not None)
    return found


def is_of_send(name: str) -> bool:
    """Return whether the unfinished launch of a cluster is of a sent job."""
    try:
        return bool(json.loads(state.attempt_file(name).read_text(encoding="utf-8"))["request"]["sent"])
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or an earlier version wrote it
        return False


def unknown(name: str, known: list[str], *, named: bool) -> NotFoundError:
    """Return the error for an unknown cluster, with suggestions among the known ones."""
    near = difflib.get_close_matches(name, known, 3) if named else []
    others = (
        f"; did you mean {' or '.join(near)}?" if near else f"; known clusters: {', '.join(known)}" if known else ""
    )
    launch = f"gpujob up {name}, or without AWS: gpujob up {name} --dry-run"
    hint = "gpujob ls" if named else f"use one of these, or launch one: {launch}" if known else launch
    return NotFoundError(f"no cluster '{name}'{others}", hint)
