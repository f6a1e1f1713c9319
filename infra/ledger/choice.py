"""Choose the cluster of a command from local records, so that `run` starts at once."""

import difflib
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

    Raises NotFoundError with the existing ones.
    """
    known, own = list_known(), name_for(folder)
    asked = known[0] if len(known) == 1 and own not in known else own
    asked = asked if name is None else check_name(name, "gpujob ls")
    if state.attempt_file(asked).exists():
        raise NotFoundError(
            f"the launch of '{asked}' is not finished: it is still running, or was interrupted",
            f"rerun the same gpujob up {asked} to resume it, or terminate it: gpujob down {asked}",
        )
    found = known_clusters.recall(asked)
    if found is None:
        raise unknown(asked, known, named=name is not None)
    return found


def unknown(name: str, known: list[str], *, named: bool) -> NotFoundError:
    """Return the error for an unknown cluster, with suggestions among the known ones."""
    near = difflib.get_close_matches(name, known, 3) if named else []
    others = (
        f"; did you mean {' or '.join(near)}?" if near else f"; known clusters: {', '.join(known)}" if known else ""
    )
    launch = f"gpujob up {name}, or without AWS: gpujob up {name} --dry-run"
    hint = "gpujob ls" if named else f"use one of these, or launch one: {launch}" if known else launch
    return NotFoundError(f"no cluster '{name}'{others}", hint)
