"""Names of clusters and images: which are valid, and which a folder gives."""

import re
from pathlib import Path

from infra.errors import Change, UsageError

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
