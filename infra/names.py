"""Names of clusters: which are some, and which cluster a command means. Asks no cloud, so that `run` starts at once."""

import re
from pathlib import Path

from infra import state
from infra.errors import NotFoundError, UsageError
from infra.model import Cluster

NAME = re.compile("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def name_for(folder: Path) -> str:
    """Return the cluster name that a folder's name gives: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40].strip("-") or "gpujob"


def check_name(name: str) -> str:
    """Return a cluster's name if it is one; raises UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name for a cluster: lower-case letters, digits and hyphens, 40 at most",
            f"gpujob up {name_for(Path(name))}",
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


def find(name: str | None, folder: Path) -> Cluster:
    """Return the cluster to work on, as remembered: the one named, else the folder's own, else the only one there is.

    Raises NotFoundError with what exists.
    """
    known = {cluster.name: cluster for cluster in state.recall_all()}
    if name is not None:
        check_name(name)
    else:
        name = name_for(folder) if name_for(folder) in known or len(known) != 1 else next(iter(known))
    if name in known:
        return known[name]
    others = f"; there are: {', '.join(sorted(known))}" if known else ""
    raise NotFoundError(
        f"there is no cluster '{name}'{others}", f"gpujob up {name} (rehearse it: gpujob up {name} --dry-run)"
    )
