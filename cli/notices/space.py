"""Report disk usage: a nearly full disk, the largest folders."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cli.options.context import cluster_flag
from cli.terminal import show
from cli.terminal.formats import size
from infra.run.storage import is_short

if TYPE_CHECKING:
    from infra.model import Output
    from infra.node.client import Space
    from infra.project.files import File

SHOWN = 8


def space_warning(cluster: str, disk_bytes: int, free_bytes: int) -> str:
    """Return a warning about a nearly full disk, with the command to free space; otherwise ""."""
    if not is_short(disk_bytes, free_bytes):
        return ""
    left = f"{size(free_bytes)} of {size(disk_bytes)}"
    return f"warning: {left} left on the disk of '{cluster}'. Free space: gpujob jobs rm{cluster_flag(cluster)} --done"


def warn_of_space(cluster: str, space: "Space") -> None:
    """Warn if a machine's disk is nearly full."""
    if warning := space_warning(cluster, space.disk_bytes, space.disk_free_bytes):
        show.say(warning)


def upload_warning(fault: str) -> str:
    """Return a warning about a machine that cannot upload to its bucket at the moment; otherwise ""."""
    if not fault:
        return ""
    why = show.printable(fault)
    return f"warning: nothing is uploaded to the bucket: {why}\n  outputs stay on the machine until its lease ends"


def warn_of_upload(fault: str) -> None:
    """Warn if a machine cannot upload to its bucket at the moment."""
    if warning := upload_warning(fault):
        show.say(warning)


def show_largest_folders(files: "Iterable[File] | Iterable[Output]") -> None:
    """Show the largest top-level folders."""
    sizes: dict[str, int] = {}
    for file in files:
        top, slash, _ = file.path.partition("/")
        sizes[top + slash] = sizes.get(top + slash, 0) + file.size_bytes
    show.facts({name: size(total) for name, total in sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN]})
