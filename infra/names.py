"""Names of clusters and images."""

import re
from pathlib import Path

from infra.errors import Change, UsageError

NAME = re.compile("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def name_for(folder: Path) -> str:
    """Return a valid cluster name derived from a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40].strip("-") or "gpujob"


def check_name(name: str, hint: str = "") -> str:
    """Return a cluster name if it is valid; raises UsageError with the hint, or with a valid name to use."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"invalid cluster name '{name}': use lower-case letters, digits and hyphens, at most 40",
            hint,
            None if hint else Change(name, name_for(Path(name))),
        )
    return name


def check_image_name(name: str) -> str:
    """Return an image name if it is valid for a new image; raises UsageError."""
    if name in ("dlami", "ubuntu") or name.startswith("ami-") or not NAME.fullmatch(name):
        raise UsageError(
            f"invalid image name '{name}': use lower-case letters, digits and hyphens, at most 40; not dlami, ubuntu or ami-...",
            f"--as my-{name_for(Path(name.removeprefix('ami-')))}"[:45],
        )
    return name
