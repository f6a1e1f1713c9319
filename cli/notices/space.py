"""What there is to say of a machine's disk."""

from typing import TYPE_CHECKING

from cli.options.context import cluster_flag
from cli.terminal import show

if TYPE_CHECKING:
    from infra.node.client import Space


def space_warning(cluster: str, disk_bytes: int, free_bytes: int) -> str:
    """Return a line that warns of a disk that is nearly full, and how to free some of it; "" if it is not."""
    from infra.run.storage import is_short

    if not is_short(disk_bytes, free_bytes):
        return ""
    left = f"{show.size(free_bytes)} of {show.size(disk_bytes)}"
    return f"warning: {left} left on the disk of '{cluster}'. Free some: gpujob jobs rm{cluster_flag(cluster)} --done"


def warn_of_space(cluster: str, space: "Space") -> None:
    """Warn if little of a machine's disk is free."""
    if warning := space_warning(cluster, space.disk_bytes, space.disk_free_bytes):
        show.say(warning)
